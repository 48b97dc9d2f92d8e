"""Beside the verdict: the other metrics on test data, each with its interval, and the front against the baseline.

Only the first goal decides. The others are shown so that a gain there which was paid for elsewhere is seen; each has
its own 95 % interval, and of twenty such intervals one misses by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from searchitect.errors import SearchitectError
from searchitect.finalize.blocks import Blocks
from searchitect.finalize.items import ItemValues
from searchitect.finalize.verdict import RESAMPLES, Against, Direction, as_same, compare, compare_scores, compare_seeds
from searchitect.records import Objective, Trial, Verdict, candidates, dominates, front, goals, losses
from searchitect.space import Architecture
from searchitect.strategies.pareto import hypervolume

if TYPE_CHECKING:
    from searchitect.finalize.context import FinalContext, FinalResult

SECONDS = 2.0  # at least, for the resamples of one metric, however little is left
BEYOND = 0.1  # how far the reference lies beyond the worst point, as a share of the range


class Also(NamedTuple):
    """A metric that is shown beside the verdict's: its value for each item, or the score of all."""

    metric: str
    direction: Direction
    items: ItemValues | None
    score: Callable[[np.ndarray, np.ndarray], float]


def other_metrics(context: FinalContext, result: FinalResult) -> dict[str, Verdict]:
    """The comparison of winner and baseline by each other metric; what cannot be computed is a note."""
    found: dict[str, Verdict] = {}
    for also in context.also:
        try:
            one = _by_seeds(result, also) if context.own_data else _by_items(context, result, also)
        except SearchitectError as error:
            result.notes.append(f"{also.metric} on test data: {error}")
            continue
        if one is not None:
            found[also.metric] = as_same(one) if result.same else one
    return found


def _by_seeds(result: FinalResult, also: Also) -> Verdict | None:
    runs = {side: result.runs[side] for side in ("winner", "baseline") if side in result.runs}
    if any(o.metrics.get(also.metric) is None for side in runs.values() for o in side):
        return None  # a function that does not report it each time
    sides = {side: [o.metrics[also.metric] for o in own] for side, own in runs.items()}
    return compare_seeds(sides["winner"], sides.get("baseline"), metric=also.metric, direction=also.direction)


def _by_items(context: FinalContext, result: FinalResult, also: Also) -> Verdict | None:
    y, blocks = context.targets(), context.blocks
    ours, theirs = result.outputs["winner"], result.outputs.get("baseline")
    if also.items is not None:
        return _of_items(also, ours, theirs, y, blocks)
    began = time.perf_counter()
    also.score(ours[0], y)
    left, trainings = context.left(), len(ours) + len(theirs or ())
    if left is not None and (time.perf_counter() - began) * trainings * RESAMPLES > max(SECONDS, left):
        result.notes.append(f"{also.metric} on test data: no time was left for its interval")
        return None
    return compare_scores(
        ours, theirs, y, also.score, metric=also.metric, direction=also.direction, seed=context.seed,
        against=Against(blocks=blocks),
    )  # fmt: skip


def _of_items(
    also: Also, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray] | None, y: np.ndarray, blocks: Blocks | None
) -> Verdict:
    assert also.items is not None
    items = also.items
    winner, baseline = (None if side is None else np.stack([items(out, y) for out in side]) for side in (ours, theirs))
    assert winner is not None
    return compare(winner, baseline, metric=also.metric, direction=also.direction, against=Against(blocks=blocks))


def front_facts(
    trials: Sequence[Trial], aims: Sequence[Objective], baseline: Architecture | None
) -> dict[str, Any] | None:
    """Which networks of the front are better than the baseline in every goal, by what the search measured; None with
    one goal.

    The hypervolume is the share of the box between the best and the worst value of each goal (of front and baseline,
    the worst moved outward by a tenth) in which a point is beaten: by the front, and by the baseline alone. The same
    measurements made the front, so that it is more hopeful than test data would be.
    """
    if len(goals(aims)) < 2:
        return None
    pool = candidates(trials, aims)
    best = front(trials, aims)
    hand_made = next((t for t in [*pool, *trials] if _measured(t, aims) and t.architecture == baseline), None)
    told: dict[str, Any] = {
        "goals": [str(o) for o in goals(aims)],
        "front": [{"trial": t.number, **_values(t, aims)} for t in best],
    }
    if hand_made is None or baseline is None:
        return told | {"skipped": "the baseline was not measured in the search"}
    point = losses(hand_made, aims) or ()
    points = [losses(t, aims) or () for t in best]
    better = [t.number for t, values in zip(best, points, strict=True) if dominates(values, point)]
    ours, theirs = _volumes(points, point)
    names = " and ".join(o.metric for o in goals(aims))
    sentence = (
        f"{len(better)} of {len(best)} networks on the front are no worse than the baseline in {names} and better in "
        f"one of them, by validation; the front has {ours:.2f} of the hypervolume, the baseline {theirs:.2f}"
    )
    return told | {
        "baseline": {"trial": hand_made.number, **_values(hand_made, aims)}, "better": better,
        "hypervolume": {"front": ours, "baseline": theirs, "gained": ours - theirs}, "sentence": sentence,
    }  # fmt: skip


def _measured(trial: Trial, aims: Sequence[Objective]) -> bool:
    values = losses(trial, aims)
    return values is not None and bool(np.isfinite(values).all())


def _values(trial: Trial, aims: Sequence[Objective]) -> Mapping[str, float | None]:
    return {o.metric: trial.value(o.metric) for o in goals(aims)}


def _volumes(points: Sequence[tuple[float, ...]], baseline: tuple[float, ...]) -> tuple[float, float]:
    """Shares of the box that the front (with the baseline) and the baseline alone have."""
    everything = np.array([*points, baseline])
    low, high = everything.min(0), everything.max(0)
    width = np.where(high > low, high - low, 1.0)
    unit = ((everything - low) / width).tolist()
    reference = [1.0 + BEYOND] * everything.shape[1]
    whole = float(np.prod(reference))
    return hypervolume(unit, reference) / whole, hypervolume(unit[-1:], reference) / whole
