"""How the winner came about: its parents back to the beginning, what changed at each step, and what that gained.

A table first (`ancestry`), then its figure. A child of two parents follows the one with the better value. Values of
different fidelities are not compared; a search's values chose the winner, so they flatter it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from markupsafe import Markup

from searchitect.records import Objective, Trial, goals
from searchitect.report import figures, svg
from searchitect.report.grid import Cell, Table
from searchitect.report.plain import finite, line, plural, show_difference, show_fidelity, show_metric, show_value
from searchitect.report.snapshot import Snapshot
from searchitect.report.tables import usable
from searchitect.space import Scalar

MOST = 60  # steps that are shown, the latest ones
SHOWN = 4  # changes of one step that are spelled out
MADE = {"sample": "drawn", "mutate": "mutation", "cross": "crossing", "promote": "trained further", "start": "given",
        "enqueued": "given", "model": "chosen by the model",
        "screen": "chosen by the score"}  # fmt: skip


class Change(msgspec.Struct, frozen=True):
    """One decision that differs from the parent's; None: it was not active there, or is no longer."""

    name: str
    before: Scalar
    after: Scalar
    gone: bool = False
    new: bool = False


class Step(msgspec.Struct, frozen=True):
    """One ancestor, or the winner. `gain` is turned so that more is better; None where the two do not compare."""

    trial: int
    origin: str
    changes: tuple[Change, ...]
    value: float | None
    gain: float | None
    fidelity: str
    other: int | None = None  # the second parent, which is not followed


def ancestry(trials: Sequence[Trial], objectives: Sequence[Objective], winner: int | None) -> list[Step]:
    """From the first ancestor to the winner; empty where it has no parents or none of them changed anything."""
    known = {trial.number: trial for trial in trials}
    chain: list[tuple[Trial, int | None]] = []
    trial = known.get(winner) if winner is not None else None
    while trial is not None:
        parents = [known[n] for n in trial.proposal.parents if n in known and n < trial.number]  # no circles
        parents.sort(key=lambda parent: _rank(parent, objectives))
        chain.append((trial, parents[1].number if len(parents) > 1 else None))
        trial = parents[0] if parents else None
    chain.reverse()
    if len(chain) < 2:
        return []
    before = [None, *(one for one, _ in chain[:-1])]
    steps = [_step(parent, *one, objectives) for parent, one in zip(before, chain, strict=True)]
    return steps if any(step.changes for step in steps[1:]) else []


def _rank(trial: Trial, objectives: Sequence[Objective]) -> tuple[Any, ...]:
    found = usable(trial, objectives)
    return found is None, found or (), trial.number


def _step(before: Trial | None, trial: Trial, other: int | None, objectives: Sequence[Objective]) -> Step:
    goal = next(iter(goals(objectives)), None)
    value = finite(trial.value(goal.metric)) if goal else None
    fidelity, origin = trial.proposal.fidelity, line(trial.proposal.origin, 40)
    words = show_fidelity(fidelity)
    if before is None:
        return Step(trial.number, origin, (), value, None, words, other)
    older = finite(before.value(goal.metric)) if goal and before.proposal.fidelity == fidelity else None
    gain = None
    if goal is not None and value is not None and older is not None:
        gain = value - older if goal.direction == "max" else older - value
    return Step(trial.number, origin, _changes(before, trial), value, gain, words, other)


def _changes(before: Trial, trial: Trial) -> tuple[Change, ...]:
    """What differs: values of decisions of both, then what is new, then what is gone."""
    old, new = before.architecture.decisions, trial.architecture.decisions
    differ = [Change(n, old[n], v) for n, v in new.items() if n in old and old[n] != v]
    fresh = [Change(n, None, v, new=True) for n, v in new.items() if n not in old]
    return (*differ, *fresh, *(Change(n, v, None, gone=True) for n, v in old.items() if n not in new))


