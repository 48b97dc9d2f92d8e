"""Results of a comparison as plain tables: scores and regrets at given points, tests, ranks, rows for CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from searchitect.bench import stats
from searchitect.bench.compare import Plan, Trace
from searchitect.bench.fronts import Front
from searchitect.bench.loading import load_table
from searchitect.bench.table import Table
from searchitect.errors import UsageError
from searchitect.records import goals, jsonable

SHARES = (0.1, 0.2, 0.5, 1.0)  # of the virtual time that all searches reached
POINTS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


class Judge:
    """Reads the score column, for rows that searches ended with. `own` is the table that was searched."""

    def __init__(self, table: Table, plan: Plan, own: Table | None = None) -> None:
        self.table = table
        column = table.columns[table.score]
        self.values = np.append(np.asarray(column.values, dtype=np.float64), math.nan)  # row -1: nothing found yet
        limits = table.objectives(plan.objectives) if own is None else ()
        self.optimum = table.optimum([o for o in limits if o.is_limit])
        self.sign = 1.0 if column.direction == "min" else -1.0
        self.rows = None if own is None else _rows_in(table, own)

    def scores(self, rows: Sequence[int]) -> np.ndarray:
        """The scores of rows of the table that was searched."""
        found = np.asarray(rows, dtype=np.int64)
        return self.values[found if self.rows is None else self.rows[found]]

    def regrets(self, scores: np.ndarray) -> np.ndarray:
        """How much worse than the best row of the table."""
        return self.sign * (scores - self.optimum)


def _rows_in(other: Table, own: Table) -> np.ndarray:
    """For each row of one table the row of the same architecture in another; -1 stays -1."""
    if own.space.fingerprint != other.space.fingerprint:
        raise UsageError(f"read-out: {other.name} has another space than {own.name}, so their rows do not correspond")
    rows = np.full(own.count + 1, -1, dtype=np.int64)
    if own.rows.parts == other.rows.parts:  # they name architectures by the same numbers
        named = own.rows.table.items() if own.rows.table is not None else ((i, i) for i in range(own.count))
        known = other.rows.table
        pairs = ((row, number if known is None else known.get(number, -1)) for number, row in named)
    else:
        pairs = ((own.rows.find(a), other.rows.find(a)) for a in own.space.enumerate())
    for row, there in pairs:
        if row >= 0:
            rows[row] = there
    return rows


def results(plan: Plan, traces: Sequence[Trace], points: Sequence[int] = (), read_outs: Sequence[str] = ()) -> Any:
    """Everything as plain data; the same that `searchitect bench --json` prints."""
    found = [_of_table(plan, name, traces, points, read_outs) for name in plan.tables]
    body = {
        "seeds": plan.seeds, "evaluations": plan.evaluations, "simulated_seconds": plan.seconds,
        "workers": plan.workers, "reuse": plan.reuse, "tables": found, "ranks": None,
    }  # fmt: skip
    if len(plan.entries) > 1:
        blocks = np.concatenate([_regrets(plan, name, traces) for name in plan.tables])
        body["ranks"] = msgspec.to_builtins(stats.ranks(blocks, [e.shown for e in plan.entries]))
    return jsonable(body)


def _of(traces: Sequence[Trace], table: str, label: str) -> list[Trace]:
    return sorted((t for t in traces if t.table == table and t.label == label), key=lambda t: t.seed)


def _regrets(plan: Plan, name: str, traces: Sequence[Trace]) -> np.ndarray:
    """Final regrets (seeds × strategies)."""
    judge = Judge(load_table(name), plan)
    columns = [judge.regrets(judge.scores([t.row() for t in _of(traces, name, e.shown)])) for e in plan.entries]
    return np.stack(columns, axis=1)


def _of_table(
    plan: Plan, name: str, traces: Sequence[Trace], points: Sequence[int], read_outs: Sequence[str]
) -> dict[str, Any]:
    table = load_table(name)
    judge = Judge(table, plan)
    others = [Judge(load_table(other), plan, table) for other in read_outs]
    final = _regrets(plan, name, traces)
    labels = [e.shown for e in plan.entries]
    tests = stats.pairs(dict(zip(labels, final.T, strict=True)))
    aims = table.objectives(plan.objectives)
    mine = [t for t in traces if t.table == name]
    end = plan.seconds or min(t.seconds for t in mine)
    times = [share * end for share in SHARES] if table.reading(aims).charged else []
    front = Front(table, plan) if len(goals(aims)) > 1 else None
    strategies = []
    for entry in plan.entries:
        found = _of(traces, name, entry.shown)
        longest = max(t.evaluations for t in found)
        at = sorted({p for p in (points or POINTS) if p <= longest})
        asked = sum(t.evaluations + t.reused for t in found)
        outs = [{"table": o.table.name, "score_column": o.table.score, **_judged(o, found, at)} for o in others]
        strategies.append({
            "strategy": entry.strategy, "label": entry.shown, "options": entry.options, "runs": len(found),
            "evaluations": msgspec.to_builtins(stats.summary([t.evaluations for t in found])),
            "simulated_seconds": msgspec.to_builtins(stats.summary([t.seconds for t in found])),
            "failed": sum(t.failed for t in found), "reused": sum(t.reused for t in found),
            "cpu_ms_per_proposal": 1000 * sum(t.cpu_seconds for t in found) / max(asked, 1),
            **_judged(judge, found, at),
            "at_seconds": {f"{p:g}": _numbers(judge, [t.row(seconds=p) for t in found]) for p in times},
            "read_out": outs,
            "front": None if front is None else _front_shares(front, found, at),
        })  # fmt: skip
    return {
        "table": name, "about": table.about, "objectives": [str(o) for o in aims], "score": table.score,
        "unit": table.columns[table.score].unit, "direction": table.columns[table.score].direction,
        "optimum": judge.optimum, "strategies": strategies, "tests": msgspec.to_builtins(tests),
    }  # fmt: skip


def _front_shares(front: Front, traces: Sequence[Trace], points: Sequence[int]) -> dict[str, Any]:
    """With several goals: the share of the hypervolume of the table's front."""
    ends = msgspec.to_builtins(stats.summary([front.share(t) for t in traces]))
    reached = {p: [t for t in traces if t.evaluations >= p] for p in points}
    at = {str(p): msgspec.to_builtins(stats.summary([front.share(t, p) for t in ts])) for p, ts in reached.items()}
    return {"end": ends, "at": at}


