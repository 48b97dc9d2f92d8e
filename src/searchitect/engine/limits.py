"""When a search ends, what it will have measured by then, and how a trial becomes a worker's task."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from searchitect.records import Failure, Trial

PRIOR = 6  # trials
LATEST = 8  # trials
ALIKE = 3  # so many first trials failing in one way stop the study


class Payload(Protocol):
    """Makes the task of a trial, as plain data for the worker; it may want to know the best trial so far."""

    def __call__(self, trial: Trial, incumbent: Trial | None) -> dict[str, Any]: ...


@dataclass
class Limits:
    """When the search ends: at a time (monotonic clock), after so many trials, or when nothing better comes."""

    deadline: float | None = None
    slack: float = 0.0  # seconds beyond the deadline that running trials may take to end by themselves
    reserve: float = 0.0  # seconds kept after the deadline for the final comparison, for the forecast
    usual: float | None = None  # seconds of a trial as the probes promise them, for the forecast
    trials: int | None = None
    patience: int | None = None  # measured trials in a row without a new best one, after which the search ends
    time_limit: float | None = None  # seconds one trial may take


class FirstFailures:
    """Whether the first trials of a study all fail in the same way, so that no other would do better."""

    def __init__(self) -> None:
        self.causes: list[Failure] = []

    def add(self, failure: Failure) -> str:
        """One more failure before anything was measured; why the study should end, or ""."""
        self.causes.append(failure)
        if len(self.causes) < ALIKE or len({_signature(f) for f in self.causes[:ALIKE]}) > 1:
            return ""
        first = self.causes[0]
        detail = first.traceback.rstrip() or first.message
        return f"the first {ALIKE} trials all failed in the same way ({first.cause}):\n{detail}"


def _signature(failure: Failure) -> tuple[str, str]:
    last = failure.traceback.rstrip().rpartition("\n")[2]
    return failure.cause.value, last or failure.message


def usual_seconds(durations: Sequence[float], expected: float | None, *, latest: bool = False) -> float:
    """Seconds of a trial to come: the mean of the latest few (a search may come to prefer dear networks), or of those
    so far together with what was `expected`, which counts as much as `PRIOR` trials: the first two are few, and one is
    the hand-made network; else their median."""
    if latest:
        return statistics.fmean(list(durations)[-LATEST:])
    if expected is None:
        return statistics.median(durations)
    return (PRIOR * expected + sum(durations)) / (PRIOR + len(durations))


def forecast(
    usual: float, workers: int, measured: float, trials_left: int | None, left: float | None, reserve: float
) -> dict[str, Any]:
    """What the rest of a search buys, by the `usual` seconds of a trial. `left`: seconds until it ends, None for a
    search that ends after so many trials; `reserve`: seconds kept for the final comparison."""
    more = trials_left or 0 if left is None else left * workers / max(usual, 1e-3)
    return {
        "seconds_per_trial": usual,
        "trials": round(measured + more) if left is not None else int(measured) + int(more),
        "finalize_seconds": reserve or None,
        "seconds_left": None if left is None else left + reserve,
    }
