"""Tasks in the calling process, one after another, inside `wait`: for debugging, for tiny tasks, for any system.

A task that hangs in C, or ends the process, cannot be contained here; `processes` can.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from searchitect.errors import UsageError
from searchitect.executors import system
from searchitect.executors.base import (
    Context,
    Event,
    Executor,
    Failed,
    Function,
    Report,
    Started,
    check_limit,
)
from searchitect.executors.isolation import restored
from searchitect.executors.task import LOG_MB, Ended, Outcome, drop_empty_log, log_stream, open_log, run
from searchitect.executors.wire import copied


class SerialContext(Context):
    """A running task's way to the executor that called it."""

    def __init__(self, executor: Serial, ticket: int, attempt: int, limit: float | None) -> None:
        self.attempt = attempt
        self.device = executor.device
        self.threads = executor.threads
        self.folder = executor.folder
        self._executor = executor
        self._ticket = ticket
        self._limit = limit
        self.over = False
        self._end = None if limit is None else time.monotonic() + limit

    def report(self, data: Mapping[str, Any]) -> None:
        """Send small plain data to the driver while running."""
        self._executor.heard(Report(self._ticket, copied(dict(data))))
        self.check()

    def should_stop(self) -> bool:
        """Whether the driver asked this task to stop at its next step."""
        self.check()
        return self._executor.is_stopped(self._ticket)

    def check(self) -> None:
        """End the task when its time has passed or it was killed: all there is where signals do not reach."""
        if self._executor.is_killed(self._ticket):
            raise Ended("killed", "killed on request", retryable=True)
        if self._end is not None and time.monotonic() > self._end:
            self.time_up()

    def time_up(self, *_: object) -> None:
        """End the task because of its limit."""
        if not self.over:
            raise Ended("time limit", f"still running after its time limit of {self._limit:g} s")


class Serial(Executor):
    """One slot: the calling process. `wait` runs the next task to its end, whatever its timeout.

    The process is put back as it was after each task (see `isolation`). Time limits interrupt Python code in
    the main thread; elsewhere they act when the task reports or asks whether to stop. What a task prints goes
    to `folder/logs/<ticket>.log`, or nowhere; with `echo=True` it stays where it was (as a debugger needs).
    """

    slots = 1

    def __init__(
        self,
        threads: int | None = None,
        folder: Path | str | None = None,
        log_mb: float = LOG_MB,
        device: str = "cpu",
        echo: bool = False,
    ) -> None:
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise UsageError(f"threads={threads!r}: must be a whole number of at least 1")
        self.threads = threads or system.cores()
        self.folder = None if folder is None else Path(folder).absolute()
        self.device = device
        self._log_mb = log_mb
        self._echo = echo
        self._function: Function | None = None
        self._pending: deque[tuple[int, dict[str, Any], float | None, int]] = deque()
        self._stopped: set[int] = set()
        self._killed: set[int] = set()
        self._running: int | None = None
        self._events: list[Event] = []
        self._closed = False

    def start(self, function: Function) -> None:
        """Take the function, once."""
        if self._function is not None:
            raise UsageError("start: this executor has its function already; make a new one for another")
        self._function = function

    def submit(
        self, ticket: int, payload: Mapping[str, Any], *, time_limit: float | None = None, attempt: int = 1
    ) -> None:
        """Queue one task; `wait` will run it."""
        if self._function is None or self._closed:
            raise UsageError("submit: the executor is closed" if self._closed else "submit: call start(function) first")
        if self._is_outstanding(ticket):
            raise UsageError(f"submit: ticket {ticket} is still outstanding")
        check_limit(time_limit)
        try:
            data = copied(dict(payload))
        except (TypeError, ValueError, OverflowError, UnicodeEncodeError) as error:
            raise UsageError(f"payload of ticket {ticket}: {error}") from error
        self._pending.append((ticket, data, time_limit, attempt))

    def wait(self, timeout: float | None) -> list[Event]:
        """Run the next task and return its events; [] when there is none."""
        if not self._events and self._pending:
            self._run_next()
        events, self._events = self._events, []
        return events

    def stop(self, ticket: int) -> None:
        """Ask the task to end at its next step."""
        if self._is_outstanding(ticket):
            self._stopped.add(ticket)

    def kill(self, ticket: int) -> None:
        """End the task: at once while it is queued, at its next report when it runs."""
        if ticket == self._running:
            self._killed.add(ticket)
            return
        for task in [t for t in self._pending if t[0] == ticket]:
            self._pending.remove(task)
            self._events.append(Failed(ticket, "killed", "killed on request before it began", "", True))

    def exclusive(self) -> AbstractContextManager[None]:
        """Nothing else computes anyway."""
        return nullcontext()

    def close(self, grace: float = 0.0) -> None:
        """Forget the queued tasks."""
        self._pending.clear()
        self._closed = True

    # -- what a running task's context asks ------------------------------------------------------------

    def heard(self, report: Report) -> None:
        """A report has arrived."""
        if self.listener is None:
            self._events.append(report)
        else:
            self.listener(report)

    def is_stopped(self, ticket: int) -> bool:
        """Whether `stop` was called."""
        return ticket in self._stopped

    def is_killed(self, ticket: int) -> bool:
        """Whether `kill` was called."""
        return ticket in self._killed

    def _is_outstanding(self, ticket: int) -> bool:
        return ticket == self._running or any(t[0] == ticket for t in self._pending)

    def _run_next(self) -> None:
        assert self._function is not None
        ticket, payload, limit, attempt = self._pending[0]
        self._running = ticket
        self._events.append(Started(ticket, 0, os.getpid()))
        context = SerialContext(self, ticket, attempt, limit)
        try:
            with restored(), self._output(ticket), _alarm(limit, context):
                outcome = run(self._function, payload, context)
        except Ended as late:  # the limit passed just after the task had returned
            outcome = Outcome(cause=late.cause, message=str(late))
        except BaseException:  # Ctrl-C: the task stays queued, and its events so far are dropped
            self._events.clear()
            raise
        finally:
            self._running = None
        self._pending.popleft()
        self._stopped.discard(ticket)
        self._killed.discard(ticket)
        self._events.append(outcome.event(ticket))

    @contextmanager
    def _output(self, ticket: int) -> Iterator[None]:
        """Python's standard output and error in the ticket's log while inside."""
        if self._echo:
            yield
            return
        descriptor = open_log(self.folder, ticket)
        output = log_stream(descriptor, int(self._log_mb * 1e6))
        before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = output
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            with ExitStack() as stack:
                stack.callback(drop_empty_log, self.folder, ticket)
                stack.callback(os.close, descriptor)
                stack.callback(output.close)


@contextmanager
def _alarm(limit: float | None, context: SerialContext) -> Iterator[None]:
    """Interrupt the main thread after `limit` seconds, and again each second; another's timer goes on after it."""
    if limit is None or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, context.time_up)
    left, interval = signal.setitimer(signal.ITIMER_REAL, limit, 1.0)
    try:
        yield
    finally:
        context.over = True
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        if left > 0.0:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)), interval)
