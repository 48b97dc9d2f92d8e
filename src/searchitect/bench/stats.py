"""Statistics of comparisons: intervals, paired tests with Holm's correction, ranks with a critical difference.

Sources: Demšar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets" (Wilcoxon, Friedman,
Nemenyi); Holm 1979; Iman and Davenport 1980. Values that are not a number are left out, and `n` says how many
remained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from searchitect.seeds import derive


class Summary(msgspec.Struct, frozen=True):
    """Mean, sample standard deviation, and the t interval of the mean (95 %)."""

    mean: float
    std: float
    low: float
    high: float
    n: int


def summary(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Summary:
    """The summary of what is a number among the values."""
    from scipy.special import stdtrit

    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n == 0:
        return Summary(math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    std = float(known.std(ddof=1)) if n > 1 else math.nan
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * std / math.sqrt(n) if n > 1 else math.nan
    return Summary(mean, std, mean - half, mean + half, n)


def bootstrap(values: Sequence[float] | np.ndarray, level: float = 0.95, rounds: int = 2000) -> tuple[float, float]:
    """The percentile interval of the mean (Efron 1979), for values far from normal. Always the same draws."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return math.nan, math.nan
    draws = np.random.default_rng(derive(0, "bootstrap")).integers(0, len(known), (rounds, len(known)))
    means = known[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Pair(msgspec.Struct, frozen=True):
    """One strategy against another over the same seeds, by regret.

    difference: mean of (second − first): positive where the first is better; low, high: its bootstrap interval.
    p: two-sided Wilcoxon signed-rank; holm: the same after Holm's correction for all pairs of a comparison.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    holm: float
    n: int


def pairs(regrets: dict[str, np.ndarray], against: str | None = None) -> list[Pair]:
    """All pairs of strategies (or all against one), with Holm's correction over them."""
    names = list(regrets)
    chosen = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    if against is not None:
        chosen = [(name, against) for name in names if name != against]
    found = []
    for a, b in chosen:
        gaps = regrets[b] - regrets[a]
        gaps = gaps[~np.isnan(gaps)]
        low, high = bootstrap(gaps)
        mean = float(gaps.mean()) if len(gaps) else math.nan
        found.append(Pair(a, b, mean, low, high, wilcoxon(gaps), math.nan, len(gaps)))
    corrected = holm([pair.p for pair in found])
    return [msgspec.structs.replace(pair, holm=p) for pair, p in zip(found, corrected, strict=True)]


def wilcoxon(gaps: np.ndarray) -> float:
    """Two-sided p of the signed-rank test (Wilcoxon 1945); zeros are shared between both sides (Demšar's rule).

    Exact for at most 50 differences without ties, else by the normal approximation, corrected for ties.
    """
    from scipy.special import ndtr

    n = len(gaps)
    if n == 0 or not np.any(gaps):
        return 1.0
    places = average_ranks(np.abs(gaps))
    above = float(places[gaps > 0].sum() + places[gaps == 0].sum() / 2)
    smaller = min(above, n * (n + 1) / 2 - above)
    if n <= 50 and len(set(places.tolist())) == n and not np.any(gaps == 0):
        ways = np.zeros(n * (n + 1) // 2 + 1)  # how many of the 2^n choices of signs give each sum of ranks
        ways[0] = 1.0
        for rank in range(1, n + 1):
            ways[rank:] += ways[:-rank].copy()
        return min(1.0, 2 * float(ways[: int(smaller) + 1].sum()) / 2.0**n)
    return 2 * float(ndtr((smaller - n * (n + 1) / 4) / math.sqrt(float((places**2).sum()) / 4)))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest, and so on; equal values share the mean of their ranks."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[where])


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m is multiplied by m − i + 1, never less than those before."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    corrected, before = [0.0] * len(ps), 0.0
    for place, i in enumerate(order):
        before = corrected[i] = min(1.0, max(before, (len(ps) - place) * ps[i]))
    return corrected


class Ranks(msgspec.Struct, frozen=True):
    """Mean ranks over blocks (1 is best), whether they differ at all, and how far apart two must be.

    p: of the Friedman test in Iman and Davenport's form; difference: Nemenyi's critical difference at 5 %.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    p: float
    difference: float
    blocks: int


def ranks(losses: np.ndarray, names: Sequence[str]) -> Ranks:
    """Ranks of strategies from losses (blocks × strategies). Blocks that hold a NaN are left out."""
    losses = losses[~np.isnan(losses).any(axis=1)]
    blocks, k = losses.shape
    if blocks == 0 or k < 2:
        return Ranks(tuple(names), (math.nan,) * k, math.nan, math.nan, blocks)
    placed = np.stack([average_ranks(row) for row in losses])
    means = placed.mean(axis=0)
    return Ranks(tuple(names), tuple(means.tolist()), friedman(placed), nemenyi(k, blocks), blocks)


def friedman(placed: np.ndarray) -> float:
    """p of equal ranks (blocks × strategies), with ties, by the F distribution (Iman and Davenport 1980)."""
    from scipy.special import fdtrc

    n, k = placed.shape
    spread = float(((placed - (k + 1) / 2) ** 2).sum()) / (n * (k - 1))  # k (k + 1) / 12 without ties
    if spread == 0.0:
        return 1.0
    chi = n * float(((placed.mean(axis=0) - (k + 1) / 2) ** 2).sum()) / spread
    rest = n * (k - 1) - chi
    if n < 2 or rest <= 1e-12:
        return 0.0 if n > 1 else math.nan
    return float(fdtrc(k - 1, (k - 1) * (n - 1), (n - 1) * chi / rest))


def nemenyi(k: int, blocks: int, level: float = 0.95) -> float:
    """The critical difference of mean ranks of k strategies: q √(k (k + 1) / 6N), Demšar's section 3.2.2."""
    return studentized_range(k, level) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * blocks))


def studentized_range(k: int, level: float) -> float:
    """The quantile of the range of k independent standard normal numbers (infinite degrees of freedom).

    P(range ≤ q) = k ∫ φ(z) (Φ(z) − Φ(z − q))^(k−1) dz, summed on a fine grid and inverted; scipy's own takes seconds.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    z = np.linspace(-9.0, 9.0, 2001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])

    def missing(q: float) -> float:
        return float(k * (density * (ndtr(z) - ndtr(z - q)) ** (k - 1)).sum()) - level

    return float(brentq(missing, 1e-6, 20.0, xtol=1e-10))