def words(changes: Sequence[Change]) -> str:
    """The changes of one step; decisions that came or went with another one are counted."""
    values = [c for c in changes if not c.new and not c.gone]
    told = [f"{line(c.name, 60)}: {show_value(c.before)} → {show_value(c.after)}" for c in values[:SHOWN]]
    told += [f"{len(values) - SHOWN} more changed"] * (len(values) > SHOWN)
    for kind, count in (("new", sum(c.new for c in changes)), ("gone", sum(c.gone for c in changes))):
        told += [f"{plural(count, 'decision')} {kind}"] * bool(count)
    return ", ".join(told)


def figure(steps: Sequence[Step], metric: str) -> Markup:
    """The value at each step that was measured like the winner; the winner has a ring."""
    shown = [(i, s) for i, s in enumerate(steps) if s.value is not None and s.fidelity == steps[-1].fidelity]
    if len(shown) < 2:
        return Markup("")
    x = svg.Scale(-0.3, len(steps) - 0.7, figures.LEFT, figures.RIGHT)
    y = svg.scale([s.value for _, s in shown if s.value is not None], figures.BOTTOM, figures.TOP)
    parts = svg.Frame(x, y, figures.HEIGHT, "steps from the first ancestor", figures.name_of(metric), "", metric).draw()
    places = [(x(i), y(s.value or 0.0)) for i, s in shown]
    parts.append(svg.path(places, "curve s1"))
    for (at, height), (_, step) in zip(places, shown, strict=True):
        mark = " ring" if step is steps[-1] else ""
        changed = f" ({words(step.changes)})" if step.changes else ""
        tip = f"trial {step.trial}: {show_metric(metric, step.value)}{changed}"
        parts.append(svg.dot(at, height, 6 if mark else 4, f"mean s1{mark}", tip))
    said = "; ".join(f"trial {s.trial} {show_metric(metric, s.value)}" for _, s in shown)
    label = f"{figures.name_of(metric)} from the first ancestor to the winner: {said}"
    return svg.picture(label, figures.HEIGHT, *parts)


def table(steps: Sequence[Step], metric: str) -> Table:
    """One row a step."""
    mixed = len({step.fidelity for step in steps}) > 1
    columns = (("Step", True), ("Trial", True), ("Made by", False), ("What changed", False),
               (f"Validation {figures.name_of(metric)}", True), ("Gain", True),
               *[("Measured with", False)] * mixed)  # fmt: skip
    rows = []
    for index, step in enumerate(steps):
        how = MADE.get(step.origin, step.origin) + (f" with trial {step.other}" if step.other is not None else "")
        largest = abs(step.value) if step.value is not None else 1.0
        gain = "" if index == 0 else show_difference(metric, step.gain, largest=largest)
        rows.append([
            Cell(str(index), float(index)), Cell(str(step.trial), float(step.trial)), Cell(how),
            Cell(words(step.changes) if index else "the beginning", class_="wide"),
            Cell(show_metric(metric, step.value), step.value), Cell(gain, step.gain),
            *[Cell(step.fidelity)] * mixed,
        ])  # fmt: skip
    return Table(columns, rows, ["winner" if step is steps[-1] else "" for step in steps])


def content(snapshot: Snapshot) -> Mapping[str, Any] | None:
    """What the page shows: sentences, figure and table; None where the winner has no ancestors."""
    goal = next(iter(goals(snapshot.objectives)), None)
    steps = ancestry(snapshot.trials, snapshot.objectives, snapshot.winner_trial)
    if goal is None or not steps:
        return None
    better = sum(step.gain is not None and step.gain > 0 for step in steps)
    compared = sum(step.gain is not None for step in steps)
    said = f"The winner, trial {steps[-1].trial}, descends from trial {steps[0].trial} by {len(steps) - 1} step"
    said += "s" * (len(steps) > 2) + f"; {better} of {compared} that can be compared raised the value." * bool(compared)
    said += "" if compared else "."
    cut = f"The latest {MOST} steps are shown." if len(steps) > MOST else ""
    return {"sentences": [s for s in (said, cut) if s], "figure": figure(steps[-MOST:], goal.metric),
            "table": table(steps[-MOST:], goal.metric)}  # fmt: skip
