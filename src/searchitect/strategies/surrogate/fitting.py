"""Parameters of the covariance by marginal likelihood, from fixed starts, with a prior that keeps small data calm.

k(a, b) = exp(−Σ_p s_p · ‖a_p − b_p‖² / d_p) + noise: one scale s_p for each part (each decision, each length of
chain). d_p makes parts comparable: for chains the mean squared distance in the data, for decisions the sum of the
means over all decisions, so that at equal scales each decision counts as its distance says. It is a product of
kernels of the parts, each positive semidefinite, so that it is as well.

log s_p has a normal prior around log ½: deviation ¾ for decisions, 1½ for chains; log noise one around log 0.01 with
deviation 2 (chosen on predictions for three of the tables; searches were not looked at).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
START, NOISE = float(np.log(0.5)), float(np.log(0.01))
SPREAD_DECISIONS, SPREAD_CHAINS, SPREAD_NOISE = 0.75, 1.5, 2.0
BOUNDS, NOISE_BOUNDS = (-7.0, 4.0), (-9.0, 1.0)
STEPS = 40  # of L-BFGS at most


class Parameters(NamedTuple):
    """What was fitted: log scales of the parts, log noise, and d_p of the data it was fitted to."""

    scales: Array
    noise: float
    means: Array

    def weights(self, parts: NDArray[np.int64]) -> Array:
        """By which each entry of a vector is multiplied, so that the covariance is exp(−‖a − b‖²)."""
        return np.asarray(np.sqrt(np.exp(self.scales) / self.means)[parts])


def part_distances(rows: Array, parts: NDArray[np.int64]) -> Array:
    """Squared distances by part: (parts, n, n). `parts` ascend and name the part of each column."""
    count = int(parts[-1]) + 1 if len(parts) else 0
    out = np.empty((count, len(rows), len(rows)))
    for p in range(count):
        some = rows[:, parts == p]
        squares = (some * some).sum(axis=1)
        out[p] = np.maximum(squares[:, None] + squares[None, :] - 2.0 * (some @ some.T), 0.0)
    return out


def mean_distances(distances: Array, decisions: int) -> Array:
    """d_p: see the head of this file. A part that does not vary gets 1."""
    means = distances.mean(axis=(1, 2))
    means[:decisions] = means[:decisions].sum()
    means[means < 1e-9] = 1.0
    return np.asarray(means)


def fit(
    rows: Array, targets: Array, parts: NDArray[np.int64], decisions: int, before: Parameters | None = None
) -> Parameters:
    """The likeliest parameters for `targets` (n, goals); the goals share them and are centred here.

    Starts from the prior's mean and, where given, from the parameters found before; the better end is taken.
    """
    distances = part_distances(rows, parts)
    means = mean_distances(distances, decisions)
    scaled = (distances / means[:, None, None]).reshape(len(distances), -1)
    centred = targets - targets.mean(axis=0)
    middle, spread = _prior(len(distances), decisions)
    starts = [middle]
    if before is not None:
        starts.append(np.append(before.scales, before.noise))
    limits = [BOUNDS] * len(distances) + [NOISE_BOUNDS]
    ends = [
        minimize(
            loss, start, args=(scaled, centred, middle, spread), jac=True, method="L-BFGS-B", bounds=limits,
            options={"maxiter": STEPS},
        )
        for start in starts
    ]  # fmt: skip
    best = min(ends, key=lambda end: round(float(end.fun), 6))
    return Parameters(best.x[:-1], float(best.x[-1]), means)


def _prior(count: int, decisions: int) -> tuple[Array, Array]:
    middle = np.append(np.full(count, START), NOISE)
    spread = np.append(np.full(count, SPREAD_CHAINS), SPREAD_NOISE)
    spread[:decisions] = SPREAD_DECISIONS
    return middle, spread


def loss(point: Array, distances: Array, targets: Array, middle: Array, spread: Array) -> tuple[float, Array]:
    """Negative log marginal likelihood (summed over goals, constants left out) plus the prior, and its gradient.

    The signal's variance is at its optimum yᵀK⁻¹y/n for each goal (Rasmussen and Williams 2006, Eq. 5.8 and 5.9).
    `distances` is (parts, n·n).
    """
    n, goals = targets.shape
    scales = np.exp(point[:-1])
    noise = float(np.exp(point[-1]))
    kernel = np.exp(-(scales @ distances)).reshape(n, n)
    own = kernel + noise * np.eye(n)
    try:
        factor = np.linalg.cholesky(own)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(point)
    inverse = solve_triangular(factor, np.eye(n), lower=True, check_finite=False)
    inverse = inverse.T @ inverse
    weights = inverse @ targets
    variance = np.maximum((targets * weights).sum(axis=0) / n, 1e-12)
    value = goals * float(np.log(np.diag(factor)).sum()) + 0.5 * n * float(np.log(variance).sum())
    by_kernel = 0.5 * (goals * inverse - (weights / variance) @ weights.T)
    slope = np.empty_like(point)
    slope[:-1] = -scales * (distances @ (by_kernel * kernel).ravel())
    slope[-1] = noise * float(np.trace(by_kernel))
    off = (point - middle) / spread
    return value + 0.5 * float(off @ off), slope + off / spread
