"""The interval of a difference between two networks that were each trained with several seeds.

Idea. Two things make a test score uncertain: which items the test set holds, and which seeds the networks were
trained with. Both networks see the same items, so items are compared in pairs; each network has seeds of its own.
With Y[s, i] = mean + item_i + seed_s + rest_si on each side, the difference D of the two means has the variance

    V = A_w + A_b + I      A = var(seed means) / S          (seeds; also holds rest / (S N))
                           I = max(0, var(d) / N - R_w - R_b)   (items; d_i = difference of the means of item i,
                                                           R = mean square of the rest / (S N): not counted twice)

and D ± t sqrt(V) is the interval, with Satterthwaite's degrees of freedom
V^2 / (A_w^2/(S_w-1) + A_b^2/(S_b-1) + I^2/(N-1)): few where seeds rule, about normal where items rule.

Source. It is the problem of several readers who read the same cases: Obuchowski & Rockette 1995 and, for the degrees of
freedom, Hillis 2007 (Statistics in Medicine 26, 596-619); seeds are readers, nested in networks. Mixing variances of
different degrees of freedom: Satterthwaite 1946. Where we differ: the two sides need not have equal seed variances
(as in Welch's test), items keep their N - 1 degrees, and for items that are right or wrong I is never below 2 / N^2,
as if the networks disagreed on two items, so that very few disagreements are not taken for certainty.

Superiority. Beside the difference stands the probability that a new training of the one is better than a new training
of the other, on all items there could be: P(X > Y), the common language effect size of McGraw and Wong 1992, asked for
in comparisons of learners by Bouthillier et al. 2021 (MLSys, "P(A > B)"). A training's true score varies by
s^2 = max(0, var(seed means) - rest / N), so that P = T(D / sqrt(V + s_w^2 + s_b^2)), with T Student's distribution and
the degrees of freedom mixed as above. Where we differ: it is predictive, so V and t keep it near 1/2 where little is
known, and it counts no pairs, of which 3 seeds a side make nine.

Assumptions: items (or blocks of them, see `blocks`) are independent draws, seeds are independent, seed means are about
normal, differences of N items average to a normal number. Not covered: shift between test data and use, and choosing
by looking at test scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit  # `scipy.stats` has the same, and takes a second to import

from searchitect.finalize.blocks import Blocks, pseudo_values

UNKNOWN = np.array(np.nan)


class Interval(NamedTuple):
    """A mean or difference with its interval, and what its variance is made of. Arrays of one shape, or numbers.
    `superiority`: of a difference, the probability that a new training of the first side has the higher score."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray
    items: np.ndarray
    df: np.ndarray
    superiority: np.ndarray = UNKNOWN


class Side(NamedTuple):
    """One network: its score for each seed (..., S), and R, the rest's share of the variance of their mean (...)."""

    scores: np.ndarray
    rest: np.ndarray


def paired(winner: np.ndarray, baseline: np.ndarray, level: float = 0.95, blocks: Blocks | None = None) -> Interval:
    """Winner minus baseline with its interval, for per-item values (..., S, N) and (..., S2, N).

    Leading axes are many comparisons at once (for simulations). Infinite bounds mean that nothing is known of seeds
    (both have one) or of items (all are of one block).
    """
    items = winner.shape[-1]
    d = winner.mean(-2) - baseline.mean(-2)
    floor = 2 / items**2 if is_binary(winner) and is_binary(baseline) else 0.0
    if blocks is not None and blocks.count == 1:
        return _nothing_known(d.mean(-1), np.full(d.shape[:-1], np.inf))
    units, df = items, float(items - 1)
    if blocks is not None:
        d, units, df = pseudo_values(d, blocks), blocks.count, blocks.df
    sides = side(winner, blocks), side(baseline, blocks)
    return difference(*sides, d.var(-1, ddof=1) / units, df, level, floor)


