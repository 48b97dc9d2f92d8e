"""A study in a terminal: the verdict, the numbers, the best trials; at most 80 columns, plain text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from searchitect.records import Score, Trial, Verdict, candidates, goals, losses
from searchitect.report import accounts, beside, contest, figures, plain, rivals, savings, tables, why, words
from searchitect.report.snapshot import Snapshot, read

COLUMNS = 80
BAR = 30


def text_summary(folder: Path | str) -> str:
    """What `searchitect show` prints. Raises StorageError for what is not a study."""
    return render(read(folder))


def render(snapshot: Snapshot) -> str:
    """The summary of a study that has been read."""
    told = words.lead(snapshot)
    blocks = [
        [*_wrap(f"{snapshot.name}: {told.headline}"), *(part for s in told.sentences for part in _wrap(s))],
        _verdict(verdict) if (verdict := contest.shown(snapshot, snapshot.verdict)) else [],
        _facts(beside.facts(snapshot)),
        [part for text in rivals.lines(snapshot) for part in _wrap(text)],
        _facts([(label, text) for label, text in words.setup_facts(snapshot) if label in SHOWN]),
        _facts(words.winner_facts(snapshot)),
        [part for text in why.lines(snapshot) for part in _wrap(text)],
        _best_trials(snapshot),
        _failures(snapshot),
        _facts(_costs(snapshot)),
        [*_wrap(words.test_line(snapshot))],
    ]
    if (snapshot.folder / "report.html").is_file():
        blocks.append([f"Report: {plain.line(snapshot.folder / 'report.html', 500)}"])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


SHOWN = frozenset({"Goal", "Space", "Strategy", "Data", "Split", "Budget", "Workers", "Search ended"})


def _costs(snapshot: Snapshot) -> list[words.Fact]:
    spent = accounts.costs(snapshot.trials, snapshot.meta)
    return [*savings.cost_facts(snapshot, spent), *beside.forecast_facts(snapshot, spent)]


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, COLUMNS, subsequent_indent=indent) or [""]


def _facts(facts: Sequence[words.Fact]) -> list[str]:
    """Labels in one column, words in another, wrapped there."""
    if not facts:
        return []
    width = min(24, max(len(label) for label, _ in facts)) + 2
    lines = []
    for label, text in facts:
        head = label if len(label) < width - 1 else label[: width - 3] + "…"
        lines += textwrap.wrap(
            text, COLUMNS, initial_indent=head.ljust(width), subsequent_indent=" " * width, max_lines=4
        )
    return lines


def _verdict(verdict: Verdict) -> list[str]:
    """Winner and baseline, each with its interval as a bar on a common scale."""
    scores = [("winner", verdict.winner)] + ([("baseline", verdict.baseline)] if verdict.baseline else [])
    ends = [v for _, s in scores for v in (s.low, s.high) if math.isfinite(v)] or [0.0]
    low, high = min(ends), max(ends)
    name = figures.name_of(verdict.metric)
    what = f"Test {name}" if verdict.test_items else f"{name[:1].upper()}{name[1:]} by your own function"
    lines = [f"{what} with {100 * verdict.level:.0f} % intervals:"]
    for label, score in scores:
        text = f"  {label:9}{words.interval(verdict.metric, score)}"
        bar = _bar(score, low, high)
        lines.append(f"{text:<{COLUMNS - BAR - 1}} {bar}" if len(text) < COLUMNS - BAR else text)
    return lines


def _bar(score: Score, low: float, high: float) -> str:
    def place(value: float) -> int:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(min(1.0, max(0.0, share)) * (BAR - 1))

    first, middle, last = place(score.low), place(score.mean), place(score.high)
    cells = ["─" if first <= i <= last else " " for i in range(BAR)]
    cells[first], cells[last], cells[middle] = "├", "┤", "●"
    return "".join(cells).rstrip()


def _best_trials(snapshot: Snapshot, most: int = 5) -> list[str]:
    """The best few candidates, or the front when there are several goals."""
    objectives = snapshot.objectives
    named = goals(objectives)
    if len(named) > 1:
        known = {t.number: t for t in snapshot.trials}
        chosen = [known[p.number] for p in tables.front_points(snapshot.trials, objectives) if p.best]
        title = f"Front ({min(most, len(chosen))} of {len(chosen)})"
    else:
        chosen = sorted(candidates(snapshot.trials, objectives), key=lambda t: (losses(t, objectives) or (), t.number))
        title = "Best trials"
    if not chosen:
        return []
    rows = [("trial", *(figures.name_of(o.metric) for o in named), "time", "architecture")]
    rows += [_best_row(t, snapshot) for t in chosen[:most]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.rjust(w) for text, w in zip(row[:-1], widths[:-1], strict=True)) for row in rows]
    full = [f"{line}  {row[-1]}" for line, row in zip(lines, rows, strict=True)]
    return [title, *(text if len(text) <= COLUMNS else text[: COLUMNS - 1] + "…" for text in full)]


def _best_row(trial: Trial, snapshot: Snapshot) -> tuple[str, ...]:
    values = (plain.show_metric(o.metric, trial.value(o.metric)) for o in goals(snapshot.objectives))
    took = tables.spent(trial)
    time = f"as {trial.source}" if trial.source is not None else plain.show_duration(took)
    return (str(trial.number), *values, time, plain.show_decisions(trial.architecture.decisions, 200))


def _failures(snapshot: Snapshot) -> list[str]:
    lines = []
    for row in accounts.failures(snapshot.trials):
        lines += _wrap(f"{plain.plural(row.count, 'trial')} failed ({row.cause}): {plain.line(row.message, 200)}", "  ")
    return lines
