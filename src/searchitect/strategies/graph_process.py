"""A Gaussian process on distances between graphs: its kernel, the choice of its parameters, its predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

Array = NDArray[np.float64]
LENGTHS = (0.6, 1.2, 2.5, 5.0, 10.0)  # in medians of the squared distance
NOISES = (1e-3, 1e-2, 1e-1, 0.5)  # in variances of the signal


class Kernel(NamedTuple):
    """Mean over the first `levels` of exp(−distance² / (2 · length · median of that level))."""

    levels: int
    length: float
    noise: float
    medians: Array

    def __call__(self, squared: Array) -> Array:
        """Covariances from squared distances (levels, n, m)."""
        scale = 2.0 * self.length * self.medians[: self.levels, None, None]
        return np.asarray(np.exp(-squared[: self.levels] / scale).mean(axis=0))


def likeliest(squared: Array, targets: Array) -> Kernel:
    """The kernel of the grid with the largest marginal likelihood of all columns of `targets` (rows, goals)."""
    upper = np.triu_indices(squared.shape[1], 1)
    medians = np.array([np.median(level[upper]) or np.mean(level[upper]) or 1.0 for level in squared])
    best, found = -np.inf, None
    for levels in range(1, len(squared) + 1):
        for length in LENGTHS:
            kernel = Kernel(levels, length, 0.0, medians)
            values, vectors = np.linalg.eigh(kernel(squared))
            rotated = (vectors.T @ (targets - targets.mean(axis=0))) ** 2
            for noise in NOISES:
                likelihood = marginal(np.maximum(values, 0.0) + noise, rotated)
                if likelihood > best + 1e-6:
                    best, found = likelihood, kernel._replace(noise=noise)
    assert found is not None
    return found


def marginal(eigenvalues: Array, rotated: Array) -> float:
    """Log marginal likelihood up to a constant, the signal's variance being the likeliest one (yᵀK⁻¹y / n).

    rotated: squares of the targets in the basis of the eigenvectors, (rows, goals); goals add up.
    """
    n = len(eigenvalues)
    variance = np.maximum((rotated / eigenvalues[:, None]).sum(axis=0) / n, 1e-12)
    return float((-0.5 * n * np.log(variance) - 0.5 * np.log(eigenvalues).sum()).sum())


def posterior(among: Array, across: Array, values: Array, noise: float) -> tuple[Array, Array, Array]:
    """Mean and deviation at candidates, and the mean at rows.

    among: covariances of rows (n, n); across: of rows and candidates (n, m); values: (n), NaN where not known yet.
    Rows that are not known count as if they gave their predicted mean: they take part in the deviation only.
    """
    known = np.flatnonzero(np.isfinite(values))
    y = values[known]
    centre = float(y.mean())
    noisy = among[np.ix_(known, known)] + noise * np.eye(len(known))
    weights = cho_solve(cho_factor(noisy, lower=True), y - centre)
    variance = max(float((y - centre) @ weights) / len(known), 1e-12)
    factor = np.linalg.cholesky(among + noise * np.eye(len(among)))
    explained = (solve_triangular(factor, across, lower=True) ** 2).sum(axis=0)
    mean, at_rows = centre + across[known].T @ weights, centre + among[:, known] @ weights
    return mean, np.sqrt(variance * np.maximum(1.0 - explained, 1e-9)), at_rows
