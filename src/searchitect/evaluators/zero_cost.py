"""Scores of the untrained network instead of a training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from searchitect.errors import NotFiniteError, TrialError
from searchitect.evaluators.base import Evaluator, Live, Outcome, Task
from searchitect.evaluators.train import TrainEvaluator
from searchitect.scores import check_names, score
from searchitect.seeds import derive
from searchitect.space import Architecture

ROWS = 64


class ZeroCostEvaluator(Evaluator):
    """Builds the network and scores it on one batch of training rows, always the same ones; nothing is trained.

    train:  the evaluator of the study, which has the space, the data and the loss.
    names:  of `scores.SCORES`; all share their passes.
    needed: the scores without which a task fails as not finite, naming the reason; left out, all of them. The reasons
            of others are notes.

    There is no curve and there are no weights to keep; a task that asks for weights, for a hand-made network or for all
    rows ends as TrialError. Parameters, MACs, memory and what is predicted come from the plan.
    """

    kind: Literal["train", "function", "table", "inherited", "zero_cost"] = "zero_cost"

    def __init__(
        self, train: TrainEvaluator, names: Sequence[str], rows: int = ROWS, needed: Sequence[str] | None = None
    ) -> None:  # fmt: skip
        self.train, self.names, self.rows = train, check_names(names), rows
        self.needed = self.names if needed is None else tuple(needed)

    def describe(self) -> dict[str, Any]:
        return self.train.describe() | {"kind": self.kind, "scores": list(self.names), "rows": self.rows}

    def run(self, task: Task, live: Live) -> Outcome:
        if task.network != "architecture" or task.save or task.rows != "train":
            raise TrialError("scores are of architectures that nobody trained: there is nothing else to do or to save")
        began = time.monotonic()
        x, y = self._batch()
        model = self.train.network(task, tuple(x.shape[1:]))
        if x.dim() == 4:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model = model.to(live.device)
        found = score(
            model, x.to(live.device), y.to(live.device), self.names, loss=self.train.own.loss,
            seed=derive(task.seed, "scores"),
        )  # fmt: skip
        missing = [name for name in self.needed if name in found.reasons]
        if missing:
            raise NotFiniteError("; ".join(f"{name}: {found.reasons[name]}" for name in missing))
        numbers = self.train.costs().numbers(Architecture(self.train.space.fingerprint, task.decisions))
        seconds = time.monotonic() - began
        notes = tuple(f"{name}: {why}" for name, why in found.reasons.items())
        return Outcome(found.values | numbers | {"seconds": seconds}, seconds, device=live.device, notes=notes)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """x (B, ...) and y: the first of a fixed random order of the training rows."""
        data = self.train.data("train")
        order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(derive(0, "rows to score")))
        rows = order[: self.rows]
        x = data.x[rows]
        return (x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x), data.y[rows]
