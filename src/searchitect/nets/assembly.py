"""From the tree of a space to the modules of its supernet, gates in the place of choices.

A choice is a gate only if all its options are modules; otherwise it is a value. Every place of a tied node
gets modules of its own, as `build` makes them for a stand-alone network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from searchitect.errors import BuildError, SpaceError, UsageError
from searchitect.nets.building import _failure, _Maker
from searchitect.nets.gates import ChoiceGate, DepthGate, Run, SubsetGate, Whole
from searchitect.nets.sized import LIMIT, Elastic, Instances, PerPath, Values
from searchitect.nets.slices import SLICED
from searchitect.space import (
    FUNCTIONS,
    Choice,
    Decision,
    Int,
    Layer,
    Node,
    Plan,
    Repeat,
    Scalar,
    Space,
    Subset,
    apply,
)

CELLS = {"searchitect.nets.Cell", "searchitect.nets.TwoInputCell"}  # what a method may run as a whole


class Assembly:
    """Makes the modules of one supernet.

    elastic: whether layers that can be sliced are made so that they can be (where all sizes are fixed they are
             plain layers).
    """

    def __init__(self, space: Space, outputs: int | None, run: Run, *, elastic: bool) -> None:
        self.space, self.outputs, self.run, self.elastic = space, outputs, run, elastic
        self.maker = _Maker(space.targets, outputs)
        self._settled = False

    def settle(self) -> None:
        """After the dry run: modules that were made for it are let go."""
        self._settled = True
        self.maker.made.clear()

    def make(self, node: Node, fixed: Values) -> nn.Module:
        """The module of a node; decisions in `fixed` have their value, all others stay open."""
        if isinstance(node, Choice):
            return self._choice(node, fixed)
        if isinstance(node, Subset):
            return self._subset(node, fixed)
        if isinstance(node, Repeat):
            return self._repeat(node, fixed)
        assert isinstance(node, Layer)
        return self._layer(node, fixed)

    def _choice(self, node: Choice, fixed: Values) -> nn.Module:
        decision = self.space.decision_of(node)
        if decision is None:
            return self.make(node.options[0], fixed)
        made = [self.make(option, fixed) for option in [*node.options, *node.search_only.values()]]
        labels = [*node.labels, *node.search_only]
        return ChoiceGate(decision.name, labels, made, self.run, len(node.search_only))

    def _subset(self, node: Subset, fixed: Values) -> nn.Module:
        made = tuple(self.make(option, fixed) for option in node.options)
        decision = self.space.decision_of(node)
        if decision is None:
            return self.call("searchitect.nets.Members", {"*": made}, node)
        combinations = list(itertools.combinations(range(len(made)), node.k))
        return SubsetGate(decision.name, node.labels, made, combinations, self.run)

    def _repeat(self, node: Repeat, fixed: Values) -> nn.Module:
        made = tuple(self.make(copy, fixed) for copy in node.copies)
        decision = self.space.decision_of(node)
        if decision is None:
            return self.call("torch.nn.Sequential", {"*": made}, node)
        return DepthGate(decision.name, range(node.low, len(made) + 1), made, self.run)

    def _layer(self, node: Layer, fixed: Values) -> nn.Module:
        recipe = _Recipe(self, node, fixed)
        sliced = node.target in SLICED
        if sliced and (recipe.decisions or self.elastic):
            return Elastic(recipe, self.run)
        if not recipe.decisions:
            made = recipe.make({})
            return Whole(made, self.run) if node.target in CELLS else made
        combinations = recipe.combinations()
        return PerPath(recipe, self.run) if combinations is None else Instances(recipe, self.run, combinations)

    def call(self, target: str, args: dict[str, Any], node: Node) -> nn.Module:
        """The module that a target makes of arguments, which hold no nodes any more."""
        made: nn.Module = self.maker.make(Plan(target, args, self.space.place_of(node)))
        if self._settled:
            self.maker.made.clear()
        return made

    def evaluate(self, value: Any, values: Values, *, modules: bool = True) -> Any:
        """An argument for given values of the decisions; without `modules` None stands for each of them.

        Raises Open for a decision that has no value.
        """
        if isinstance(value, (list, tuple)):
            return type(value)([self.evaluate(item, values, modules=modules) for item in value])
        if isinstance(value, dict):
            return {key: self.evaluate(item, values, modules=modules) for key, item in value.items()}
        if not isinstance(value, Node):
            return value
        if value.module:
            return self.make(value, values) if modules else None
        if isinstance(value, Layer):
            return self._compute(value, values, modules)
        decision = self.space.decision_of(value)
        if isinstance(value, Choice):
            i = 0 if decision is None else decision.position(_value(decision, values))
            return self.evaluate(value.options[i], values, modules=modules)
        if decision is None:
            assert isinstance(value, Int)
            return value.low
        return _value(decision, values)

    def _compute(self, node: Layer, values: Values, modules: bool) -> Any:
        if node.target == "searchitect.OUTPUTS":
            if self.outputs is None:
                raise UsageError("the space asks for the number of outputs: pass outputs=... to supernet()")
            return self.outputs
        args = {name: self.evaluate(arg, values, modules=modules) for name, arg in node.args.items()}
        function = FUNCTIONS.get(node.target) or node.function
        if function is None:
            raise BuildError(f"'{self.space.place_of(node)}': {node.target!r} is not known in this process")
        try:
            return function(*args.values()) if node.target in FUNCTIONS else apply(function, args)
        except Exception as error:
            raise _failure(Plan(node.target, args, self.space.place_of(node)), error) from error

    def values_below(self, value: Any) -> Iterator[Decision]:
        """The decisions that arguments hold, without those inside modules."""
        if isinstance(value, (list, tuple, dict)):
            for item in value.values() if isinstance(value, dict) else value:
                yield from self.values_below(item)
        elif isinstance(value, Node) and not value.module:
            decision = self.space.decision_of(value)
            if decision is not None:
                yield decision
            for _, child in value.children():
                yield from self.values_below(child)


class Open(Exception):
    """A decision without a value was met."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.name)
        self.decision = decision


