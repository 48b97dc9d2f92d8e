"""The user's object for a search space: one tree of nodes, and everything that is asked of it."""

from __future__ import annotations

import hashlib
import html
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

from searchitect.errors import ArchitectureError, SpaceError
from searchitect.space import canonical, count, drawing, encoding, moves, serial
from searchitect.space.architecture import Architecture, Scalar
from searchitect.space.compile import Compiled
from searchitect.space.decision import Decision, Plan
from searchitect.space.holding import Held
from searchitect.space.limits import Limit
from searchitect.space.limits import read as read_limits
from searchitect.space.moves import Draws
from searchitect.space.nodes import Node, describe, is_module


class Space:
    """What may be chosen.

    root:     the network as a tree of nodes (a module, not a value).
    name:     how the space is called in reports.
    baseline: the architecture (decisions by name) or zero-argument factory of a hand-made network that a
              search must beat.
    limits:   what every proposal keeps: `limit("params < 1e6")`, or functions of an architecture (`limits.py`).
    notes:    what its maker has to say about it, for people.

    Raises SpaceError when the tree cannot be a space: no module at the root, two decisions with one
    name, options that differ under one tie, a node that contains itself.
    """

    _held_in: tuple[Space, dict[str, Scalar]] | None = None  # of a part: the whole, and what is held

    def __init__(
        self, root: Any, *, name: str = "", baseline: Any = None, limits: Any = (), notes: Iterable[str] = ()
    ) -> None:
        if not is_module(root):
            raise SpaceError(
                f"a space describes a module, got {describe(root)}: write for example Space(L.Sequential(...))"
            )
        self.root: Node = root
        self.name = name
        self.baseline = baseline
        self.limits = read_limits(limits)
        self.notes = tuple(notes)
        self._adopt(Compiled(root))

    def _adopt(self, compiled: Compiled | Held) -> None:
        self._compiled = compiled
        self.roots = self._compiled.roots
        self.by_name: dict[str, Decision] = self._compiled.by_name
        self.decisions: tuple[Decision, ...] = tuple(self.by_name.values())
        self.targets: dict[str, Any] = self._compiled.targets
        flat = all(d.children is None for d in self.decisions) and len(self.roots) == len(self.decisions)
        self.flat_total = self._flat_total() if flat else 0
        self.flat_parts = [(d.name, d.labels, d.n) for d in self.decisions if d.labels is not None]

    def _flat_total(self) -> int:
        """The number of architectures when one uniform draw serves all decisions, else 0."""
        uniform = not any(d.log or d.labels is None for d in self.decisions)
        return math.prod(d.n for d in self.decisions) if uniform else 0

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name the definition; stored with every architecture."""
        text = serial.to_json(self.root, self.limits, strict=False)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def ties(self) -> list[str]:
        """Names of the decisions that stand in several places."""
        return list(self._compiled.ties)

    def decision_of(self, node: Node) -> Decision | None:
        """The decision that a node of this space's tree stands for; None where nothing is decided."""
        return self._compiled.decision_of.get(id(node))

    def place_of(self, node: Node) -> str:
        """Where a node of this space's tree stands (a tied one: where it was met first), for messages."""
        return self._compiled.place_of.get(id(node), "")

    @cached_property
    def size(self) -> count.Size:
        """The exact number of architectures, with ties and conditions (`count.Size`)."""
        return count.size(self.roots)

    @cached_property
    def uniform(self) -> count.Uniform:
        """What `sample(by="architecture")` remembers."""
        return count.Uniform(self.roots)

    def hold(self, decisions: Mapping[str, Scalar]) -> Space:
        """The part of this space in which these decisions have these values; its architectures name the others only.

        `whole` gives the architecture of this space that one of the part stands for. A part is for searching in; it has
        no limits of its own, since they are asked of whole architectures. Raises ArchitectureError for a wrong value.
        """
        part = Space.__new__(Space)
        part.root, part.name, part.baseline, part.limits, part.notes = self.root, self.name, None, (), ()
        part._adopt(Held(self._compiled, decisions))
        part._held_in = (self, dict(decisions))
        text = repr((self.fingerprint, sorted(decisions.items())))
        part.__dict__["fingerprint"] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return part

    def whole(self, architecture: Architecture) -> Architecture:
        """Of a part that `hold` made: the architecture of the space that it is a part of."""
        if self._held_in is None:
            return architecture
        space, held = self._held_in
        chosen = {**held, **self._own(architecture).decisions}
        return Architecture(space.fingerprint, space.trace(lambda decision: chosen[decision.name]))

    # -- one walk ------------------------------------------------------------------------------------

    def trace(self, decide: Callable[[Decision], Scalar]) -> dict[str, Scalar]:
        """The one walk: ask `decide` for the value of each active decision, in order; tied ones once."""
        chosen: dict[str, Scalar] = {}
        stack = list(self.roots[::-1])
        while stack:
            decision = stack.pop()
            if decision.name in chosen:
                continue
            value = decide(decision)
            chosen[decision.name] = value
            if decision.children is not None:
                stack.extend(reversed(decision.children[decision.position(value)]))
        return chosen

    # -- moves ---------------------------------------------------------------------------------------

    def sample(self, draws: Draws | int, *, by: Literal["branch", "architecture"] = "branch") -> Architecture:
        """A random architecture; `draws` is a stream of `searchitect.seeds` or a seed.

        "branch" draws each decision uniformly among its options; "architecture" is uniform over all
        architectures (exact, slower).
        """
        return moves.sample(self, moves.draws_of(draws), by)

    def mutate(self, architecture: Architecture, draws: Draws | int) -> Architecture:
        """Change one active decision; never returns its input. Raises SpaceError in a space of one point."""
        return moves.mutate(self, self._own(architecture), moves.draws_of(draws))

    def cross(
        self, first: Architecture, second: Architecture, draws: Draws | int, *, points: int = 0
    ) -> Architecture:  # fmt: skip
        """A child that takes each decision from one of two parents; always valid.

        points: 0 draws the parent of each decision; 1, 2, ... cut the row of decisions at so many places and take
        the parts from the parents in turn.
        """
        return moves.cross(self, self._own(first), self._own(second), moves.draws_of(draws), points)

    def neighbours(self, architecture: Architecture, draws: Draws | int = 0) -> Iterator[Architecture]:
        """All architectures that differ in one decision (numbers: by one step), each once.

        Decisions that become active are drawn from `draws`. Floats take one step up and one down.
        """
        return moves.neighbours(self, self._own(architecture), moves.draws_of(draws))

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture once. Raises SpaceError for a space with a Float."""
        return moves.enumerate_all(self)

    def at(self, index: int) -> Architecture:
        """Architecture number `index`, without listing the others; numbers 0 to size - 1 name each one once.

        Raises SpaceError for a space with a Float and for an index that is not below the size.
        """
        return moves.at(self, index)

    # -- one architecture ----------------------------------------------------------------------------

    def architecture(self, decisions: Mapping[str, Scalar]) -> Architecture:
        """An architecture from decisions by name. Raises ArchitectureError naming the first wrong one."""
        architecture = self.validate(Architecture(self.fingerprint, dict(decisions)))
        # as the space writes them: its own order, and its own 3 where 3.0 was given
        chosen = self.trace(lambda d: d.own(architecture.decisions[d.name]))
        return Architecture(self.fingerprint, chosen)

    def validate(self, architecture: Architecture) -> Architecture:
        """Raises ArchitectureError unless exactly the active decisions are there with allowed values."""
        self._own(architecture)
        given = architecture.decisions

        def decide(decision: Decision) -> Scalar:
            if decision.name not in given:
                raise ArchitectureError(f"decision {decision.name!r} is missing; allowed is {decision.allowed()}")
            decision.check(given[decision.name])
            return given[decision.name]

        active = self.trace(decide)
        for name in given:
            if name not in active:
                why = "is not active here" if name in self.by_name else "does not exist in this space"
                raise ArchitectureError(f"decision {name!r} {why}: leave it out")
        return architecture

    def allows(self, architecture: Architecture) -> bool:
        """Whether the limits that are functions allow it; those on costs are for `nets.Costs.feasible`."""
        return all(one.allows(architecture) for one in self.limits if not one.metric)

    @property
    def cost_limits(self) -> tuple[Limit, ...]:
        """The limits on params, macs and memory_mb."""
        return tuple(one for one in self.limits if one.metric)

    def _own(self, architecture: Architecture) -> Architecture:
        if architecture.space != self.fingerprint:
            raise ArchitectureError(
                f"the architecture belongs to space {architecture.space}, not to {self.name or 'this space'} "
                f"({self.fingerprint}): read the space it was found in, or take a new one from sample()"
            )
        return architecture

    def plan(self, architecture: Architecture, outputs: int | None = None) -> Plan:
        """What to build. Without `outputs` the number of outputs stays a symbol."""
        try:
            plan: Plan = self._compiled.template(architecture.decisions, outputs)
        except KeyError:  # checked only now, as plans are asked for often and wrong ones are rare
            self.validate(architecture)
            raise
        return plan

    def key(self, architecture: Architecture, *, zero_preserving: bool = False) -> str:
        """The canonical key: equal keys never belong to different functions (see `canonical.py`)."""
        return canonical.key(self.plan(architecture), zero_preserving=zero_preserving)

    def encode(self, architecture: Architecture) -> list[float]:
        """A vector of fixed length; `features` names its entries."""
        self._own(architecture)
        return encoding.encode(self.decisions, architecture)

    @property
    def features(self) -> list[str]:
        """What each entry of `encode` means."""
        return encoding.features(self.decisions)

    def draw(self, architecture: Architecture | None = None, *, width: int = 80) -> str:
        """The space, or one architecture, as a text drawing."""
        if architecture is None:
            return drawing.draw_space(self.root, width)
        return drawing.draw_plan(self.plan(architecture), width)

    # -- files ---------------------------------------------------------------------------------------

    def to_json(self, *, strict: bool = True) -> str:
        """The definition as JSON. Raises SpaceError for classes defined inside functions, unless not `strict`."""
        return serial.to_json(self.root, self.limits, strict=strict)

    @classmethod
    def from_json(cls, text: str, *, name: str = "", targets: Mapping[str, Any] | None = None) -> Space:
        """Read what `to_json` wrote; imports nothing. `targets` brings the user's classes by their path."""
        root, found = serial.from_json(text, targets or {})
        return cls(root, name=name, limits=found)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._held_in is not None:
            return Space.hold, self._held_in
        text = serial.to_json(self.root, strict=False)
        rest = {"baseline": self.baseline, "limits": self.limits, "notes": self.notes}
        return _restore, (text, self.name, self.targets, rest)

    def _repr_html_(self) -> str:
        """Size and drawing, for notebooks."""
        title = f"{self.name or 'space'}: {self.size} architectures, {len(self.decisions)} decisions"
        return f"<p><b>{html.escape(title)}</b></p><pre>{html.escape(self.draw())}</pre>"

    def __repr__(self) -> str:
        return f"<Space {self.name or self.fingerprint}: {self.size} architectures, {len(self.decisions)} decisions>"


def _restore(text: str, name: str, targets: dict[str, Any], rest: dict[str, Any]) -> Space:
    return Space(serial.from_json(text, targets)[0], name=name, **rest)
