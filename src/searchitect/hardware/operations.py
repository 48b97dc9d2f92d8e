"""The operations of a network as its plan lists them, each with a name that says all that its time depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from searchitect.nets.block_costs import BLOCK_COSTS
from searchitect.nets.layer_costs import LAYER_COSTS
from searchitect.nets.parts import Part, Shape, Unusual, Walk, numbers
from searchitect.space import Plan

Own = Callable[[Plan, Shape, Part, int], float]
_KEPT = 20_000  # plans that are remembered; a plan of one architecture never comes back
_RULES = LAYER_COSTS | BLOCK_COSTS
_UNTOLD = frozenset({"device", "dtype", "in_channels", "in_features", "num_features"})  # they follow from the input


class Operation(NamedTuple):
    """name: target, arguments and input shape. macs, numbers: what it multiplies, reads and writes by itself."""

    name: str
    kind: str
    macs: int
    numbers: int


def operation(plan: Plan, shape: Shape, part: Part, macs: int) -> Operation:
    """The operation of one module by itself: what it holds has operations of its own. `macs` are its own, too."""
    kind = _kind(plan.target)
    args = ", ".join(f"{k}={_text(v)}" for k, v in sorted(plan.args.items()) if k not in _UNTOLD and v is not None)
    return Operation(f"{kind}({args}) @ {_sizes(shape)}", kind, macs, numbers(shape) + numbers(part.shape))


def _kind(target: str) -> str:
    home, _, name = target.rpartition(".")
    if home == "torch.nn":
        return f"nn.{name.removeprefix('Lazy')}"
    return name if home == "searchitect.nets" else target


def _text(value: Any) -> str:
    if isinstance(value, Plan):
        return "." if value.module else f"{value.target}({', '.join(_text(v) for v in value.args.values())})"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{' '.join(f'{k}={_text(v)}' for k, v in value.items())}}}"
    return repr(value)


def _sizes(shape: Shape) -> str:
    if shape and isinstance(shape[0], tuple):
        return " & ".join(map(_sizes, shape))
    return "x".join(map(str, shape)) or "1"


class Tally:
    """Adds up a number over all modules of a plan: `own(plan, shape, part, macs)` for each, with the macs that are not
    those of modules below it. Calls give the `Part`, as `nets.parts.Walk` does, so that the same rules lead through it.
    """

    def __init__(self, probe: Callable[[Plan, Shape], Part], own: Own, *, remember: bool = True) -> None:
        self._probe, self._own, self._remember = probe, own, remember
        self._known: dict[tuple[int, Shape], tuple[Plan, Part, float]] = {}  # the plan is held: its id stays its own
        self._below: list[list[tuple[float, int]]] = [[]]  # of what is being walked: sums and macs of its modules

    def total(self, plan: Plan, shape: Shape) -> float:
        """The sum over a plan at one input shape. Raises BuildError, naming the place, where it does not fit."""
        self._below = [[]]
        if len(self._known) > _KEPT:
            self._known.clear()
        self(plan, shape)
        return self._below[0][0][0]

    def __call__(self, plan: Plan, shape: Shape) -> Part:
        key = (id(plan), shape)
        found = self._known.get(key)
        if found is None:
            self._below.append([])
            try:
                part = self._part(plan, shape)
            finally:
                below = self._below.pop()
            macs = part.macs - sum(macs for _, macs in below)
            found = plan, part, sum(value for value, _ in below) + self._own(plan, shape, part, macs)
            if self._remember:
                self._known[key] = found
        self._below[-1].append((found[2], found[1].macs))
        return found[1]

    def _part(self, plan: Plan, shape: Shape) -> Part:
        rule = _RULES.get(plan.target)
        if rule is not None:
            try:
                return rule(cast(Walk, self), plan, shape)
            except (Unusual, TypeError, KeyError, ValueError, IndexError, ZeroDivisionError):
                self._below[-1].clear()  # what it holds is timed with it
        return self._probe(plan, shape)
