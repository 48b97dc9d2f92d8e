"""ASHA: promote whoever is among the best 1/eta of its rung, whenever a worker is free."""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Mapping, Sequence
from typing import Any

from searchitect.errors import SpaceError, UsageError
from searchitect.records import PROMOTE, Proposal, Trial, goals
from searchitect.space import Architecture
from searchitect.strategies.base import Setting, Strategy
from searchitect.strategies.rung_ranks import RungRanks
from searchitect.strategies.rungs import (
    Inner,
    Options,
    RankBy,
    Result,
    best_first,
    bracket_sizes,
    holder,
    ladder,
    promotion,
    result_of,
    same,
)

DRY = 20  # new proposals in a row that repeated what was measured: the inner strategy has little left


class Rung:
    """The results at one rung of one bracket, and whose training has gone on.

    With one goal a result costs one insertion into a sorted list, and the question who is next looks at the two ends
    of what is sorted: whoever is the best of those not promoted is promotable if it is among the first n / eta.
    """

    def __init__(self, eta: int, several: bool) -> None:
        self.eta = eta
        self.several = several
        self.results: list[Result] = []  # sorted
        self.waiting: list[Result] = []  # a heap of those not promoted
        self.promoted: set[int] = set()
        self.architectures: dict[int, Architecture] = {}
        self.holders: set[int] = set()
        self.order: list[int] | None = None  # with several goals: numbers by front and crowding; None: to be sorted

    def add(self, trial: Trial, result: Result) -> None:
        """Equivalents share one result, and count once."""
        if holder(trial) in self.holders:
            return
        self.holders.add(holder(trial))
        insort(self.results, result)
        heapq.heappush(self.waiting, result)
        self.architectures[trial.number] = trial.architecture
        self.order = None

    def promotable(self) -> int | None:
        """The best of the first n / eta that has not been promoted."""
        count = len(self.results) // self.eta
        if not count or not self.waiting:
            return None
        if self.several:
            return next((n for n in self._sorted()[:count] if n not in self.promoted), None)
        return self.waiting[0].number if self.waiting[0] <= self.results[count - 1] else None

    def next_best(self) -> int | None:
        """The best that has not been promoted, wherever it stands."""
        if not self.waiting:
            return None
        if self.several:
            return next(n for n in self._sorted() if n not in self.promoted)
        return self.waiting[0].number

    def _sorted(self) -> list[int]:
        if self.order is None:
            self.order = best_first(self.results)
        return self.order

    def promote(self, number: int) -> Architecture:
        """Note that a trial goes on; it does so once."""
        self.promoted.add(number)
        while self.waiting and self.waiting[0].number in self.promoted:
            heapq.heappop(self.waiting)
        return self.architectures.pop(number)


