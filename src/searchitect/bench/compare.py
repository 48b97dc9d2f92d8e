"""Strategies × tables × seeds, in processes of one thread each, and the plain results.

`compare` runs the searches and keeps of each when its incumbent changed (`Trace`); `results.py` makes
tables of them. The same plan gives the same traces whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from searchitect.bench.loading import load_table
from searchitect.bench.simulation import Limit, Run, resolve, setting_of, simulate
from searchitect.bench.table import Table
from searchitect.errors import StudyFailedError, UsageError
from searchitect.executors import Context, Failed, Finished
from searchitect.records import goals
from searchitect.strategies import make_strategy

CHUNK = 10  # seeds of one task


class Entry(msgspec.Struct, frozen=True):
    """One strategy of a comparison: its name on the command line, how it is shown, and its options."""

    strategy: str
    options: dict[str, Any] = {}
    label: str = ""

    @property
    def shown(self) -> str:
        """The label, else the strategy's name."""
        return self.label or self.strategy


class Plan(msgspec.Struct, frozen=True):
    """What to compare.

    tables:     names or paths; every strategy is run on every table with seeds 0 to `seeds` − 1.
    objectives: columns with directions or limits (default: the table's signal).
    """

    tables: tuple[str, ...]
    entries: tuple[Entry, ...]
    seeds: int = 100
    evaluations: int | None = None
    seconds: float | None = None
    objectives: tuple[str, ...] = ()
    workers: int = 1
    reuse: bool = False

    @property
    def limit(self) -> Limit:
        """When each search ends."""
        return Limit(self.evaluations, self.seconds)


class Trace(msgspec.Struct, frozen=True):
    """What is kept of one search.

    changes: (evaluations told, virtual seconds, row) of each new incumbent.
    rows:    with several goals, the row of each evaluation; −1 where it failed or was not at the full fidelity.
    """

    table: str
    label: str
    seed: int
    evaluations: int
    seconds: float
    changes: tuple[tuple[int, float, int], ...]
    failed: int
    reused: int
    cpu_seconds: float
    rows: tuple[int, ...] = ()

    def row(self, evaluations: int | None = None, seconds: float | None = None) -> int:
        """The incumbent's row at the end, after so many evaluations or at a virtual time; -1: none yet."""
        found = -1
        for told, when, row in self.changes:
            if (evaluations is not None and told > evaluations) or (seconds is not None and when > seconds):
                break
            found = row
        return found


def trace(run: Run, label: str, *, rows: bool = False) -> Trace:
    """Keep of a run what comparisons need; `rows` where there are several goals."""
    changes, before = [], -1
    for told, row in enumerate(run.incumbent.tolist(), 1):
        if row != before:
            changes.append((told, float(run.ends[told - 1]), row))
            before = row
    last = float(run.ends[-1]) if len(run.ends) else 0.0
    full = np.where(np.isfinite(run.signal) & (run.epochs == run.epochs.max(initial=0)), run.rows, -1)
    return Trace(
        run.table, label, run.seed, len(run.ends), last, tuple(changes), run.failed, run.reused, run.cpu_seconds,
        tuple(full.tolist()) if rows else (),
    )  # fmt: skip


def compare(plan: Plan, *, jobs: int = 1, progress: Callable[[int, int], None] | None = None) -> list[Trace]:
    """Run every search of the plan, `jobs` at a time. Traces are ordered by table, entry and seed.

    Raises UsageError or DataError for wrong names, options and files before anything runs, and
    StudyFailedError when a strategy breaks.
    """
    check(plan)
    tasks = [
        {"table": table, "entry": msgspec.to_builtins(entry), "first": first, "last": min(first + CHUNK, plan.seeds)}
        for table in plan.tables
        for entry in plan.entries
        for first in range(0, plan.seeds, CHUNK)
    ]
    shared = msgspec.to_builtins(msgspec.structs.replace(plan, tables=(), entries=()))
    payloads = [{**task, "plan": shared} for task in tasks]
    found = _in_turn(payloads, progress) if jobs <= 1 else _in_processes(payloads, jobs, progress)
    return [t for part in found for t in msgspec.convert(part, list[Trace])]


def check(plan: Plan) -> None:
    """Make every strategy once for every table, so that what is wrong is said before the first search."""
    labels = [entry.shown for entry in plan.entries]
    if not plan.tables or not labels:
        raise UsageError("a comparison needs at least one table and one strategy")
    if len(set(labels)) < len(labels) or len(set(plan.tables)) < len(plan.tables):
        raise UsageError(f"a table or strategy is given twice: {', '.join([*plan.tables, *labels])}")
    if plan.seeds < 1 or plan.workers < 1:
        raise UsageError(f"seeds and workers must be at least 1, got {plan.seeds} and {plan.workers}")
    for name in plan.tables:
        table = load_table(name)
        aims = table.objectives(plan.objectives)
        reading = table.reading(aims)
        setting = setting_of(table, aims, reading, 0)
        for entry in plan.entries:
            strategy, options = resolve(table, entry.strategy, plan.limit, reading, plan.workers)
            make_strategy(strategy, setting, {**options, **entry.options})


def run_task(payload: Mapping[str, Any], _: Context | None = None) -> dict[str, Any]:
    """Some seeds of one strategy on one table; plain data in and out."""
    plan, entry = msgspec.convert(payload["plan"], Plan), msgspec.convert(payload["entry"], Entry)
    table = _table(payload["table"])
    several = len(goals(table.objectives(plan.objectives))) > 1
    traces = []
    for seed in range(payload["first"], payload["last"]):
        run = simulate(
            table, entry.strategy, plan.limit, seed=seed, objectives=plan.objectives, options=entry.options,
            workers=plan.workers, reuse=plan.reuse,
        )  # fmt: skip
        traces.append(msgspec.structs.replace(trace(run, entry.shown, rows=several), table=payload["table"]))
    return {"traces": msgspec.to_builtins(traces)}


@cache
def _table(name: str) -> Table:
    return load_table(name)


def _in_turn(payloads: Sequence[Mapping[str, Any]], progress: Callable[[int, int], None] | None) -> list[Any]:
    found = []
    for payload in payloads:
        found.append(run_task(payload)["traces"])
        if progress is not None:
            progress(len(found), len(payloads))
    return found


def _in_processes(
    payloads: Sequence[Mapping[str, Any]], jobs: int, progress: Callable[[int, int], None] | None
) -> list[Any]:
    from searchitect.executors.processes import Processes

    found: dict[int, Any] = {}
    preload = ["searchitect.bench.compare", "searchitect.bench.simulation"]
    with Processes(jobs, threads=1, recycle_after=10**9, preload=preload) as executor:
        executor.start(run_task)
        for ticket, payload in enumerate(payloads):
            executor.submit(ticket, payload)
        while len(found) < len(payloads):
            for event in executor.wait(None):
                if isinstance(event, Failed):
                    entry = payloads[event.ticket]["entry"]
                    detail = event.traceback.rstrip() or event.message
                    raise StudyFailedError(f"strategy {entry['label'] or entry['strategy']!r} failed:\n{detail}")
                if isinstance(event, Finished):
                    found[event.ticket] = event.result["traces"]
                    if progress is not None:
                        progress(len(found), len(payloads))
    return [found[ticket] for ticket in range(len(payloads))]
