"""Architectures to choose among: near good ones and anywhere, feasible, and not seen before."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from searchitect.seeds import Stream
from searchitect.space import Architecture
from searchitect.strategies.base import Setting

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
