"""The contract of a store, as tests: what `loop` relies on, whatever keeps the records.

Subclass `StoreContract` in a test file, and give it `make` (a new store) and `reopen` (the same study
again, after `close` or after a crash of its driver):

    class TestMyStore(StoreContract):
        def make(self, folder): return MyStore.create(folder, {})
        def reopen(self, folder): return MyStore.open(folder, write=True)
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from searchitect.errors import UsageError
from searchitect.records import Cause, Failure, Fidelity, Measurement, Proposal, State, Trial
from searchitect.space import Architecture


def proposed(number: int, **fields: Any) -> Trial:
    """A trial as the loop would queue it; no two alike."""
    architecture = Architecture("contract", {"op": f"conv{number % 5}", "width": 8 + number, "rate": 0.1, "skip": True})
    proposal = Proposal(architecture, Fidelity(epochs=3), draw=number, events=2 * number, origin="sample")
    return Trial(number, proposal, key=f"key {number}", seed=number, **fields)


def measured(trial: Trial, **metrics: float) -> Trial:
    """The same trial, done."""
    return replace(trial, state=State.DONE, measurement=Measurement(metrics or {"accuracy": 0.5}, seconds=0.25))


class StoreContract:
    """The tests. `make(folder)` returns a new writable store, `reopen(folder)` the existing one."""

    def make(self, folder: Path) -> Any:
        """A new, empty, writable store in this folder."""
        raise NotImplementedError

    def reopen(self, folder: Path) -> Any:
        """The study in this folder, writable."""
        raise NotImplementedError

    def test_a_queued_trial_is_found_as_it_was_given(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0), proposed(1)])
            assert store.trials() == [proposed(0), proposed(1)]
            assert store.trial(1) == proposed(1)
            assert store.count()[State.QUEUED] == 2

    def test_the_life_of_a_trial(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0)])
            running = store.start(0, worker=3)
            assert (running.state, running.attempts, running.worker) == (State.RUNNING, 1, 3)
            assert running.started is not None
            assert store.trial(0) == running
            assert store.finish(measured(running), 1)
            done = store.trial(0)
            assert (done.state, done.attempts, done.worker) == (State.DONE, 1, 3)
            assert done.value("accuracy") == 0.5
            assert done.finished >= done.started
            assert [t.number for t in store.trials([State.DONE])] == [0]
            assert store.trials([State.RUNNING, State.QUEUED]) == []

    def test_a_failure_is_kept_with_its_cause(self, tmp_path: Path) -> None:
        failure = Failure(Cause.MEMORY, "out of memory: 900 MB", "Traceback ...", retryable=True)
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0)])
            running = store.start(0, worker=0)
            assert store.finish(replace(running, state=State.FAILED, failure=failure), 1)
            assert store.trial(0).failure == failure

    def test_numbers_that_are_not_finite_come_back(self, tmp_path: Path) -> None:
        odd = {"a": math.inf, "b": -math.inf, "c": -0.0, "d": 5e-324, "e": 1.7976931348623157e308, "f": 0.1 + 0.2}
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0)])
            running = store.start(0, worker=0)
            store.report(0, 1, 1, odd)
            curve = ({"loss": math.nan, **odd},)
            store.finish(replace(running, state=State.DONE, measurement=Measurement(odd, curve=curve)), 1)
            got = store.trial(0).measurement
            assert repr(got.metrics) == repr(odd)
            assert math.isnan(got.curve[0]["loss"])
            assert repr(store.reports(0)) == repr([(1, odd)])

    def test_a_late_or_foreign_result_is_noted_and_dropped(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0)])
            first = store.start(0, worker=0)
            assert store.requeue(0, 1)
            assert not store.finish(measured(first), 1), "queued again: attempt 1 is over"
            second = store.start(0, worker=1)
            assert second.attempts == 2
            assert not store.finish(measured(first, accuracy=0.9), 1)
            assert store.trial(0) == second
            assert store.finish(measured(second, accuracy=0.1), 2)
            assert not store.finish(measured(second, accuracy=0.2), 2), "finished once, not twice"
            assert not store.finish(measured(proposed(77)), 1), "nobody knows this trial"
            assert store.trial(0).value("accuracy") == 0.1
            assert len(store.notes("late result")) == 4
            assert store.count()[State.DONE] == 1

    def test_a_reused_result_needs_no_start(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0), proposed(1)])
            assert store.finish(replace(measured(proposed(1)), source=0), 0)
            assert store.trial(1).source == 0

    def test_a_trial_that_is_queued_again_goes_on_with_its_curve(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0)])
            store.start(0, worker=0)
            for step in (1, 2, 3):
                store.report(0, 1, step, {"loss": 1.0 / step})
            assert store.requeue(0, 1)
            assert store.start(0, worker=0).attempts == 2
            store.report(0, 1, 4, {"loss": 99.0})
            store.report(0, 2, 3, {"loss": 0.3})
            store.report(0, 2, 4, {"loss": 0.2})
            assert store.reports(0) == [(1, {"loss": 1.0}), (2, {"loss": 0.5}), (3, {"loss": 0.3}), (4, {"loss": 0.2})]

    def test_wrong_calls_are_refused(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0)])
            with pytest.raises(UsageError, match="already"):
                store.queue([proposed(1), proposed(0)])
            with pytest.raises(UsageError, match="no trial 5"):
                store.trial(5)
            store.start(0, worker=0)
            with pytest.raises(UsageError, match="running"):
                store.start(0, worker=1)
            with pytest.raises(UsageError, match="cannot be finished as queued"):
                store.finish(proposed(0), 0)
            assert [t.number for t in store.trials()] == [0], "a refused call leaves nothing behind"
            assert store.events() == [("asked", 0)]

    def test_events_keep_their_order(self, tmp_path: Path) -> None:
        folder = tmp_path / "s"
        with self.make(folder) as store:
            store.queue([proposed(0), proposed(1)])
            store.told(1)
            store.queue([proposed(2)])
            store.told(0)
        expected = [("asked", 0), ("asked", 1), ("told", 1), ("asked", 2), ("told", 0)]
        with self.reopen(folder) as store:
            assert store.events() == expected

    def test_a_transaction_is_all_or_nothing(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "s") as store:
            store.queue([proposed(0)])
            running = store.start(0, worker=0)
            with pytest.raises(ZeroDivisionError):
                self._half_a_transaction(store, running)
            assert store.trials() == [running]
            assert store.events() == [("asked", 0)]
            assert "best" not in store.meta
            assert store.finish(measured(running), 1), "the store goes on after it"

    def _half_a_transaction(self, store: Any, running: Trial) -> None:
        with store.transaction():
            store.finish(measured(running), 1)
            store.told(0)
            store.set_meta(best=0)
            with store.transaction():
                store.queue([proposed(1)])
            raise ZeroDivisionError

    def test_meta_and_notes_survive(self, tmp_path: Path) -> None:
        folder = tmp_path / "s"
        with self.make(folder) as store:
            store.set_meta(seed=7, space={"kind": "Choice"}, objectives=["accuracy"])
            store.set_meta(seed=8)
            store.note("test read", {"when": "after stage B", "rows": 10})
            store.note("limit", {"value": math.inf})
        with self.reopen(folder) as store:
            assert store.meta["seed"] == 8
            assert store.meta["objectives"] == ["accuracy"]
            assert [n.body["rows"] for n in store.notes("test read")] == [10]
            assert {"test read", "limit"} <= {n.kind for n in store.notes()}

    def test_on_resume_running_trials_are_queued_again(self, tmp_path: Path) -> None:
        folder = tmp_path / "s"
        with self.make(folder) as store:
            store.queue([proposed(n) for n in range(4)])
            for number in (0, 2, 3):
                running = store.start(number, worker=0)
            store.finish(measured(running), 1)
        with self.reopen(folder) as store:
            assert store.requeue_running() == [0, 2]
            assert store.count() == {**dict.fromkeys(State, 0), State.QUEUED: 3, State.DONE: 1}
            assert store.start(0, worker=0).attempts == 2
            assert store.events() == [("asked", n) for n in range(4)]

    def test_text_of_any_kind_is_kept(self, tmp_path: Path) -> None:
        texts = [
            "",
            "naïve ☃ 🙂",
            "'; DROP TABLE trials; --",
            "<script>alert(1)</script>",
            "a\x00b\n\r\x1b[31m",
            "x" * 100_000,
        ]
        with self.make(tmp_path / "s") as store:
            store.queue([replace(proposed(n), key=text) for n, text in enumerate(texts)])
            assert [t.key for t in store.trials()] == texts
            running = store.start(0, worker=0)
            odd = Failure(Cause.USER_CODE, "file \udcff not found", "lone surrogate \ud800")
            store.finish(replace(running, state=State.FAILED, failure=odd), 1)
            assert store.trial(0).failure.message == "file \\udcff not found"
