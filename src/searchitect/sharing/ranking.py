"""How well inherited weights rank architectures: Kendall's τ with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import stats

from searchitect.errors import UsageError
from searchitect.seeds import derive

LEAST = 4  # pairs: fewer say nothing
ROUNDS = 1000


class Agreement(msgspec.Struct, frozen=True):
    """Kendall's τ-b of two scores of the same n items, from -1 (reversed) over 0 (unrelated) to 1 (the same order)."""

    tau: float
    low: float
    high: float
    n: int


def agreement(first: Sequence[float], second: Sequence[float], *, seed: int = 0, level: float = 0.95) -> Agreement:
    """τ-b (Kendall 1945: ties in either score count in neither direction) and its bootstrap interval over the items.

    Where one score is the same everywhere nothing is ranked: τ is 0 then, and the interval everything.
    Raises UsageError for fewer than four items.
    """
    if len(first) != len(second) or len(first) < LEAST:
        raise UsageError(
            f"{len(first)} and {len(second)} scores: both must be given for the same {LEAST} or more items"
        )
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if min(len(set(a.tolist())), len(set(b.tolist()))) < 2:
        return Agreement(0.0, -1.0, 1.0, len(a))
    draws = np.random.default_rng(derive(seed, "agreement"))
    found = []
    for _ in range(ROUNDS):
        rows = draws.integers(len(a), size=len(a))
        value = float(stats.kendalltau(a[rows], b[rows]).statistic)
        found.append(0.0 if math.isnan(value) else value)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Agreement(float(stats.kendalltau(a, b).statistic), float(low), float(high), len(a))
