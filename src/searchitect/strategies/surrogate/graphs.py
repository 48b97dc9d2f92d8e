"""The canonical network as a small labelled graph, for kernels on graphs, paths and chains of operations.

Nodes are operations that matter to a model: convolutions, poolings, linear layers, attention, classes of the user's.
Sums, concatenations, normalisation, activations and reshaping are passed through, so that a chain ReLU, convolution,
BatchNorm is one node (a choice among activations is seen by the decisions, see `features`). Networks with equal keys
have equal graphs, as identity, dead branches and the order of sums are gone before the graph is read.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

from searchitect.space import Architecture, Plan, Space, canonical, symbols
from searchitect.space.shapes import NN

TRANSPARENT = symbols.NORMS | symbols.VIEWS | symbols.FREE_NOT_ZERO | {
    NN + n for n in "ReLU ReLU6 LeakyReLU PReLU ELU CELU SELU GELU SiLU Mish Tanh Hardswish Softsign".split()
}  # fmt: skip


class CanonicalGraph(NamedTuple):
    """Operations in an order in which inputs come first.

    key: `Space.key` of the architecture. labels[i]: the operation of node i with its arguments; "x" is the network's
    input. inputs[i]: the nodes whose outputs node i reads, one several times where it is added several times.
    result: the nodes that make the output.
    """

    key: str
    labels: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    result: tuple[int, ...]


def canonical_graph(space: Space, architecture: Architecture) -> CanonicalGraph:
    """The graph of an architecture. Costs little more than its key, 50 µs to 1 ms by the size of the network."""
    plan = space.plan(architecture)
    graph = symbols.Graph(False)
    made = graph.apply(plan, symbols.INPUT)
    root = symbols.Value("list", symbols.flat_values(made)) if isinstance(made, list) else made
    text, values = canonical.write(root, graph.twins)
    if graph.as_written:
        text = "as written: " + symbols.signature(plan)
    reader = _Reader()
    values.sort(key=operator.attrgetter("serial"))  # what a value needs was made before it
    for value in values:
        reader.ends[value] = reader.read(value)
    key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return CanonicalGraph(key, tuple(reader.labels), tuple(reader.inputs), reader.ends[root])


def size(space: Space, architecture: Architecture) -> int:
    """How many modules the plan of an architecture has: by this the time to describe one grows."""
    stack, count = [space.plan(architecture)], 0
    while stack:
        count += 1
        stack += [part for argument in stack.pop().args.values() for part in _modules(argument)]
    return count


class _Reader:
    """Turns symbols into nodes; remembers which nodes a value ends in."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.inputs: list[tuple[int, ...]] = []
        self.ends: dict[symbols.Value, tuple[int, ...]] = {}

    def read(self, value: symbols.Value) -> tuple[int, ...]:
        """The nodes of one value, whose inputs were read."""
        inputs, plan, ends = value.inputs, value.plan, self.ends
        before = ends[inputs[0]] if len(inputs) == 1 else tuple([node for v in inputs for node in ends[v]])
        if inputs and (plan is None or plan.target in TRANSPARENT):
            return before
        if plan is None or plan.target.startswith(NN) or value.op.startswith("pre("):
            return (self._node(value.op, before),)  # "pre(": the inward convolutions of a cell with two inputs
        return (self._opaque(plan, before),)

    def _opaque(self, plan: Plan, before: tuple[int, ...]) -> int:
        """A module that keys do not look into: the modules in its arguments become nodes that feed it."""
        text = symbols.signature(plan)
        leaf = text.count("(") == 1  # no module among its arguments, as each has a bracket of its own
        parts = [] if leaf else [part for argument in plan.args.values() for part in _modules(argument)]
        if not parts:
            return self._node(text, before)
        return self._node(plan.target, tuple([self._opaque(part, ()) for part in parts]) + before)

    def _node(self, label: str, inputs: tuple[int, ...]) -> int:
        self.labels.append(label)
        self.inputs.append(inputs)
        return len(self.labels) - 1


def _modules(argument: Any) -> Iterator[Plan]:
    if isinstance(argument, Plan):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for item in argument:
            yield from _modules(item)
    elif isinstance(argument, dict):
        for item in argument.values():
            yield from _modules(item)
