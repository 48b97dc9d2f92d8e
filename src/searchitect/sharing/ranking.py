"""How well inherited weights rank architectures: Kendall's τ with an interval."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

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
    # τ-b where item i counts c_i times: sums over pairs, with c_i c_j, of products and of squares of the order's signs
    counts = np.stack([np.bincount(rows, minlength=len(a)) for rows in draws.integers(len(a), size=(ROUNDS, len(a)))])
    s, t = (np.sign(np.subtract.outer(x, x)) for x in (a, b))
    agree, mine, theirs = (np.einsum("ri,ri->r", counts @ pairs, counts) for pairs in (s * t, s * s, t * t))
    ranked = mine * theirs > 0
    found = np.where(ranked, agree / np.sqrt(np.where(ranked, mine * theirs, 1.0)), 0.0)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    from scipy import stats  # a second to import

    return Agreement(float(stats.kendalltau(a, b).statistic), float(low), float(high), len(a))
