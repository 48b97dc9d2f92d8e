"""Is the network that was found better than the baseline, and how sure are we?

One record answers, from scores of every item, from any score of all items, or, where nobody but the user's own
function sees items, from one score a seed. The formula, its source and its
assumptions are in `intervals.py`, the sentence is made in `wording.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from scipy.special import ndtri, stdtrit

from searchitect.errors import NotFiniteError, UsageError
from searchitect.finalize import intervals, wording
from searchitect.finalize.blocks import Blocks, drawn, pseudo_values
from searchitect.finalize.intervals import Interval, Side
from searchitect.records import COST_METRICS, Score, Verdict
from searchitect.seeds import derive

RESAMPLES = 400  # the variance of a bootstrap then has a relative error of 7 %
LEAST_USABLE = 0.9  # share of resamples that must give a score (one may miss a class)

Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Against:
    """What a comparison is held against.

    rival:  what the sentence calls the other side.
    blocks: which test items are not independent of each other; None where all are.
    level:  of the intervals, and of the confidence in "better" and "worse".
    """

    rival: str = wording.BASELINE
    blocks: Blocks | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1:
            raise UsageError(f"level={self.level!r}: write a share from 0.5 to below 1, for example 0.95")


USUAL = Against()


def compare(
    winner: np.ndarray, baseline: np.ndarray | None, *, metric: str, direction: Direction, against: Against = USUAL
) -> Verdict:
    """The verdict for a metric that is a mean over test items.

    winner (S, N), baseline (S2, N): the metric of each seed's network on each item (1 or 0 for right or wrong, the
    loss, the squared or absolute error); N items are the same and in the same order. One seed a side says nothing about
    seeds: then the other side's spread is used for both, and with one seed on both sides the answer is "cannot tell".

    Raises UsageError for shapes that do not fit and NotFiniteError for NaN or infinity.
    """
    w = _checked(winner, "winner", metric)
    b = None if baseline is None else _checked(baseline, "baseline", metric)
    if b is not None and b.shape[1] != w.shape[1]:
        raise UsageError(f"winner has {w.shape[1]:,} test items, baseline {b.shape[1]:,}: score both on the same ones")
    level, blocks = against.level, against.blocks
    _check_blocks(blocks, w.shape[1])
    found = None if b is None else intervals.paired(w, b, level, blocks)
    own = _own_score(w, level, blocks), None if b is None else _own_score(b, level, blocks)
    paired = " paired" if b is not None else ""
    method = f"items{paired}{_block_method(blocks)}, {_seed_method(len(w), None if b is None else len(b))}"
    return _verdict(own, found, metric, direction, w.shape[1], method, against)


def compare_scores(
    winner: Sequence[np.ndarray] | np.ndarray,
    baseline: Sequence[np.ndarray] | np.ndarray | None,
    y: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], float],
    *,
    metric: str,
    direction: Direction,
    seed: int = 0,
    against: Against = USUAL,
) -> Verdict:
    """The verdict for any metric of outputs and targets (r2, f1, roc_auc, rmse, ...).

    winner, baseline: one array of outputs (N, ...) a seed; y (N, ...). The item part is the variance over 400 bootstrap
    resamples of the items (of whole blocks, where there are some), the same for both sides (Efron 1979); the rest is as
    in `compare`, which it equals up to the resampling error when the metric is a mean. Of n units drawn, a bootstrap's
    variance is (n - 1) / n of what it estimates, which matters for few blocks and is put right. Costs 400 × (S + S2)
    calls of `score`.

    Raises UsageError for shapes that do not fit, or when more than a tenth of the resamples give no score;
    NotFiniteError when the score of all items is not finite.
    """
    level, blocks = against.level, against.blocks
    sides = [[np.asarray(outputs) for outputs in side] for side in (winner, baseline if baseline is not None else [])]
    if not sides[0]:
        raise UsageError("winner has no outputs: give one array for each seed")
    for name, side in zip(("winner", "baseline"), sides, strict=True):
        for outputs in side:
            if len(outputs) != len(y):
                raise UsageError(f"{name} has outputs of {len(outputs):,} items, there are {len(y):,} targets")
    if len(y) < 2:
        raise UsageError(f"a comparison needs at least 2 test items, there are {len(y)}")
    _check_blocks(blocks, len(y))
    runs = [outputs for side in sides for outputs in side]
    full = np.array([float(score(outputs, y)) for outputs in runs])
    if not np.isfinite(full).all():
        raise NotFiniteError(f"{metric}: the score of a network on all test items is {full[~np.isfinite(full)][0]}")
    known = None if blocks is None or blocks.count == 1 else blocks
    resampled = _resample(runs, y, score, seed, metric, known)  # (resamples, S + S2)
    cut, n = len(sides[0]), len(y)
    df = n - 1.0 if known is None else known.df
    w, own_w = _resampled(full[:cut], resampled[:, :cut], df, level)
    if not sides[1]:
        method = f"items{_block_method(blocks)} by bootstrap, {_seed_method(cut, None)}"
        return _verdict((own_w, None), None, metric, direction, n, method, against)
    b, own_b = _resampled(full[cut:], resampled[:, cut:], df, level)
    spread = (resampled[:, :cut].mean(1) - resampled[:, cut:].mean(1)).var(ddof=1)
    unknown = np.full_like(spread, np.inf)  # all items are of one block
    found = intervals.difference(w, b, spread if known is blocks else unknown, df, level)
    method = f"items{_block_method(blocks)} by paired bootstrap, {_seed_method(cut, len(sides[1]))}"
    return _verdict((own_w, own_b), found, metric, direction, n, method, against)


def compare_seeds(
    winner: Sequence[float], baseline: Sequence[float] | None, *, metric: str, direction: Direction,
    against: Against = USUAL,
) -> Verdict:  # fmt: skip
    """The verdict from one number a seed (S,), (S2,), measured by the user's own function: Welch's t over seeds.

    `test_items` is 0, and the sentence says that this is no test on unread data. Numbers that are the same for every
    seed on both sides say nothing about seeds, so that the answer is "cannot tell", except for costs, which are exact.

    Raises UsageError for less than two numbers a side, NotFiniteError for NaN or infinity.
    """
    level = against.level
    sides = [_one_a_seed("winner", metric, winner)]
    if baseline is not None:
        sides.append(_one_a_seed("baseline", metric, baseline))
    none = np.zeros(())  # no items are seen, so there is no item part; their number below counts for nothing
    parts = [Side(values, none) for values in sides]
    own = [_score_of(intervals.single(part, none, 1.0, level), part.scores) for part in parts]
    found = intervals.difference(parts[0], parts[1], none, 1.0, level) if baseline is not None else None
    seeds = [len(values) for values in sides]
    name, counts = "Welch" if found else "Student", " against ".join(map(str, seeds))
    method = f"measured by your own function; {name}'s t over {counts} seeds"
    scores = own[0], own[1] if found else None
    verdict = _verdict(scores, found, metric, direction, 0, method, Against(against.rival, None, level))
    if verdict.difference is not None and not any(map(np.ptp, sides)) and metric not in COST_METRICS:
        sentence = wording.unmoved(metric, verdict.difference)
        verdict = msgspec.structs.replace(
            verdict, low=None, high=None, words="cannot tell", superiority=None, sentence=sentence
        )
    return msgspec.structs.replace(verdict, sentence=wording.by_function(verdict.sentence, seeds))


def as_same(verdict: Verdict) -> Verdict:
    """What a verdict says when winner and baseline are one network, trained once: there is no difference at all."""
    sentence = wording.itself(verdict.metric, verdict.winner)
    if not verdict.test_items:
        sentence = wording.by_function(sentence, [verdict.winner.n])
    return msgspec.structs.replace(
        verdict, baseline=verdict.winner, difference=0.0, low=0.0, high=0.0, words="cannot tell", superiority=0.5,
        sentence=sentence,
    )  # fmt: skip


def _one_a_seed(name: str, metric: str, given: Sequence[float]) -> np.ndarray:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise UsageError(
            f"{name}: {metric} of at least 2 seeds is needed, got {values.size}: one number says nothing about seeds"
        )
    if not np.isfinite(values).all():
        raise NotFiniteError(f"{name}: a value of {metric} is NaN or infinite: {values.tolist()}")
    return values


def _resampled(full: np.ndarray, resampled: np.ndarray, df: float, level: float) -> tuple[Side, Score]:
    """One network's parts and own interval, from its scores (S,) on all items and (resamples, S) on resamples."""
    seeds = len(full)
    around = resampled - resampled.mean(1, keepdims=True)
    rest = around.var(0, ddof=1).sum() / (seeds - 1) / seeds if seeds > 1 else np.zeros(())
    one = Side(full, rest)
    return one, _score_of(intervals.single(one, resampled.mean(1).var(ddof=1), df, level), full)


