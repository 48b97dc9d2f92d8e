"""How likely it is that a candidate keeps the limits and can be trained at all.

Each limit that was ever broken is a regression on its own metric (in logarithms where all are positive), with the
covariance of the goals: the probability that the metric keeps the limit (Gardner et al. 2014, Eq. 5). Failures, once
there was one, are a regression on 0 (fine) and 1 (failed): the probability that it is below one half. What was never
broken costs nothing and says nothing. Probabilities multiply, as if limits were independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from searchitect.records import Objective
from searchitect.strategies.surrogate.archive import Archive
from searchitect.strategies.surrogate.regression import Process

Array = NDArray[np.float64]
LEAST = 1e-3  # deviation, as a share of the spread of what was measured


def log_probability(archive: Archive, rows: Sequence[int], process: Process) -> Array:
    """log P(all limits are kept and the trial does not fail) of each candidate of the process."""
    total = np.zeros(process.m)
    columns = archive.limited(rows).T if archive.limits else ()
    for column, limit in zip(columns, archive.limits, strict=True):
        known = np.isfinite(column)
        if not all(limit.kept(float(v)) for v in column[known]):
            total += _limit(process, column, known, limit)
    if archive.failed:
        entries = [archive.entries[i] for i in rows]
        told = np.array([e.tells > 0 or e.failures > 0 for e in entries])
        failed = np.array([float(e.tells == 0 and e.failures > 0) for e in entries])
        total += _below(process, failed, told, 0.5)
    return total


def _limit(process: Process, column: Array, known: NDArray[np.bool_], limit: Objective) -> Array:
    bound = float(limit.limit or 0.0)
    values = np.where(known, column, 1.0)
    if bound > 0 and (values > 0).all():
        values, bound = np.log(values), math.log(bound)
    turned = 1.0 if limit.direction == "min" else -1.0
    return _below(process, turned * values, known, turned * bound)


def _below(process: Process, values: Array, known: NDArray[np.bool_], bound: float) -> Array:
    """log P(value < bound)."""
    if not known.any():
        return np.zeros(process.m)
    mean, deviation, _ = process.posterior(values, known)
    least = LEAST * max(float(np.std(values[known])), 1e-9)
    return np.asarray(log_ndtr((bound - mean) / np.maximum(deviation, least)))
