"""The options between which a policy chooses, for each decision of a space: categories in one long row.

A choice, a repeat and a subset have one category per label. A range of whole numbers has one per number up to
64 numbers; a longer one is cut into 64 bins of neighbours, even in number (even in the logarithm where the
space says so), and a number of the bin is drawn uniformly. A Float is cut into 8 bins that the space's own
sampling hits equally often (quantiles of the uniform or log-uniform distribution), and drawn anew inside its bin in
the same way. Bins have no order for a policy: neighbours learn nothing from each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from searchitect.errors import ArchitectureError, UsageError
from searchitect.space import Architecture, Decision, Draws, Scalar, Space

INT_CATEGORIES = 64
FLOAT_BINS = 8
RECENT = 1024  # architectures whose places are remembered
Indices = npt.NDArray[np.int64]


class Categories:
    """All categories of a space. Decision d owns the places starts[d] to starts[d] + sizes[d] - 1 of a row of C.

    `allowed` names, by decision, the options that may be drawn (others are masked: probability 0).
    """

    def __init__(self, space: Space, allowed: Mapping[str, Sequence[Scalar]] | None = None) -> None:
        self.space = space
        self.number = {decision.name: d for d, decision in enumerate(space.decisions)}
        self.bins = [_bins(decision) for decision in space.decisions]
        self.sizes: Indices = np.array([_size(d, b) for d, b in zip(space.decisions, self.bins, strict=True)], np.int64)
        self.starts: Indices = np.cumsum(self.sizes) - self.sizes
        self.total = int(self.sizes.sum())
        self.owner: Indices = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self.binned = any(b is not None for b in self.bins)
        labels = [d.labels or () for d in space.decisions]
        names = [d.name for d in space.decisions]
        self._parts: list[tuple[str, Sequence[Scalar], int]] = list(
            zip(names, labels, self.starts.tolist(), strict=True)
        )
        self.open: npt.NDArray[np.bool_] = np.ones(self.total, bool)
        self._mask(allowed or {})
        self.masked = not bool(self.open.all())
        everywhere = np.flatnonzero(self.open)
        self.first: Indices = everywhere[np.searchsorted(everywhere, self.starts)]
        self.last: Indices = everywhere[np.searchsorted(everywhere, self.starts + self.sizes) - 1]
        self.flat = space.flat_total > 0 and all(b is None for b in self.bins)
        self._recent: dict[int, tuple[Architecture, Indices, Indices]] = {}

    def _mask(self, allowed: Mapping[str, Sequence[Scalar]]) -> None:
        for name, values in allowed.items():
            if name not in self.number:
                raise UsageError(f"allowed names decision {name!r}, which the space does not have")
            d = self.number[name]
            try:
                places = [self.place(d, value) for value in values]
            except ArchitectureError as error:
                raise UsageError(f"allowed: {error}") from None
            if not places:
                raise UsageError(f"allowed leaves nothing of decision {name!r}: name at least one option")
            self.open[self.starts[d] : self.starts[d] + self.sizes[d]] = False
            self.open[places] = True

    # -- from categories to values -------------------------------------------------------------------

    def architecture(self, places: Sequence[int], draws: Draws) -> Architecture:
        """The architecture with these categories (one place per decision, those of inactive ones are not looked at)."""
        if self.flat:
            parts = zip(self._parts, places, strict=True)
            return Architecture(self.space.fingerprint, {name: labels[p - start] for (name, labels, start), p in parts})

        def decide(decision: Decision) -> Scalar:
            d = self.number[decision.name]
            return self.value(d, places[d], draws)

        return Architecture(self.space.fingerprint, self.space.trace(decide))

    def value(self, d: int, place: int, draws: Draws) -> Scalar:
        """The value of a category; in a bin, a value drawn inside it."""
        _, labels, start = self._parts[d]
        category, edges = place - start, self.bins[d]
        if edges is None:
            return labels[category]
        decision, low, high = self.space.decisions[d], edges[category], edges[category + 1]
        if decision.labels is not None:
            return labels[int(low) + draws.below(int(high) - int(low))]
        number = low + (high - low) * draws.unit()
        return min(max(math.exp(number) if decision.log else number, decision.low), decision.high)

    # -- from values to categories -------------------------------------------------------------------

    def place(self, d: int, value: Scalar) -> int:
        """The category of a value, as a place in the row. Raises ArchitectureError when it is not the decision's."""
        decision, edges, start = self.space.decisions[d], self.bins[d], self._parts[d][2]
        if edges is None:
            return start + decision.position(value)
        decision.check(value)
        if decision.labels is not None:
            number = float(decision.position(value))
        else:
            number = math.log(float(value)) if decision.log else float(value)  # type: ignore[arg-type]
        return start + min(max(int(np.searchsorted(edges, number, side="right")) - 1, 0), int(self.sizes[d]) - 1)

    def places(self, architecture: Architecture) -> tuple[Indices, Indices]:
        """The active decisions by number, in the order of the walk, and the places that they have chosen.

        Learning from a batch asks for the same objects again and again, so their places are remembered.
        """
        known = self._recent.get(id(architecture))
        if known is None:  # who is remembered here is not collected, so nobody else gets its id
            if len(self._recent) == RECENT:
                self._recent.clear()
            known = self._recent[id(architecture)] = (architecture, *self._walk(architecture))
        return known[1], known[2]

    def _walk(self, architecture: Architecture) -> tuple[Indices, Indices]:
        given, active, chosen = architecture.decisions, [], []

        def decide(decision: Decision) -> Scalar:
            if decision.name not in given:
                raise ArchitectureError(f"decision {decision.name!r} is missing; allowed is {decision.allowed()}")
            d, value = self.number[decision.name], given[decision.name]
            active.append(d)
            chosen.append(self.place(d, value))
            return value

        self.space.trace(decide)
        return np.array(active, np.int64), np.array(chosen, np.int64)

    def inside(self, active: Iterable[int], chosen: Iterable[int]) -> float:
        """The log-probability of the numbers given their bins; Floats, whose density is constant, are left out."""
        total = 0.0
        for d, place in zip(active, chosen, strict=True):
            edges = self.bins[d]
            if edges is not None and self.space.decisions[d].labels is not None:
                category = place - self._parts[d][2]
                total -= math.log(edges[category + 1] - edges[category])
        return total


def _size(decision: Decision, edges: list[float] | None) -> int:
    return decision.n if edges is None else len(edges) - 1


def _bins(decision: Decision) -> list[float] | None:
    """The edges of the bins (positions in the labels for whole numbers), None where each label is a category."""
    if decision.labels is None:
        low, high = (math.log(decision.low), math.log(decision.high)) if decision.log else (decision.low, decision.high)
        return [low + (high - low) * i / FLOAT_BINS for i in range(FLOAT_BINS + 1)]
    if not isinstance(decision.labels, range) or decision.n <= INT_CATEGORIES:
        return None
    parts = [i / INT_CATEGORIES for i in range(INT_CATEGORIES + 1)]
    if not decision.log:
        return [float(round(decision.n * part)) for part in parts]
    labels = decision.labels
    points = [labels[0] * (labels[-1] / labels[0]) ** part for part in parts]
    inner = {min(max(math.ceil((p - labels.start) / labels.step), 1), decision.n - 1) for p in points[1:-1]}
    return [0.0, *(float(i) for i in sorted(inner)), float(decision.n)]
