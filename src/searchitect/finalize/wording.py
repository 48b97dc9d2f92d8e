"""Verdicts in words for people: points where a metric is a share, plain numbers elsewhere."""

from __future__ import annotations

import math
from typing import Literal

from searchitect.records import Score

# Metrics that are shares of something, so that a hundredth is a point. Others (loss, r2, roc_auc) are plain numbers.
SHARES = ("accuracy", "balanced_accuracy", "top_k_accuracy", "f1", "precision", "recall", "jaccard")
BASELINE = "the baseline"
NONE = "there is no baseline to compare with"
_MOSTLY = 2 / 3  # a part that makes up this much of the variance is named as the one to reduce


def is_share(metric: str) -> bool:
    """Whether people read this metric in per cent."""
    return any(metric == name or metric.startswith(name + "_") for name in SHARES)


def compared(
    metric: str,
    direction: Literal["max", "min"],
    words: Literal["better", "worse", "cannot tell"],
    numbers: tuple[float, float, float],
    missing: tuple[float, str],
    rival: str = BASELINE,
) -> str:
    """One sentence for (difference, low, high); `missing` is the share of seeds in its variance, and what else there
    could be more of ("test items")."""
    seed_share, others = missing
    if words == "cannot tell":
        value, low, high = _written(numbers, metric)
        more = f"more seeds or {others}"
        if seed_share > _MOSTLY:
            more = "more seeds"
        elif seed_share < 1 - _MOSTLY:
            more = f"more {others}"
        of = "" if is_share(metric) else f"{metric} differs by "
        return f"cannot tell: {of}{value} ({low} to {high}); {more} would be needed"
    value, low, high = _written(tuple(sorted(map(abs, numbers))), metric, middle=True)
    if is_share(metric) and direction == "max":
        return f"{words} than {rival} by {value} ({low} to {high})"
    higher = (direction == "max") == (words == "better")
    return f"{words} than {rival}: {metric} {'higher' if higher else 'lower'} by {value} ({low} to {high})"


def one_seed(metric: str, difference: float) -> str:
    """One training a side: the difference is known, its spread over seeds is not."""
    (value,) = _written((difference,), metric)
    return (
        f"cannot tell: {value} in {metric} between one training each; how much the seed matters is unknown, "
        "train with at least 3 seeds"
    )


def one_block(metric: str, difference: float) -> str:
    """All test items are of one group, or too few to be cut into stretches of time."""
    (value,) = _written((difference,), metric)
    return (
        f"cannot tell: {value} in {metric} on test items that all belong together, which says nothing about others; "
        "hold out more of them"
    )


def superior(probability: float) -> str:
    """How often a new training of the one would be better than a new training of the other."""
    times = min(max(round(100 * probability), 1), 99)
    sure = "over " * (probability > 0.995) + "under " * (probability < 0.005)
    return f"trained anew, it would be ahead {sure}{times} times in 100"


def unmoved(metric: str, difference: float) -> str:
    """Every seed gave the same number, on both sides."""
    (value,) = _written((difference,), metric)
    return f"cannot tell: {value} in {metric}, the same for every seed; does your function set a seed of its own?"


def by_function(sentence: str, seeds: list[int]) -> str:
    """What the user's own function measured is told from a test on unread data."""
    counts = str(seeds[0]) if len(set(seeds)) == 1 else " and ".join(map(str, seeds))
    side = " each" if len(seeds) > 1 and len(set(seeds)) == 1 else ""
    return (
        f"{sentence}. Measured by your own function on your data, over {counts} fresh seeds{side}; the search chose by "
        "the same data, so this is no test on unread data"
    )


def repeated(sentence: str, reads_before: int) -> str:
    """The test data were read before, so that somebody may have chosen by them."""
    times = "once" if reads_before == 1 else f"{reads_before} times"
    return f"{sentence}; the test data were read {times} before in this study, so this is no independent verdict"


def alone(metric: str, score: Score) -> str:
    """One sentence for a network without a baseline."""
    return f"{_scored(metric, score)}; {NONE}"


def itself(metric: str, score: Score) -> str:
    """The winner is the baseline."""
    return f"cannot tell: nothing found was clearly better than the baseline, which is kept: {_scored(metric, score)}"


def same_network(rival: str) -> str:
    """The rival is the winner's own network."""
    return f"cannot tell: it is the network of {rival} too"


def _scored(metric: str, score: Score) -> str:
    if is_share(metric):
        value, low, high = (f"{100 * v:.1f}" for v in (score.mean, score.low, score.high))
        return f"{metric} {value} % ({low} to {high})"
    value, low, high = _written((score.mean, score.low, score.high), metric)
    return f"{metric} {value} ({low} to {high})"


def _written(numbers: tuple[float, ...], metric: str, middle: bool = False) -> list[str]:
    """The numbers with equally many digits, none of them rounded to zero unless it is; the first one with its unit.

    `middle`: the numbers are (low, value, high) and are given back as value, low, high.
    """
    points = is_share(metric)
    scaled = [100 * v if points else v for v in numbers]
    width = max(scaled) - min(scaled) or max(map(abs, scaled)) or 1.0
    digits = 1 if points else max(0, 2 - math.floor(math.log10(width)))
    while digits < 6 and any(v != 0 and abs(v) > 1e-6 and round(v, digits) == 0 for v in scaled):
        digits += 1
    texts = [f"{v:.{digits}f}" for v in scaled]
    texts = [t[1:] if t.startswith("-") and not t.strip("-0.") else t for t in texts]  # -0.0
    if middle:
        texts = [texts[1], texts[0], texts[2]]
    return [texts[0] + (" points" if points else ""), *texts[1:]]
