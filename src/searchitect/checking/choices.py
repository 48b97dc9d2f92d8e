"""Which choices of a space do nothing, by canonical keys: dead decisions, twin options, options that are never allowed.

Equal keys mean equal functions (`space/canonical.py`), so "no effect" is certain for the places that were looked at;
a class of the user's that ignores an argument is opaque, and not found out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from searchitect.errors import ArchitectureError
from searchitect.seeds import stream
from searchitect.space import Architecture, Decision, Draws, Scalar, Space
from searchitect.space.moves import draw_value

PLACES = 6  # architectures in which a decision is looked at
VALUES = 12  # values of a decision that are compared
KEYS = 4_000  # in all
TRIES = 30  # architectures with one value, until it counts as never allowed


class Choices(NamedTuple):
    """dead: decisions without effect wherever they were tried. twins: (decision, option, the same option before it).
    hidden: share of places in which a decision had no effect, where that is neither never nor always.
    never: (decision, value) that none of `TRIES` valid architectures within the limits had. looked: how many decisions.
    """

    dead: list[str]
    twins: list[tuple[str, Scalar, Scalar]]
    hidden: dict[str, float]
    never: list[tuple[str, Scalar]]
    looked: int


def look(space: Space, drawn: Sequence[Architecture], allowed: Callable[[Architecture], bool], seed: int) -> Choices:
    """`drawn` are architectures of the space, in which decisions are looked at first."""
    above = _above(space)
    found = Choices([], [], {}, _never(space, drawn, allowed, above, seed), 0)
    spent = looked = 0
    for decision in space.decisions:
        if spent > KEYS:
            break
        values = some_values(decision)
        draws = stream(seed, decision.id, "check choices")
        places = [a for a in drawn if decision.name in a.decisions][:PLACES]
        while len(places) < PLACES:
            places.append(_with(space, {**_way(decision, above, draws)}, draws))
        rows = [[_key(space, _with(space, {**a.decisions, decision.name: v}, draws)) for v in values] for a in places]
        spent += len(values) * len(places)
        looked += 1
        _note(found, decision, values, rows)
    return found._replace(looked=looked)


def _note(found: Choices, decision: Decision, values: list[Scalar], rows: list[list[Any]]) -> None:
    """What the keys of one decision say, one row for each place."""
    without = sum(len(set(row)) == 1 for row in rows)
    if without == len(rows):
        found.dead.append(decision.name)
        return
    if without:
        found.hidden[decision.name] = without / len(rows)
    twins: set[int] = set()
    for i, j in itertools.combinations(range(len(values)), 2):
        if j not in twins and all(row[i] == row[j] for row in rows):
            twins.add(j)
            found.twins.append((decision.name, values[j], values[i]))


def _never(
    space: Space, drawn: Sequence[Architecture], allowed: Callable[[Architecture], bool],
    above: dict[str, list[tuple[Decision, int]]], seed: int,
) -> list[tuple[str, Scalar]]:  # fmt: skip
    """Values that no valid architecture had, neither among those drawn nor when they were asked for."""
    seen = {(name, value) for a in drawn if allowed(a) for name, value in a.decisions.items()}
    lost = []
    for decision in space.decisions:
        for value in some_values(decision) if decision.labels is not None else []:
            if (decision.name, value) in seen:
                continue
            draws = stream(seed, decision.id, "check values")
            ways = ({**_way(decision, above, draws), decision.name: value} for _ in range(TRIES))
            for way in ways:
                architecture = _with(space, way, draws)
                if allowed(architecture):
                    seen.update(architecture.decisions.items())
                    break
            else:
                lost.append((decision.name, value))
    return lost


def some_values(decision: Decision) -> list[Scalar]:
    """All values of a decision, or a dozen from its smallest to its largest."""
    if decision.labels is None:
        return [decision.low, (decision.low + decision.high) / 2, decision.high]
    if decision.n <= VALUES:
        return list(decision.labels)
    return [decision.labels[round(i * (decision.n - 1) / (VALUES - 1))] for i in range(VALUES)]


def _above(space: Space) -> dict[str, list[tuple[Decision, int]]]:
    """For each decision the options that bring it in."""
    found: dict[str, list[tuple[Decision, int]]] = {}
    for decision in space.decisions:
        for i, kids in enumerate(decision.children or ()):
            for kid in kids:
                found.setdefault(kid.name, []).append((decision, i))
    return found


def _way(decision: Decision, above: dict[str, list[tuple[Decision, int]]], draws: Draws) -> dict[str, Scalar]:
    """Values of the decisions above one that make it active."""
    way: dict[str, Scalar] = {}
    while above.get(decision.name):
        options = above[decision.name]
        decision, i = options[draws.below(len(options))]
        if decision.labels is None or decision.name in way:
            break
        way[decision.name] = decision.labels[i]
    return way


def _with(space: Space, fixed: dict[str, Scalar], draws: Draws) -> Architecture:
    """An architecture with these values; the others are drawn."""
    chosen = space.trace(lambda d: fixed[d.name] if d.name in fixed else draw_value(d, draws))
    return Architecture(space.fingerprint, chosen)


def variants(space: Space, architecture: Architecture, decision: Decision, draws: Draws) -> Iterable[Architecture]:
    """The architecture with every other value of one decision."""
    now = architecture.decisions[decision.name]
    for value in some_values(decision):
        if value != now:
            yield _with(space, {**architecture.decisions, decision.name: value}, draws)


def _key(space: Space, architecture: Architecture) -> Any:
    try:
        return space.key(architecture)
    except ArchitectureError:  # a value computed in the space cannot be
        return architecture
