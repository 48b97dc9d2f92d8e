"""The Weisfeiler-Lehman subtree kernel on canonical graphs.

Source: Shervashidze et al. 2011, "Weisfeiler-Lehman Graph Kernels", Algorithm 1 and section 3.2; used for
architectures by Ru et al. 2021 (NAS-BOWL). Where we differ: labels are never hashed but numbered in a dictionary of
exact (label, inputs' labels), so no two patterns are taken for one; neighbours are a node's inputs, in their order
where the order has a meaning; one more level below the first holds operations without their arguments and the
arguments alone (`plan_graph.arguments`), where the published labels know operations as wholes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from searchitect.strategies.plan_graph import Names, PlanGraph, arguments

Counts = dict[int, float]
Array = NDArray[np.float64]


def relabel(graph: PlanGraph, names: Names, rounds: int) -> list[Counts]:
    """Counts of labels for 0 to `rounds` rounds. Round 0 counts operations; round h subtrees of height h."""
    labels = [names[0, op] for op in graph.ops]
    counts = [_count(labels)]
    for turn in range(1, rounds + 1):
        below = [tuple([labels[i] for i in inputs]) for inputs in graph.inputs]
        labels = [
            names[turn, label, tuple(sorted(part)) if unordered else part]
            for label, part, unordered in zip(labels, below, graph.unordered, strict=True)
        ]
        counts.append(_count(labels))
    return counts


def _count(labels: Sequence[int]) -> Counts:
    counts: Counts = {}
    for label in labels:
        counts[label] = counts.get(label, 0.0) + 1.0
    return counts


class Vector(NamedTuple):
    """Counts of one level: positions, how often, and the sum of squares."""

    places: NDArray[np.int64]
    counts: NDArray[np.float64]
    square: float


class Levels:
    """Turns graphs into counts per level: arguments, then 0 to `rounds` rounds of relabelling."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.names = Names()
        self.memory: dict[str, Counts] = {}

    def __call__(self, graph: PlanGraph) -> list[Vector]:
        counts = [arguments(graph, self.names, self.memory), *relabel(graph, self.names, self.rounds)]
        return [_vector(level) for level in counts]


def _vector(counts: Counts) -> Vector:
    values = np.array(list(counts.values()), dtype=np.float64)
    return Vector(np.array(list(counts), dtype=np.int64), values, float(values @ values))


def products(first: Sequence[Sequence[Vector]], second: Sequence[Sequence[Vector]], width: int) -> Array:
    """Dot products of counts, level by level: (levels, len(first), len(second)). `width`: number of names."""
    blocks = []
    for level in range(len(first[0])):
        left = _matrix([item[level] for item in first], width)
        right = left if first is second else _matrix([item[level] for item in second], width)
        blocks.append((left @ right.T).toarray())
    return np.array(blocks, dtype=np.float64)


def squares(items: Sequence[Sequence[Vector]]) -> Array:
    """Dot products of each with itself: (levels, len(items))."""
    return np.array([[vector.square for vector in item] for item in items]).T


def distances(products: Array, first: Array, second: Array) -> Array:
    """Squared distances from dot products (levels, n, m) and squares (levels, n), (levels, m)."""
    return np.asarray(np.maximum(first[:, :, None] + second[:, None, :] - 2.0 * products, 0.0))


def _matrix(rows: Sequence[Vector], width: int) -> sparse.csr_array:
    ends = np.cumsum([0] + [len(row.places) for row in rows])
    places, counts = (np.concatenate([row[i] for row in rows]) for i in (0, 1))
    return sparse.csr_array((counts, places, ends), shape=(len(rows), width))