def difference(w: Side, b: Side, spread: np.ndarray, df: float, level: float, floor: float = 0.0) -> Interval:
    """The same from parts: `spread` (...) is the variance of the mean difference over items, the rest included,
    with its degrees of freedom; infinite where nothing is known of items."""
    value = w.scores.mean(-1) - b.scores.mean(-1)
    item_part = np.maximum(np.maximum(spread - w.rest - b.rest, 0.0), floor)
    n_w, n_b = w.scores.shape[-1], b.scores.shape[-1]
    if (n_w == 1 and n_b == 1) or np.isinf(spread).all():
        return _nothing_known(value, item_part)
    if n_w > 1 and n_b > 1:
        sides = [(one.scores.var(-1, ddof=1), one.rest, n, 1 / n, 1) for one, n in ((w, n_w), (b, n_b))]
    else:  # one seed shows no spread: take the other side's for both
        known, n = (w, n_w) if n_w > 1 else (b, n_b)
        sides = [(known.scores.var(-1, ddof=1), known.rest, n, 1 / n_w + 1 / n_b, 2)]
    parts = [(variance * share, n - 1) for variance, _, n, share, _ in sides]
    found = _interval(value, parts, item_part, df, level)
    anew = [
        (part + trainings * np.maximum(variance - n * rest, 0.0), own)
        for (part, own), (variance, rest, n, _, trainings) in zip(parts, sides, strict=True)
    ]
    total, mixed = _mixed(anew, item_part, df)
    z = np.divide(value, np.sqrt(total), out=np.where(value > 0, np.inf, -np.inf), where=total > 0)
    return found._replace(superiority=np.where(value == 0, 0.5, stdtr(mixed, z)))


def _nothing_known(value: np.ndarray, items: np.ndarray) -> Interval:
    everything = np.full_like(value, np.inf)
    return Interval(value, -everything, everything, everything, items, np.zeros_like(value))


def _interval(
    value: np.ndarray, seed_parts: list[tuple[np.ndarray, int]], item_part: np.ndarray, item_df: float, level: float
) -> Interval:
    total, df = _mixed(seed_parts, item_part, item_df)
    half = stdtrit(df, (1 + level) / 2) * np.sqrt(total)
    seeds = sum((part for part, _ in seed_parts), np.zeros_like(value))
    return Interval(value, value - half, value + half, seeds, item_part, df)


def _mixed(
    seed_parts: list[tuple[np.ndarray, int]], item_part: np.ndarray, item_df: float
) -> tuple[np.ndarray, np.ndarray]:
    """A sum of variances, and its degrees of freedom by Satterthwaite."""
    total = sum((part for part, _ in seed_parts), item_part)
    below = sum((part**2 / df for part, df in seed_parts), item_part**2 / item_df)
    return total, np.divide(total**2, below, out=np.full_like(total, np.inf), where=below > 0)


def side(values: np.ndarray, blocks: Blocks | None = None) -> Side:
    """What is needed of one network's values (..., S, N)."""
    scores = values.mean(-1)
    if blocks is not None:
        values = pseudo_values(values, blocks)
    seeds, items = values.shape[-2:]
    if seeds == 1:
        return Side(scores, np.zeros(scores.shape[:-1]))
    # sum of squares of the rest = all - seeds - items, which needs no further array of the size of `values`
    everything = values.var(-1).sum(-1) * items  # within seeds
    between_items = values.mean(-2).var(-1) * items * seeds
    rest = np.maximum(everything - between_items, 0.0) / ((seeds - 1) * (items - 1))
    return Side(scores, rest / (seeds * items))


def single(one: Side, spread: np.ndarray, df: float, level: float) -> Interval:
    """The interval of one side's mean; `spread` is the variance of that mean over items, the rest included, with its
    degrees of freedom."""
    n = one.scores.shape[-1]
    parts = [(one.scores.var(-1, ddof=1) / n, n - 1)] if n > 1 else []
    return _interval(one.scores.mean(-1), parts, np.maximum(spread - one.rest, 0.0), df, level)


def is_binary(values: np.ndarray) -> bool:
    """Whether every value is right or wrong, 1 or 0."""
    return values.dtype == bool or bool(((values == 0) | (values == 1)).all())
