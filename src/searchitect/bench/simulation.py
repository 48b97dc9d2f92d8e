"""One search on a table, in virtual time: every evaluation takes the seconds that the table says, none is waited for.

The loop is that of a study with `workers` workers: ask while one is free, tell when one is done. Strategies see
trials exactly as in a study; the score column is read here only, for the incumbent, and never told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from searchitect.bench.table import Reading, Table
from searchitect.errors import SpaceError, UsageError
from searchitect.records import (
    COST_METRICS,
    Cause,
    Failure,
    Measurement,
    Objective,
    Proposal,
    State,
    Trial,
    feasible,
    goals,
)
from searchitect.strategies import Setting, Strategy, make_strategy
from searchitect.strategies.auto import choose

SPARSE = 0.01  # share of a space that must have rows
IDLE = 1000  # evaluations in a row that cost nothing: the strategy has run dry


class Limit(NamedTuple):
    """When a search ends: after so many evaluations were told, or at a virtual time. One of them is needed.

    An evaluation that would end after `seconds` is never told (so random search on NAS-Bench-201 gets 106
    evaluations in 12,000 s, as published).
    """

    evaluations: int | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Run:
    """What one search did. Arrays have one entry per evaluation, in the order told.

    ends: virtual time; rows: row of the table (-1: none); epochs: fidelity; signal: first goal, NaN where failed;
    incumbent: row of the best so far (-1: none yet), at the highest fidelity reached and within the limits.
    """

    table: str
    strategy: str
    seed: int
    ends: np.ndarray
    rows: np.ndarray
    epochs: np.ndarray
    signal: np.ndarray
    incumbent: np.ndarray
    failed: int
    reused: int
    cpu_seconds: float  # of the whole search; nearly all of it is the strategy's

    def at(self, evaluations: int | None = None, seconds: float | None = None) -> int:
        """The incumbent's row after so many evaluations, or at a virtual time; -1 before the first."""
        told = len(self.ends) if evaluations is None else min(evaluations, len(self.ends))
        if seconds is not None:
            told = int(np.searchsorted(self.ends, seconds, side="right"))
        return int(self.incumbent[told - 1]) if told else -1


def simulate(
    table: Table, strategy: str, limit: Limit, *, seed: int = 0, objectives: Sequence[str] = (),
    options: Mapping[str, Any] | None = None, workers: int = 1, reuse: bool = False,
) -> Run:  # fmt: skip
    """Search the table with a strategy by name. `objectives` name columns (default: the table's signal).

    reuse: an equivalent of something told costs nothing and is not counted, as in a study; otherwise every
           query is charged.
    Raises UsageError for wrong names and options.
    """
    aims = table.objectives(objectives)
    reading = table.reading(aims)
    name, chosen = resolve(table, strategy, limit, reading, workers)
    setting = setting_of(table, aims, reading, seed)
    began = time.process_time()
    made = make_strategy(name, setting, {**chosen, **(options or {})})
    search = Search(table, reading, aims, made, limit, workers, reuse)
    search.run()
    return search.result(strategy, seed, time.process_time() - began)


def resolve(
    table: Table, strategy: str, limit: Limit, reading: Reading, workers: int = 1
) -> tuple[str, dict[str, Any]]:
    """The strategy's name and options; `auto` chooses by the space, the evaluations to expect and the goals."""
    check_limit(table, limit, reading)
    if strategy != "auto":
        return strategy, {}
    expected = limit.evaluations
    if expected is None and limit.seconds is not None:
        expected = int(limit.seconds * workers / max(float(np.nanmean(reading.levels[-1].seconds)), 1e-9))
    name, options, _ = choose(table.space, expected, reading.objectives)
    return name, options


def check_limit(table: Table, limit: Limit, reading: Reading) -> None:
    """Raises UsageError unless the limit can end a search on this table."""
    if limit.evaluations is None and limit.seconds is None:
        raise UsageError("a simulated search needs a limit: a number of evaluations, or simulated seconds")
    if limit.evaluations is not None and limit.evaluations < 1:
        raise UsageError(f"evaluations={limit.evaluations}: at least 1 is needed")
    if limit.seconds is not None and not reading.charged:
        raise UsageError(f"table {table.name} does not say what an evaluation costs: limit by evaluations instead")
    if limit.seconds is not None and not (limit.seconds > 0 and math.isfinite(limit.seconds)):
        raise UsageError(f"simulated seconds must be a positive number, got {limit.seconds}")


def setting_of(table: Table, aims: Sequence[Objective], reading: Reading, seed: int) -> Setting:
    """What a strategy may know: no row numbers, no score. Limits on known columns are checked beforehand.

    Raises UsageError where so few architectures have rows that strategies, which draw from the space, would miss them.
    """
    named = table.count if table.rows.table is None else len(table.rows.table)
    if named < SPARSE * table.space.size.finite:
        raise UsageError(
            f"table {table.name} has rows for {named:,} of {table.space.size} architectures: strategies draw from the "
            f"whole space and would find none. At least {SPARSE:.0%} are needed; describe a smaller space"
        )
    limits = [o for o in aims if o.is_limit and (table.columns[o.metric].known or o.metric in COST_METRICS)]
    fits: Callable[[Any], bool] | None = table.feasible if table.rows.holes else None
    if limits:
        kept = table.keeps(limits).tolist()

        def fits(architecture: Any) -> bool:
            row = table.rows.find(architecture)
            return row >= 0 and kept[row]

    return Setting(table.space, aims, seed, reading.fidelity, fits)


