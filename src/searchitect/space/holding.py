"""A part of a space: some decisions are held at a value, the others stay free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from searchitect.errors import ArchitectureError
from searchitect.space.architecture import Scalar
from searchitect.space.compile import Compiled, Values
from searchitect.space.decision import Decision


class Held:
    """The free decisions of a compiled space, in their old order, and the template with the held values in it.

    What a held value does not bring in is gone. What it brings in takes its place in the tree.
    """

    by_name: dict[str, Decision]
    targets: dict[str, Any]
    ties: list[str]
    decision_of: dict[int, Decision]
    place_of: dict[int, str]
    roots: tuple[Decision, ...]

    def __init__(self, whole: Compiled | Held, held: Mapping[str, Scalar]) -> None:
        for name, value in held.items():
            if name not in whole.by_name:
                raise ArchitectureError(f"decision {name!r} does not exist in this space: leave it out")
            whole.by_name[name].check(value)
        self.held = dict(held)
        self._made: dict[str, Decision] = {}
        self.roots = self._contract(whole.roots)
        self.by_name = {name: self._made[name] for name in whole.by_name if name in self._made}
        for i, decision in enumerate(self.by_name.values()):
            decision.id = i
        self.targets, self.place_of = whole.targets, whole.place_of
        self.ties = [name for name in whole.ties if name in self.by_name]
        self.decision_of = {i: self.by_name[d.name] for i, d in whole.decision_of.items() if d.name in self.by_name}
        self._template = whole.template

    def template(self, values: Values, outputs: int | None) -> Any:
        """The plan of an architecture whose free decisions are given."""
        return self._template({**self.held, **values}, outputs)

    def _contract(self, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
        found: dict[str, Decision] = {}
        for decision in decisions:
            if decision.name not in self.held:
                found.setdefault(decision.name, self._copy(decision))
            elif decision.children is not None:
                below = decision.children[decision.position(self.held[decision.name])]
                found.update({d.name: d for d in self._contract(below) if d.name not in found})
        return tuple(found.values())

    def _copy(self, old: Decision) -> Decision:
        if old.name not in self._made:
            bounds = (old.low, old.high)
            new = Decision(old.name, old.kind, old.labels, bounds, log=old.log, modules=old.modules)
            below = [self._contract(children) for children in old.children or ()]
            new.children = below if any(below) else None
            self._made[old.name] = new
        return self._made[old.name]
