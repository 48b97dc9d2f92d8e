"""The contract of evaluators, as tests. Subclass, implement `make`, inherit the tests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
from safetensors.torch import load_file

from searchitect.evaluators.base import Evaluator, Outcome, Rival, Task
from searchitect.records import objectives


class Recorder:
    """A worker's context that remembers what was reported, and asks to stop after so many reports."""

    device = "cpu"
    threads = 1
    folder: Path | None = None

    def __init__(self, stop_after: int | None = None) -> None:
        self.reports: list[dict[str, Any]] = []
        self.stop_after = stop_after

    def report(self, data: Mapping[str, Any]) -> None:
        """Remember."""
        self.reports.append(dict(data))

    def should_stop(self) -> bool:
        """After `stop_after` reports."""
        return self.stop_after is not None and len(self.reports) >= self.stop_after


class EvaluatorContract:
    """Subclass and implement `make`: an evaluator and a task that it can run in a second or so (3 epochs)."""

    def make(self) -> tuple[Evaluator, Task]:
        """The evaluator and a task for it."""
        raise AttributeError("a contract test class implements make()")

    def run(self, evaluator: Evaluator, task: Task, live: Recorder | None = None) -> Outcome:
        """One run, with task and outcome sent through JSON as between processes."""
        payload = json.loads(json.dumps(msgspec.to_builtins(task)))
        return msgspec.convert(json.loads(json.dumps(evaluator(payload, live or Recorder()))), Outcome)

    def numbers(self, outcome: Outcome) -> dict[str, float]:
        """What must repeat exactly: all but times."""
        return {k: v for k, v in outcome.metrics.items() if k not in ("seconds", "latency_ms")}

    def test_the_same_task_gives_the_same_numbers(self) -> None:
        evaluator, task = self.make()
        first, again = self.run(evaluator, task), self.run(evaluator, task)
        assert self.numbers(first) == self.numbers(again)
        assert first.curve == again.curve

    def test_another_seed_gives_another_curve(self) -> None:
        evaluator, task = self.make()
        other = msgspec.structs.replace(task, seed=task.seed + 1)
        assert self.run(evaluator, task).curve != self.run(evaluator, other).curve

    def test_a_copy_sent_to_a_worker_gives_the_same_numbers(self) -> None:
        evaluator, task = self.make()
        self.run(evaluator, task)  # whatever was cached must not travel wrongly
        copy = cloudpickle.loads(cloudpickle.dumps(evaluator))
        assert self.numbers(self.run(copy, task)) == self.numbers(self.run(evaluator, task))

    def test_every_step_is_reported(self) -> None:
        evaluator, task = self.make()
        live = Recorder()
        outcome = self.run(evaluator, task, live)
        assert len(live.reports) == len(outcome.curve) == task.epochs
        assert not outcome.stopped

    def test_it_stops_when_asked(self) -> None:
        evaluator, task = self.make()
        outcome = self.run(evaluator, task, Recorder(stop_after=1))
        assert outcome.stopped
        assert len(outcome.curve) < task.epochs

    def test_weights_are_saved_where_the_task_says(self) -> None:
        evaluator, task = self.make()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "deep" / "weights.safetensors"
            self.run(evaluator, msgspec.structs.replace(task, save=str(path)))
            assert load_file(path)
            assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_weights_that_cannot_win_are_not_written(self) -> None:
        """A rival that is as good keeps its place if it came first; what beats it is written."""
        evaluator, task = self.make()
        metric, value = list(self.numbers(self.run(evaluator, task)).items())[-1]
        for direction, rival, wins in (
            ("max", Rival(task.number - 1, (), (-value,)), False),
            ("max", Rival(task.number + 1, (), (-value,)), True),
            ("max", Rival(task.number - 1, (), (-value + 1.0,)), True),
            ("min", Rival(task.number - 1, (), (value - 1.0,)), False),
        ):
            rival = msgspec.structs.replace(rival, goals=objectives(f"{direction} {metric}"))
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "weights.safetensors"
                self.run(evaluator, msgspec.structs.replace(task, save=str(path), rival=rival))
                assert path.exists() is wins

    def test_the_description_is_plain_and_stable(self) -> None:
        evaluator, _ = self.make()
        assert json.loads(json.dumps(evaluator.describe())) == evaluator.describe()
        copy = cloudpickle.loads(cloudpickle.dumps(evaluator))
        assert copy.describe() == evaluator.describe()
        assert evaluator.describe()["kind"] == evaluator.kind

    def test_it_costs_are_counted(self) -> None:
        evaluator, task = self.make()
        outcome = self.run(evaluator, task)
        assert outcome.seconds > 0
        assert outcome.metrics["params"] > 0
