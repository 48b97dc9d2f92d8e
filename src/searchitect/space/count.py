"""How many architectures a space holds, exactly, with ties and conditions; and uniform sampling of them.

A space without decisions shared between branches is a tree: sums over options of products over children.
Otherwise variable elimination (Dechter 1999) runs over one variable per decision whose values are
"inactive" and the groups of options that bring in the same decisions. A product would be wrong with ties,
and closing the ties one by one would be exponential in their number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from searchitect.space.architecture import Scalar
from searchitect.space.decision import Decision

if TYPE_CHECKING:
    from searchitect.space.moves import Draws

LIMIT_REMEMBERED = 10_000
OFF = -1  # the value of an inactive decision
Table = dict[tuple[int, ...], int]
Factor = tuple[tuple[str, ...], Table]


class Size(msgspec.Struct, frozen=True):
    """`finite` counts every Float as one value; `continuous` is how many Floats the space has."""

    finite: int
    continuous: int = 0

    def __int__(self) -> int:
        return self.finite

    def __str__(self) -> str:
        text = (
            f"{self.finite:,}"
            if self.finite < 10**15
            else f"{self.finite:.2e}"
            if self.finite < 10**300
            else "more than 1e300"
        )
        return f"{text} × {self.continuous} continuous" if self.continuous else text


def size(roots: Sequence[Decision]) -> Size:
    """The exact size of the space with these top decisions."""
    everything = _all(roots)
    continuous = sum(d.labels is None for d in everything)
    return Size(_count(roots, everything, {}), continuous)


class Uniform:
    """Samples architectures, each with the same probability (Floats uniformly).

    An option is drawn in proportion to the number of architectures behind it, given what was drawn before;
    only decisions that bring in others matter to that number, and it is remembered.
    """

    def __init__(self, roots: Sequence[Decision]) -> None:
        self._roots = roots
        self._all = _all(roots)
        self._named = {d.name: d for d in self._all}
        self._tree = _is_tree(roots, self._all)
        self._known: dict[str, int] = {}
        self._weights: dict[tuple[tuple[str, int], ...], list[int]] = {}

    def sample(self, draws: Draws) -> dict[str, Scalar]:
        """One architecture as decisions by name."""
        from searchitect.space.moves import draw_value

        fixed: dict[str, int] = {}
        chosen: dict[str, Scalar] = {}
        stack = list(self._roots[::-1])
        while stack:
            decision = stack.pop()
            if decision.name in chosen:
                continue
            if decision.labels is None:
                chosen[decision.name] = draw_value(decision, draws)
            elif decision.children is None:
                chosen[decision.name] = decision.labels[draws.below(decision.n)]
            else:
                i = fixed[decision.name] = _pick(self._behind(decision, decision.children, fixed), draws)
                chosen[decision.name] = decision.labels[i]
                stack.extend(reversed(decision.children[i]))
        return chosen

    def at(self, index: int) -> dict[str, Scalar]:
        """Architecture number `index` as decisions by name: each number below the size gives another one.

        Mixed radix: a decision takes its part of the index and leaves the rest. Those that bring in others come
        first, since the number behind an option counts all that is still to be decided.
        """
        taken: dict[str, int] = {}
        plain: dict[str, Decision] = {}
        stack = list(self._roots[::-1])
        while stack:
            decision = stack.pop()
            if decision.name in taken:
                continue
            if decision.children is None:
                plain[decision.name] = decision
                continue
            behind = self._behind(decision, decision.children, taken)
            rest, point = divmod(index, sum(behind)) if self._tree else (0, index)
            i = 0
            while point >= behind[i]:
                point -= behind[i]
                i += 1
            index = rest * behind[i] + point
            taken[decision.name] = i
            stack.extend(reversed(decision.children[i]))
        for name, decision in plain.items():
            index, taken[name] = divmod(index, decision.n)
        return {name: self._named[name].labels[i] for name, i in taken.items()}  # type: ignore[index]

    def _behind(
        self, decision: Decision, children: list[tuple[Decision, ...]], fixed: dict[str, int]
    ) -> list[int]:  # fmt: skip
        """The number of architectures behind each option."""
        name = ((decision.name, -1),) if self._tree else ((decision.name, -1), *sorted(fixed.items()))
        found = self._weights.get(name)
        if found is None:
            if self._tree:
                found = [math.prod(_weight(c, self._known) for c in kids) for kids in children]
            else:
                groups: dict[tuple[str, ...], int] = {}  # options that bring in the same have the same number
                found = []
                for i, kids in enumerate(children):
                    brought = tuple(child.name for child in kids)
                    if brought not in groups:
                        groups[brought] = _count(self._roots, self._all, fixed | {decision.name: i})
                    found.append(groups[brought])
            if len(self._weights) >= LIMIT_REMEMBERED:
                self._weights.clear()
            self._weights[name] = found
        return found


def _pick(weights: Sequence[int], draws: Draws) -> int:
    point = draws.below(sum(weights))
    for i, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return i
    raise AssertionError("a draw below the sum lies in one of the parts")


def _all(roots: Sequence[Decision]) -> list[Decision]:
    found: dict[str, Decision] = {}
    stack = list(roots)
    while stack:
        decision = stack.pop()
        if decision.name not in found:
            found[decision.name] = decision
            stack.extend(child for kids in decision.children or () for child in kids)
    return list(found.values())


def _is_tree(roots: Sequence[Decision], everything: Sequence[Decision]) -> bool:
    """Whether no decision has two parents (or is both at the top and below)."""
    above: dict[str, set[str]] = {root.name: {""} for root in roots}
    for decision in everything:
        for kids in decision.children or ():
            for child in kids:
                above.setdefault(child.name, set()).add(decision.name)
    return all(len(parents) == 1 for parents in above.values())


def _weight(decision: Decision, known: dict[str, int]) -> int:
    if decision.children is None:
        return max(decision.n, 1)
    if decision.name not in known:
        known[decision.name] = sum(math.prod(_weight(c, known) for c in kids) for kids in decision.children)
    return known[decision.name]


def _count(roots: Sequence[Decision], everything: Sequence[Decision], fixed: Mapping[str, int]) -> int:
    if not fixed and _is_tree(roots, everything):
        known: dict[str, int] = {}
        return math.prod(_weight(root, known) for root in roots)
    return _eliminate(_factors(roots, everything, fixed))


def _groups(decision: Decision, fixed: Mapping[str, int]) -> list[tuple[frozenset[str], int]]:
    """The options by what they bring in: (names of children, number of such options)."""
    if decision.children is None:
        return [(frozenset(), max(decision.n, 1))]
    tally: dict[frozenset[str], int] = {}
    for i, kids in enumerate(decision.children):
        if fixed.get(decision.name, i) == i:
            names = frozenset(child.name for child in kids)
            tally[names] = tally.get(names, 0) + 1
    return list(tally.items())


def _factors(roots: Sequence[Decision], everything: Sequence[Decision], fixed: Mapping[str, int]) -> list[Factor]:
    groups = {d.name: _groups(d, fixed) for d in everything}
    parents: dict[str, list[str]] = {d.name: [] for d in everything}
    for name, options in groups.items():
        for child in {c for names, _ in options for c in names}:
            parents[child].append(name)
    top = {root.name for root in roots}
    factors: list[Factor] = []
    for decision in everything:
        name = decision.name
        on = list(range(len(groups[name])))
        if name in top:
            factors.append(((name,), {(i,): groups[name][i][1] for i in on}))
            continue
        # active if any parent brings it in: a chain of two-valued helpers keeps each factor small
        last = ""
        if not parents[name]:  # what was fixed leaves no way to it
            factors.append(((name,), {(OFF,): 1}))
            continue
        for i, parent in enumerate(parents[name]):
            here = f"{name}\0{i}"
            table: Table = {}
            values = [OFF, *range(len(groups[parent]))] if parent not in top else list(range(len(groups[parent])))
            for value, before in itertools.product(values, (0, 1) if last else (0,)):
                brings = value != OFF and name in groups[parent][value][0]
                table[(value, before, int(brings or before)) if last else (value, int(brings))] = 1
            scope: tuple[str, ...] = (parent, last, here) if last else (parent, here)
            factors.append((scope, table))
            last = here
        gate: Table = {(0, OFF): 1}
        factors.append(((last, name), gate | {(1, i): groups[name][i][1] for i in on}))
    return factors


def _eliminate(factors: list[Factor]) -> int:
    """The sum over all assignments of the product of the factors; smallest joint scope first."""
    result = 1
    while factors:
        scopes: dict[str, set[str]] = {}
        for names, _ in factors:
            for name in names:
                scopes.setdefault(name, set()).update(names)
        target = min(scopes, key=lambda name: (len(scopes[name]), name))
        touched = [f for f in factors if target in f[0]]
        factors = [f for f in factors if target not in f[0]]
        joined = touched[0]
        for other in touched[1:]:
            joined = _join(joined, other)
        names, table = joined
        at = names.index(target)
        summed: Table = {}
        for key, count in table.items():
            rest = key[:at] + key[at + 1 :]
            summed[rest] = summed.get(rest, 0) + count
        if len(names) == 1:
            result *= summed.get((), 0)
        else:
            factors.append((names[:at] + names[at + 1 :], summed))
    return result


def _join(a: Factor, b: Factor) -> Factor:
    shared = [name for name in a[0] if name in b[0]]
    extra = [i for i, name in enumerate(b[0]) if name not in a[0]]
    index: dict[tuple[int, ...], list[tuple[tuple[int, ...], int]]] = {}
    for key, count in b[1].items():
        match = tuple(key[b[0].index(name)] for name in shared)
        index.setdefault(match, []).append((tuple(key[i] for i in extra), count))
    table: Table = {}
    for key, count in a[1].items():
        match = tuple(key[a[0].index(name)] for name in shared)
        for more, other in index.get(match, ()):
            table[key + more] = count * other
    return a[0] + tuple(b[0][i] for i in extra), table