class ASHA(Strategy):
    """Asynchronous successive halving: no rung ever waits for a slow trial.

    Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", Algorithm 2: a free worker promotes
    the best trial that is among the first 1/eta of its rung and has not been promoted, looking at the highest rung
    first; where there is none, something new begins at the lowest rung. Where we differ: (1) new architectures come
    from any other strategy, which hears of the trials at its own rung alone; (2) with several goals the first 1/eta are
    those of the best fronts, the least crowded first, and limits come before goals; (3) trials that failed or are not
    finite are not counted in a rung; a promoted trial that fails is not replaced; (4) equivalents count once; (5) when
    the inner strategy has nothing new (or 20 repetitions in a row), the best trial not yet promoted goes on; (6) with
    `brackets` > 1 the brackets of Hyperband run side by side, each getting new trials by its share. Cost per ask: that
    of the inner strategy, or about 5 µs; per tell O(log n) with one goal (and a move of memory), with several goals one
    sort of the rung's fronts.

    Options: `inner`, `inner_options` = who proposes new architectures; `eta` = 1 of how many is promoted;
    `min_epochs` = the least epochs of the lowest rung, or `rungs` = the epochs of all; `brackets` = how many lowest
    rungs begin trials; `rank_by` = "last" or "extrapolated" (what the learning curve promises); `level` = a rung whose
    rank correlation with the next is not above it with confidence is switched off (`RungRanks`; None: never).
    """

    pauses = True

    def __init__(
        self, setting: Setting, inner: str = "random", inner_options: Mapping[str, Any] | None = None, eta: int = 3,
        min_epochs: int = 1, rungs: Sequence[int] | None = None, brackets: int = 1, rank_by: RankBy = "last",
        level: float | None = 0.0,
    ) -> None:  # fmt: skip
        options = Options(inner, inner_options, eta, min_epochs, rungs, rank_by, level)
        self.setting = setting
        self.fidelities = ladder(setting.fidelity, options)
        if not isinstance(brackets, int) or brackets < 1:
            raise UsageError(f"brackets={brackets!r}: how many of the lowest rungs begin trials, at least 1")
        self.rank_by = rank_by
        self.ranks = RungRanks(self.fidelities, level)
        count = min(brackets, len(self.fidelities))
        self.inner = Inner(setting, self.fidelities, range(count), options)
        several = len(goals(setting.objectives)) > 1
        self.rungs = [[Rung(eta, several) for _ in self.fidelities] for _ in range(count)]  # by bracket
        last = len(self.fidelities) - 1
        sizes = [bracket_sizes(last + 1, eta, last - i)[0] for i in range(count)]
        self.shares = [size / sum(sizes) for size in sizes]
        self.begun = [0] * count  # new trials of each bracket
        self.bracket: dict[int, int] = {}  # of each draw in flight
        self.repeats = 0  # new proposals in a row whose result was copied
        self.draws = 0
        self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        found = self._promotable() if self.draws >= len(self.setting.start) else None
        if found is None and self.repeats >= DRY:
            found = self._left_over()
        if found is None:
            try:
                proposal, bracket = self._new()
            except SpaceError:
                found = self._left_over()
                if found is None:
                    raise
        if found is not None:
            bracket, rung, number = found
            architecture = self.rungs[bracket][rung].promote(number)
            above = self.fidelities[self.ranks.next(rung)]
            proposal = promotion(architecture, above, number, self.draws, self.events)
        self.bracket[self.draws] = bracket
        self.draws += 1
        self.events += 1
        return proposal

    def _new(self) -> tuple[Proposal, int]:
        """For the bracket that is furthest behind its share; the first begins the start architectures."""
        total = sum(self.begun) + 1
        bracket = max(range(len(self.begun)), key=lambda i: (self.shares[i] * total - self.begun[i], -i))
        entry = self.ranks.entry(bracket)
        if self.begun[0] < len(self.setting.start):
            bracket = entry = 0
        proposal = self.inner.propose(entry, self.draws, self.events)
        self.begun[bracket] += 1
        return proposal, bracket

    def _promotable(self) -> tuple[int, int, int] | None:
        """(bracket, rung, number), from the highest rung down; the top has nowhere to go."""
        for rung in range(len(self.fidelities) - 2, -1, -1):
            for bracket, rungs in enumerate(self.rungs):
                number = rungs[rung].promotable() if self.ranks.on[rung] else None
                if number is not None:
                    return bracket, rung, number
        return None

    def _left_over(self) -> tuple[int, int, int] | None:
        for rung in range(len(self.fidelities) - 2, -1, -1):
            for bracket, rungs in enumerate(self.rungs):
                number = rungs[rung].next_best()
                if number is not None:
                    return bracket, rung, number
        return None

    def tell(self, trial: Trial) -> None:
        self.events += 1
        bracket = self.bracket.pop(trial.proposal.draw, 0)
        self.inner.tell(trial)
        if trial.proposal.origin != PROMOTE:
            self.repeats = 0 if trial.source is None else self.repeats + 1
        rung = next((i for i, f in enumerate(self.fidelities) if same(f, trial.proposal.fidelity)), None)
        if rung is None or (trial.proposal.draw < 0 and not self._allowed(trial.architecture)):
            return
        result = result_of(trial, self.setting.objectives, self.rank_by, self.fidelities[-1].epochs)
        if result is not None:
            self.ranks.tell(rung, trial, result.losses[0])
            self.rungs[bracket][rung].add(trial, result)

    def _allowed(self, architecture: Architecture) -> bool:
        feasible = self.setting.feasible
        return feasible is None or feasible(architecture)