class Search:
    """The state of one simulated search."""

    def __init__(
        self, table: Table, reading: Reading, aims: Sequence[Objective], strategy: Strategy, limit: Limit,
        workers: int = 1, reuse: bool = False,
    ) -> None:  # fmt: skip
        self.table, self.reading, self.aims, self.strategy, self.limit = table, reading, aims, strategy, limit
        self.workers, self.reuse = workers, reuse
        self.limited = any(o.is_limit for o in aims)
        self.goals = goals(aims)
        self.trials: list[tuple[Proposal, int, int, float, int]] = []  # proposal, row, level, seconds, epochs begun at
        self.flying: list[tuple[float, int]] = []  # a heap of (end, number)
        self.told: list[tuple[float, int, int, float, int]] = []
        self.best: tuple[Any, ...] | None = None
        self.best_row = -1
        self.failed = self.reused = self.idle = self.asked = 0
        self.known: dict[tuple[str, int], int] = {}  # canonical key and level → number of the trial told
        self.dry = False

    def run(self) -> None:
        """Search until the limit."""
        now, seconds = 0.0, math.inf if self.limit.seconds is None else self.limit.seconds
        while True:
            while len(self.flying) < self.workers and self._wants_more():
                self._ask(now)
            if not self.flying:
                return
            now, number = heappop(self.flying)
            if now > seconds:
                return
            self._tell(now, number)

    def _wants_more(self) -> bool:
        most = self.limit.evaluations
        return not self.dry and self.idle < IDLE and (most is None or self.asked < most)

    def _ask(self, now: float) -> None:
        try:
            (proposal,) = self.strategy.ask(1)
        except SpaceError:
            if not self.trials:
                raise
            self.dry = True  # nothing new is left
            return
        number, row, level = (
            len(self.trials),
            self.table.row(proposal.architecture),
            self.reading.level(proposal.fidelity),
        )
        seconds, begun = self._cost(proposal, row, level)
        self.trials.append((proposal, row, level, seconds, begun))
        if self.reuse and row >= 0:
            source = self.known.get((self._key(proposal), level))
            if source is not None:
                self._repeat(number, source)
                return
        self.asked += 1
        self.idle = 0 if seconds > 0 else self.idle + 1
        heappush(self.flying, (now + seconds, number))

    def _key(self, proposal: Proposal) -> str:
        return self.table.space.key(proposal.architecture)

    def _cost(self, proposal: Proposal, row: int, level: int) -> tuple[float, int]:
        """Seconds of one evaluation and the epochs it begins at: a curve that goes on from a parent pays the rest."""
        if row < 0:
            return 0.0, 0
        levels = self.reading.levels
        seconds = levels[level].seconds[row]
        if self.reading.continues and proposal.parents:
            parents = [self.trials[p] for p in proposal.parents if 0 <= p < len(self.trials)]
            lower = [parent[2] for parent in parents if parent[1] == row and parent[2] < level]
            if lower:
                before = levels[max(lower)]
                return max(seconds - before.seconds[row], 0.0), before.epochs
        return seconds if seconds > 0 else 0.0, 0

    def _repeat(self, number: int, source: int) -> None:
        """Tell at once what an equivalent gave."""
        self.reused += 1
        self.idle += 1
        self.strategy.tell(self._trial(number, self.trials[source][1], source))

    def _tell(self, now: float, number: int) -> None:
        proposal, row, level, _, _ = self.trials[number]
        trial = self._trial(number, row, None)
        value = math.nan
        if trial.state is State.DONE:
            metrics = trial.measurement.metrics  # type: ignore[union-attr]
            value = metrics[self.goals[0].metric]
            if not self.limited or feasible(metrics, self.aims):
                rank = (-level, *(o.loss(metrics[o.metric]) for o in self.goals), number)
                if self.best is None or rank < self.best:
                    self.best, self.best_row = rank, row
            if self.reuse:
                self.known.setdefault((self._key(proposal), level), number)
        else:
            self.failed += 1
        self.told.append((now, row, self.reading.levels[level].epochs, value, self.best_row))
        self.strategy.tell(trial)

    def _trial(self, number: int, row: int, source: int | None) -> Trial:
        """The finished trial. No row: an invalid architecture. A value that is not a number: it failed."""
        proposal, _, level, seconds, begun = self.trials[number]
        if row < 0:
            failure = Failure(Cause.INVALID, "the table has no such architecture")
            return Trial(number, proposal, State.FAILED, failure=failure, attempts=1)
        found = self.reading.levels[level]
        metrics = {name: values[row] for name, values in found.values}
        for value in metrics.values():
            if value != value:
                failure = Failure(Cause.NOT_FINITE, "the table has no number for this architecture")
                return Trial(number, proposal, State.FAILED, failure=failure, attempts=1)
        curve = self.reading.curve(row, level) if self.reading.continues else ()
        measured = Measurement(metrics, seconds, found.epochs - begun, "cpu", curve)
        return Trial(number, proposal, State.DONE, measured, attempts=1, source=source)

    def result(self, strategy: str, seed: int, cpu_seconds: float) -> Run:
        """The arrays."""
        columns = [np.array(c) for c in zip(*self.told, strict=True)] or [np.zeros(0)] * 5
        ends, rows, epochs, signal, incumbent = columns
        return Run(
            self.table.name, strategy, seed, ends, rows.astype(np.int32), epochs.astype(np.int32), signal,
            incumbent.astype(np.int32), self.failed, self.reused, cpu_seconds,
        )  # fmt: skip
