"""The driver's books: what has been submitted, who works on what, and how a dead worker's task ended."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

from searchitect.errors import UsageError
from searchitect.executors.base import Failed
from searchitect.executors.wire import Frames, copied, pack

_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP} if os.name == "posix" else set()


class Task:
    """A submitted ticket that has not ended. Raises UsageError when the payload is not small plain data."""

    __slots__ = ("attempt", "limit", "payload", "stopped", "ticket")

    def __init__(self, ticket: int, payload: Mapping[str, Any], limit: float | None, attempt: int) -> None:
        self.ticket = ticket
        self.limit = limit
        self.attempt = attempt
        self.stopped = False
        try:
            self.payload = copied(dict(payload))
            pack(self.payload)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"payload of ticket {ticket}: {error}") from error

    def message(self) -> bytes:
        """What the worker is sent."""
        return pack(["task", self.ticket, self.attempt, self.limit, self.stopped, self.payload])

    def failed(self, cause: str, message: str, *, retryable: bool, peak_mb: float = 0.0) -> Failed:
        """The event that ends the ticket without a word from its worker."""
        return Failed(self.ticket, cause, message, "", retryable, peak_mb)


class Worker:
    """The driver's view of one slot: not yet ready, idle (no task), busy, or doomed (given no more tasks)."""

    __slots__ = ("doomed", "frames", "pid", "ready", "slot", "sock", "task")

    def __init__(self, slot: int, sock: socket.socket) -> None:
        self.slot = slot
        self.sock = sock
        self.frames = Frames()
        self.pid = 0
        self.ready = False
        self.doomed = False
        self.task: Task | None = None


def buried(task: Task, status: int, peak_mb: float, reason: str, memory_mb: float) -> Failed:
    """How the task of a dead worker ended.

    `status` is what the system says of the process, `reason` why the server killed it ("limit", "kill" or
    "" when it did not), `memory_mb` how much memory there was for it (0 where unknown).
    """
    if reason == "limit":
        return task.failed("time limit", f"still running after its time limit of {task.limit:g} s", retryable=False)
    if reason == "kill":
        return task.failed("killed", "killed on request", retryable=True, peak_mb=peak_mb)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        words = f"the task ended its process with exit code {code}"
        return task.failed("killed", words, retryable=False, peak_mb=peak_mb)
    if code == -signal.SIGKILL and memory_mb and peak_mb > 0.4 * memory_mb:
        words = f"killed, probably memory (RSS {peak_mb:.0f} of {memory_mb:.0f} MB)"
        return task.failed("killed", words, retryable=True, peak_mb=peak_mb)
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    words = f"killed by {name} (RSS {peak_mb:.0f} MB)"
    return task.failed("killed", words, retryable=-code in _OUTSIDE, peak_mb=peak_mb)
