"""What is learned from: told trials in their order, and one number to model made of their goals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searchitect.records import Objective, State, Trial, losses
from searchitect.seeds import Stream
from searchitect.space import Architecture

Array = NDArray[np.float64]
RHO = 0.05  # weight of the sum in the augmented Chebyshev function


class Result(NamedTuple):
    """What became of one trial: its goals turned so that smaller is better, and the metrics that have limits.

    None where there is no finite number for all of them: it failed, was stopped, or is not a number.
    """

    number: int
    architecture: Architecture
    losses: tuple[float, ...] | None
    limited: tuple[float, ...] | None
    kept: bool  # every limit


class Told:
    """A fold over told trials, in the order told."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = objectives
        self.limits = [o for o in objectives if o.is_limit]
        self.goals = len(objectives) - len(self.limits)
        self.results: list[Result] = []

    def add(self, trial: Trial) -> Result:
        """Listen to a trial."""
        values = losses(trial, self.objectives) if trial.state is State.DONE else None
        if values is not None and not all(map(math.isfinite, values)):
            values = None
        limited = [trial.value(o.metric) for o in self.limits] if values is not None else None
        if limited is not None and not all(v is not None and math.isfinite(v) for v in limited):
            values = limited = None
        kept = limited is not None and all(o.kept(v) for o, v in zip(self.limits, limited, strict=True))
        turned = None if limited is None else tuple(float(v) for v in limited if v is not None)
        result = Result(trial.number, trial.architecture, values, turned, kept)
        self.results.append(result)
        return result


def warp(values: Array) -> Array:
    """Losses made fit for a Gaussian model: median 0, and the worse half pressed together by a logarithm.

    The unit is the distance from the median to the best tenth, so that the scale is that of good architectures; how
    bad the bad ones are (networks at chance, losses in the millions) hardly matters. Monotone: ranks stay.
    """
    ordered = np.sort(values)
    middle = _quantile(ordered, 0.5)
    unit = middle - _quantile(ordered, 0.1)
    if unit <= 0:
        unit = float(np.mean(np.abs(values - middle))) or 1.0
    z = (values - middle) / unit
    return np.asarray(np.where(z > 0, np.log1p(np.maximum(z, 0.0)), z))


def _quantile(ordered: Array, share: float) -> float:
    """As `np.quantile`, of sorted values, in a tenth of its time."""
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (place - below) * (high - low)


def scalarise(losses: Array, source: Stream) -> Array:
    """One loss for each row of (rows, goals): a random weighing of the goals (ParEGO: Knowles 2006, Eq. 2).

    Goals are scaled to [0, 1] by their ranks; weights are uniform on the simplex; the result is
    max_j w_j f_j + 0.05 Σ_j w_j f_j. A single goal is returned as it is.
    """
    rows, goals = losses.shape
    if goals == 1:
        return losses[:, 0]
    ranks = np.empty_like(losses)
    for j in range(goals):
        order = np.sort(losses[:, j])
        ranks[:, j] = np.searchsorted(order, losses[:, j], side="left") / max(1, rows - 1)
    draws = np.array([-math.log(1.0 - source.unit()) for _ in range(goals)])
    weighted = ranks * (draws / draws.sum())
    return np.asarray(weighted.max(axis=1) + RHO * weighted.sum(axis=1))