def _judged(judge: Judge, traces: Sequence[Trace], points: Sequence[int]) -> dict[str, Any]:
    """Score and regret at the end and after so many evaluations (only searches that got so far)."""
    return {
        "end": _numbers(judge, [t.row() for t in traces]),
        "at": {str(p): _numbers(judge, [t.row(p) for t in traces if t.evaluations >= p]) for p in points},
    }


def _numbers(judge: Judge, rows: Sequence[int]) -> dict[str, Any]:
    scores = judge.scores(rows)
    return {
        "score": msgspec.to_builtins(stats.summary(scores)),
        "regret": msgspec.to_builtins(stats.summary(judge.regrets(scores))),
    }


def curve(plan: Plan, name: str, traces: Sequence[Trace], label: str, places: Sequence[float], by: str) -> list[Any]:
    """Mean regret with its interval at places on an axis, "evaluations" or "seconds": (place, Summary)."""
    judge = Judge(load_table(name), plan)
    found = _of(traces, name, label)
    rows = [[t.row(int(p)) if by == "evaluations" else t.row(seconds=p) for t in found] for p in places]
    return [(p, stats.summary(judge.regrets(judge.scores(r)))) for p, r in zip(places, rows, strict=True)]


def write_csv(path: Path, plan: Plan, traces: Sequence[Trace]) -> None:
    """One line for each new incumbent of each search."""
    head = ("table", "strategy", "seed", "evaluations", "simulated_seconds", "row", "signal", "score", "regret")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for name in plan.tables:
            table = load_table(name)
            judge, goal = Judge(table, plan), table.reading(table.objectives(plan.objectives)).goal.metric
            signal = np.append(table.losses(goal) * (1 if table.columns[goal].direction == "min" else -1), math.nan)
            for t in (t for t in traces if t.table == name):
                for told, when, row in t.changes:
                    score = judge.scores([row])
                    numbers = (float(signal[row]), float(score[0]), float(judge.regrets(score)[0]))
                    writer.writerow((name, t.label, t.seed, told, when, row, *numbers))
