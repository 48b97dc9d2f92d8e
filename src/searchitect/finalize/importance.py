"""How much of the differences between trials each decision explains: functional ANOVA over a random forest.

Hutter, Hoos and Leyton-Brown 2014 ("An efficient approach for assessing hyperparameter importance", Algorithm 2): each
leaf of a regression tree is a box, so the mean of the tree over all other decisions at one value of a decision is an
exact sum over boxes. The variance of these means, divided by the variance of the whole tree, is the decision's share.
Each tree sees a bootstrap sample of the trials; the spread over trees is the spread of the share.

WHERE WE DIFFER. The measure is that of drawing an architecture branch by branch (every decision uniform, on a log scale
where it says so), not uniform over a box of numbers: an unordered choice is one column for each option, a box is a set
of options. A decision that is inactive in a trial is filled with a random value, as it changes nothing there; so what
a branch does by being there at all counts for the decision that opens it. Very bad values are cut off at three
interquartile ranges above the upper quartile, since a training that diverged would be all of the variance. Leaves hold
at least three trials. Shares of pairs are not computed: what single decisions leave is said as one number.
"""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from searchitect.seeds import derive
from searchitect.space import Architecture, Decision, Scalar

TREES = 64
LEAF = 3
LEAST = 20  # trials, or twice the decisions that vary, whichever is more
MOST = 1000  # trials that are looked at
CELLS = 16  # parts of a range of many numbers
MANY = 32  # options beyond this are told apart only where a trial has them
FENCE = 3.0  # interquartile ranges


class Share(NamedTuple):
    """One decision's share of the variance: mean over trees, and the middle 80 % of the trees."""

    name: str
    share: float
    low: float
    high: float


class Importance(NamedTuple):
    """Shares, the largest first; or why there are none.

    explains: R² of the forest on trials that its trees did not see. together: the sum of the shares. cut: values that
    were cut off. varied: decisions that differ between the trials at all.
    """

    shares: tuple[Share, ...] = ()
    trials: int = 0
    varied: int = 0
    explains: float = 0.0
    together: float = 0.0
    cut: int = 0
    skipped: str = ""


class Axis(NamedTuple):
    """One decision as cells: their probabilities, whether they have an order, and the cell of a value."""

    name: str
    weights: np.ndarray
    ordered: bool
    cell: Callable[[Scalar], int]


def importance(
    decisions: Sequence[Decision], points: Sequence[tuple[Architecture, float]], *, seed: int = 0,
    seconds: float = math.inf,
) -> Importance:  # fmt: skip
    """Share of each decision that varies; about 0.4 s for 500 trials and 24 decisions.

    points: architectures, each once, with finite values. seconds: after which it gives up.
    """
    end = time.monotonic() + seconds
    random = np.random.default_rng(derive(seed, "importance"))
    if len(points) > MOST:
        points = [points[i] for i in sorted(random.choice(len(points), MOST, replace=False))]
    varied = [d for d in decisions if len({a.decisions[d.name] for a, _ in points if d.name in a.decisions}) > 1]
    least = max(LEAST, 2 * len(varied))
    if len(points) < least or not varied:
        why = f"{len(points)} architectures were measured in one way, and {len(varied)} decisions vary among them"
        return Importance(
            trials=len(points), varied=len(varied), skipped=f"too few trials to tell: {why}; {least} are needed"
        )
    values, cut = without_outliers(np.array([value for _, value in points]))
    if values.max() - values.min() <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return Importance(trials=len(points), varied=len(varied), skipped="all trials came out the same")
    axes = [axis_of(d, [a.decisions[d.name] for a, _ in points if d.name in a.decisions]) for d in varied]
    columns, owners = _columns(axes, [a for a, _ in points], random)
    forest = _forest(derive(seed, "forest") % 2**32)
    forest.fit(columns, values)
    explains = 1 - float(np.sum((forest.oob_prediction_ - values) ** 2) / np.sum((values - values.mean()) ** 2))
    if explains <= 0:
        return Importance(
            (), len(points), len(varied), explains, cut=cut,
            skipped="too noisy to tell: a model of the trials predicts others no better than their mean does",
        )  # fmt: skip
    rows = []
    for estimator in forest.estimators_:
        if time.monotonic() > end:
            return Importance((), len(points), len(varied), explains, cut=cut, skipped="it would have taken too long")
        rows.append(tree_shares(estimator.tree_, axes, owners))
    found = np.array(rows)
    low, high = np.quantile(found, (0.1, 0.9), axis=0)
    mean = found.mean(axis=0)
    shares = [Share(a.name, *map(float, numbers)) for a, *numbers in zip(axes, mean, low, high, strict=True)]
    shares.sort(key=lambda s: (-s.share, s.name))
    return Importance(tuple(shares), len(points), len(varied), explains, float(mean.sum()), cut)


def without_outliers(losses: np.ndarray) -> tuple[np.ndarray, int]:
    """Losses (N,), of which the larger is the worse, with very bad ones put at the fence; and how many these were."""
    first, third = np.quantile(losses, (0.25, 0.75))
    fence = third + FENCE * (third - first)
    if third <= first or not (losses > fence).any():
        return losses, 0
    return np.minimum(losses, fence), int((losses > fence).sum())


