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

import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from searchitect.errors import ArchitectureError
from searchitect.space import Architecture, Decision, Scalar, Space
from searchitect.strategies.surrogate.graphs import CanonicalGraph, canonical_graph

Array = NDArray[np.float32]
Words = NDArray[np.uint64]
PLACES = (128, 256, 256)  # of the hashed counts of chains of 1, 2 and 3 operations
FACTOR, WORD, SHIFT = np.uint64(0x9E3779B1), np.uint64(0xFFFFFFFF), np.uint64(15)  # of the hash of a chain
CHUNK = 1 << 20  # chains of 3 looked at in one go
STEPS = 16  # at most so many steps stand for a number's range
LIMIT = 4096  # codes remembered for one decision
SHARED = 20_000  # architectures of a space whose graphs are remembered for all searches of a process
Coder = Callable[..., bytes]  # (value, active) → numbers of single precision


class Described(NamedTuple):
    """What is known of one network: its key and its vector (decisions first, then chains by length)."""

    key: str
    vector: Array


class _Graphs:
    """What the canonical graphs of a space say, which is the same in all searches of a process."""

    def __init__(self) -> None:
        self.keys: dict[Architecture, str] = {}
        self.chains: dict[str, Array] = {}

    def of(self, space: Space, architecture: Architecture) -> tuple[str, Array]:
        """Key and chains."""
        key = self.keys.get(architecture)
        if key is None:
            if len(self.keys) >= SHARED:
                self.keys.clear()
                self.chains.clear()
            graph = canonical_graph(space, architecture)
            key = self.keys[architecture] = graph.key
            if key not in self.chains:
                self.chains[key] = chains(graph)
        return key, self.chains[key]


_GRAPHS: WeakKeyDictionary[Space, _Graphs] = WeakKeyDictionary()


class Features:
    """Describes architectures of one space. Each is looked at once; remembers as many as it is asked about.

    `parts` names for each entry of a vector the part it belongs to: one for each decision, one for each length of
    chain, ascending.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._graphs = _GRAPHS.setdefault(space, _Graphs())
        self._known: dict[Architecture, Described] = {}
        self._by_key: dict[str, Described] = {}
        self._coders: list[tuple[str, Coder]] = [(d.name, _remembered(d, _coder(d))) for d in space.decisions]
        lengths = [len(code(None, active=False)) // 4 for _, code in self._coders] + list(PLACES)
        self.parts = np.repeat(np.arange(len(lengths)), lengths)

    def of(self, architecture: Architecture) -> Described:
        """The description; architectures with equal `Space.key` get the same object."""
        found = self._known.get(architecture)
        if found is None:
            try:
                key, operations = self._graphs.of(self.space, architecture)
            except ArchitectureError:  # a value of the plan cannot be computed: it equals itself only
                key, operations = architecture.to_json(), np.zeros(sum(PLACES), dtype=np.float32)
            found = self._by_key.get(key)
            if found is None:
                found = Described(key, np.concatenate([self._decisions(architecture), operations]))
                self._by_key[key] = found
            self._known[architecture] = found
        return found

    def __len__(self) -> int:
        return len(self._known)

    def forget(self, keep: Callable[[Architecture], bool]) -> None:
        """Drop what is not kept (long searches see many candidates)."""
        self._known = {a: d for a, d in self._known.items() if keep(a)}
        kept = {d.key for d in self._known.values()}
        self._by_key = {k: d for k, d in self._by_key.items() if k in kept}

    def _decisions(self, architecture: Architecture) -> Array:
        """The vector in which squared distance is the sum over decisions (see the head of this file)."""
        chosen = architecture.decisions
        codes = [code(chosen[name]) if name in chosen else code(None, active=False) for name, code in self._coders]
        return np.frombuffer(b"".join(codes), dtype=np.float32)


def chains(graph: CanonicalGraph) -> Array:
    """Square roots of the hashed counts of chains of 1, 2 and 3 operations, one after the other (see `PLACES`)."""
    labels = np.fromiter(map(_number, graph.labels), dtype=np.uint64, count=len(graph.labels))
    width = np.fromiter(map(len, graph.inputs), dtype=np.int64, count=len(graph.inputs))
    edges = int(width.sum())
    start = np.fromiter(itertools.chain.from_iterable(graph.inputs), dtype=np.int64, count=edges)
    last = np.repeat(labels, width)  # the operation at the end of each edge
    twos = _hashed(labels[start], last)
    counts = [_counts(labels, PLACES[0]), _counts(twos, PLACES[1]), np.zeros(PLACES[2], dtype=np.int64)]
    first, more = np.cumsum(width) - width, width[start]  # edges into a node lie side by side
    parts = 1 + int(more.sum()) // CHUNK
    for some in np.array_split(np.arange(edges), parts) if parts > 1 else (slice(None),):
        before, begin = more[some], first[start[some]]  # how many edges end where this one starts, and where they lie
        shift = begin - (np.cumsum(before) - before)
        places = np.repeat(shift, before) + np.arange(int(before.sum()))
        counts[2] += _counts(_hashed(twos[places], np.repeat(last[some], before)), PLACES[2])
    return np.sqrt(np.concatenate(counts).astype(np.float32))


def _hashed(chain: Words, label: Words) -> Words:
    """The chains with one operation more."""
    return np.asarray((chain * FACTOR ^ label) & WORD)


def _counts(chains: Words, places: int) -> NDArray[np.int64]:
    return np.bincount(((chains ^ chains >> SHIFT) % np.uint64(places)).astype(np.int64), minlength=places)


@lru_cache(maxsize=4096)
def _number(label: str) -> int:
    return zlib.crc32(label.encode())


def _remembered(decision: Decision, code: Callable[..., list[float]]) -> Coder:
    """The same code as bytes of single precision; computed once for each listed value."""
    known: dict[tuple[Scalar, bool], bytes] = {}

    def remembered(value: Scalar, active: bool = True) -> bytes:
        found = known.get((value, active))
        if found is None:
            found = np.array(code(value, active), dtype=np.float32).tobytes()
            if decision.labels is not None and len(known) < LIMIT:
                known[value, active] = found
        return found

    return remembered


def _coder(decision: Decision) -> Callable[..., list[float]]:
    """value → numbers, as described at the head of this file; `active=False` is the code of "not active"."""
    if decision.kind == "subset":
        return _subset_coder([str(label).split("+") for label in decision.labels or ()], decision)
    if decision.ordered and decision.n != 2:
        return _number_coder(decision)
    half = math.sqrt(0.5)

    def code(value: Scalar, active: bool = True) -> list[float]:
        vector = [0.0] * (decision.n + 1)
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
