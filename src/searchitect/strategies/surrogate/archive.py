"""All networks that were proposed or told, each once, in the order of their arrival, with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searchitect.records import Objective, Trial
from searchitect.space import Architecture
from searchitect.strategies.surrogate.features import Described, Features
from searchitect.strategies.surrogate.targets import Told

Array = NDArray[np.float64]
MORE = 256  # entries that arrays have room for at a time


class Entry:
    """One network. `losses` and `limited` are means over its trials; `tells` counts those with numbers."""

    __slots__ = ("architecture", "described", "failures", "kept", "limited", "losses", "number", "tells")

    def __init__(self, architecture: Architecture, described: Described) -> None:
        self.architecture = architecture
        self.described = described
        self.number = -1  # of the trial that told of it last
        self.losses: Array | None = None
        self.limited: Array | None = None
        self.kept = False
        self.tells = 0
        self.failures = 0


class Archive:
    """A fold over proposals and told trials. An entry is a canonical network: equivalents share it."""

    def __init__(self, features: Features, objectives: Sequence[Objective]) -> None:
        self.features = features
        self.told = Told(objectives)
        self.limits = self.told.limits
        self.entries: list[Entry] = []
        self.by_key: dict[str, int] = {}
        self._numbers = np.zeros((0, len(objectives)))  # by entry: losses, then what has limits
        self._kept = np.zeros(0, dtype=np.bool_)
        self.measured: list[int] = []  # entries with numbers, in the order told
        self.failed = 0  # entries without numbers that were told

    def add(self, architecture: Architecture) -> int:
        """The entry of an architecture, made where there is none."""
        described = self.features.of(architecture)
        found = self.by_key.get(described.key)
        if found is None:
            found = self.by_key[described.key] = len(self.entries)
            self.entries.append(Entry(architecture, described))
            if found == len(self._kept):
                self._numbers = np.pad(self._numbers, ((0, MORE), (0, 0)), constant_values=np.nan)
                self._kept = np.pad(self._kept, (0, MORE))
        return found

    def tell(self, trial: Trial) -> int:
        """What became of a trial; the entry's position."""
        result = self.told.add(trial)
        position = self.add(trial.architecture)
        entry = self.entries[position]
        if result.losses is None or result.limited is None:
            entry.failures += 1
            self.failed += entry.failures == 1 and not entry.tells
            return position
        entry.tells += 1
        if entry.tells == 1:
            self.measured.append(position)
            self.failed -= entry.failures > 0
        entry.number, step = trial.number, 1.0 / entry.tells
        losses, limited = np.array(result.losses), np.array(result.limited)
        entry.losses = losses if entry.losses is None else entry.losses + step * (losses - entry.losses)
        entry.limited = limited if entry.limited is None else entry.limited + step * (limited - entry.limited)
        entry.kept = all(o.kept(float(v)) for o, v in zip(self.limits, entry.limited, strict=True))
        self._numbers[position] = np.concatenate([entry.losses, entry.limited])
        self._kept[position] = entry.kept
        return position

    def losses(self, positions: Sequence[int]) -> Array:
        """(entries, goals); NaN where nothing is known."""
        return self._numbers[np.array(positions, dtype=np.int64), : self.told.goals]

    def limited(self, positions: Sequence[int]) -> Array:
        """(entries, limits); NaN where nothing is known."""
        return self._numbers[np.array(positions, dtype=np.int64), self.told.goals :]

    def kept(self, positions: Sequence[int]) -> NDArray[np.bool_]:
        """(entries,): whether it is known that all limits are kept."""
        return self._kept[np.array(positions, dtype=np.int64)]

    def vectors(self, positions: Sequence[int]) -> Array:
        """(entries, features)."""
        if not positions:
            return np.zeros((0, len(self.features.parts)))
        return np.array([self.entries[i].described.vector for i in positions], dtype=np.float64)

    def active(self, capacity: int) -> list[int]:
        """At most so many entries to model, in order of arrival: all, or the best half, the latest quarter, and
        others spread evenly over the time of arrival."""
        n = len(self.entries)
        if n <= capacity:
            return list(range(n))
        chosen = set(range(n - capacity // 4, n))
        chosen.update(self._best(capacity // 2))
        rest = [i for i in range(n) if i not in chosen]
        wanted = capacity - len(chosen)
        chosen.update(rest[i * len(rest) // wanted] for i in range(wanted))
        return sorted(chosen)

    def _best(self, count: int) -> list[int]:
        """Those that keep the limits first, then by their worst rank among the goals, then by age."""
        losses = self.losses(self.measured)
        order = np.argsort(losses, axis=0, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(len(losses))[:, None], axis=0)
        broken = np.array([not self.entries[i].kept for i in self.measured])
        best = np.lexsort((ranks.max(axis=1), broken))[:count]
        return [self.measured[i] for i in best]
