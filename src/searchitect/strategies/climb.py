"""What local search remembers of a walk."""

from __future__ import annotations

from typing import NamedTuple

from searchitect.space import Architecture
from searchitect.strategies.base import Member


class Climb:
    """One walk: where it stands, which neighbours are still to be tried, how many are out."""

    __slots__ = ("best", "centre", "left", "out", "weights")

    def __init__(self, weights: tuple[float, ...]) -> None:
        self.weights = weights  # of the goals, where there are several
        self.centre: Member | None = None
        self.best: Member | None = None  # of the neighbours measured so far, for move = "best"
        self.left: list[Architecture] | None = None  # None: not listed yet
        self.out = 0

    def move(self, member: Member) -> None:
        """Stand there; its neighbours are listed when one is asked for."""
        self.centre, self.left, self.best = member, None, None


class Step(NamedTuple):
    """What is proposed, for which walk. `name` is what counts as the same (see `Seen.name`)."""

    climb: Climb
    architecture: Architecture
    name: object
    origin: str
    parents: tuple[int, ...] = ()
