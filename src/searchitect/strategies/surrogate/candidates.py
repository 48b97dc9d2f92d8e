"""Architectures to choose among: near good ones and anywhere, feasible, and not seen before.

`mutants` and `strangers` draw them; a `Pool` keeps them, with what a model sees of them, from one proposal to the next.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searchitect.seeds import Stream
from searchitect.space import Architecture
from searchitect.strategies.base import Setting
from searchitect.strategies.surrogate.features import Described, Features

Array = NDArray[np.float64]
MEMORY = 16_384  # architectures that a pool's `Features` describes at a time
LISTED = 20_000  # architectures; what is left of a space up to this size is listed once draws find nothing new
TRIES = 4  # draws for each candidate wanted; where a space is almost used up, fewer come back


class Candidate(NamedTuple):
    """An architecture and the position (in `parents`) of the one it was made from; None for a random one."""

    architecture: Architecture
    parent: int | None


def mutants(
    setting: Setting, source: Stream, parents: Sequence[Architecture], count: int, seen: Container[Architecture]
) -> list[Candidate]:
    """At most `count` children: each a parent, drawn uniformly, after 1, 2, 3, ... mutations (half, a quarter, ...).

    One child in five is a cross of two parents first, where there are two. None of `seen` and no child twice.
    """
    found: dict[Architecture, Candidate] = {}
    if not parents or not setting.space.decisions:
        return []
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        chosen = source.below(len(parents))
        child = parents[chosen]
        if len(parents) > 1 and source.below(5) == 0:
            child = setting.space.cross(child, source.pick(parents), source)
        child = setting.space.mutate(child, source)
        while source.below(2) and source.below(8):
            child = setting.space.mutate(child, source)
        if child not in seen and child not in found and (setting.feasible is None or setting.feasible(child)):
            found[child] = Candidate(child, chosen)
    return list(found.values())


def strangers(setting: Setting, source: Stream, count: int, seen: Container[Architecture]) -> list[Candidate]:
    """At most `count` random architectures, none of `seen` and none twice."""
    found: dict[Architecture, Candidate] = {}
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        one = setting.space.sample(source)
        if one not in seen and one not in found and (setting.feasible is None or setting.feasible(one)):
            found[one] = Candidate(one, None)
    return list(found.values())


class Pooled(NamedTuple):
    """A candidate in a pool. `parent` is the number of the trial that it was made from; -1 for none."""

    architecture: Architecture
    described: Described
    parent: int


class Pool:
    """Candidates that are no equivalents of one another or of anything closed, in an order that others may rely on.

    `closed` holds the keys that must not come in; others may add to it.
    """

    def __init__(self, features: Features, closed: Container[str]) -> None:
        self.features = features
        self.closed = closed
        self.items: list[Pooled] = []
        self.spent: dict[Architecture, str] = {}  # with their keys: in the pool, or found to be closed
        self._inside: set[str] = set()

    def extend(self, found: Iterable[tuple[Architecture, int]]) -> int:
        """Take in those that are new, given with their parents' numbers. How many were."""
        before = len(self.items)
        for architecture, parent in found:
            described = self.features.of(architecture)
            self.spent[architecture] = described.key
            if described.key not in self.closed and described.key not in self._inside:
                self._inside.add(described.key)
                self.items.append(Pooled(architecture, described, parent))
        return len(self.items) - before

    def refresh(
        self, setting: Setting, source: Stream, parents: Sequence[tuple[Architecture, int]], count: int
    ) -> None:
        """Take in about `count` new ones: three of four are children of the parents, one is random."""
        children = mutants(setting, source, [a for a, _ in parents], count - count // 4, self.spent)
        self.extend((c.architecture, parents[c.parent][1]) for c in children if c.parent is not None)
        self.extend((c.architecture, -1) for c in strangers(setting, source, count // 4, self.spent))

    def surround(self, setting: Setting, source: Stream, position: int, most: int) -> int:
        """Take in those that differ in one decision from the one at a position; at most `most` that were not looked
        at before, drawn at random. How many were looked at."""
        centre = self.items[position]
        near = [a for a in setting.space.neighbours(centre.architecture, source) if a not in self.spent]
        near = near if len(near) <= most else source.sample(near, most)
        feasible = setting.feasible
        self.extend((a, centre.parent) for a in near if feasible is None or feasible(a))
        return len(near)

    def list_all(self, setting: Setting) -> int:
        """Take in all that is left of a small space. How many there were; 0 in a large one."""
        size, feasible = setting.space.size, setting.feasible
        if size.continuous or size.finite > LISTED:
            return 0
        return self.extend((a, -1) for a in setting.space.enumerate() if feasible is None or feasible(a))

    def vectors(self, start: int = 0) -> Array:
        """(candidates from `start` on, features)."""
        if len(self.items) == start:
            return np.zeros((0, len(self.features.parts)))
        return np.array([item.described.vector for item in self.items[start:]], dtype=np.float64)

    def take(self, position: int) -> Pooled:
        """Take one out; the last takes its place."""
        taken = self.items[position]
        self.items[position] = self.items[-1]
        self.items.pop()
        self._inside.discard(taken.described.key)
        return taken

    def open(self) -> list[int]:
        """Positions of those that have not been closed meanwhile."""
        return [i for i, item in enumerate(self.items) if item.described.key not in self.closed]

    def keep(self, positions: Sequence[int]) -> None:
        """Let all others go; they may come back."""
        self.items = [self.items[i] for i in positions]
        self._inside = {item.described.key for item in self.items}
        self.spent = {a: k for a, k in self.spent.items() if k in self._inside or k in self.closed}
        if len(self.features) > MEMORY:
            inside = {item.architecture for item in self.items}
            self.features.forget(inside.__contains__)
