"""Several goals and limits: who dominates whom, fronts, crowding, an order from best to worst, hypervolume.

A `Fitness` is (violation of the limits, goals turned so that smaller is better), as `base.fitness` makes it.
Everything here is a pure function; infinite goals (something was not a number) are allowed and are the worst.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from searchitect.records import dominates
from searchitect.seeds import Stream
from searchitect.strategies.base import Fitness

Values = tuple[float, ...]


def better(a: Fitness, b: Fitness) -> bool:
    """Constrained domination (Deb et al. 2002, definition 1): a smaller violation wins, then the goals.

    Where we differ: of two with equal violations above zero, the goals decide too.
    """
    if a[0] != b[0]:
        return a[0] < b[0]
    return dominates(a[1], b[1])


def ranks(points: Sequence[Fitness]) -> list[int]:
    """The front of each point by `better`: 0 for those that no other beats, 1 once these are gone, and so on.

    Fast non-dominated sorting (Deb et al. 2002, section III A) by cheaper means: points with unequal violations are
    never in one front, one goal is a sort, two goals a sweep (Jensen 2003), more go to moocore.
    """
    levels: dict[float, list[int]] = {}
    for i, (violation, _) in enumerate(points):
        levels.setdefault(violation, []).append(i)
    found, first = [0] * len(points), 0
    for violation in sorted(levels):
        members = levels[violation]
        inner = _fronts([points[i][1] for i in members])
        for i, front in zip(members, inner, strict=True):
            found[i] = first + front
        first += 1 + max(inner)
    return found


def _fronts(values: Sequence[Values]) -> list[int]:
    goals = len(values[0])
    if goals == 1:
        order = {value: rank for rank, value in enumerate(sorted(set(values)))}
        return [order[value] for value in values]
    if goals == 2:
        return _sweep(values)
    import moocore
    import numpy as np

    # places in the order of each goal instead of values: moocore (0.3.2) ranks infinite ones wrongly
    places = [{v: place for place, v in enumerate(sorted(set(column)))} for column in zip(*values, strict=True)]
    ordinal = np.array([[places[goal][v] for goal, v in enumerate(point)] for point in values], dtype=float)
    return [int(rank) for rank in moocore.pareto_rank(ordinal)]


def _sweep(values: Sequence[Values]) -> list[int]:
    """Two goals: in lexicographic order, a point joins the first front whose lowest second goal is above its own."""
    found = [0] * len(values)
    lowest: list[float] = []
    before: Values | None = None
    rank = 0
    for i in sorted(range(len(values)), key=values.__getitem__):
        if values[i] != before:  # equal points do not dominate each other
            before = values[i]
            rank = bisect_right(lowest, before[1])
            lowest[rank : rank + 1] = [before[1]]
        found[i] = rank
    return found


def crowding(values: Sequence[Values]) -> list[float]:
    """The crowding distance of each point of one front (Deb et al. 2002, section III B): larger is lonelier.

    For each goal the distance between the two neighbours, in parts of the front's range; infinite at both ends.
    Where we differ: points with equal goals count once, and the later ones get 0 (they add nothing to the front);
    an infinite value stands at the worst finite one.
    """
    found = [0.0] * len(values)
    first: dict[Values, int] = {}
    for i, value in enumerate(values):
        first.setdefault(value, i)
    distinct = list(first.values())
    if len(distinct) <= 2:  # ends only
        for i in distinct:
            found[i] = math.inf
        return found
    goals = len(values[0])
    if goals == 2:  # along a front of two goals the second falls as the first rises: one order serves both
        distinct.sort(key=values.__getitem__)
    for goal in range(goals):
        column = _finite([values[i][goal] for i in distinct])
        order = _along(len(column), goal) if goals == 2 else sorted(range(len(column)), key=column.__getitem__)
        low, high = column[order[0]], column[order[-1]]
        found[distinct[order[0]]] = found[distinct[order[-1]]] = math.inf
        if high > low:
            for before, here, after in zip(order, order[1:], order[2:], strict=False):
                found[distinct[here]] += (column[after] - column[before]) / (high - low)
    return found


def _along(n: int, goal: int) -> Sequence[int]:
    return range(n) if goal == 0 else range(n - 1, -1, -1)


def _finite(column: list[float]) -> list[float]:
    if all(map(math.isfinite, column)):
        return column
    known = [v for v in column if math.isfinite(v)] or [0.0]
    low, high = min(known), max(known)
    return [min(max(v, low), high) for v in column]


def best_first(points: Sequence[Fitness]) -> list[int]:
    """Positions from best to worst: by front, inside a front the lonelier first, then the earlier."""
    return [i for _, _, i in sorted(standing(points))]


def standing(points: Sequence[Fitness]) -> list[tuple[int, float, int]]:
    """(front, minus the crowding distance, position) of each point: the smaller, the better."""
    if not points:
        return []
    fronts: dict[int, list[int]] = {}
    for i, rank in enumerate(ranks(points)):
        fronts.setdefault(rank, []).append(i)
    found: list[tuple[int, float, int]] = [(0, 0.0, i) for i in range(len(points))]
    for rank, members in fronts.items():
        for i, distance in zip(members, crowding([points[i][1] for i in members]), strict=True):
            found[i] = (rank, -distance, i)
    return found


class Ranges:
    """The ranges of the goals seen so far, to weigh goals of unlike scales against each other."""

    def __init__(self, goals: int) -> None:
        self._low = [math.inf] * goals
        self._high = [-math.inf] * goals

    def note(self, values: Values) -> None:
        """Widen the ranges; values that are not finite do not count."""
        for goal, value in enumerate(values):
            if math.isfinite(value):
                self._low[goal] = min(self._low[goal], value)
                self._high[goal] = max(self._high[goal], value)

    def weigh(self, values: Values, weights: Values) -> float:
        """Augmented weighted Chebyshev (Knowles 2006, equation 2): the largest weighted share of a range, plus 0.05
        times their sum. Smaller is better; with all weights above zero its minimum is a point of the front."""
        shares = [
            w * (v - low) / (high - low) if high > low and v < math.inf else 0.0 if v < math.inf else math.inf
            for v, w, low, high in zip(values, weights, self._low, self._high, strict=True)
        ]
        return max(shares) + 0.05 * sum(shares)


def draw_weights(source: Stream, goals: int) -> Values:
    """Weights of the goals, uniform over all that add up to 1."""
    parts = [-math.log(1.0 - source.unit()) + 1e-12 for _ in range(goals)]
    return tuple(part / sum(parts) for part in parts)


def hypervolume(values: Iterable[Values], reference: Sequence[float]) -> float:
    """The volume that the points dominate, up to the reference point (smaller is better; Zitzler and Thiele 1998).

    Points that do not dominate the reference count nothing. By moocore, which is loaded when this is called.
    """
    finite = [v for v in values if all(map(math.isfinite, v))]
    inside = [v for v in finite if all(x < r for x, r in zip(v, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - min(inside)[0])
    import moocore
    import numpy as np

    return float(moocore.hypervolume(np.array(inside), ref=np.array(reference, dtype=float)))