def _resample(
    runs: list[np.ndarray], y: np.ndarray, score: Callable[[np.ndarray, np.ndarray], float], seed: int, metric: str,
    blocks: Blocks | None,
) -> np.ndarray:  # fmt: skip
    rng = np.random.default_rng(derive(seed, "bootstrap"))
    rows: list[list[float]] = []
    for _ in range(RESAMPLES):
        take = drawn(rng, len(y), blocks)
        try:
            row = [float(score(outputs[take], y[take])) for outputs in runs]
        except (ValueError, ArithmeticError, RuntimeError, NotFiniteError):
            continue  # for example a class that the resample misses
        if np.isfinite(row).all():
            rows.append(row)
    if len(rows) < LEAST_USABLE * RESAMPLES:
        raise UsageError(
            f"{metric} could be computed for {len(rows)} of {RESAMPLES} resamples of the {len(y):,} test items only: "
            "the test part is too small for this metric"
        )
    found, units = np.array(rows), len(y) if blocks is None else blocks.count
    centre = found.mean(0)
    wider: np.ndarray = centre + (found - centre) * np.sqrt(units / (units - 1))
    return wider


def _own_score(values: np.ndarray, level: float, blocks: Blocks | None) -> Score:
    """One network's mean and interval; a single block of items says no more than its items do."""
    blocks = None if blocks is not None and blocks.count == 1 else blocks
    one, means = intervals.side(values, blocks), values.mean(-2)
    units, item_df = values.shape[-1], values.shape[-1] - 1.0
    if blocks is not None:
        means, units, item_df = pseudo_values(means, blocks), blocks.count, blocks.df
    spread = means.var(-1, ddof=1) / units
    found = intervals.single(one, spread, item_df, level)
    if not intervals.is_binary(values):
        return _score_of(found, one.scores)
    # A share: Wilson's interval for the items, which stays within 0 and 1 and is not empty at either end, widened on
    # each side by Student's t for the seeds (the squares of the two arms are added: Zou and Donner 2008, "MOVER").
    # Blocks: as many items as would have this variance if they were independent (Korn and Graubard 1998).
    p = float(found.value)
    items, z2 = float(values.shape[-1]), float(ndtri((1 + level) / 2)) ** 2
    if blocks is not None:
        z2 = float(stdtrit(item_df, (1 + level) / 2)) ** 2
        items = min(items, p * (1 - p) / float(spread)) if spread > 0 else items
    centre = (p + z2 / (2 * items)) / (1 + z2 / items)
    half = np.sqrt(z2 * (p * (1 - p) / items + z2 / (4 * items * items))) / (1 + z2 / items)
    df = max(len(values) - 1, 1)
    by_seeds = float(stdtrit(df, (1 + level) / 2) ** 2 * found.seeds)
    low = max(0.0, p - np.sqrt((p - centre + half) ** 2 + by_seeds))
    high = min(1.0, p + np.sqrt((centre + half - p) ** 2 + by_seeds))
    return Score(p, float(min(low, p)), float(max(high, p)), len(values), tuple(one.scores.tolist()))


