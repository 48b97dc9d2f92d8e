"""Winner beside hand-made network: both drawn, their decisions in one table; and the finalists with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from msgspec.structs import replace

from searchitect.errors import SearchitectError
from searchitect.records import Score, Verdict, goals
from searchitect.report import cells, figures, svg
from searchitect.report.grid import Cell, Table
from searchitect.report.plain import clean, line, mapping, show_metric, show_value
from searchitect.report.snapshot import Finalist, Snapshot
from searchitect.report.tables import Point, Progress
from searchitect.space import Space

MOST = 8  # finalists in the figure
ROWS = 200  # decisions in the table


def chosen_decisions(snapshot: Snapshot) -> Mapping[str, Any]:
    """What was chosen in the winner."""
    chosen = mapping(snapshot.winner.get("architecture"))
    return mapping(chosen["decisions"]) if isinstance(chosen.get("decisions"), dict) else chosen


def baseline_decisions(snapshot: Snapshot) -> Mapping[str, Any]:
    """Those of the hand-made network; empty where it is code of the user's."""
    return mapping(mapping(snapshot.meta.get("baseline")).get("decisions"))


def is_baseline(snapshot: Snapshot) -> bool:
    """Whether the winner is the hand-made network of the space."""
    baseline = baseline_decisions(snapshot)
    return bool(baseline) and dict(chosen_decisions(snapshot)) == dict(baseline)


def shown(snapshot: Snapshot, verdict: Verdict | None) -> Verdict | None:
    """A verdict as it is shown: a winner that is the baseline is one network, compared with nothing."""
    if verdict is None or not is_baseline(snapshot):
        return verdict
    return replace(verdict, baseline=None, difference=None, low=None, high=None)


def content(snapshot: Snapshot) -> dict[str, Any]:
    """Drawings and decisions of both. There is nothing to put beside a winner that is the baseline."""
    winner, baseline = chosen_decisions(snapshot), baseline_decisions(snapshot)
    space = mapping(snapshot.meta.get("space")).get("json")
    same = is_baseline(snapshot)
    drawing = clean(mapping(snapshot.meta.get("baseline")).get("drawing") or "", 20_000) or _drawn(space, baseline)
    beside = bool(winner) and not same
    return {
        "winner_drawing": clean(snapshot.winner.get("drawing") or "", 20_000),
        "winner_cells": cells.content(space, winner),
        "baseline_drawing": drawing if beside else "",
        "baseline_cells": cells.content(space, baseline) if beside and baseline else [],
        "decisions_table": decision_table(winner, baseline if beside else {}),
        "is_baseline": same,
    }


def _drawn(text: Any, decisions: Mapping[str, Any]) -> str:
    """The drawing of an architecture of the space in `text` (JSON); "" where it cannot be drawn."""
    if not decisions:
        return ""
    try:
        space = Space.from_json(text)
        return clean(space.draw(space.architecture(dict(decisions))), 20_000)
    except (SearchitectError, TypeError, ValueError):
        return ""


def decision_table(winner: Mapping[str, Any], baseline: Mapping[str, Any]) -> Table | None:
    """Every decision of the winner, beside the baseline's; those that differ first."""
    if not winner:
        return None
    names = [*winner, *(name for name in baseline if name not in winner)]
    if not baseline:
        rows = [[Cell(line(n, 80)), Cell(show_value(winner[n]))] for n in names[:ROWS]]
        return Table((("Decision", False), ("Winner", False)), rows, [""] * len(rows))
    names.sort(key=lambda n: n in winner and n in baseline and winner[n] == baseline[n])
    rows, classes = [], []
    for name in names[:ROWS]:
        values = [show_value(side[name]) if name in side else "not there" for side in (winner, baseline)]
        rows.append([Cell(line(name, 80)), *map(Cell, values), Cell("" if values[0] == values[1] else "differs")])
        classes.append("same" if values[0] == values[1] else "")
    return Table((("Decision", False), ("Winner", False), ("Baseline", False), ("Difference", False)), rows, classes)


def baseline_point(snapshot: Snapshot, curve: Progress) -> Point | None:
    """The hand-made network's own trial among those of a curve."""
    decisions = dict(baseline_decisions(snapshot))
    numbers = {t.number for t in snapshot.trials if decisions and dict(t.architecture.decisions) == decisions}
    return next((point for point in curve.points if point.number in numbers), None)


def finalists_figure(snapshot: Snapshot, finalists: Sequence[Finalist]) -> Markup:
    """Each finalist's mean over retrainings with its interval and single values, the best first."""
    goal = next(iter(goals(snapshot.objectives)), None)
    shown = [f for f in finalists if f.mean is not None and f.values][:MOST]
    if goal is None or len(shown) < 2:
        return Markup("")
    baseline = dict(baseline_decisions(snapshot))
    rows = []
    for finalist in shown:
        roles = ["winner"] * finalist.chosen + ["baseline"] * (bool(baseline) and finalist.architecture == baseline)
        label = ("finalist" if finalist.trial is None else f"trial {finalist.trial}") + "".join(f", {r}" for r in roles)
        mean = finalist.mean or 0.0
        known = finalist.low is not None and finalist.high is not None
        ends = (finalist.low or 0.0, finalist.high or 0.0) if known else (mean, mean)
        colour = "s1" if finalist.chosen else "s2" if "baseline" in roles else "s6"
        rows.append((label, Score(mean, *ends, len(finalist.values), finalist.values), colour, known))
    values = [v for _, s, _, _ in rows for v in (s.low, s.high, *s.values)]
    scale = svg.scale(values, 10, svg.WIDTH - 10)
    parts: list[Markup] = []
    for index, (label, score, colour, known) in enumerate(rows):
        y = 30.0 + 44 * index
        words = figures.interval_words(goal.metric, score) if known else show_metric(goal.metric, score.mean)
        parts += [svg.text(0, y - 13, label, "label strong"), svg.text(svg.WIDTH, y - 13, words, "label", "end")]
        parts += figures.whisker(scale, score, y, colour, goal.metric)
    bottom = 8.0 + 44 * len(rows)
    name = f"validation {figures.name_of(goal.metric)}"
    parts += [*figures.axis(scale, bottom, goal.metric), svg.text(svg.WIDTH, bottom + 33, name, "label name", "end")]
    spoken = "; ".join(f"{label} {show_metric(goal.metric, score.mean)}" for label, score, _, _ in rows)
    return svg.picture(f"{name} of the finalists: {spoken}", bottom + 40, *parts)
