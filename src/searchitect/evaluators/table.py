"""Looking up instead of training: an evaluator over the rows of a table."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from searchitect.errors import BuildError, NotFiniteError, TrialError
from searchitect.evaluators.base import Evaluator, Live, Outcome, Task
from searchitect.records import Objective
from searchitect.space import Architecture, Space


class Step(NamedTuple):
    """What is known of every row after so many epochs: numbers by name, and the seconds that it took in all."""

    epochs: int
    values: Mapping[str, Sequence[float]]
    seconds: Sequence[float]


class TableEvaluator(Evaluator):
    """Answers a task with what a table says; `seconds` are the table's, none is waited for.

    find:      the row of an architecture, or -1.
    steps:     by ascending epochs. A task gets the first step with at least its epochs, else the last.
    constants: numbers that do not depend on training, such as the parameters.
    curve:     the steps are one training: all up to the task's are reported, and the task may be stopped at each;
               a task that goes on from its `start` pays the difference.
    objectives: what it was made for, where that is known.

    The task's seed changes nothing. There are no weights to save and no hand-made network: tasks that ask for
    them end as TrialError. An architecture without a row ends as an invalid one, a missing number as not finite.
    """

    kind: Literal["train", "function", "table"] = "table"
    weights = False

    def __init__(
        self, name: str, space: Space, find: Callable[[Architecture], int], steps: Sequence[Step],
        constants: Mapping[str, Sequence[float]], *, curve: bool = False, objectives: Sequence[Objective] = (),
    ) -> None:  # fmt: skip
        self.name = name
        self.space = space
        self.find = find
        self.steps = list(steps)
        self.constants = dict(constants)
        self.curve = curve
        self.objectives = tuple(objectives)

    def fingerprint(self) -> str:
        """Changes when any number does."""
        found = hashlib.blake2b(digest_size=16)
        for step in self.steps:
            for name, values in (*sorted(step.values.items()), ("seconds", step.seconds)):
                found.update(f"{step.epochs} {name} {len(values)} ".encode() + array("d", values).tobytes())
        return found.hexdigest()

    def describe(self) -> dict[str, Any]:
        epochs = [step.epochs for step in self.steps]
        return {"kind": self.kind, "table": self.name, "metrics": list(self.steps[-1].values), "levels": epochs}

    def run(self, task: Task, live: Live) -> Outcome:
        if task.network != "architecture":
            raise TrialError(f"table {self.name} knows architectures of its space only, no hand-made network")
        if task.save:
            raise TrialError(f"table {self.name} holds numbers, so there are no weights to save")
        row = self.find(Architecture(self.space.fingerprint, task.decisions))
        if row < 0:
            raise BuildError(f"table {self.name} has no such architecture")
        last = next((i for i, step in enumerate(self.steps) if step.epochs >= task.epochs), len(self.steps) - 1)
        known = {name: float(values[row]) for name, values in self.constants.items()}
        curve: list[dict[str, float]] = []
        for at in range(last + 1) if self.curve else (last,):
            step = self.steps[at]
            numbers = self._numbers(step, row)
            if self.curve:
                curve.append({"step": float(step.epochs), **numbers})
                live.report(curve[-1])
            if at < last and live.should_stop():
                break
        begun = [s for s in self.steps if s.epochs <= task.start] if self.curve else []
        seconds = max(float(step.seconds[row]) - (float(begun[-1].seconds[row]) if begun else 0.0), 0.0)
        epochs = step.epochs - (begun[-1].epochs if begun else 0)
        return Outcome(
            {**known, **numbers, "seconds": seconds}, seconds, epochs, tuple(curve), live.device, (), at < last
        )  # fmt: skip

    def _numbers(self, step: Step, row: int) -> dict[str, float]:
        numbers = {name: float(values[row]) for name, values in step.values.items()}
        for name, value in numbers.items():
            if math.isnan(value):
                raise NotFiniteError(f"table {self.name} has no {name} for this architecture at {step.epochs} epochs")
        return numbers
