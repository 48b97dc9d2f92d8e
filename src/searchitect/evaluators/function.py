"""The user's own training as an evaluator: `evaluate(model, trial) → number or numbers by name`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from searchitect.errors import TrialError, UsageError
from searchitect.evaluators.base import Evaluator, Live, Outcome, Task
from searchitect.evaluators.heirs import begin_with
from searchitect.evaluators.train import ANEW, TIMED, save_weights, untrained
from searchitect.hardware import Law, attach, measured
from searchitect.nets import Costs
from searchitect.seeds import derive
from searchitect.space import Architecture, Space
from searchitect.torchseeds import seeded_torch
from searchitect.training import as_number, parameters
from searchitect.training.identity import identity


class LiveTrial:
    """What the user's function sees of its trial.

    `number`, `seed`, `epochs` (how long the study wants it to train), `device`, `threads`, `folder` (for files
    of its own, or None) and `architecture`. `report(step, accuracy=0.9)` adds to the curve;
    `should_stop()` is true when it had better return what it has.

    With a strategy that pauses trainings, `epochs` counts from the very beginning, `horizon` is for how many the
    schedule is, and `checkpoint` is the file for the state (None: nobody will ask for it): where it exists, `start`
    epochs are in it, and only the rest is to be trained; what is to be continued later is to be written there.
    """

    def __init__(self, task: Task, live: Live, architecture: Architecture, seed: int) -> None:
        self.number = task.number
        self.epochs = task.epochs
        self.horizon = task.horizon or task.epochs
        self.checkpoint = Path(task.checkpoint) if task.checkpoint else None
        self.start = task.start if self.checkpoint is not None and self.checkpoint.exists() else 0
        self.seed = seed
        self.device = live.device
        self.threads = live.threads
        self.folder = live.folder
        self.architecture = architecture
        self.curve: list[dict[str, float]] = []
        self._live = live
        self._end = None if task.seconds is None else time.monotonic() + task.seconds

    def report(self, step: int, **metrics: float) -> None:
        """One point of the curve. Raises TrialError for what is not a number, NotFiniteError for NaN."""
        point = {"step": float(step)} | {
            name: as_number(value, f"report({name}=...)") for name, value in metrics.items()
        }
        self.curve.append(point)
        self._live.report(point)

    def should_stop(self) -> bool:
        """Whether the study asks this trial to end at its next step."""
        return self._live.should_stop() or (self._end is not None and time.monotonic() > self._end)


class FunctionEvaluator(Evaluator):
    """Builds the network and calls `evaluate(model, trial)` in a worker.

    The function gives one number (the first goal) or a mapping with every objective by name; the study adds
    `params` and, where asked for, `latency_ms` (told by its law or, without one, measured). It runs with torch's
    generators seeded from the trial.

    sample:  shape of one input row, to size lazy layers and check shapes; None builds without a dry run.
    outputs: stands for OUTPUTS in the space.
    """

    kind: Literal["train", "function", "table"] = "function"

    def __init__(
        self, space: Space, evaluate: Callable[[nn.Module, LiveTrial], Any], goal: str,
        metrics: Sequence[str] = (), *, sample: tuple[int, ...] | None = None, outputs: int | None = None,
        baseline: Callable[[], nn.Module] | None = None,
    ) -> None:  # fmt: skip
        if not callable(evaluate):
            raise UsageError(f"evaluate={evaluate!r} is not a function; write def evaluate(model, trial): ...")
        self.space = space
        self.evaluate, self.code = evaluate, identity(evaluate)
        self.goal = goal
        self.metrics = tuple(metrics)
        self.sample = sample
        self.outputs = outputs
        self.baseline = baseline
        self.laws: dict[str, Law] = {}
        self._costs: Costs | None = None

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "metrics": [self.goal, *self.metrics], "code": self.code}

    def run(self, task: Task, live: Live) -> Outcome:
        architecture = Architecture(self.space.fingerprint, task.decisions)
        model = untrained(self.space, task, self.sample, self.outputs, self.baseline)
        heir, notes = task.heir, tuple[str, ...]()
        if heir is not None:
            notes = (begin_with(model, heir, self.space, self.sample, self.outputs),)
        trial = LiveTrial(task, live, architecture, derive(task.seed, "training"))
        began = time.monotonic()
        with seeded_torch(trial.seed):
            answer = self.evaluate(model, trial)
        seconds = time.monotonic() - began
        numbers = {"params": float(parameters(model)), "seconds": seconds}
        numbers |= self._predicted(architecture) if task.network == "architecture" else {}
        numbers |= self._numbers(answer)
        if "latency_ms" in self.metrics and "latency_ms" not in numbers and self.sample is not None:
            numbers["latency_ms"] = measured([model], self.sample, device=live.device, seconds=TIMED)[0].ms
        if task.save and (task.rival is None or task.rival.beaten(task.number, numbers)):
            save_weights(model, Path(task.save))
        epochs = task.epochs - trial.start or len(trial.curve)
        notes = (*notes, *([ANEW] if trial.start < task.start else []))
        return Outcome(numbers, seconds, epochs, tuple(trial.curve), live.device, notes, live.should_stop())

    def take(self, laws: Mapping[str, Law]) -> None:
        """From now on these metrics are told beforehand, by a law each; what the function returns comes first."""
        self.laws, self._costs = dict(laws), None

    def _predicted(self, architecture: Architecture) -> dict[str, float]:
        if not self.laws or self.sample is None:
            return {}
        if self._costs is None:
            self._costs = Costs(self.space, self.sample, self.outputs)
            attach(self._costs, self.laws)
        return {name: tell(architecture) for name, tell in self._costs.predicted.items()}

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_costs": None}

    def _numbers(self, answer: Any) -> dict[str, float]:
        if isinstance(answer, Mapping):
            return {str(name): as_number(value, f"evaluate()[{str(name)!r}]") for name, value in answer.items()}
        if answer is None:
            raise TrialError("evaluate(model, trial) returned None; return a number or numbers by name")
        return {self.goal: as_number(answer, "what evaluate(model, trial) returned")}
