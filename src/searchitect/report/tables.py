"""The tables behind the figures: progress, trials, front, learning curves. Plain numbers, no drawing.

All take a study's trials and objectives as they are stored. A trial counts as usable by the rule of
`records.candidates`: DONE, finite, within all limits. Fidelities are never mixed in one curve.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from searchitect.records import (
    CONTROL,
    Fidelity,
    Measurement,
    Objective,
    State,
    Trial,
    best,
    candidates,
    feasible,
    front,
    goals,
    losses,
    thoroughness,
)
from searchitect.report.plain import show_fidelity
from searchitect.report.snapshot import ENDED, moment

AXES = ("epoch", "step", "iteration")  # what a curve's entries may call their position
NOT_SHOWN = frozenset({*AXES, "lr", "seconds"})


class Point(msgspec.Struct, frozen=True):
    """One measured trial: when it ended (as the `ended`-th trial, after `seconds`) and its value."""

    number: int
    ended: int
    seconds: float | None
    value: float


class Progress(msgspec.Struct, frozen=True):
    """The best value so far at one fidelity. `steps` are the improvements, `points` all usable trials."""

    fidelity: Fidelity
    metric: str
    direction: Literal["max", "min"]
    points: tuple[Point, ...]
    steps: tuple[Point, ...]
    ended: int  # trials that had ended when the study was read, whatever became of them
    seconds: float | None
    control: bool = False  # of the random search beside the strategy

    @property
    def label(self) -> str:
        """What the line is called."""
        return show_fidelity(self.fidelity) + ", random search" * self.control


def progress_curve(
    trials: Sequence[Trial], objectives: Sequence[Objective], clock: Callable[[float], float] | None = None
) -> list[Progress]:
    """The incumbent over trials and over time by the first goal, one curve for each fidelity.

    Trials count in the order in which they ended; failed, pruned and reused ones count as ended too. Those with
    inherited weights are one curve, whatever epoch of the supernet the weights are of.
    `clock` turns UTC seconds into seconds of the search. The most thorough fidelity comes first.
    """
    goal = next(iter(goals(objectives)), None)
    if goal is None:
        return []
    ended = [t for t in trials if t.state in ENDED]
    order = sorted(ended, key=lambda t: (math.inf if moment(t.finished) is None else t.finished, t.number))
    groups: dict[tuple[Fidelity, bool], list[tuple[tuple[float, ...], Point]]] = {}
    seconds = None
    for position, trial in enumerate(order, 1):
        time = moment(trial.finished)
        if clock is not None and time is not None:
            seconds = clock(time)
        loss = usable(trial, objectives)
        if loss is not None:
            point = Point(trial.number, position, seconds, trial.value(goal.metric) or 0.0)
            line = _measured_with(trial.proposal.fidelity), trial.proposal.origin == CONTROL
            groups.setdefault(line, []).append((loss, point))
    return [
        Progress(
            fidelity,
            goal.metric,
            goal.direction,
            tuple(p for _, p in rows),
            _improvements(rows),
            len(order),
            seconds,
            control,
        )
        for (fidelity, control), rows in sorted(groups.items(), key=_thorough_first, reverse=True)
    ]


def _thorough_first(line: tuple[tuple[Fidelity, bool], Any]) -> tuple[Any, bool]:
    (fidelity, control), _ = line
    return thoroughness(fidelity), not control


def _measured_with(fidelity: Fidelity) -> Fidelity:
    """What values may be joined in one line: a supernet's go on from epoch to epoch."""
    return Fidelity("inherited", 0) if fidelity.kind == "inherited" else fidelity


def _improvements(rows: Sequence[tuple[tuple[float, ...], Point]]) -> tuple[Point, ...]:
    steps: list[tuple[tuple[float, ...], Point]] = []
    for loss, point in rows:
        if not steps or (loss, point.number) < (steps[-1][0], steps[-1][1].number):
            steps.append((loss, point))
    return tuple(p for _, p in steps)


