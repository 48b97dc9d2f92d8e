"""What a model sees of an architecture: its decisions as one vector, chains of its operations as others.

Decisions: each decision adds at most 1 to the squared distance. Labels: 1 where they differ. Subsets: the share of
members that differ. Numbers: their distance, by rank among listed numbers and by value (or logarithm) otherwise.
"Not active" is a value like others.

Chains (n-grams): how often 1, 2 or 3 operations follow one another in the canonical graph, as square roots of counts,
hashed into a fixed number of places. They see what decisions hide: that other edges hold the same path.

Architectures with one key are one network, so they are given one description: that of the one seen first. A model
thus never holds two opinions of one network, at the price that the decisions of the second are not looked at.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searchitect.space import Architecture, Decision, Scalar, Space
from searchitect.strategies.surrogate.graphs import CanonicalGraph, canonical_graph

Array = NDArray[np.float64]
PLACES = (128, 256, 256)  # of the hashed counts of chains of 1, 2 and 3 operations
STEPS = 16  # at most so many steps stand for a number's range


class Described(NamedTuple):
    """What is known of one network: its key and the vectors (decisions first, then one for each length of chain)."""

    key: str
    blocks: tuple[Array, ...]


class Features:
    """Describes architectures of one space. Each is looked at once; remembers as many as it is asked about."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._known: dict[Architecture, Described] = {}
        self._by_key: dict[str, Described] = {}
        self._coders = [(d.name, _coder(d)) for d in space.decisions]
        self.groups = np.repeat(np.arange(len(self._coders)), [len(code(None)) for _, code in self._coders])

    def of(self, architecture: Architecture) -> Described:
        """The description; architectures with equal `Space.key` get the same object."""
        found = self._known.get(architecture)
        if found is None:
            graph = canonical_graph(self.space, architecture)
            found = self._by_key.get(graph.key)
            if found is None:
                found = Described(graph.key, (self._decisions(architecture), *chains(graph)))
                self._by_key[graph.key] = found
            self._known[architecture] = found
        return found

    def forget(self, keep: Callable[[Architecture], bool]) -> None:
        """Drop what is not kept (long searches see many candidates)."""
        self._known = {a: d for a, d in self._known.items() if keep(a)}
        kept = {d.key for d in self._known.values()}
        self._by_key = {k: d for k, d in self._by_key.items() if k in kept}

    def _decisions(self, architecture: Architecture) -> Array:
        """The vector in which squared distance is the sum over decisions (see the head of this file)."""
        chosen = architecture.decisions
        vector: list[float] = []
        for name, code in self._coders:
            vector += code(chosen[name]) if name in chosen else code(None, active=False)
        return np.array(vector)


def chains(graph: CanonicalGraph) -> tuple[Array, ...]:
    """Square roots of the hashed counts of chains of 1, 2 and 3 operations. Sums over all places of the graph."""
    labels = [zlib.crc32(label.encode()) for label in graph.labels]
    counts = [[0.0] * places for places in PLACES]
    ending: list[tuple[dict[int, int], ...]] = []  # by node: chains of each length that end there
    for label, inputs in zip(labels, graph.inputs, strict=True):
        here: list[dict[int, int]] = [{label: 1}]
        for length in range(1, len(PLACES)):
            found: dict[int, int] = {}
            for node in inputs:
                for chain, count in ending[node][length - 1].items():
                    longer = (chain * 0x9E3779B1 ^ label) & 0xFFFFFFFF
                    found[longer] = found.get(longer, 0) + count
            here.append(found)
        for places, chained, total in zip(PLACES, here, counts, strict=True):
            for chain, count in chained.items():
                total[(chain ^ chain >> 15) % places] += count
        ending.append(tuple(here))
    return tuple(np.sqrt(np.array(total)) for total in counts)


def _coder(decision: Decision) -> Callable[..., list[float]]:
    """value → numbers, as described at the head of this file; `active=False` is the code of "not active"."""
    if decision.kind == "subset":
        return _subset_coder([str(label).split("+") for label in decision.labels or ()], decision)
    if decision.ordered and decision.n != 2:
        return _number_coder(decision)
    half = math.sqrt(0.5)

    def code(value: Scalar, active: bool = True) -> list[float]:
        vector = [0.0] * (decision.n + 1)
        if active and value is None and None not in decision.index:
            return vector
        vector[decision.position(value) if active else decision.n] = half
        return vector

    return code


def _subset_coder(members: Sequence[Sequence[str]], decision: Decision) -> Callable[..., list[float]]:
    names = sorted({name for chosen in members for name in chosen})
    weight = math.sqrt(0.5 / max(1, len(members[0]))) if members else 0.0

    def code(value: Scalar, active: bool = True) -> list[float]:
        chosen = str(value).split("+") if active and value is not None else ()
        return [weight * (name in chosen) for name in names] + [math.sqrt(0.5) * (not active)]

    return code


def _number_coder(decision: Decision) -> Callable[..., list[float]]:
    """A thermometer: as many steps are on as the number is high, so that squared distances are distances."""
    steps = STEPS if decision.labels is None else max(1, min(STEPS, decision.n - 1))
    height, half = 1.0 / math.sqrt(steps), math.sqrt(0.5)

    def code(value: Scalar, active: bool = True) -> list[float]:
        level = steps * _share(decision, value) if active and value is not None else 0.0
        return [height * min(1.0, max(0.0, level - i)) for i in range(steps)] + [half * (not active)]

    return code


def _share(decision: Decision, value: Scalar) -> float:
    """Where a number stands in its range, from 0 to 1."""
    if decision.kind == "choice":
        ranks = sorted(float(v) for v in decision.labels or ())  # type: ignore[arg-type]
        return ranks.index(float(value)) / (len(ranks) - 1)  # type: ignore[arg-type]
    number, low, high = float(value), decision.low, decision.high  # type: ignore[arg-type]
    if decision.log:
        number, low, high = math.log(number), math.log(low), math.log(high)
    return (number - low) / (high - low)
