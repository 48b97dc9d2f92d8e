"""Moves in a space: sample, mutate, cross, neighbours, enumerate. Each takes its random draws as an argument."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from searchitect.errors import SpaceError, UsageError
from searchitect.space.architecture import Architecture, Scalar
from searchitect.space.decision import Decision

if TYPE_CHECKING:
    from searchitect.space.space import Space


class Draws(Protocol):
    """A source of random draws, such as a stream of `searchitect.seeds`."""

    def below(self, n: int) -> int:
        """A whole number in [0, n)."""
        ...

    def unit(self) -> float:
        """A float in [0, 1)."""
        ...


class _Hashed:
    """Draws from a plain seed, for interactive use; strategies bring keyed streams of their own."""

    def __init__(self, seed: int) -> None:
        self._state = seed & (2**64 - 1)

    def below(self, n: int) -> int:
        bits, value = 64, self._word()
        while bits < n.bit_length() + 64:  # so that no number is likelier than another by more than 2**-64
            bits, value = bits + 64, value << 64 | self._word()
        return value % n

    def unit(self) -> float:
        return (self._word() >> 11) * 2.0**-53

    def _word(self) -> int:
        # splitmix64 (Steele, Lea and Flood 2014)
        self._state = (self._state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = self._state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & (2**64 - 1)
        return z ^ z >> 31


def draws_of(draws: Draws | int) -> Draws:
    """A seed becomes a source of draws; a source stays what it is. Raises UsageError for anything else."""
    if hasattr(draws, "below") and hasattr(draws, "unit"):
        return draws
    try:
        return _Hashed(operator.index(draws))
    except TypeError:
        raise UsageError(
            f"draws={draws!r:.60} is no source of randomness: give a whole number or searchitect.seeds.stream(...)"
        ) from None


def draw_value(decision: Decision, draws: Draws) -> Scalar:
    """A value of one decision: uniform, on a log scale where the decision says so."""
    if decision.labels is None or decision.log:
        low, high = decision.low, decision.high
        if decision.log:
            number = math.exp(math.log(low) + (math.log(high) - math.log(low)) * draws.unit())
        else:
            number = low + (high - low) * draws.unit()
        number = min(max(number, low), high)
        return number if decision.labels is None else _nearest(decision, number)
    return decision.labels[draws.below(decision.n)]


def _nearest(decision: Decision, number: float) -> Scalar:
    labels = decision.labels
    assert isinstance(labels, range)
    return labels[min(max(round((number - labels.start) / labels.step), 0), len(labels) - 1)]


def sample(space: Space, draws: Draws, by: str) -> Architecture:
    """See `Space.sample`."""
    if by == "architecture":
        return Architecture(space.fingerprint, space.uniform.sample(draws))
    if by != "branch":
        raise UsageError(f"sample(by={by!r}): write 'branch' or 'architecture'")
    if space.flat_total:
        # no decision depends on another: one draw serves them all
        point = draws.below(space.flat_total)
        chosen: dict[str, Scalar] = {}
        for name, labels, n in space.flat_parts:
            point, i = divmod(point, n)
            chosen[name] = labels[i]
        return Architecture(space.fingerprint, chosen)
    return Architecture(space.fingerprint, space.trace(lambda decision: draw_value(decision, draws)))


def mutate(space: Space, architecture: Architecture, draws: Draws) -> Architecture:
    """See `Space.mutate`."""
    old = architecture.decisions
    if not old:
        raise SpaceError("cannot mutate: this space has one architecture only; give some decision a second option")
    # sorted: an architecture read from a file must move as the one it was written from
    name = sorted(old)[draws.below(len(old))]
    decision = space.by_name[name]
    return _with(space, old, decision, _other_value(decision, old[name], draws), draws)


def _other_value(decision: Decision, value: Scalar, draws: Draws) -> Scalar:
    if decision.labels is None:
        while (new := _step(decision, float(value or 0.0), draws)) == value:
            pass
        return new
    if decision.log:
        while (drawn := draw_value(decision, draws)) == value:
            pass
        return drawn
    i = draws.below(decision.n - 1)
    return decision.labels[i + (i >= decision.position(value))]


def _step(decision: Decision, value: float, draws: Draws) -> float:
    """A Float moves by a normal step of a fifth of its range, reflected at the bounds; one in five is drawn anew."""
    if draws.below(5) == 0:
        return float(draw_value(decision, draws))  # type: ignore[arg-type]
    low, high, at = decision.low, decision.high, value
    if decision.log:
        low, high, at = math.log(low), math.log(high), math.log(value)
    normal = math.sqrt(-2.0 * math.log(1.0 - draws.unit())) * math.cos(2.0 * math.pi * draws.unit())
    at += 0.2 * (high - low) * normal
    span = 2.0 * (high - low)
    at = (at - low) % span
    at = low + min(at, span - at)
    return min(max(math.exp(at) if decision.log else at, decision.low), decision.high)


def _with(space: Space, old: dict[str, Scalar], changed: Decision, value: Scalar, draws: Draws) -> Architecture:
    """The architecture with one decision changed: others stay, those that become active are drawn."""
    if changed.children is None:
        new = dict(old)
        new[changed.name] = value
        return Architecture(space.fingerprint, new)

    def decide(decision: Decision) -> Scalar:
        if decision is changed:
            return value
        return old[decision.name] if decision.name in old else draw_value(decision, draws)

    return Architecture(space.fingerprint, space.trace(decide))


def cross(space: Space, first: Architecture, second: Architecture, draws: Draws, points: int) -> Architecture:
    """See `Space.cross`."""
    a, b = first.decisions, second.decisions
    from_first = _segments(space, a, b, draws, points) if points else None
    bits = 0 if points else draws.below(1 << len(space.decisions))

    def decide(decision: Decision) -> Scalar:
        nonlocal bits
        name = decision.name
        if name in a and name in b:
            bits, mine = bits >> 1, bits & 1 if from_first is None else name in from_first
            return a[name] if mine else b[name]
        # every value that leads here came from a parent that had it, unless two parents met at a tie
        return a[name] if name in a else b[name] if name in b else draw_value(decision, draws)

    return Architecture(space.fingerprint, space.trace(decide))


def _segments(
    space: Space, a: dict[str, Scalar], b: dict[str, Scalar], draws: Draws, points: int
) -> set[str]:  # fmt: skip
    """The shared decisions that the first parent gives: every second part between `points` cuts."""
    shared = [d.name for d in space.decisions if d.name in a and d.name in b]
    cuts = sorted(draws.below(len(shared) + 1) for _ in range(points))
    given, turn, before = set[str](), draws.below(2), 0
    for cut in (*cuts, len(shared)):
        if turn:
            given.update(shared[before:cut])
        turn, before = 1 - turn, cut
    return given


def neighbours(space: Space, architecture: Architecture, draws: Draws) -> Iterator[Architecture]:
    """See `Space.neighbours`."""
    old = architecture.decisions
    for name, value in sorted(old.items(), key=_first):
        decision = space.by_name[name]
        for other in _near(decision, value):
            yield _with(space, old, decision, other, draws)


def _first(item: tuple[str, Scalar]) -> str:
    return item[0]


def _near(decision: Decision, value: Scalar) -> list[Scalar]:
    if decision.labels is None:
        at, low, high = float(value or 0.0), decision.low, decision.high
        if decision.log:
            factor = (high / low) ** 0.1
            steps = [at / factor, at * factor]
        else:
            steps = [at - 0.1 * (high - low), at + 0.1 * (high - low)]
        return [v for v in (min(max(s, low), high) for s in steps) if v != value]
    if decision.ordered:
        labels: Any = decision.labels  # numbers only, as it is ordered
        numbers: Any = labels if isinstance(labels, range) else sorted(labels)
        i = numbers.index(value)
        return [numbers[j] for j in (i - 1, i + 1) if 0 <= j < len(numbers)]
    return [v for v in decision.labels if v != value]


def at(space: Space, index: int) -> Architecture:
    """See `Space.at`."""
    _refuse_reals(space)
    if not 0 <= index < space.size.finite:
        raise SpaceError(f"there is no architecture {index}: this space has numbers 0 to {space.size.finite - 1}")
    chosen = space.uniform.at(index)
    return Architecture(space.fingerprint, space.trace(lambda decision: chosen[decision.name]))


def _refuse_reals(space: Space) -> None:
    for decision in space.decisions:
        if decision.labels is None:
            raise SpaceError(f"cannot enumerate: {decision.name!r} is a real number")


def enumerate_all(space: Space) -> Iterator[Architecture]:
    """See `Space.enumerate`. Depth first: the last decision changes fastest."""
    _refuse_reals(space)
    fixed: list[int] = []
    while True:
        sizes: list[int] = []

        def decide(decision: Decision, sizes: list[int] = sizes) -> Scalar:
            turn = len(sizes)
            sizes.append(decision.n)
            if turn == len(fixed):
                fixed.append(0)
            return decision.labels[fixed[turn]]  # type: ignore[index]

        yield Architecture(space.fingerprint, space.trace(decide))
        while fixed and fixed[-1] + 1 == sizes[len(fixed) - 1]:
            fixed.pop()
        if not fixed:
            return
        fixed[-1] += 1
