"""What one training holds while it runs, how a checkpoint keeps it, and how it is taken up again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from searchitect.training import checkpoint as disk
from searchitect.training.average import Average
from searchitect.training.distributed import ALONE, Team
from searchitect.training.every_place import EveryPlace
from searchitect.training.identity import tensor_identity
from searchitect.training.own import Own
from searchitect.training.recipe import Recipe
from searchitect.training.regular import Regular
from searchitect.training.tensors import TrainData

log = logging.getLogger(__name__)
FORMAT = 2  # of a checkpoint


@dataclass(frozen=True)
class FitResult:
    """`curve` has one mapping an epoch: epoch (from 1), train_loss, lr, and the metrics on the evaluation part.

    `metrics` are those of the weights that the model has now, `spent` the seconds of training and scoring for each
    entry, over all sessions, `stopped` whether a deadline or `should_stop` ended it before its last epoch (the early
    stop of its own recipe does not count), `resumed` how many epochs were in the checkpoint.
    """

    curve: tuple[dict[str, float], ...]
    metrics: dict[str, float]
    spent: tuple[float, ...]
    epochs: int
    stopped: bool = False
    notes: tuple[str, ...] = ()
    resumed: int = 0

    @property
    def seconds(self) -> float:
        """Seconds of the whole training."""
        return sum(self.spent)


@dataclass
class Run:
    """What does not change during one call of `fit`, and the counters that do."""

    model: nn.Module
    data: TrainData
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    epochs: int
    horizon: int
    seed: int
    metrics: tuple[str, ...]
    device: torch.device
    deadline: float
    should_stop: Callable[[], bool]
    augmentations: tuple[str, ...]
    image_layout: bool  # channels_last
    regular: Regular
    own: Own
    average: Average
    every: EveryPlace
    curve: list[dict[str, float]] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    polled: float = 0.0
    notes: list[str] = field(default_factory=list)
    team: Team = ALONE
    forward: Any = None  # the model, as its team calls it
    rows: int | None = None  # of a batch in the network at a time
    minimised: dict[str, Any] = field(default_factory=dict)


def _identity(run: Run) -> dict[str, Any]:
    """What must be the same for a checkpoint to be continued. The number of epochs may grow up to the horizon."""
    recipe = msgspec.json.encode(run.recipe).decode()
    same = {"seed": run.seed, "recipe": recipe, "rows": len(run.data.x), "weights": disk.shapes(run.regular.whole),
            "metrics": list(run.metrics), "horizon": run.horizon}  # fmt: skip
    return same | run.minimised


def minimised(data: TrainData, own: Own) -> dict[str, Any]:
    """What the loss is made of beside recipe and targets: the user's functions, a teacher's answers, weights of rows.
    Only what there is, as plain data."""
    found: dict[str, Any] = dict(own.identities)
    if data.soft is not None:
        found["teacher"] = [tensor_identity(data.soft), data.soft_weight, data.temperature]
    if data.weights is not None:
        found["row_weights"] = tensor_identity(data.weights)
    return found


_CALLED = {
    "seed": "seed", "recipe": "recipe", "rows": "number of rows", "weights": "network", "metrics": "metrics",
    "horizon": "length of the schedule", "loss": "loss()", "step": "step()", "teacher": "answers of a teacher",
    "row_weights": "weights of rows",
}  # fmt: skip


def _difference(counters: dict[str, Any], now: dict[str, Any]) -> str:
    """In what a checkpoint is of another training, in words."""
    if counters.get("format") != FORMAT:
        return "written by another version"
    before = counters["identity"]
    return "another " + ", ".join(text for key, text in _CALLED.items() if before.get(key) != now.get(key))


def save(run: Run, path: Path) -> None:
    """Write the checkpoint; a disk that takes nothing is a note, and training goes on."""
    counters = {"format": FORMAT, "identity": _identity(run), "curve": run.curve, "spent": run.spent,
                "best_loss": None if math.isinf(run.best_loss) else run.best_loss,
                "best_epoch": run.best_epoch, "averaged": run.average.count}  # fmt: skip
    tensors = disk.pack(run.regular.whole, run.optimizer) | {f"best.{n}": t for n, t in run.best.items()}
    tensors |= run.average.tensors()
    try:
        disk.write(path, tensors, counters)
    except OSError as error:
        log.warning("checkpoint %s was not written: %s; training goes on", path, error)
        note = f"a checkpoint was not written: {error}"
        if note not in run.notes:
            run.notes.append(note)


def resume(run: Run, path: Path) -> bool:
    """Go on from a checkpoint; whether there was one of this training."""
    found = disk.read(path)
    if found is None:
        return False
    tensors, counters = found
    if counters.get("format") != FORMAT or counters["identity"] != _identity(run):
        other = _difference(counters, _identity(run))
        log.warning("checkpoint %s is of another training (%s); not used, training begins anew", path, other)
        run.notes.append(f"a checkpoint of another training was not used: {other}")
        return False
    disk.unpack(tensors, run.regular.whole, run.optimizer)
    run.curve, run.spent = counters["curve"], counters["spent"]
    run.best_loss, run.best_epoch = counters["best_loss"] or math.inf, counters["best_epoch"]
    run.average.restore(tensors, counters.get("averaged", 0))
    run.best = {n.removeprefix("best."): t for n, t in tensors.items() if n.startswith("best.")}
    return True
