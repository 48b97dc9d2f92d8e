"""A prior mean from a score: what a cheap number promises, as a line through the losses, below a Gaussian process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from searchitect.errors import UsageError
from searchitect.space import Architecture
from searchitect.strategies.surrogate.regression import Process

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


class ScorePrior:
    """Remembers the score of each architecture (larger is more promising) and turns scores into normal scores.

    Only their order counts: a score stands as the normal quantile of its rank among all that were looked at so far, and
    one that is not a number in the middle.
    """

    def __init__(self, name: str, score: Callable[[Sequence[Architecture]], Sequence[float]] | None) -> None:
        self.name, self._score = name, score
        self.known: dict[Architecture, float] = {}

    def standing(self, architectures: Sequence[Architecture]) -> Array:
        """The normal scores of these, in their order."""
        if self._score is None:
            raise UsageError(f"prior={self.name!r}: nobody computes scores here, give Setting(score=...)")
        fresh = [a for a in dict.fromkeys(architectures) if a not in self.known]
        if fresh:
            self.known.update(zip(fresh, map(float, self._score(fresh)), strict=True))
        ordered = np.sort([v for v in self.known.values() if not math.isnan(v)])
        values = np.array([self.known[a] for a in architectures], dtype=np.float64)
        if not len(ordered):
            return np.zeros(len(values))
        places = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2
        return np.where(np.isnan(values), 0.0, ndtri(np.clip(places, 0.5, len(ordered) - 0.5) / len(ordered)))

    def posterior(
        self, process: Process, values: Array, known: Flags, rows: Sequence[Architecture],
        candidates: Sequence[Architecture],
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """`Process.posterior` of what the prior mean leaves, and the prior mean put back."""
        both = self.standing([*rows, *candidates])
        told, ahead = both[: len(rows)], both[len(rows) :]
        beta = slope(process, values, known, told)
        mean, deviation, at_rows = process.posterior(values - beta * told, known)
        return mean + beta * ahead, deviation, at_rows + beta * told


def slope(process: Process, values: Array, known: Flags, standing: Array) -> float:
    """β of the prior mean a + β z, never above 0 (a score that ranks backwards is not believed).

    The likeliest β under the process, with the signal's own spread as that of its prior: z'K⁻¹y / (z'K⁻¹z + 1), of
    values y and standings z around their means (Rasmussen and Williams 2006, Eq. 2.42, with one basis function and the
    signal's variance as B; the uncertainty of β itself is left out of the posterior).
    """
    centred = np.where(known, values - values[known].mean(), 0.0)
    basis = np.where(known, standing - standing[known].mean(), 0.0)
    weights = process.weights(basis, known)
    return min(float(weights @ centred) / (float(weights @ basis) + 1.0), 0.0)
