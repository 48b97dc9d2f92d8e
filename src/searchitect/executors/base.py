"""What an executor is, what a running function may ask of it, and the events that come back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from searchitect.errors import UsageError


class Context(ABC):
    """What a task may ask while it runs; handed to the function beside its payload.

    `attempt` counts from 1; `device` is where to compute; `threads` is how many threads it may use;
    `folder` is the executor's folder (None when it has none).
    """

    attempt: int
    device: str
    threads: int
    folder: Path | None

    @abstractmethod
    def report(self, data: Mapping[str, Any]) -> None:
        """Send small plain data to the driver while running. Does not wait for it."""

    @abstractmethod
    def should_stop(self) -> bool:
        """Whether the driver asked this task to stop at its next step."""


Function = Callable[[Mapping[str, Any], Context], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a ticket. Each ticket gets one Started at most and exactly one Finished or Failed."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The task was given to a worker (its number from 0, its process)."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class Report(Event):
    """Data the task sent on its way."""

    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """The function returned."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The task ended in any other way.

    `cause` is one of "user code", "invalid architecture", "not finite", "out of memory", "time limit",
    "killed", "storage", "bad data" or what the error's own `cause` says. `retryable` means that the machine
    is at fault and not the task. `peak_mb` is the memory its process had used at most (0 where unknown).
    """

    cause: str
    message: str
    traceback: str = field(default="", repr=False)
    retryable: bool = False
    peak_mb: float = 0.0


class Executor(ABC):
    """Runs one function for many tickets, `slots` at a time. A context manager that closes itself.

    `listener`, when set, gets every Report as soon as the driver sees it, and `wait` leaves them out: so
    one may `stop` a task from what it reports even while `serial` runs it inside `wait`.
    """

    slots: int
    listener: Callable[[Report], None] | None = None

    @abstractmethod
    def start(self, function: Function) -> None:
        """Take the function, once, before anything is submitted. UsageError when it cannot be sent to workers."""

    @abstractmethod
    def submit(
        self, ticket: int, payload: Mapping[str, Any], *, time_limit: float | None = None, attempt: int = 1
    ) -> None:
        """Queue one task: small plain data only. `time_limit` counts seconds from when it begins to run."""

    @abstractmethod
    def wait(self, timeout: float | None) -> list[Event]:
        """At least one event; [] on timeout (None: no limit), and at once when nothing is outstanding."""

    @abstractmethod
    def stop(self, ticket: int) -> None:
        """Ask the task to end at its next step: its `should_stop()` becomes true. Unknown tickets are ignored."""

    @abstractmethod
    def kill(self, ticket: int) -> None:
        """End the task now; it becomes Failed("killed"). Unknown tickets are ignored."""

    @abstractmethod
    def exclusive(self) -> AbstractContextManager[None]:
        """While inside, no task computes: for measuring time. Their time limits wait too."""

    @abstractmethod
    def close(self, grace: float = 0.0) -> None:
        """End everything. Running tasks are asked to stop and get `grace` seconds; what they still send can be
        had by `wait(0)`. Afterwards no process is left. Safe to call twice."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_limit(time_limit: float | None) -> None:
    """Raise UsageError unless the limit is None or a positive number."""
    if time_limit is not None and not (time_limit > 0 and math.isfinite(time_limit)):
        raise UsageError(f"time_limit={time_limit!r}: must be a positive number of seconds, or None for no limit")


def check_counts(**numbers: int | None) -> None:
    """Raise UsageError unless each is None or a whole number of at least 1."""
    for name, value in numbers.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UsageError(f"{name}={value!r}: must be a whole number of at least 1")


def check_memory(memory_mb: float | None) -> None:
    """Raise UsageError for a limit in which no task could begin."""
    if memory_mb is not None and not memory_mb >= 64:
        raise UsageError(f"memory_mb={memory_mb!r}: must be at least 64 MB, or None for no limit")
