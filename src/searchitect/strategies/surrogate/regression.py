"""A Gaussian process that grows by rows and keeps the posterior of a set of candidates up to date.

The covariance of rows a and b is exp(−‖a − b‖²) (rows come scaled, see `fitting`), plus `noise` where they are the
same observation; the signal's variance is the one that makes the data likeliest. A row is added when its trial is
*asked for*. As long as nothing is known of it, its value counts as what the others predict: the mean stays as it is
and the variance around it shrinks ("hallucinated" observations: Desautels et al. 2014, GP-BUCB). So several trials
in flight spread out, and a failed one is no value at all.

Costs, for n rows of d numbers and m candidates: a row m·(n + d), n² more if it was no candidate; a candidate
n·(n + d); a posterior n² + n·m; starting anew n³/3 + n²·m.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dtrsm, dtrsv

Array = NDArray[np.float64]
ROOM = 64  # rows and candidates are added in place until so many are new


def covariance(rows: Array, others: Array) -> Array:
    """exp(−‖a − b‖²) for each a in `rows` (n × d), b in `others` (m × d): n × m."""
    return _covariance(rows, _squares(rows), others, _squares(others))


class Process:
    """The factor L of the rows' covariance and V = L⁻¹ K(rows, candidates).

    Columns in which all rows and candidates are zero are left out. L is kept with the identity below and right of
    it, in the order of columns, so that triangular systems are solved without a copy; right sides have zeros there.
    """

    def __init__(self, rows: Array, candidates: Array, noise: float) -> None:
        n, m = len(rows), len(candidates)
        self.noise = noise
        self.n, self.m = n, m
        self._columns = np.flatnonzero(rows.any(axis=0) | candidates.any(axis=0))
        rows, candidates = rows[:, self._columns], candidates[:, self._columns]
        self._rows, self._row_squares = _room(rows, n), _room(_squares(rows), n)
        self._candidates, self._squares = _room(candidates, m), _room(_squares(candidates), m)
        self._factor = np.eye(n + ROOM, order="F")
        self._projected = np.zeros((n + ROOM, m + ROOM))
        self._explained = np.zeros(m + ROOM)
        if n:
            own = covariance(rows, rows)
            own[np.diag_indices(n)] = 1.0 + noise
            self._factor[:n, :n] = np.linalg.cholesky(own)
        self._project(0, m)

    def add_row(self, row: Array) -> None:
        """One more observation, its value not known yet."""
        n, row = self.n, self._narrowed(row[None])[0]
        square = np.array([row @ row])
        below = np.zeros(len(self._factor))
        below[:n] = _covariance(self._rows[:n], self._row_squares[:n], row[None], square)[:, 0]
        self._append(row, float(square[0]), dtrsv(self._factor, below, lower=1)[:n])

    def take_candidate(self, position: int) -> None:
        """A candidate becomes an observation; the last candidate takes its place."""
        below = self._projected[: self.n, position].copy()
        row, square = self._candidates[position].copy(), float(self._squares[position])
        self.drop_candidate(position)
        self._append(row, square, below)

    def _append(self, row: Array, square: float, below: Array) -> None:
        """`below` is L⁻¹ K(rows, row)."""
        n, m = self.n, self.m
        if n == len(self._rows):
            self._rows, self._row_squares = _room(self._rows, n), _room(self._row_squares, n)
            larger = np.eye(n + ROOM, order="F")
            larger[:n, :n] = self._factor
            self._factor = larger
            self._projected = np.pad(self._projected, ((0, ROOM), (0, 0)))
        self._rows[n], self._row_squares[n] = row, square
        pivot = np.sqrt(max(1.0 + self.noise - float(below @ below), 1e-12))
        self._factor[n, :n], self._factor[n, n] = below, pivot
        cross = _covariance(row[None], self._row_squares[n : n + 1], self._candidates[:m], self._squares[:m])[0]
        self._projected[n, :m] = (cross - below @ self._projected[:n, :m]) / pivot
        self._explained[:m] += self._projected[n, :m] ** 2
        self.n += 1

    def add_candidates(self, candidates: Array) -> None:
        """More candidates (k × d), at the end."""
        m, k, candidates = self.m, len(candidates), self._narrowed(candidates)
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

    def _narrowed(self, vectors: Array) -> Array:
        """The columns that are kept; more are kept from now on where these vectors need them."""
        used: NDArray[np.bool_] = np.any(vectors != 0.0, axis=0)
        used[self._columns] = False
        if used.any():
            fresh = np.flatnonzero(used)
            self._columns = np.append(self._columns, fresh)
            self._rows = np.pad(self._rows, ((0, 0), (0, len(fresh))))
            self._candidates = np.pad(self._candidates, ((0, 0), (0, len(fresh))))
        return vectors[:, self._columns]

    def _project(self, start: int, stop: int) -> None:
        n, part = self.n, slice(start, stop)
        if n and stop > start:
            cross = np.zeros((len(self._factor), stop - start), order="F")
            cross[:n] = _covariance(self._rows[:n], self._row_squares[:n], self._candidates[part], self._squares[part])
            self._projected[:n, part] = dtrsm(1.0, self._factor, cross, lower=1, overwrite_b=1)[:n]
            self._explained[part] = (self._projected[:n, part] ** 2).sum(axis=0)

    def weights(self, values: Array, known: NDArray[np.bool_]) -> Array:
        """α of K α = y where values are known; 0 where they are not, which leaves those out of the mean."""
        return self._solved(values, known)[2]

    def _solved(self, values: Array, known: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
        """(y', L⁻¹ y', α = K⁻¹ y'): y' is y where values are known, and what the others predict elsewhere.

        With P = K⁻¹ and u the rows not known: y'_u = −P_uu⁻¹ P_uo y_o, so that α_u is 0.
        """
        n, factor = self.n, self._factor
        filled = np.zeros(len(factor))
        filled[:n] = np.where(known, values, 0.0)
        unknown = np.flatnonzero(~known)
        if len(unknown):
            unit = np.zeros((len(factor), len(unknown)), order="F")
            unit[unknown, np.arange(len(unknown))] = 1.0
            half = dtrsm(1.0, factor, unit, lower=1)
            columns = dtrsm(1.0, factor, half, lower=1, trans_a=1)
            filled[unknown] = -np.linalg.solve(columns[unknown], columns.T @ filled)
        half = dtrsv(factor, filled, lower=1)
        weights = dtrsv(factor, half, lower=1, trans=1)
        weights[unknown] = 0.0
        return filled[:n], half[:n], weights[:n]

    def posterior(self, values: Array, known: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
        """Mean of the candidates, their deviation (of the function, without noise), and the mean at the rows.

        `values` (n,) are centred here; entries that are not known are not read.
        """
        n, m = self.n, self.m
        centre = float(values[known].mean())
        filled, half, weights = self._solved(np.where(known, values - centre, 0.0), known)
        scale = max(float(half @ half) / max(1, int(known.sum())), 1e-12)  # yᵀK⁻¹y = ‖L⁻¹y‖²
        mean = half @ self._projected[:n, :m] + centre  # K(candidates, rows) α = Vᵀ L⁻¹ y
        deviation = np.sqrt(scale * np.maximum(1.0 - self._explained[:m], 1e-12))
        return mean, deviation, filled - self.noise * weights + centre  # (K − noise) α = y − noise α


def _squares(rows: Array) -> Array:
    return np.asarray((rows * rows).sum(axis=1))


def _covariance(rows: Array, row_squares: Array, others: Array, other_squares: Array) -> Array:
    distance = rows @ others.T
    distance *= -2.0
    distance += row_squares[:, None]
    distance += other_squares[None, :]
    np.maximum(distance, 0.0, out=distance)
    return np.asarray(np.exp(-distance))


def _room(array: Array, count: int) -> Array:
    """A copy with room for `count` and 64 more rows."""
    out = np.zeros((count + ROOM, *array.shape[1:]))
    out[: len(array)] = array
    return out
