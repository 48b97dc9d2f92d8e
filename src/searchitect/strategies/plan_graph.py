"""The canonical graph of an architecture, and counts of the arguments in it.

The plan is run on symbols as for the canonical key (`space/canonical.py`): identity is gone, sums are flat, zero terms
and unused branches are gone, equal parameter-free operations are one. Everything counted here is unchanged by the
order of nodes, so architectures with equal `space.key` have equal counts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from searchitect.space import Architecture, Space
from searchitect.space.canonical import write
from searchitect.space.decision import Plan
from searchitect.space.symbols import (
    INPUT,
    IRRELEVANT,
    Graph,
    Value,
    flat_values,
    signature,
)

STEPS = (1.0, 3.0)  # octaves between the knots on which numbers are spread


class PlanGraph(NamedTuple):
    """Nodes in an order in which a node's inputs come before it; the last one is the result.

    ops: what each node does, with its arguments. inputs: positions. unordered: whether the order of inputs is of no
    meaning (sums). plans: the module behind a node, if its arguments say all. key: the same as `space.key`.
    """

    ops: list[str]
    inputs: list[tuple[int, ...]]
    unordered: list[bool]
    plans: list[Plan | None]
    key: str


def plan_graph(space: Space, architecture: Architecture) -> PlanGraph:
    """The graph. Cost: about 5 µs for each node."""
    plan = space.plan(architecture)
    graph = Graph(zero_preserving=False)
    result = graph.apply(plan, INPUT)
    root = Value("list", flat_values(result)) if isinstance(result, list) else result
    text, values = write(root, graph.twins)
    if graph.as_written:
        text = "as written: " + signature(plan)
    order = _inputs_first(values)
    place = {value: i for i, value in enumerate(order)}
    return PlanGraph(
        [v.op for v in order],
        [tuple(place[part] for part in v.inputs) for v in order],
        [v.unordered for v in order],
        [v.plan if v.plan is not None and signature(v.plan) == v.op else None for v in order],
        hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
    )


def _inputs_first(values: Sequence[Value]) -> list[Value]:
    order: dict[Value, None] = {}
    stack = list(values[:1])
    while stack:
        value = stack[-1]
        waiting = [part for part in value.inputs if part not in order]
        if waiting and value not in order:
            stack += waiting
        else:
            order[value] = None
            stack.pop()
    return list(order)


class Names(dict[Any, int]):
    """Positions of features by name, in the order in which they were first seen."""

    def __missing__(self, name: Any) -> int:
        self[name] = position = len(self)
        return position


def arguments(graph: PlanGraph, names: Names, memory: dict[str, dict[int, float]]) -> dict[int, float]:
    """How often each operation and each of its arguments occurs, whatever the connections.

    Numbers are spread over knots on a log scale (`spread`), so that near ones share weight; `memory` holds what was
    found for an operation.
    """
    counts: dict[int, float] = {}
    for op, plan in zip(graph.ops, graph.plans, strict=True):
        found = memory.get(op)
        if found is None:
            entries = _described(plan, "") if plan is not None else [(op, 1.0)]
            found = memory[op] = {names["argument", name]: weight for name, weight in entries}
        for position, weight in found.items():
            counts[position] = counts.get(position, 0.0) + weight
    return counts


def _described(value: Any, path: str) -> list[tuple[str, float]]:
    """Target and arguments of a plan (also of plans inside its arguments) as names with weights."""
    if isinstance(value, Plan):
        inside = [_described(v, f"{path}{value.target}.{k}:") for k, v in sorted(value.args.items()) if _counts(k, v)]
        return [(path + value.target, 1.0)] + [entry for entries in inside for entry in entries]
    if isinstance(value, Mapping):
        return [entry for k, v in sorted(value.items()) for entry in _described(v, f"{path}{k}:")]
    if isinstance(value, (list, tuple)):
        return [entry for i, v in enumerate(value) for entry in _described(v, f"{path}{i}:")]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [(f"{path}{knot}", weight) for knot, weight in spread(float(value))]
    return [(f"{path}{value!r}", 1.0)]


def _counts(name: str, value: Any) -> bool:
    return name not in IRRELEVANT and value is not None


def spread(number: float) -> Iterable[tuple[str, float]]:
    """Weights of a number on knots of a log scale, one octave and three octaves apart; each scale sums to 1."""
    if number == 0 or not math.isfinite(number):
        return [(str(number), float(len(STEPS)))]
    sign, octaves = "-" if number < 0 else "", math.log2(abs(number))
    knots = []
    for step in STEPS:
        below = math.floor(octaves / step)
        share = octaves / step - below
        knots += [(f"{sign}{below}/{step:g}", 1.0 - share), (f"{sign}{below + 1}/{step:g}", share)]
    return [(name, weight) for name, weight in knots if weight > 0]
