"""The contract of an executor, as tests: what `loop` relies on, wherever functions are run.

Subclass `ExecutorContract` in a test file and give it `make`:

    class TestMyExecutor(ExecutorContract):
        def make(self, **options): return MyExecutor(**options)      # options: folder, log_mb

The tasks are steps of `perform`, a function of this module, so that workers elsewhere can import it.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from searchitect.errors import BuildError, UsageError
from searchitect.executors import Context, Event, Executor, Failed, Finished, Report, Started


def perform(payload: Mapping[str, Any], context: Context) -> Any:
    """One task of the contract: the step named by `payload["do"]`."""
    return _STEPS[payload["do"]](payload, context)


def _echo(payload: Mapping[str, Any], _: Context) -> Any:
    return {"got": payload.get("value")}


def _sleep(payload: Mapping[str, Any], context: Context) -> Any:
    end = time.monotonic() + payload.get("seconds", 0.01)
    while time.monotonic() < end and not context.should_stop():
        time.sleep(0.005)
    return {"stopped": context.should_stop()}


def _spin(payload: Mapping[str, Any], context: Context) -> Any:
    while True:
        sum(range(1000))


def _steps(payload: Mapping[str, Any], context: Context) -> Any:
    for step in range(payload["steps"]):
        context.report({"step": step, "loss": math.inf if step == 0 else 1.0 / step})
        if context.should_stop():
            return {"steps": step + 1}
        time.sleep(payload.get("pause", 0.0))
    return {"steps": payload["steps"]}


def _raise(payload: Mapping[str, Any], _: Context) -> Any:
    if payload["error"] == "build":
        raise BuildError("stem: 3 channels expected, got 1")
    if payload["error"] == "memory":
        raise MemoryError
    if payload["error"] == "torch memory":
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
    if payload["error"] == "exit":
        sys.exit(3)
    raise ValueError("bad \udcff value\nsecond line")


def _return(payload: Mapping[str, Any], _: Context) -> Any:
    return {"nothing": None, "object": {"x": object()}, "list": [1]}[payload["kind"]]


def _meddle(_: Mapping[str, Any], __: Context) -> Any:
    os.chdir(tempfile.gettempdir())
    os.environ["SEARCHITECT_CONTRACT"] = "changed"
    sys.path.insert(0, "/nowhere")
    sys.setrecursionlimit(sys.getrecursionlimit() + 100)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout = None
    return {}


def _look(_: Mapping[str, Any], context: Context) -> Any:
    context_values = [context.attempt, context.device, context.threads, context.folder and str(context.folder)]
    return {
        "cwd": os.getcwd(),
        "env": os.environ.get("SEARCHITECT_CONTRACT"),
        "path": sys.path[0],
        "depth": sys.getrecursionlimit(),
        "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_IGN,
        "context": context_values,
        "pid": os.getpid(),
    }


def _print(payload: Mapping[str, Any], _: Context) -> Any:
    for line in range(payload["lines"]):
        print("line", line, "x" * payload.get("width", 1))
    print("to stderr", file=sys.stderr)
    return {}


_STEPS: dict[str, Callable[[Mapping[str, Any], Context], Any]] = {
    "echo": _echo,
    "sleep": _sleep,
    "spin": _spin,
    "steps": _steps,
    "raise": _raise,
    "return": _return,
    "meddle": _meddle,
    "look": _look,
    "print": _print,
}


def collect(executor: Executor, seconds: float = 20.0) -> list[Event]:
    """All events until nothing is outstanding; AssertionError when that takes too long."""
    end = time.monotonic() + seconds
    events: list[Event] = []
    while more := executor.wait(max(0.0, end - time.monotonic())):
        events += more
    assert time.monotonic() < end, f"still waiting after {seconds} s; so far {events}"
    return events


def ends(events: list[Event]) -> dict[int, Finished | Failed]:
    """How each ticket ended. AssertionError when one ended twice."""
    found: dict[int, Finished | Failed] = {}
    for event in events:
        if isinstance(event, (Finished, Failed)):
            assert event.ticket not in found, f"ticket {event.ticket} ended twice: {events}"
            found[event.ticket] = event
    return found


class ExecutorContract:
    """The tests. `make(**options)` returns a new executor; `folder` and `log_mb` may be asked for."""

    def make(self, **options: Any) -> Executor:
        """A new executor."""
        raise NotImplementedError

    def run(self, *payloads: dict[str, Any], limit: float | None = None, **options: Any) -> list[Finished | Failed]:
        """Run these tasks on a new executor; how each ended, in their order."""
        with self.make(**options) as executor:
            executor.start(perform)
            for ticket, payload in enumerate(payloads):
                executor.submit(ticket, payload, time_limit=limit)
            found = ends(collect(executor))
        assert sorted(found) == list(range(len(payloads)))
        return [found[ticket] for ticket in range(len(payloads))]

    def failure(self, payload: dict[str, Any], **options: Any) -> Failed:
        """Run this task and one after it: the first must fail, the second must not notice."""
        first, second = self.run(payload, {"do": "echo", "value": 1}, **options)
        assert isinstance(first, Failed), first
        assert second == Finished(1, {"got": 1})
        return first

    def test_a_task_starts_reports_and_finishes_in_this_order(self) -> None:
        with self.make() as executor:
            executor.start(perform)
            assert executor.slots >= 1
            assert executor.wait(5.0) == [], "nothing is outstanding"
            executor.submit(7, {"do": "steps", "steps": 3})
            events = collect(executor)
            assert [type(e) for e in events] == [Started, Report, Report, Report, Finished]
            assert {e.ticket for e in events} == {7}
            assert [e.data["step"] for e in events if isinstance(e, Report)] == [0, 1, 2]
            assert executor.wait(5.0) == []

    def test_many_tasks_end_once_each(self) -> None:
        found = self.run(*[{"do": "echo", "value": n} for n in range(40)])
        assert found == [Finished(n, {"got": n}) for n in range(40)]

    def test_numbers_and_text_cross_unchanged(self) -> None:
        value: list[Any] = [math.inf, -math.inf, -0.0, 0.1 + 0.2, 5e-324, 2**60, True, None, "naïve ☃", {"deep": [[]]}]
        (end,) = self.run({"do": "echo", "value": value})
        assert isinstance(end, Finished)
        assert repr(end.result["got"]) == repr(value)
        (end,) = self.run({"do": "echo", "value": math.nan})
        assert isinstance(end, Finished)
        assert math.isnan(end.result["got"])

    def test_tuples_become_lists_and_numbers_of_numpy_plain(self) -> None:
        numpy = pytest.importorskip("numpy")
        (end,) = self.run({"do": "echo", "value": (numpy.float64(0.5), numpy.int64(3))})
        assert isinstance(end, Finished)
        assert repr(end.result["got"]) == "[0.5, 3]"

    def test_a_closure_can_be_run(self) -> None:
        offset = 5
        with self.make() as executor:
            executor.start(lambda payload, _: {"sum": payload["x"] + offset})
            executor.submit(0, {"x": 2})
            assert ends(collect(executor))[0] == Finished(0, {"sum": 7})

    def test_an_exception_is_user_code_with_its_traceback(self) -> None:
        failed = self.failure({"do": "raise", "error": "value"})
        assert failed.cause == "user code"
        assert failed.message.startswith("ValueError: bad ")
        assert "second line" not in failed.message
        assert not failed.retryable
        assert "in _raise" in failed.traceback
        assert "executors/task.py" not in failed.traceback
        assert failed.peak_mb > 1.0

    def test_an_error_that_knows_its_cause(self) -> None:
        failed = self.failure({"do": "raise", "error": "build"})
        assert failed.cause == "invalid architecture"
        assert failed.message == "stem: 3 channels expected, got 1"

    @pytest.mark.parametrize("error", ["memory", "torch memory"])
    def test_memory_is_its_own_cause(self, error: str) -> None:
        failed = self.failure({"do": "raise", "error": error})
        assert failed.cause == "out of memory"
        assert "peak" in failed.message

    def test_sys_exit_ends_the_task_alone(self) -> None:
        failed = self.failure({"do": "raise", "error": "exit"})
        assert failed.cause == "killed"
        assert "3" in failed.message
        assert not failed.retryable

    @pytest.mark.parametrize(
        ("kind", "words"), [("nothing", "NoneType"), ("object", "builtins.object"), ("list", "list")]
    )
    def test_a_result_must_be_a_mapping_of_plain_data(self, kind: str, words: str) -> None:
        failed = self.failure({"do": "return", "kind": kind})
        assert failed.cause == "user code"
        assert words in failed.message

    def test_a_time_limit_ends_a_loop(self) -> None:
        began = time.monotonic()
        (end,) = self.run({"do": "spin"}, limit=0.3)
        assert isinstance(end, Failed)
        assert (end.cause, end.retryable) == ("time limit", False)
        assert "0.3 s" in end.message
        assert time.monotonic() - began < 0.3 + 3.0

    def test_a_time_limit_counts_from_the_beginning_of_the_task(self) -> None:
        found = self.run(*[{"do": "sleep", "seconds": 0.2}] * 5, limit=0.8)
        assert [type(e) for e in found] == [Finished] * 5

    def test_a_task_is_stopped_by_what_it_reports(self) -> None:
        seen: list[int] = []
        with self.make() as executor:

            def listen(report: Report) -> None:
                seen.append(report.data["step"])
                if report.data["step"] == 2:
                    executor.stop(report.ticket)

            executor.listener = listen
            executor.start(perform)
            executor.submit(0, {"do": "steps", "steps": 400, "pause": 0.01})
            events = collect(executor)
        (end,) = ends(events).values()
        assert isinstance(end, Finished)
        assert 3 <= end.result["steps"] < 200
        assert seen == list(range(end.result["steps"]))
        assert not any(isinstance(e, Report) for e in events), "a listener takes the reports"

    def test_a_queued_task_can_be_stopped_or_killed(self) -> None:
        with self.make() as executor:
            executor.start(perform)
            for ticket in range(8):
                executor.submit(ticket, {"do": "sleep", "seconds": 0.1})
            executor.stop(6)
            executor.kill(7)
            executor.stop(99)
            executor.kill(99)
            found = ends(collect(executor))
        assert found[5] == Finished(5, {"stopped": False})
        assert found[6] == Finished(6, {"stopped": True})
        assert isinstance(found[7], Failed)
        assert (found[7].cause, found[7].retryable) == ("killed", True)

    def test_wrong_calls_are_refused(self) -> None:
        with self.make() as executor:
            with pytest.raises(UsageError, match="start"):
                executor.submit(0, {})
            executor.start(perform)
            with pytest.raises(UsageError, match="function already"):
                executor.start(perform)
            with pytest.raises(UsageError, match="plain data"):
                executor.submit(0, {"x": object()})
            for limit in (0.0, -1.0, math.nan, math.inf):
                with pytest.raises(UsageError, match="time_limit"):
                    executor.submit(0, {"do": "echo"}, time_limit=limit)
            executor.submit(0, {"do": "sleep", "seconds": 0.1})
            with pytest.raises(UsageError, match="outstanding"):
                executor.submit(0, {"do": "echo"})
            assert len(ends(collect(executor))) == 1
        with pytest.raises(UsageError, match="closed"):
            executor.submit(1, {"do": "echo"})

    def test_what_a_task_changes_in_its_process_does_not_last(self) -> None:
        before, _, after = self.run({"do": "look"}, {"do": "meddle"}, {"do": "look"})
        assert isinstance(before, Finished)
        assert isinstance(after, Finished)
        assert {**after.result, "pid": 0} == {**before.result, "pid": 0}
        assert after.result["env"] is None

    def test_the_context_tells_attempt_device_threads_and_folder(self, tmp_path: Path) -> None:
        with self.make(folder=tmp_path) as executor:
            executor.start(perform)
            executor.submit(0, {"do": "look"}, attempt=3)
            (end,) = ends(collect(executor)).values()
        assert isinstance(end, Finished)
        attempt, device, threads, folder = end.result["context"]
        assert (attempt, folder) == (3, str(tmp_path))
        assert device.partition(":")[0] in ("cpu", "cuda", "mps")
        assert threads >= 1

    def test_output_goes_to_a_capped_log(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        tasks = {"do": "print", "lines": 2}, {"do": "print", "lines": 3000, "width": 100}, {"do": "echo"}
        self.run(*tasks, folder=tmp_path, log_mb=0.05)
        assert capfd.readouterr() == ("", "")
        assert (tmp_path / "logs" / "000000.log").read_text() == "line 0 x\nline 1 x\nto stderr\n"
        long = (tmp_path / "logs" / "000001.log").read_text()
        assert len(long) < 51_000
        assert long.startswith("line 0 x")
        assert "the log is full" in long
        assert not (tmp_path / "logs" / "000002.log").exists(), "an empty log is no log"

    def test_without_a_folder_output_goes_nowhere(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.run({"do": "print", "lines": 2})
        assert capfd.readouterr() == ("", "")

    def test_exclusive_keeps_everything_for_later(self) -> None:
        with self.make() as executor:
            executor.start(perform)
            executor.submit(0, {"do": "sleep", "seconds": 0.1})
            with executor.exclusive():
                executor.submit(1, {"do": "echo"})
            assert sorted(ends(collect(executor))) == [0, 1]

    def test_close_ends_everything_and_may_be_repeated(self) -> None:
        executor = self.make()
        executor.start(perform)
        executor.submit(0, {"do": "sleep", "seconds": 60.0})
        began = time.monotonic()
        executor.close()
        executor.close()
        assert time.monotonic() - began < 3.0
        assert not any(isinstance(e, Finished) for e in executor.wait(0.0))
