"""When a search ends, and how a trial becomes a worker's task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from searchitect.records import Trial


class Payload(Protocol):
    """Makes the task of a trial, as plain data for the worker; it may want to know the best trial so far."""

    def __call__(self, trial: Trial, incumbent: Trial | None) -> dict[str, Any]: ...


@dataclass
class Limits:
    """When the search ends: at a time (monotonic clock), or after so many trials were measured."""

    deadline: float | None = None
    slack: float = 0.0  # seconds beyond the deadline that running trials may take to end by themselves
    reserve: float = 0.0  # seconds kept after the deadline for the final comparison, for the forecast
    trials: int | None = None
    time_limit: float | None = None  # seconds one trial may take
