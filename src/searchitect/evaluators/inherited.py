"""Weights from a supernet instead of a training: its epochs, and what its paths are worth."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from searchitect.errors import StudyFailedError
from searchitect.evaluators.base import Evaluator, Live, Outcome, Task
from searchitect.evaluators.train import TrainEvaluator
from searchitect.records import COST_METRICS, Objective
from searchitect.sharing import Start, SupernetSearch
from searchitect.space import Architecture

PROBED = 3  # steps of a throw-away supernet, to know what an epoch takes


class InheritedEvaluator(Evaluator):
    """Runs the epochs of a supernet and measures architectures with its weights; all other tasks are trainings.

    train:   the evaluator of the study, which has data, recipe and metrics, and trains finalists; its laws are taken.
    method, options: of `searchitect.sharing`. seed: of the supernet. objectives: whose limits on costs known from the
             plan are kept by what is derived. hand_made: the architecture to beat, for the guard.

    The worker keeps the supernet between its tasks and reads it from the folder where it has another one or none. The
    last two epochs are kept there, since the driver may go away before it has heard of the last one.
    """

    kind: Literal["train", "function", "table", "inherited"] = "inherited"

    def __init__(
        self, train: TrainEvaluator, method: str, options: dict[str, Any], seed: int,
        objectives: Sequence[Objective] = (), hand_made: Architecture | None = None,
    ) -> None:  # fmt: skip
        self.train, self.method, self.options, self.seed = train, method, dict(options), seed
        self.hand_made = hand_made
        self.limits = [o for o in objectives if o.is_limit and o.metric in (*COST_METRICS, *train.laws)]
        self._search: SupernetSearch | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_search": None}

    def describe(self) -> dict[str, Any]:
        return self.train.describe() | {"kind": self.kind, "method": self.method, "options": self.options}

    def run(self, task: Task, live: Live) -> Outcome:
        if task.network == "supernet":
            return self._pass(task, live) if task.epochs else self._probe(task, live)
        if task.supernet is None:
            return self.train.run(task, live)
        began = time.monotonic()
        search = self._at(task.epochs, task, live)
        architecture = Architecture(self.train.space.fingerprint, task.decisions)
        metrics = search.measure(architecture, self.train.scored)
        seconds = time.monotonic() - began
        return Outcome(self._costs(architecture) | metrics | {"seconds": seconds}, seconds, search.done)

    def _pass(self, task: Task, live: Live) -> Outcome:
        """One epoch, saved before it is reported. `task.horizon` is how many the search has."""
        search = self._at(task.epochs - 1, task, live)
        began = time.monotonic()
        epoch = search.epoch(task.epochs, live.report, live.should_stop, self.train.scored)
        if epoch is None:
            self._search = None  # what was done of this epoch is done again when the study goes on
            return Outcome({}, time.monotonic() - began, search.done, stopped=True)
        search.save(_folder(task, search.done))
        shutil.rmtree(_folder(task, search.done - 2), ignore_errors=True)
        architecture = Architecture(self.train.space.fingerprint, dict(epoch.derived))
        numbers = self._costs(architecture) | epoch.metrics | {"seconds": epoch.seconds}
        return Outcome(
            numbers, epoch.seconds, epoch.number, device=live.device, epoch=msgspec.to_builtins(epoch)
        )  # fmt: skip

    def _probe(self, task: Task, live: Live) -> Outcome:
        """Seconds of an epoch, from a few steps of a supernet that is thrown away, and of what ends each epoch."""
        search = self._new(task, live)
        search.steps = min(PROBED, whole := search.steps)
        began = time.monotonic()
        search.epoch(1)
        steps = time.monotonic() - began
        began = time.monotonic()
        search.measure(search.derive(), self.train.scored)
        ending = time.monotonic() - began
        seconds = max(steps - ending, 0.0) / search.steps * whole + ending
        return Outcome({"seconds": seconds}, seconds, 1, device=live.device)

    def _at(self, epoch: int, task: Task, live: Live) -> SupernetSearch:
        """The supernet as it was after an epoch: kept from the task before, or read from its folder."""
        if self._search is None or self._search.done != epoch:
            self._search = self._new(task, live)
            if epoch and not self._search.load(_folder(task, epoch)):
                self._search = None
                raise StudyFailedError(
                    f"the supernet of epoch {epoch} is not in {task.supernet}: its file was deleted or is damaged; "
                    "begin a new study"
                )
        return self._search

    def _new(self, task: Task, live: Live) -> SupernetSearch:
        data = self.train.data("train")
        costs, limits = self.train.costs(), self.limits
        feasible = (
            (lambda architecture: costs.feasible(architecture, limits)) if limits or self.train.space.limits else None
        )
        start = Start(
            self.train.space, data.sample, data.outputs, self.seed, max(task.horizon, 1), self.train.recipe,
            self.options, live.device, self.train.own, feasible, self.hand_made,
        )  # fmt: skip
        return SupernetSearch(self.method, start, data)

    def _costs(self, architecture: Architecture) -> dict[str, float]:
        return self.train.costs().numbers(architecture)


def _folder(task: Task, epoch: int) -> Path:
    assert task.supernet is not None
    return Path(task.supernet) / f"epoch-{epoch}"
