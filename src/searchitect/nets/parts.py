"""Costs on paper: what a plan gives out, holds and multiplies, from tables, without building anything.

A *shape* here has no batch: (C, H, W), (T, C), ... A list of tensors is a tuple of shapes. `Walk` looks up
one rule per target and remembers the answer for (plan, shape); whatever no table knows goes to `probe`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from searchitect.errors import BuildError
from searchitect.space import Plan

Shape = tuple[Any, ...]  # of whole numbers, or of shapes

_RECENT = 50  # plans met once that are kept; many more would only feed the garbage collector
_KNOWN = 100_000  # plans met again that are kept


class Part(NamedTuple):
    """The cost of one module at one input shape.

    macs:   multiply-accumulates of convolutions, matrix products and attention, per sample.
    kept:   numbers (4 bytes each) that stay for the backward pass inside, per sample, without the input and
            the output, for which `keeps_input` and `keeps_output` speak: a tensor between two modules is
            one tensor, whoever keeps it.
    view:   gives its input on unchanged, or a view of it.
    """

    shape: Shape
    params: int = 0
    macs: int = 0
    kept: int = 0
    keeps_input: bool = False
    keeps_output: bool = False
    view: bool = False


class Unusual(Exception):
    """A rule met arguments that it does not know: probe instead."""


Rule = Callable[["Walk", Plan, Shape], Part]


class Walk:
    """Calls give the `Part` of a plan at a shape. Raises BuildError, naming the place, where it does not fit.

    A part of a space without decisions is the same plan every time, and a plan of one architecture never comes
    back: what is met twice is remembered for good, what was met once only for a short while.
    """

    def __init__(self, rules: Mapping[str, Rule], probe: Callable[[Plan, Shape], Part]) -> None:
        self._rules = rules
        self._probe = probe
        self._known: dict[tuple[int, Shape], tuple[Plan, Part]] = {}  # the plan is held, so that its id stays its own
        self._recent: dict[tuple[int, Shape], tuple[Plan, Part]] = {}
        self._before: dict[tuple[int, Shape], tuple[Plan, Part]] = {}

    def __call__(self, plan: Plan, shape: Shape) -> Part:
        key = (id(plan), shape)
        found = self._known.get(key)
        if found is not None:
            return found[1]
        found = self._recent.get(key) or self._before.get(key)
        if found is not None:
            self._known[key] = found
            return found[1]
        part = self._fresh(plan, shape)
        self._recent[key] = plan, part
        return part

    def settle(self) -> None:
        """To be called between architectures: lets go of old plans, never of those of the latest one."""
        if len(self._recent) > _RECENT:
            self._before, self._recent = self._recent, {}
        if len(self._known) > _KNOWN:
            self._known.clear()

    def _fresh(self, plan: Plan, shape: Shape) -> Part:
        rule = self._rules.get(plan.target)
        if rule is None:
            return self._probe(plan, shape)
        try:
            return rule(self, plan, shape)
        except (Unusual, TypeError, KeyError, ValueError, IndexError, ZeroDivisionError):
            return self._probe(plan, shape)  # builds it, and so gives the right answer or the true error


def place(plan: Plan) -> str:
    """Where a plan stands in its space, as the user named it, for messages."""
    name = plan.target.rpartition(".")[2]
    return f"'{plan.path}' ({name})" if plan.path else f"the root ({name})"


def misfit(plan: Plan, text: str) -> NoReturn:
    """Say that a module does not fit its input."""
    raise BuildError(f"{place(plan)}: {text}")


def chain(parts: list[Part], shape: Shape) -> Part:
    """One after the other. `parts[i]` was taken at the output shape of `parts[i - 1]`, the first at `shape`."""
    params = macs = kept = 0
    first: Part | None = None
    last: Part | None = None
    for part in parts:
        params += part.params
        macs += part.macs
        kept += part.kept
        if not part.view:
            if last is None:
                first = part
            elif last.keeps_output or part.keeps_input:
                kept += numbers(shape)
            last = part
        shape = part.shape
    if first is None or last is None:
        return Part(shape, params, macs, kept, view=True)
    return Part(shape, params, macs, kept, first.keeps_input, last.keeps_output)


def side_by_side(plan: Plan, parts: list[Part], merge: str) -> Part:
    """The same input to each, outputs summed or concatenated along the first dimension."""
    shape = parts[0].shape
    if merge == "sum":
        same_shapes(plan, [part.shape for part in parts])
    elif merge != "concat":
        raise Unusual
    else:
        if any(part.shape[1:] != shape[1:] for part in parts):
            shapes = " and ".join(str(part.shape) for part in parts)
            misfit(plan, f"only outputs of one size can be put side by side, got {shapes}")
        shape = (sum(part.shape[0] for part in parts), *shape[1:])
    kept = sum(part.kept + (numbers(part.shape) if part.keeps_output else 0) for part in parts)
    params, macs = sum(part.params for part in parts), sum(part.macs for part in parts)
    return Part(shape, params, macs, kept, any(part.keeps_input for part in parts))


def same_shapes(plan: Plan, shapes: list[Shape]) -> None:
    """Raises BuildError unless all are equal."""
    if any(shape != shapes[0] for shape in shapes):
        text = " and ".join(str(shape) for shape in dict.fromkeys(shapes))
        misfit(plan, f"only outputs of one shape can be summed, got {text}: give the branches one width and stride")


def numbers(shape: Shape) -> int:
    """How many numbers a tensor of this shape holds (all tensors of a list together)."""
    if shape and isinstance(shape[0], tuple):
        return sum(numbers(one) for one in shape)
    return math.prod(shape)
