"""How promising candidates are, from the mean and the deviation that a model gives them. Smaller losses are better."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from searchitect.seeds import Stream

Array = NDArray[np.float64]


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """E[max(best − f, 0)] for f ~ N(mean, deviation²) (Jones et al. 1998, Eq. 15)."""
    safe = np.maximum(deviation, 1e-12)
    u = (best - mean) / safe
    value = safe * (u * ndtr(u) + np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi))
    return np.asarray(np.maximum(value, 0.0))


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """log of `expected_improvement`, exact where that would be 0 (Ament et al. 2023, Eq. 9).

    With φ and Φ of the standard normal: log(φ(u) + u·Φ(u)) = log φ(u) + log(1 − |u|·Φ(u)/φ(u)) for u < 0, where the
    ratio comes from log Φ; far out, 1 − |u|·Φ/φ → 1/u².
    """
    safe = np.maximum(deviation, 1e-12)
    u = (best - mean) / safe
    log_phi = -0.5 * u * u - 0.5 * math.log(2.0 * math.pi)
    direct = np.log(np.maximum(np.exp(log_phi) + u * ndtr(u), 1e-300))
    low = np.minimum(u, -1.0)
    ratio = np.exp(np.log(-low) + log_ndtr(low) - (-0.5 * low * low - 0.5 * math.log(2.0 * math.pi)))
    tail = np.where(low < -1e3, -2.0 * np.log(-low), np.log(np.maximum(1.0 - ratio, 1e-14)))
    return np.asarray(np.log(safe) + np.where(u > -1.0, direct, log_phi + tail))


def lower_bound(mean: Array, deviation: Array, beta: float) -> Array:
    """mean − beta · deviation, turned so that larger is more promising (Srinivas et al. 2010)."""
    return np.asarray(beta * deviation - mean)


def thompson(mean: Array, deviation: Array, source: Stream) -> Array:
    """One draw for each candidate on its own, turned so that larger is more promising (White et al. 2021, "ITS")."""
    draws = np.array([source.normal() for _ in range(len(mean))])
    return np.asarray(-(mean + deviation * draws))


def probability_below(mean: Array, deviation: Array, limit: float) -> Array:
    """P(f < limit), the probability that a limit is kept (Gardner et al. 2014, Eq. 5)."""
    return np.asarray(ndtr((limit - mean) / np.maximum(deviation, 1e-12)))


def choose(score: Array) -> int:
    """The position of the largest score; the first among those that agree to nine digits.

    The last digits depend on the processor's order of summation: they must not decide, as a study may be resumed
    on another machine.
    """
    top = float(np.max(score))
    if not math.isfinite(top):
        return int(np.argmax(score))
    return int(np.flatnonzero(score >= top - 1e-9 * max(1.0, abs(top)))[0])