def usable(trial: Trial, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """The losses of a DONE trial with finite goals within all limits, else None."""
    if trial.state is not State.DONE or trial.measurement is None:
        return None
    if not feasible(trial.measurement.metrics, objectives):
        return None
    found = losses(trial, objectives)
    return found if found is not None and all(map(math.isfinite, found)) else None


class TrialRow(msgspec.Struct, frozen=True):
    """One line of the trial table. `seconds` is what was spent: None for a reused or unmeasured trial."""

    number: int
    state: State
    fidelity: Fidelity
    values: tuple[float | None, ...]  # in the order of `shown_metrics`
    kept: bool  # within all limits
    seconds: float | None
    epochs: int | None
    origin: str
    source: int | None
    problem: str
    decisions: Mapping[str, str | int | float | bool | None]
    mark: str = ""  # "winner", "finalist" or "best"


def shown_metrics(trials: Sequence[Trial], objectives: Sequence[Objective], most: int = 6) -> list[str]:
    """The goals' metrics, then the limits', then what most trials measured besides."""
    names = list(dict.fromkeys([o.metric for o in goals(objectives)] + [o.metric for o in objectives]))
    measured = Counter(name for t in trials if t.measurement for name in t.measurement.metrics)
    rest = sorted((n for n in measured if n not in names and n not in NOT_SHOWN), key=lambda n: (-measured[n], n))
    return names + rest[: max(0, most - len(names))]


def trial_rows(
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    marked: Mapping[int, str] | None = None,
    limit: int | None = 500,
) -> list[TrialRow]:
    """The trials in the order of their numbers; when there are more than `limit`, the most telling ones.

    These are the marked ones, then the best by the first goal at the highest fidelity, then the newest.
    """
    marked = dict(marked or {})
    top = best(trials, objectives)
    if top is not None:
        marked.setdefault(top.number, "best")
    kept = list(trials)
    if limit is not None and len(kept) > limit:
        rank = {
            t.number: i
            for i, t in enumerate(sorted(candidates(trials, objectives), key=lambda t: losses(t, objectives) or ()))
        }
        kept.sort(key=lambda t: (t.number not in marked, rank.get(t.number, math.inf), -t.number))
        kept = sorted(kept[:limit], key=lambda t: t.number)
    metrics = shown_metrics(trials, objectives)
    return [_trial_row(t, metrics, objectives, marked.get(t.number, "")) for t in kept]


def _trial_row(trial: Trial, metrics: Sequence[str], objectives: Sequence[Objective], mark: str) -> TrialRow:
    measured = trial.measurement or Measurement({})
    return TrialRow(
        trial.number,
        trial.state,
        trial.proposal.fidelity,
        tuple(measured.metrics.get(m) for m in metrics),
        feasible(measured.metrics, objectives),
        spent(trial),
        measured.epochs or None,
        trial.proposal.origin,
        trial.source,
        "" if trial.failure is None else f"{trial.failure.cause}: {trial.failure.message}",
        trial.architecture.decisions,
        mark,
    )


def constant_decisions(trials: Sequence[Trial]) -> frozenset[str]:
    """The decisions that are the same in all trials (none with fewer than two trials)."""
    every = [t.architecture.decisions for t in trials]
    if len(every) < 2:
        return frozenset()
    return frozenset(n for n, v in every[0].items() if all(n in d and d[n] == v for d in every[1:]))


def spent(trial: Trial) -> float | None:
    """Seconds of work that the trial took: measured, else by its times; None when reused or not ended."""
    if trial.source is not None or trial.state in (State.QUEUED, State.RUNNING):
        return None
    if trial.measurement is not None and math.isfinite(trial.measurement.seconds):
        return trial.measurement.seconds
    if trial.started is None or trial.finished is None:
        return None
    lasted = trial.finished - trial.started
    return max(0.0, lasted) if math.isfinite(lasted) else None


class FrontPoint(msgspec.Struct, frozen=True):
    """One candidate by its goals' values; `best` when no other candidate dominates it."""

    number: int
    values: tuple[float, ...]
    best: bool


def front_points(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[FrontPoint]:
    """All candidates by all goals, sorted by the first goal (the best first). Empty with a single goal."""
    named = goals(objectives)
    if len(named) < 2:
        return []
    kept = {trial.number for trial in front(trials, objectives)}
    pool = sorted((losses(t, objectives) or (), t.number, t) for t in candidates(trials, objectives))
    return [FrontPoint(i, tuple(t.value(o.metric) or 0.0 for o in named), i in kept) for _, i, t in pool]


class LearningCurve(msgspec.Struct, frozen=True):
    """One trial's metric over its steps: (epoch or step, value), finite values only."""

    number: int
    role: str
    metric: str
    axis: str
    points: tuple[tuple[float, float], ...]


def learning_curves(
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    marked: Mapping[int, str] | None = None,
    reports: Mapping[int, Sequence[Mapping[str, float]]] | None = None,
    limit: int = 6,
) -> list[LearningCurve]:
    """The curves of the marked trials (winner, finalists), then of the best few, all of one kind of fidelity.

    Shown is the first goal's metric where the curves have it, else the loss, else what they share.
    """
    reports = reports or {}
    marked = marked or {}
    pool = sorted(candidates(trials, objectives), key=lambda t: (losses(t, objectives) or (), t.number))
    known = {t.number: t for t in trials}
    picked = [known[n] for n in sorted(marked, key=lambda n: marked[n] != "winner") if n in known] + pool
    picked = list({t.number: t for t in picked}.values())
    kind = picked[0].proposal.fidelity.kind if picked else "train"
    steps = {t.number: _steps(t, reports) for t in picked if t.proposal.fidelity.kind == kind}
    steps = dict([(n, s) for n, s in steps.items() if len(s) > 1][:limit])
    metric = _shared_metric(list(steps.values()), objectives)
    if metric is None:
        return []
    axis = next((a for a in AXES if all(a in entry for s in steps.values() for entry in s)), "step")
    return [
        LearningCurve(n, marked.get(n, "best"), metric, axis, points)
        for n, entries in steps.items()
        if len(points := _curve_points(entries, axis, metric)) > 1
    ]


def _steps(trial: Trial, reports: Mapping[int, Sequence[Mapping[str, float]]]) -> Sequence[Mapping[str, float]]:
    if trial.measurement is not None and trial.measurement.curve:
        return trial.measurement.curve
    return reports.get(trial.number, ())


def _shared_metric(curves: Sequence[Sequence[Mapping[str, float]]], objectives: Sequence[Objective]) -> str | None:
    names: Collection[str] = {name for curve in curves for entry in curve for name in entry} - NOT_SHOWN
    wanted = [o.metric for o in goals(objectives)] + ["loss", "train_loss", *sorted(names)]
    return next((name for name in wanted if name in names), None)


def _curve_points(entries: Sequence[Mapping[str, float]], axis: str, metric: str) -> tuple[tuple[float, float], ...]:
    pairs = [(entry.get(axis, float(i)), entry[metric]) for i, entry in enumerate(entries, 1) if metric in entry]
    return tuple((x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y))
