"""Several goals: a random weighing for each proposal, and the improvement of the weighed goals that is expected.

Goals are modelled one by one, as each is smoother than any mixture of them; they are weighed in the models' answers
(random scalarisations: Paria et al. 2019; the function is ParEGO's: Knowles 2006, Eq. 2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searchitect.seeds import Stream
from searchitect.strategies.surrogate.regression import Process

Array = NDArray[np.float64]
RHO = 0.05  # weight of the sum
DRAWS = 32
SOFT = 0.01  # of the span of the front: below this, improvements fade out instead of ending


class Weighing(NamedTuple):
    """max_j w_j f_j + 0.05 Σ_j w_j f_j, where f_j is 0 at the best value on the front and 1 at the worst there."""

    weights: Array
    low: Array
    span: Array

    def of(self, values: Array) -> Array:
        """(..., goals) → (...)."""
        weighed = (values - self.low) / self.span * self.weights
        return np.asarray(weighed.max(axis=-1) + RHO * weighed.sum(axis=-1))


def undominated(values: Array) -> NDArray[np.bool_]:
    """Which rows (rows, goals) no other row dominates."""
    if values.shape[1] == 1:
        return np.asarray(values[:, 0] == values.min())
    no_worse = (values[:, None, :] <= values[None, :, :]).all(axis=2)
    better = (values[:, None, :] < values[None, :, :]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def draw_weighing(values: Array, source: Stream) -> Weighing:
    """Weights uniform on the simplex; the scale is that of the undominated rows of `values` (rows, goals)."""
    front = values[undominated(values)]
    low, span = front.min(axis=0), np.ptp(front, axis=0)
    draws = np.array([-math.log(1.0 - source.unit()) for _ in range(values.shape[1])])
    return Weighing(draws / draws.sum(), low, np.where(span > 1e-9, span, 1.0))


def log_improvement(
    process: Process, values: Array, known: NDArray[np.bool_], kept: NDArray[np.bool_], weighing: Weighing,
    source: Stream,
) -> Array:  # fmt: skip
    """log of the expected improvement of the weighed goals over the best kept row, by 32 draws common to all
    candidates; goals are taken as independent. `values` (rows, goals) are not read where they are not known."""
    answers = [process.posterior(column, known) for column in values.T]
    best = float(weighing.of(np.stack([at_rows for _, _, at_rows in answers], axis=-1))[kept].min())
    total = np.zeros(process.m)
    for _ in range(DRAWS):
        drawn = [mean + deviation * source.normal() for mean, deviation, _ in answers]
        improved = (best - weighing.of(np.stack(drawn, axis=-1))) / SOFT
        total += np.logaddexp(0.0, improved)
    return np.asarray(np.log(total * (SOFT / DRAWS)))