def _value(decision: Decision, values: Values) -> Scalar:
    if decision.name not in values:
        raise Open(decision)
    return values[decision.name]


class _Recipe:
    """One layer: its target and arguments, and the values that are fixed around it."""

    def __init__(self, assembly: Assembly, node: Layer, fixed: Values) -> None:
        self.assembly, self.node, self.fixed = assembly, node, dict(fixed)
        self.place = assembly.space.place_of(node)
        found = {d.name: d for d in assembly.values_below(node.args) if d.name not in fixed}
        self.decisions: tuple[Decision, ...] = tuple(found.values())

    def make(self, values: Values) -> nn.Module:
        """The layer for these values; its parts keep their open decisions."""
        own = {d.name: values[d.name] for d in self.decisions if d.name in values}
        try:
            args = self.assembly.evaluate(self.node.args, {**self.fixed, **own})
        except Open as error:
            raise UsageError(
                f"decision {error.decision.name!r} has no value, and {self.place!r} needs one: give mix() weights or "
                f"values={{{error.decision.name!r}: ...}} (allowed is {error.decision.allowed()})"
            ) from None
        return self.assembly.call(self.node.target, args, self.node)

    def arguments(self, values: Values) -> dict[str, Any]:
        """The plain arguments for these values, None for each module. Raises Open."""
        found: dict[str, Any] = self.assembly.evaluate(self.node.args, {**self.fixed, **values}, modules=False)
        return found

    def combinations(self) -> list[dict[str, Scalar]] | None:
        """Every combination of values that the arguments can have; None when there are too many to keep."""
        found: list[dict[str, Scalar]] = []
        waiting: list[dict[str, Scalar]] = [{}]
        while waiting:
            values = waiting.pop()
            try:
                self.arguments(values)
            except Open as error:
                decision = error.decision
                if decision.labels is None or decision.n > LIMIT:
                    return None
                waiting += [{**values, decision.name: label} for label in reversed(decision.labels)]
                continue
            found.append(values)
            if len(found) > LIMIT:
                return None
        return found


def has_sizes(space: Space) -> bool:
    """Whether a decision of the space is a value rather than a gate."""
    return any(not decision.modules for decision in space.decisions)


def check_no_floats(space: Space, fixed: Mapping[str, Scalar]) -> None:
    """Raises SpaceError for a real number that is not fixed."""
    for decision in space.decisions:
        if decision.labels is None and decision.name not in fixed:
            raise SpaceError(
                f"decision {decision.name!r} is a real number ({decision.allowed()}), which cannot be weighed: fix it "
                f"by values={{{decision.name!r}: ...}} or offer a few values by one_of(...)"
            )
