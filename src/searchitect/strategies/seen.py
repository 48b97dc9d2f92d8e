"""What has been proposed already, up to equivalence, and random proposals that are new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal

from searchitect.errors import ArchitectureError, SpaceError, UsageError
from searchitect.seeds import Stream
from searchitect.space import Architecture, Space
from searchitect.strategies.base import ATTEMPTS, Setting, almost_empty, led_to_limits

Sameness = Literal["equivalent", "identical"]
LISTED = 50_000  # architectures; what is left of a space up to this size is listed once random draws find nothing new
DRAWS = 100  # random draws before that
FREE, LED = 250, 10  # where distances to the limits are known: random draws, then how many of them are led there


class Seen:
    """A set of architectures. `by` says which count as the same.

    "equivalent": those with one canonical key (`Space.key`: 30 µs for a flat space, 0.25 ms for NAS-Bench-201 with one
    cell a stage, 0.9 ms with five, 0.4 ms for DARTS); "identical": only those with the same decisions (1 µs).
    """

    def __init__(self, space: Space, by: Sameness) -> None:
        if by not in ("equivalent", "identical"):
            raise UsageError(f"the same architecture: write 'equivalent' or 'identical', got {by!r}")
        self._space = space
        self._exact = by == "identical"
        self.names: set[object] = set()
        self._left: list[tuple[object, Architecture]] | None = None  # of a small space, once it has been listed
        self.empty = False  # whether that list had nothing in it

    def __contains__(self, architecture: Architecture) -> bool:
        return self.name(architecture) in self.names

    def name(self, architecture: Architecture) -> object:
        """Equal for architectures that count as the same."""
        if self._exact:
            return architecture
        try:
            key = self._space.key(architecture)
        except ArchitectureError:  # a value of the plan cannot be computed: it equals itself only
            return architecture
        return hashlib.blake2b(key.encode(), digest_size=16).digest()

    def add(self, architecture: Architecture) -> bool:
        """Remember it. Whether it was new."""
        before = len(self.names)
        self.names.add(self.name(architecture))
        return len(self.names) > before

    def left(self, setting: Setting) -> list[Architecture]:
        """All feasible architectures that are not here, of a finite space; it is walked once."""
        if self._left is None:
            every = setting.space.enumerate()
            self._left = [(self.name(a), a) for a in every if setting.feasible is None or setting.feasible(a)]
            self.empty = not self._left
        self._left = [(name, a) for name, a in self._left if name not in self.names]
        return [a for _, a in self._left]


def unseen(
    setting: Setting, seen: Seen, source: Stream, draw: Callable[[Stream], Architecture] | None = None
) -> Architecture:
    """A random feasible architecture that is new, and remembered from now on.

    Raises SpaceError when all have been seen, or when (almost) none is feasible.
    """
    make = draw or setting.space.sample
    size = setting.space.size
    small = not size.continuous and size.finite <= LISTED
    infeasible: list[Architecture] = []
    drawn = DRAWS if small else ATTEMPTS if setting.excess is None else FREE
    for _ in range(drawn):
        architecture = make(source)
        if setting.feasible is not None and not setting.feasible(architecture):
            infeasible.append(architecture)
        elif seen.add(architecture):
            return architecture
    if small and (left := seen.left(setting)):
        architecture = source.pick(left)
        seen.add(architecture)
        return architecture
    led = 0
    for start in () if small else infeasible[:LED]:
        found = led_to_limits(setting, source, start)
        led += found is not None
        if found is not None and seen.add(found):
            return found
    if seen.empty if small else len(infeasible) == drawn and not led:
        raise almost_empty(setting)
    raise exhausted(setting, "all" if small else f"the last {drawn + led:,} random")


def kicks(space: Space, centre: Architecture, kick: int) -> Callable[[Stream], Architecture]:
    """Draws `kick` mutations of the centre in a row; one more after every 20 draws that were of no use."""
    turns = 0

    def draw(source: Stream) -> Architecture:
        nonlocal turns
        turns += 1
        architecture = centre
        for _ in range(kick + turns // 20):
            architecture = space.mutate(architecture, source)
        return architecture

    return draw


def exhausted(setting: Setting, which: str) -> SpaceError:
    """The error that ends a search in which nothing new is left."""
    return SpaceError(
        f"the space is exhausted: {which} architectures that keep the limits have been proposed, or an equivalent of "
        "each. Widen the space to search on"
    )
