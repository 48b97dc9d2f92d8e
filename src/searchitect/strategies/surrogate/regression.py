"""A Gaussian process that grows by rows and keeps the posterior of a set of candidates up to date.

The covariance of rows a and b is exp(−‖a − b‖²) (rows come scaled, see `fitting`), plus `noise` where they are the
same observation; the signal's variance is the one that makes the data likeliest. A row is added when its trial is
*asked for*. As long as nothing is known of it, its value counts as what the others predict: the mean stays as it is
and the variance around it shrinks ("hallucinated" observations: Desautels et al. 2014, GP-BUCB). So several trials
in flight spread out, and a failed one is no value at all.

Costs, for n rows and m candidates: a row n² + n·m, a candidate n², a posterior n² + n·m, starting anew n³/3 + n²·m.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

Array = NDArray[np.float64]
ROOM = 64  # rows and candidates are added in place until so many are new


def covariance(rows: Array, others: Array) -> Array:
    """exp(−‖a − b‖²) for each a in `rows` (n × d), b in `others` (m × d): n × m."""
    return _covariance(rows, _squares(rows), others, _squares(others))


class Process:
    """The factor L of the rows' covariance and V = L⁻¹ K(rows, candidates)."""

    def __init__(self, rows: Array, candidates: Array, noise: float) -> None:
        n, m = len(rows), len(candidates)
        self.noise = noise
        self.n, self.m = n, m
        self._rows, self._row_squares = _room(rows, n), _room(_squares(rows), n)
        self._candidates, self._squares = _room(candidates, m), _room(_squares(candidates), m)
        self._factor = np.zeros((n + ROOM, n + ROOM))
        self._projected = np.zeros((n + ROOM, m + ROOM))
        self._explained = np.zeros(m + ROOM)
        if n:
            own = covariance(rows, rows)
            own[np.diag_indices(n)] = 1.0 + noise
            self._factor[:n, :n] = np.linalg.cholesky(own)
        self._project(0, m)

    def add_row(self, row: Array) -> None:
        """One more observation, its value not known yet."""
        n, m = self.n, self.m
        if n == len(self._rows):
            self._rows, self._row_squares = _room(self._rows, n), _room(self._row_squares, n)
            self._factor = np.pad(self._factor, ((0, ROOM), (0, ROOM)))
            self._projected = np.pad(self._projected, ((0, ROOM), (0, 0)))
        self._rows[n], self._row_squares[n] = row, row @ row
        part = slice(n, n + 1)
        own = _covariance(self._rows[:n], self._row_squares[:n], self._rows[part], self._row_squares[part])[:, 0]
        below = solve_triangular(self._factor[:n, :n], own, lower=True, check_finite=False) if n else own
        pivot = np.sqrt(max(1.0 + self.noise - float(below @ below), 1e-12))
        self._factor[n, :n], self._factor[n, n] = below, pivot
        cross = _covariance(self._rows[part], self._row_squares[part], self._candidates[:m], self._squares[:m])[0]
        self._projected[n, :m] = (cross - below @ self._projected[:n, :m]) / pivot
        self._explained[:m] += self._projected[n, :m] ** 2
        self.n += 1

    def add_candidates(self, candidates: Array) -> None:
        """More candidates (k × d), at the end."""
        m, k = self.m, len(candidates)
        if m + k > len(self._candidates):
            more = m + k + ROOM - len(self._candidates)
            self._candidates, self._squares = _room(self._candidates, m + k), _room(self._squares, m + k)
            self._projected = np.pad(self._projected, ((0, 0), (0, more)))
            self._explained = np.pad(self._explained, (0, more))
        self._candidates[m : m + k] = candidates
        self._squares[m : m + k] = _squares(candidates)
        self._project(m, m + k)
        self.m += k

    def drop_candidate(self, position: int) -> None:
        """Leave one out; the last takes its place."""
        self.m -= 1
        for array in (self._candidates, self._squares, self._explained):
            array[position] = array[self.m]
        self._projected[: self.n, position] = self._projected[: self.n, self.m]

    def keep_candidates(self, kept: NDArray[np.int64]) -> None:
        """Drop all others; `kept` are positions."""
        self.m = len(kept)
        for array in (self._candidates, self._squares, self._explained):
            array[: self.m] = array[kept]
        self._projected[: self.n, : self.m] = self._projected[: self.n, kept]

    def _project(self, start: int, stop: int) -> None:
        n, part = self.n, slice(start, stop)
        if n and stop > start:
            cross = _covariance(self._rows[:n], self._row_squares[:n], self._candidates[part], self._squares[part])
            self._projected[:n, part] = solve_triangular(self._factor[:n, :n], cross, lower=True, check_finite=False)
            self._explained[part] = (self._projected[:n, part] ** 2).sum(axis=0)

    def weights(self, values: Array, known: NDArray[np.bool_]) -> Array:
        """α of K α = y where values are known; 0 where they are not, which leaves those out of the mean.

        With P = K⁻¹ and u the rows not known: α = P y' for y'_u = −P_uu⁻¹ P_uo y_o.
        """
        n, factor = self.n, self._factor[: self.n, : self.n]
        filled = np.where(known, values, 0.0)
        unknown = np.flatnonzero(~known)
        if len(unknown):
            unit = np.zeros((n, len(unknown)))
            unit[unknown, np.arange(len(unknown))] = 1.0
            columns = _solve(factor, unit)
            filled[unknown] = -np.linalg.solve(columns[unknown], columns.T @ filled)
        weights = _solve(factor, filled)
        weights[unknown] = 0.0
        return weights

    def posterior(self, values: Array, known: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
        """Mean of the candidates, their deviation (of the function, without noise), and the mean at the rows.

        `values` (n,) are centred here; entries that are not known are not read.
        """
        n, m = self.n, self.m
        centre = float(values[known].mean())
        centred = np.where(known, values - centre, 0.0)
        weights = self.weights(centred, known)
        scale = max(float(centred @ weights) / max(1, int(known.sum())), 1e-12)
        # K(candidates, rows) α = Vᵀ Lᵀ α
        turned = self._factor[:n, :n].T @ weights
        mean = self._projected[:n, :m].T @ turned + centre
        deviation = np.sqrt(scale * np.maximum(1.0 - self._explained[:m], 1e-12))
        at_rows = self._factor[:n, :n] @ turned - self.noise * weights + centre
        return mean, deviation, at_rows


def _squares(rows: Array) -> Array:
    return np.asarray((rows * rows).sum(axis=1))


def _covariance(rows: Array, row_squares: Array, others: Array, other_squares: Array) -> Array:
    distance = rows @ others.T
    distance *= -2.0
    distance += row_squares[:, None]
    distance += other_squares[None, :]
    np.maximum(distance, 0.0, out=distance)
    return np.asarray(np.exp(-distance))


def _solve(factor: Array, right: Array) -> Array:
    half = solve_triangular(factor, right, lower=True, check_finite=False)
    return np.asarray(solve_triangular(factor, half, lower=True, trans="T", check_finite=False))


def _room(array: Array, count: int) -> Array:
    """A copy with room for `count` and 64 more rows."""
    out = np.zeros((count + ROOM, *array.shape[1:]))
    out[: len(array)] = array
    return out
