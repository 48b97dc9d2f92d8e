"""The tables beside the figures: what the search cost, what failed, which decisions the best share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from searchitect.records import Objective, State, Trial, candidates, losses
from searchitect.report.plain import finite, mapping, show_value
from searchitect.report.tables import spent
from searchitect.space import Scalar


class Costs(msgspec.Struct, frozen=True):
    """Where the time went, in seconds. `work` adds up over workers; `search` and `finalize` are by the clock.

    `saved` is what the reused results had cost when they were measured.
    """

    work: float
    lost: float  # of `work`: spent on trials that failed
    saved: float
    reused: int
    epochs: int
    attempts: int
    ended: int
    search: float | None
    finalize: float | None
    budget: float | None
    active: float | None


def costs(trials: Sequence[Trial], meta: Mapping[str, Any]) -> Costs:
    """Add up the trials and the study's own clocks. A resumed study counts its active seconds only."""
    seconds = mapping(meta.get("seconds"))
    known = {t.number: t for t in trials}
    reused = [t for t in trials if t.source is not None and t.state is State.DONE]
    own = [t for t in trials if t.source is None]
    budget = finite(seconds.get("budget"))
    return Costs(
        work=sum(spent(t) or 0.0 for t in own),
        lost=sum(spent(t) or 0.0 for t in own if t.state is State.FAILED),
        saved=sum(_original_seconds(t, known) for t in reused),
        reused=len(reused),
        epochs=sum(t.measurement.epochs for t in own if t.measurement is not None),
        attempts=sum(t.attempts for t in trials),
        ended=sum(t.state in (State.DONE, State.FAILED, State.PRUNED) for t in trials),
        search=finite(seconds.get("search")),
        finalize=finite(seconds.get("finalize")),
        budget=finite(meta.get("budget_seconds")) if budget is None else budget,
        active=finite(seconds.get("active")),
    )


def _original_seconds(trial: Trial, known: Mapping[int, Trial]) -> float:
    """What the result had cost where it was measured, following sources to the first one."""
    seen = set()
    origin = trial
    while origin.source is not None and origin.source in known and origin.number not in seen:
        seen.add(origin.number)
        origin = known[origin.source]
    measured = origin.measurement if origin.source is None else trial.measurement
    return measured.seconds if measured is not None and math.isfinite(measured.seconds) else 0.0


class FailureRow(msgspec.Struct, frozen=True):
    """All failures of one cause, with the commonest message and its first traceback."""

    cause: str
    count: int
    message: str
    alike: int  # how many carry this message
    example: int  # the first trial with it
    traceback: str


def failures(trials: Sequence[Trial]) -> list[FailureRow]:
    """The failed trials by cause, the commonest first."""
    failed = [t for t in trials if t.state is State.FAILED and t.failure is not None]
    groups: dict[str, list[Trial]] = {}
    for trial in failed:
        groups.setdefault(str(trial.failure.cause) if trial.failure else "", []).append(trial)
    rows = []
    for cause, group in groups.items():
        messages = Counter(t.failure.message for t in group if t.failure)
        message, alike = messages.most_common(1)[0]
        same = [t for t in group if t.failure and t.failure.message == message]
        traceback = next((t.failure.traceback for t in same if t.failure and t.failure.traceback), "")
        rows.append(FailureRow(cause, len(group), message, alike, same[0].number, traceback))
    return sorted(rows, key=lambda row: (-row.count, row.cause))


class Share(msgspec.Struct, frozen=True):
    """How often one option was taken: among the best candidates, and among all trials that ended."""

    option: str
    best: float
    all: float


class DecisionShares(msgspec.Struct, frozen=True):
    """One decision. `distance` (0 to 1) is half the sum of |best − all| over its options."""

    name: str
    shares: tuple[Share, ...]
    distance: float


class Decisions(msgspec.Struct, frozen=True):
    """The decisions by how much the best differ from all, with the sizes of the two groups."""

    rows: tuple[DecisionShares, ...]
    best: int
    all: int
    constant: int  # decisions with one option throughout


def decision_shares(
    trials: Sequence[Trial], objectives: Sequence[Objective], quantile: float = 0.25, least: int = 8
) -> Decisions:
    """Shares of each option among the best quarter of the candidates and among all proposed trials that ended.

    A decision that is inactive in a trial counts as "not used". Numbers with many values are shown in four
    ranges. Nothing is said with fewer than `least` candidates. Shares describe; they prove no effect.
    """
    pool = sorted(candidates(trials, objectives), key=lambda t: (losses(t, objectives) or (), t.number))
    ended = [t for t in trials if t.state in (State.DONE, State.FAILED, State.PRUNED)]
    if len(pool) < least:
        return Decisions((), 0, len(ended), 0)
    top = [t.architecture.decisions for t in pool[: math.ceil(quantile * len(pool))]]
    every = [t.architecture.decisions for t in ended]
    names = dict.fromkeys(name for decisions in every for name in decisions)
    rows = []
    for name in names:
        label = _labeller([d[name] for d in every if name in d])
        order = {
            label(d, name): d[name] for d in sorted((d for d in every if name in d), key=lambda d: _place(d[name]))
        }
        shares = _shares([label(d, name) for d in top], [label(d, name) for d in every], order)
        if len(shares) > 1:
            rows.append(DecisionShares(name, shares, sum(abs(s.best - s.all) for s in shares) / 2))
    rows.sort(key=lambda row: (-row.distance, row.name))
    return Decisions(tuple(rows), len(top), len(every), len(names) - len(rows))


def _shares(best: Sequence[str], every: Sequence[str], order: Mapping[str, Scalar]) -> tuple[Share, ...]:
    """Numbers in their own order, then words by their share among all, then what is not used."""
    ours, theirs = Counter(best), Counter(every)
    options = sorted(theirs, key=lambda o: (o not in order, _place(order.get(o)), -theirs[o], o))
    return tuple(Share(o, ours[o] / len(best), theirs[o] / len(every)) for o in options)


def _place(value: Scalar) -> float:
    return float(value) if isinstance(value, (int, float)) else math.inf


NOT_USED = "not used"
MANY = 8  # numeric values beyond this are shown in ranges


def _labeller(values: Sequence[Scalar]) -> Callable[[Mapping[str, Scalar], str], str]:
    """Names one decision's value: itself, or the quarter of all values in which a number lies."""
    numbers = sorted(v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool))
    cuts: list[float] = []
    if len(numbers) == len(values) and len(set(numbers)) > MANY:
        quarters = [numbers[len(numbers) * i // 4] for i in range(4)]
        cuts = [*sorted(set(quarters)), numbers[-1]]

    def label(decisions: Mapping[str, Scalar], name: str) -> str:
        if name not in decisions:
            return NOT_USED
        value = decisions[name]
        if not cuts or not isinstance(value, (int, float)):
            return show_value(value)
        part = max((i for i in range(len(cuts) - 1) if value >= cuts[i]), default=0)
        return f"{show_value(cuts[part])} to {show_value(cuts[part + 1])}"

    return label
