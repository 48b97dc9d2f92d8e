"""What one training may be told beside network, data, recipe, epochs and seed: its goal, its course, its machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from searchitect.training.distributed import Group
from searchitect.training.own import USUAL, Own
from searchitect.training.regular import Places

NOWHERE = Places()


@dataclass(frozen=True)
class Goal:
    """What is minimised and what is scored.

    metrics: what is scored on the evaluation part; None for the usual metrics of the task.
    own:     the user's loss or step, in the place of the usual loss.
    places:  where the recipe's drop path and auxiliary classifier go in the network.
    """

    metrics: Sequence[str] | None = None
    own: Own = USUAL
    places: Places = NOWHERE


@dataclass(frozen=True)
class Course:
    """How a training is a part of something longer: who hears of it, who may end it, and how it is continued.

    horizon:     how many epochs the schedule (learning rate, augmentation) is for, where this is only the beginning of
                 a longer training; None for the epochs of this one.
    checkpoint:  the file of its state. With one that fits (`run.py`: recipe, horizon, seed, data shape, weights, loss)
                 training continues, to the same bits as if there had been no pause, and its last epoch is reported once
                 more. It is written every `save_every` epochs and after the last one; with 0 it is only read.
    deadline:    a value of `time.monotonic`: no epoch is begun that would not fit; one that is cut short is scored and
                 reported with a fraction as its epoch.
    report:      called with the epoch and its entry in the curve.
    should_stop: asked after each epoch and within it.
    """

    horizon: int | None = None
    checkpoint: Path | None = None
    save_every: int = 1
    deadline: float | None = None
    report: Callable[[int, dict[str, float]], None] | None = None
    should_stop: Callable[[], bool] | None = None


@dataclass(frozen=True)
class Machine:
    """Where a training runs.

    rows:  so many rows of a batch at most go through the network at a time, to need less memory; gradients are summed,
           so that a step is that of the whole batch, but BatchNorm and the user's loss see these rows only.
    group: the processes that train this network together (`distributed.py`), or None.
    """

    device: str | torch.device = "cpu"
    rows: int | None = None
    group: Group | None = None
