"""One self-contained page. It loads nothing: its policy allows its own style and its own script, by hash.

All text of the study is cleaned and escaped; the template escapes by itself, and only `svg` makes markup.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import time
from collections.abc import Collection, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from searchitect.records import goals, thoroughness
from searchitect.report import (
    accounts,
    beside,
    checklist,
    contest,
    figures,
    lineage,
    plain,
    rivals,
    savings,
    supernet,
    tables,
    why,
    words,
)
from searchitect.report.files import write_atomically
from searchitect.report.grid import Cell, Table
from searchitect.report.snapshot import Finalist, Snapshot, clock, read

ROWS = 500
DECISIONS = 12


def write_report(folder: Path | str) -> Path:
    """Write `report.html` into the study's folder (which may be running) and return its path.

    Raises StorageError when the folder is not a study or cannot be written.
    """
    folder = Path(folder)
    return write_atomically(folder / "report.html", render(read(folder)).encode("utf-8", "replace"))


def render(snapshot: Snapshot, now: float | None = None) -> str:
    """The page as text."""
    style, script, template = _parts()
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return template.render(
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        written=plain.show_time(time.time() if now is None else now),
        **content(snapshot),
    )


@functools.cache
def _parts() -> tuple[str, str, jinja2.Template]:
    """The page's own style, script and template."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(plural=plain.plural, unbroken=_unbroken)
    return _asset("report.css"), _asset("report.js"), environment.from_string(_asset("report.html"))


