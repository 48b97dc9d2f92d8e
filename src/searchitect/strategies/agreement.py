"""How well one measurement ranks what another one says: Spearman's correlation with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import ndtri

SURE = 0.9  # of the interval


class Agreement(NamedTuple):
    """Spearman's rank correlation of n pairs and its interval."""

    rho: float
    low: float
    high: float
    n: int


def agreement(first: Sequence[float], second: Sequence[float], level: float = SURE) -> Agreement:
    """Interval by Fisher's z with the variance (1 + ρ²/2) / (n - 3) of Bonett and Wright 2000.

    Fewer than four pairs, or one value everywhere, say nothing: ρ is 0 and the interval everything.
    """
    n = len(first)
    if n < 4 or min(len(set(first)), len(set(second))) < 2:
        return Agreement(0.0, -1.0, 1.0, n)
    from scipy.stats import spearmanr  # a second to import

    rho = float(spearmanr(first, second).statistic)
    z, wide = math.atanh(max(min(rho, 1 - 1e-9), -1 + 1e-9)), float(ndtri((1 + level) / 2))
    error = wide * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return Agreement(rho, math.tanh(z - error), math.tanh(z + error), n)


def among_all(found: Agreement, share: float) -> Agreement:
    """What a correlation among chosen ones would be among all, where the first measurement chose.

    Among the best few, ranks agree less than among all. Source: the correction for direct restriction of range
    (Pearson 1903; Thorndike 1949, case 2), r u / sqrt(1 - r² + r² u²), u = `spread of all` / `spread of the chosen`,
    which holds where the relation is linear with equal errors; here `share` is 1 / u in normal scores. It is monotone
    in r, so that it serves the ends of the interval too, and never changes a sign.
    """
    u = 1.0 / max(share, 1e-6)
    rho, low, high = (r * u / math.sqrt(1.0 - r * r + r * r * u * u) if abs(r) < 1.0 else r for r in found[:3])
    return Agreement(rho, low, high, found.n)


def spread_share(chosen: Sequence[float], everything: Sequence[float]) -> float:
    """The spread of the chosen in the normal scores of all (van der Waerden), as a share of that of all."""
    if len(everything) < 3 or len(chosen) < 2:
        return 1.0
    ordered = sorted(everything)
    places: dict[float, list[int]] = {}
    for place, value in enumerate(ordered):
        places.setdefault(value, []).append(place)
    scores = {v: float(ndtri((sum(p) / len(p) + 1) / (len(ordered) + 1))) for v, p in places.items()}
    whole = _spread([scores[v] for v in everything])
    return min(_spread([scores[v] for v in chosen if v in scores]) / whole, 1.0) if whole > 0 else 1.0


def _spread(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