def axis_of(decision: Decision, seen: Sequence[Scalar]) -> Axis:
    """The cells of one decision: one for each value, or equal parts of a range of many numbers."""
    labels = decision.labels
    if labels is None or (decision.ordered and decision.n > CELLS):
        return _range_axis(decision)
    if decision.ordered:
        return Axis(decision.name, _label_weights(decision), True, decision.position)
    if decision.n > MANY:
        known = {value: i for i, value in enumerate(dict.fromkeys(seen))}
        rest = (decision.n - len(known)) / decision.n
        weights = np.array([1 / decision.n] * len(known) + [rest] * (rest > 0))
        return Axis(decision.name, weights, False, known.__getitem__)
    return Axis(decision.name, np.full(decision.n, 1 / decision.n), decision.n == 2, decision.position)


def _range_axis(decision: Decision) -> Axis:
    low, high, n = decision.low, decision.high, decision.n
    if decision.labels is not None and not decision.log:
        weights = np.bincount(np.arange(n) * CELLS // n) / n
        return Axis(decision.name, weights, True, lambda value: decision.position(value) * CELLS // n)
    if decision.log:
        cuts = [low * (high / low) ** (i / CELLS) for i in range(1, CELLS)]
    else:
        cuts = [low + (high - low) * i / CELLS for i in range(1, CELLS)]
    weights = np.full(CELLS, 1 / CELLS)
    return Axis(decision.name, weights, True, lambda value: bisect.bisect_right(cuts, float(value)))  # type: ignore[arg-type]


def _label_weights(decision: Decision) -> np.ndarray:
    """Probabilities of a few ordered labels; on a log scale the nearest label of a uniform logarithm is drawn."""
    if not decision.log:
        return np.full(decision.n, 1 / decision.n)
    numbers = np.array([float(v) for v in decision.labels or ()])  # type: ignore[arg-type]
    middles = np.log((numbers[1:] + numbers[:-1]) / 2)
    edges = np.concatenate([[math.log(decision.low)], middles, [math.log(decision.high)]])
    widths: np.ndarray = np.diff(edges) / (edges[-1] - edges[0])
    return widths


def _columns(
    axes: Sequence[Axis], architectures: Sequence[Architecture], random: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The forest's inputs (N, columns), and for each column its axis and its option (-1: the cell's number)."""
    columns: list[np.ndarray] = []
    owners: list[tuple[int, int]] = []
    for at, axis in enumerate(axes):
        filled = random.choice(len(axis.weights), len(architectures), p=axis.weights)
        cells = np.array([
            axis.cell(a.decisions[axis.name]) if axis.name in a.decisions else fill
            for a, fill in zip(architectures, filled, strict=True)
        ])  # fmt: skip
        options = [-1] if axis.ordered else range(len(axis.weights))
        columns += [cells if option < 0 else cells == option for option in options]
        owners += [(at, option) for option in options]
    return np.stack(columns, 1).astype(np.float32), owners


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor  # a quarter of a second to import: only where it is used

    return RandomForestRegressor(TREES, min_samples_leaf=LEAF, oob_score=True, random_state=seed, n_jobs=1)


def tree_shares(tree: Any, axes: Sequence[Axis], owners: Sequence[tuple[int, int]]) -> np.ndarray:
    """The variance share of each axis (D,) in one fitted tree; zeros where the tree is a single leaf."""
    boxes, values = _leaves(tree, axes, owners)
    weights = np.zeros(boxes.shape[1:])
    for at, axis in enumerate(axes):
        weights[at, : len(axis.weights)] = axis.weights
    inside = np.einsum("ldk,dk->ld", boxes, weights)
    whole = inside.prod(axis=1)
    mean = whole @ values
    variance = whole @ (values - mean) ** 2
    if variance <= 0:
        return np.zeros(len(axes))
    others = whole[:, None] / inside
    marginal = np.einsum("ld,ldk->dk", others * (values - mean)[:, None], boxes)
    shares: np.ndarray = (weights * marginal**2).sum(axis=1) / variance
    return shares


def _leaves(tree: Any, axes: Sequence[Axis], owners: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The leaves as boxes (leaves, D, cells) of allowed cells, and their values (leaves,)."""
    everything = np.zeros((len(axes), max(len(a.weights) for a in axes)), dtype=bool)
    for at, axis in enumerate(axes):
        everything[at, : len(axis.weights)] = True
    left, right = tree.children_left, tree.children_right
    boxes, values, stack = [], [], [(0, everything)]
    while stack:
        node, box = stack.pop()
        if left[node] < 0:
            boxes.append(box)
            values.append(tree.value[node, 0, 0])
            continue
        at, option = owners[tree.feature[node]]
        low, high = box.copy(), box.copy()
        if option < 0:
            first = math.floor(tree.threshold[node]) + 1  # the first cell of the right side
            low[at, first:], high[at, :first] = False, False
        else:
            kept = high[at, option]
            low[at, option], high[at] = False, False
            high[at, option] = kept
        stack += [(left[node], low), (right[node], high)]
    return np.array(boxes, dtype=float), np.array(values)