def _score_of(found: Interval, scores: np.ndarray) -> Score:
    return Score(float(found.value), float(found.low), float(found.high), len(scores), tuple(scores.tolist()))


def _verdict(
    own: tuple[Score, Score | None], difference: Interval | None, metric: str, direction: Direction, items: int,
    method: str, against: Against,
) -> Verdict:  # fmt: skip
    (winner, baseline), level = own, against.level
    if difference is None:
        sentence = wording.alone(metric, winner)
        return Verdict(metric, winner, None, None, None, None, "no baseline", items, level, method, sentence)
    value, rival, blocks = float(difference.value), against.rival, against.blocks
    if not np.isfinite(difference.low):
        one_block = blocks is not None and blocks.count == 1
        sentence = (wording.one_block if one_block else wording.one_seed)(metric, value)
        return Verdict(metric, winner, baseline, value, None, None, "cannot tell", items, level, method, sentence)
    low, high = float(difference.low), float(difference.high)
    gain_low, gain_high = (low, high) if direction == "max" else (-high, -low)
    words: Literal["better", "worse", "cannot tell"] = "cannot tell"
    if gain_low > 0:
        words = "better"
    elif gain_high < 0:
        words = "worse"
    ahead = float(difference.superiority) if direction == "max" else 1 - float(difference.superiority)
    share = float(difference.seeds / total) if (total := difference.seeds + difference.items) > 0 else 0.5
    more = "test items" if blocks is None else f"{blocks.name} to test on"
    sentence = wording.compared(metric, direction, words, (value, low, high), (share, more), rival)
    return Verdict(
        metric, winner, baseline, value, low, high, words, items, level, method,
        f"{sentence}; {wording.superior(ahead)}", ahead,
    )  # fmt: skip


def _block_method(blocks: Blocks | None) -> str:
    if blocks is None:
        return ""
    names = blocks.name if blocks.count > 1 else blocks.name.replace("groups", "group").replace("stretches", "stretch")
    return f" by {blocks.count:,} {names}"


def _check_blocks(blocks: Blocks | None, items: int) -> None:
    if blocks is not None and len(blocks.codes) != items:
        raise UsageError(f"blocks of {len(blocks.codes):,} test items, there are {items:,}: give one for each")


def _seed_method(winner: int, baseline: int | None) -> str:
    counts = f"{winner} against {baseline} seeds" if baseline is not None else f"{winner} seeds"
    if winner == 1 and baseline in (None, 1):
        return f"{counts}: the seed part is unknown"
    if 1 in (winner, baseline):
        return f"{counts}, t-corrected; the side with one seed is given the other's spread"
    return f"{counts}, t-corrected (Satterthwaite)"


def _checked(values: np.ndarray, name: str, metric: str) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or found.shape[0] < 1 or found.shape[1] < 2:
        raise UsageError(
            f"{name}: {metric} must have the shape (seeds, items) with at least 1 seed and 2 items, got {found.shape}"
        )
    wrong = int((~np.isfinite(found)).sum())
    if wrong:
        raise NotFiniteError(f"{name}: {wrong:,} of {found.size:,} values of {metric} are NaN or infinite")
    return found