def _asset(name: str) -> str:
    return (files("searchitect.report") / "templates" / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def content(snapshot: Snapshot) -> dict[str, Any]:
    """Everything the template shows, by name."""
    meta = snapshot.meta
    trials, objectives = snapshot.trials, snapshot.objectives
    marked = marks(snapshot)
    spent = accounts.costs(trials, meta)
    failures = accounts.failures(trials)
    decided = accounts.decision_shares(trials, objectives)
    shown = contest.shown(snapshot, snapshot.verdict)
    return {
        "name": snapshot.name,
        "created": plain.show_time(meta.get("created")),
        "lead": words.lead(snapshot),
        "verdict": snapshot.verdict,
        "verdict_figure": figures.verdict_figure(shown) if shown else None,
        "beside": beside.facts(snapshot),
        "rivals": rivals.content(snapshot),
        "test_line": words.test_line(snapshot),
        "baseline": words.baseline_words(snapshot),
        "setup": words.setup_facts(snapshot),
        "space_drawing": plain.clean(plain.mapping(meta.get("space")).get("drawing") or "", 20_000),
        **_progress(snapshot),
        **_front(snapshot),
        **_learning(snapshot, marked),
        **supernet.content(snapshot),
        "winner": words.winner_facts(snapshot),
        **contest.content(snapshot),
        "lineage": lineage.content(snapshot),
        "why": why.content(snapshot),
        "checklist": checklist.content(snapshot),
        "finalists": finalist_table(snapshot, snapshot.finalists),
        "finalists_figure": contest.finalists_figure(snapshot, _ordered(snapshot, snapshot.finalists)),
        "control_finalists": finalist_table(snapshot, snapshot.control),
        "trials": trial_table(snapshot, marked),
        "trials_total": len(trials),
        "trials_constant": len(tables.constant_decisions(trials)),
        "export": words.export_command(snapshot),
        "decisions": decided,
        "decision_figures": [(plain.line(d.name, 60), figures.shares_figure(d)) for d in decided.rows[:DECISIONS]],
        "failures": failure_table(failures),
        "failed": sum(f.count for f in failures),
        "tracebacks": [(f.example, f.cause, plain.clean(f.traceback, 20_000)) for f in failures if f.traceback],
        "costs": [*savings.cost_facts(snapshot, spent), *beside.forecast_facts(snapshot, spent)],
        "environment": words.environment_facts(snapshot),
        "changes": words.changes(snapshot),
        "command": words.command(snapshot),
    }


def marks(snapshot: Snapshot) -> dict[int, str]:
    """Trial numbers to be marked in tables and curves."""
    marked = {f.trial: "finalist" for f in snapshot.finalists if f.trial is not None}
    if snapshot.winner_trial is not None:
        marked[snapshot.winner_trial] = "winner"
    return marked


def _progress(snapshot: Snapshot) -> dict[str, Any]:
    """One pair of figures for each kind of fidelity: their values do not compare."""
    curves = tables.progress_curve(snapshot.trials, snapshot.objectives, clock(snapshot))
    kinds: dict[str, list[tables.Progress]] = {}
    for curve in curves:
        kinds.setdefault(curve.fidelity.kind, []).append(curve)
    return {
        "progress": [_progress_group(snapshot, group) for group in kinds.values()],
        "metric": figures.name_of(curves[0].metric) if curves else "",
    }


def _progress_group(snapshot: Snapshot, curves: list[tables.Progress]) -> dict[str, Any]:
    baseline = contest.baseline_point(snapshot, curves[0])
    metric, shown = curves[0].metric, curves[: figures.MOST_CURVES]
    rows = [
        [_cell(p.number), _cell(p.ended), _value("seconds", p.seconds), _value(metric, p.value)]
        for p in curves[0].steps
    ]
    columns = (("Trial", True), ("Trials ended", True), ("Time", True), (figures.name_of(metric), True))
    return {
        "over_trials": figures.progress_figure(curves, "ended", baseline),
        "over_time": figures.progress_figure(curves, "seconds", baseline),
        "legend": [*((str(i + 1), c.label) for i, c in enumerate(shown)), *_baseline_legend(metric, baseline)],
        "left_out": len(curves) - len(shown),
        "outside": figures.out_of_frame(curves),
        "thinned": max(len(c.points) for c in shown) > figures.MOST_DOTS,
        "table": Table(columns, rows, [""] * len(rows)),
    }


def _baseline_legend(metric: str, baseline: tables.Point | None) -> list[tuple[str, str]]:
    if baseline is None:
        return []
    return [("6 passes", f"baseline (trial {baseline.number}): {plain.show_metric(metric, baseline.value)}")]


def _front(snapshot: Snapshot) -> dict[str, Any]:
    points = tables.front_points(snapshot.trials, snapshot.objectives)
    ends = [p for p in points if p.best]
    if not ends:
        return {"front": None}
    named = goals(snapshot.objectives)
    known = {t.number: t for t in snapshot.trials}
    rows = [
        [
            _cell(p.number),
            *(_value(o.metric, v) for o, v in zip(named, p.values, strict=True)),
            Cell(plain.show_decisions(known[p.number].architecture.decisions), class_="decisions"),
        ]
        for p in ends[:100]
    ]
    columns = (("Trial", True), *((figures.name_of(o.metric), True) for o in named), ("Architecture", False))
    classes = ["winner" if p.number == snapshot.winner_trial else "" for p in ends[:100]]
    return {
        "front": figures.front_figure(points, snapshot.objectives, snapshot.winner_trial),
        "front_table": Table(columns, rows, classes, sortable=True),
        "front_size": len(ends),
        "front_of": len(points),
        "front_goals": len(named),
        "front_outside": len(points) - len(figures.front_inside(points, named[0])),
        "front_ringed": any(p.number == snapshot.winner_trial for p in ends),
    }


def _learning(snapshot: Snapshot, marked: dict[int, str]) -> dict[str, Any]:
    curves = tables.learning_curves(snapshot.trials, snapshot.objectives, marked, snapshot.reports)
    return {
        "learning": figures.learning_figure(curves) if curves else None,
        "learning_legend": [
            (i + 1, f"trial {c.number}" + (f", {c.role}" if c.role != "best" else "")) for i, c in enumerate(curves)
        ],
        "learning_metric": figures.name_of(curves[0].metric) if curves else "",
    }


def _ordered(snapshot: Snapshot, finalists: Sequence[Finalist]) -> list[Finalist]:
    """The chosen one, then the best mean."""
    goal = next(iter(goals(snapshot.objectives)), None)
    sign = -1 if goal is not None and goal.direction == "max" else 1
    return sorted(finalists, key=lambda f: (not f.chosen, f.mean is None, sign * (f.mean or 0.0)))


def finalist_table(snapshot: Snapshot, finalists: Sequence[Finalist]) -> Table | None:
    """The finalists of the search, or of the control, over retraining seeds, the best mean first."""
    if not finalists:
        return None
    goal = next(iter(goals(snapshot.objectives)), None)
    metric = goal.metric if goal else ""
    ordered = _ordered(snapshot, finalists)
    rows = [
        [
            Cell("–", None) if f.trial is None else _cell(f.trial),
            _value(metric, f.mean),
            _value(metric, f.low),
            _value(metric, f.high),
            _cell(len(f.values)),
            Cell("chosen" if f.chosen else ""),
            Cell(plain.show_decisions(f.architecture), class_="decisions"),
        ]
        for f in ordered
    ]
    names = ("Trial", f"Mean {figures.name_of(metric)}", "From", "To", "Seeds")
    columns = (*((n, True) for n in names), ("Choice", False), ("Architecture", False))
    return Table(columns, rows, ["winner" if f.chosen else "" for f in ordered], sortable=True)


def trial_table(snapshot: Snapshot, marked: dict[int, str]) -> Table:
    """All trials, or the most telling `ROWS` of them.

    How they were measured is a column only if it differs, and so is shown what was decided.
    """
    constant = tables.constant_decisions(snapshot.trials)
    metrics = tables.shown_metrics(snapshot.trials, snapshot.objectives)
    shown = tables.trial_rows(snapshot.trials, snapshot.objectives, marked, ROWS)
    mixed = len({t.proposal.fidelity for t in snapshot.trials}) > 1
    columns = (
        ("Trial", True),
        ("State", False),
        *((figures.name_of(m), True) for m in metrics),
        ("Time", True),
        *[("Measured with", False)] * mixed,
        ("Made by", False),
        ("Architecture or cause", False),
    )
    rows = [_trial_cells(row, metrics, mixed, constant) for row in shown]
    return Table(columns, rows, [row.mark or str(row.state) for row in shown], sortable=True)


def _trial_cells(row: tables.TrialRow, metrics: Sequence[str], mixed: bool, constant: Collection[str]) -> list[Cell]:
    state = str(row.state) + (f" ({row.mark})" if row.mark else "")
    if row.source is not None:
        state += f", as {row.source}"
    if not row.kept and row.state == "done":
        state += ", beyond a limit"
    decided = {k: v for k, v in row.decisions.items() if k not in constant}
    what = plain.line(row.problem, 240) if row.problem else plain.show_decisions(decided)
    rank = thoroughness(row.fidelity)
    return [
        _cell(row.number),
        Cell(state),
        *(_value(m, v) for m, v in zip(metrics, row.values, strict=True)),
        _value("seconds", row.seconds),
        *[Cell(plain.show_fidelity(row.fidelity), 1e6 * rank[0] + rank[1])] * mixed,
        Cell(plain.line(row.origin, 60)),
        Cell(what, class_="decisions"),
    ]


def failure_table(rows: Iterable[accounts.FailureRow]) -> Table | None:
    """Failures by cause."""
    cells = [
        [
            Cell(row.cause),
            _cell(row.count),
            _cell(row.example),
            Cell(plain.line(row.message, 400) + (f" ({row.alike:,} alike)" if row.alike > 1 else ""), class_="wide"),
        ]
        for row in rows
    ]
    columns = (("Cause", False), ("Trials", True), ("Example", True), ("Commonest message", False))
    return Table(columns, cells, [""] * len(cells)) if cells else None


def _unbroken(text: str) -> str:
    """No line break between a number and its per cent sign."""
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", text)


def _cell(value: int) -> Cell:
    return Cell(f"{value:,}", float(value))


def _value(metric: str, value: float | None) -> Cell:
    return Cell(plain.show_metric(metric, value), plain.finite(value))
