"""Everything the report shows, read once from the store."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from searchitect.errors import StorageError, UsageError
from searchitect.records import Objective, Score, State, Trial, Verdict, objectives
from searchitect.report.plain import finite, items, line, mapping, number, whole
from searchitect.store import Note, Store

ENDED = frozenset({State.DONE, State.FAILED, State.PRUNED})
LOOKED_AT = 20  # trials whose reported steps are read, for want of a curve in the result


class Finalist(msgspec.Struct, frozen=True):
    """One finalist of stage A: its validation values, one per retraining seed."""

    trial: int | None
    values: tuple[float, ...]
    mean: float | None
    chosen: bool
    architecture: dict[str, Any]
    low: float | None = None  # 95 % interval of the mean
    high: float | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """A study at one moment. `meta` is as stored; what needs its right type is read out of it here."""

    folder: Path
    meta: dict[str, Any]
    objectives: tuple[Objective, ...]
    trials: list[Trial]
    notes: list[Note]
    verdict: Verdict | None
    finalists: tuple[Finalist, ...]
    winner: dict[str, Any]
    reports: dict[int, tuple[dict[str, float], ...]]
    comparisons: dict[str, Verdict] = {}  # with the "control" and with the winner "untuned"
    control: tuple[Finalist, ...] = ()

    @property
    def name(self) -> str:
        """The study's name, else its folder's."""
        return line(self.meta.get("name") or self.folder.resolve().name, 120) or "study"

    @property
    def winner_trial(self) -> int | None:
        """The number of the trial that found the winner."""
        return whole(self.winner.get("trial"))

    def count(self, *states: State) -> int:
        """How many trials are in one of the states."""
        return sum(t.state in states for t in self.trials)

    def test_reads(self) -> list[Note]:
        """The notes of the moments at which test data were read."""
        return [n for n in self.notes if n.kind == "test_read"]


def read(folder: Path | str) -> Snapshot:
    """Read a study, which may be running. Raises StorageError for what is not a study."""
    folder = Path(folder)
    with Store.open(folder) as store:
        found = assemble(folder, store.meta, store.trials(), store.notes())
        asked = {found.winner_trial, *(f.trial for f in found.finalists[:LOOKED_AT])}
        without = [t.number for t in found.trials if t.number in asked and not (t.measurement and t.measurement.curve)]
        reports = {n: tuple({"step": float(s), **m} for s, m in store.reports(n)) for n in without}
    return msgspec.structs.replace(found, reports=reports)


def assemble(folder: Path, meta: dict[str, Any], trials: list[Trial], notes: Sequence[Note] = ()) -> Snapshot:
    """A snapshot from what was read, without steps of single trials.

    Raises StorageError for a trial that no driver writes: whole numbers beyond 63 bits, with which one cannot
    calculate.
    """
    for trial in trials:
        if not all(-_MOST < n < _MOST for n in _whole_numbers(trial)):
            raise StorageError(f"{folder}: trial {trial.number} holds a number beyond 63 bits: not written by us")
    return Snapshot(
        folder,
        meta,
        _objectives(meta.get("objectives")),
        trials,
        list(notes),
        read_verdict(meta.get("verdict")),
        _finalists(meta.get("finalists")),
        mapping(meta.get("winner")),
        {},
        _comparisons(meta.get("comparisons")),
        _finalists(meta.get("control")),
    )


_MOST = 1 << 63


def _whole_numbers(trial: Trial) -> Iterator[int]:
    fidelity = trial.proposal.fidelity
    yield from (fidelity.epochs, fidelity.resolution or 0, trial.attempts, trial.worker or 0, trial.source or 0)
    yield from (trial.seed, trial.proposal.draw, *trial.proposal.parents)
    if trial.measurement is not None:
        yield trial.measurement.epochs
    yield from (v for v in trial.architecture.decisions.values() if isinstance(v, int))


def _objectives(texts: Any) -> tuple[Objective, ...]:
    try:
        return objectives([t for t in items(texts) if isinstance(t, str)])
    except UsageError:
        return ()


def _finalists(value: Any) -> tuple[Finalist, ...]:
    found = []
    for row in map(mapping, items(value)[:200]):
        values = tuple(v for v in map(finite, items(row.get("validation"))) if v is not None)
        mean = finite(row.get("mean"))
        if mean is None and values:
            mean = sum(values) / len(values)
        found.append(
            Finalist(
                whole(row.get("trial")),
                values,
                mean,
                row.get("chosen") is True,
                _decisions(row.get("architecture")),
                finite(row.get("low")),
                finite(row.get("high")),
            )
        )
    return tuple(found)


def _decisions(architecture: Any) -> dict[str, Any]:
    """The decisions of an architecture, stored as a mapping of its own or inside one."""
    body = mapping(architecture)
    return mapping(body["decisions"]) if isinstance(body.get("decisions"), dict) else body


def read_verdict(value: Any) -> Verdict | None:
    """The stored verdict; None when there is none or it is not whole."""
    body = mapping(value)
    winner = _score(body.get("winner"))
    if winner is None or body.get("words") not in ("better", "worse", "cannot tell", "no baseline"):
        return None
    return Verdict(
        metric=line(body.get("metric", ""), 60),
        winner=winner,
        baseline=_score(body.get("baseline")),
        difference=finite(body.get("difference")),
        low=number(body.get("low")),
        high=number(body.get("high")),
        words=body["words"],
        test_items=whole(body.get("test_items")) or 0,
        level=finite(body.get("level")) or 0.95,
        method=line(body.get("method", "")),
        sentence=line(body.get("sentence", ""), 600),
        superiority=finite(body.get("superiority")),
    )


def _comparisons(value: Any) -> dict[str, Verdict]:
    stored = mapping(value)
    found = {side: read_verdict(stored.get(side)) for side in ("control", "untuned", "ensemble", "alone")}
    return {side: verdict for side, verdict in found.items() if verdict is not None}


def _score(value: Any) -> Score | None:
    body = mapping(value)
    mean, low, high = finite(body.get("mean")), number(body.get("low")), number(body.get("high"))
    if mean is None or low is None or high is None:
        return None
    values = tuple(v for v in map(finite, items(body.get("values"))[:100]) if v is not None)
    return Score(mean, low, high, whole(body.get("n")) or len(values), values)


def moment(stamp: float | None) -> float | None:
    """UTC seconds since 1970 if they can be a time, else None."""
    return stamp if stamp is not None and abs(stamp) < 1e12 else None


class Clock:
    """UTC seconds to active seconds: the time between two sessions of a study does not count.

    A break lasts from the last sign of life before a session's beginning to that beginning.
    """

    def __init__(self, sessions: Sequence[float], signs: Iterable[float]) -> None:
        signs = sorted([*signs, *sessions])
        begins = sorted({*signs[:1], *sessions})
        self._begins = begins
        self._lengths: list[float] = []
        for begin, following in zip(begins, [*begins, float("inf")][1:], strict=True):
            here = signs[bisect.bisect_left(signs, begin) : bisect.bisect_left(signs, following)]
            self._lengths.append(max(here, default=begin) - begin)

    def __call__(self, moment: float) -> float:
        """Active seconds since the study began."""
        past = bisect.bisect_right(self._begins, moment) - 1
        if past < 0:
            return 0.0
        return sum(self._lengths[:past]) + min(moment - self._begins[past], self._lengths[past])


def clock(snapshot: Snapshot) -> Clock:
    """The study's clock, from its session notes and all times that are known."""
    sessions = [n.time for n in snapshot.notes if n.kind == "session"]
    signs = [n.time for n in snapshot.notes]
    for trial in snapshot.trials:
        signs.extend(t for t in (trial.started, trial.finished) if t is not None)
    return Clock([t for t in sessions if moment(t) is not None], [t for t in signs if moment(t) is not None])
