"""What executors with workers share: the queue of tasks, the events, how one waits, and how everything ends."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from searchitect.errors import UsageError
from searchitect.executors.base import Event, Executor, Failed, Finished, Function, Report, check_limit
from searchitect.executors.shipping import pack_function
from searchitect.executors.slots import Task


class Queued(Executor):
    """Tasks wait in `_pending` until `_dispatch` gives them out; `_pump` takes in what workers say."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._pending: deque[Task] = deque()
        self._tasks: dict[int, Task] = {}  # all that have not ended, by their tickets
        self._events: list[Event] = []
        self._started = self._paused = self._closed = False
        self._pid = os.getpid()
        self._at_exit = _close_at_exit(self)

    @abstractmethod
    def _begin(self, packed: bytes) -> None:
        """Make workers for this function; they get ready in the background."""

    @abstractmethod
    def _dispatch(self) -> None:
        """Give pending tasks to idle workers, unless paused or closed."""

    @abstractmethod
    def _pump(self, timeout: float | None) -> None:
        """Take in whatever has arrived, waiting for it at most so long, and dispatch."""

    @abstractmethod
    def _order(self, kind: str, task: Task) -> None:
        """Tell whoever works on this task to "stop" or "kill" it."""

    @abstractmethod
    def _release(self) -> None:
        """End all workers."""

    def start(self, function: Function) -> None:
        """Take the function, once; the workers get ready in the background."""
        if self._started:
            raise UsageError("start: this executor has its function already; make a new one for another")
        packed = pack_function(function)
        self._started = True
        self._begin(packed)

    def submit(
        self, ticket: int, payload: Mapping[str, Any], *, time_limit: float | None = None, attempt: int = 1
    ) -> None:
        """Queue one task; it is given to the next idle worker."""
        if not self._started or self._closed:
            raise UsageError("submit: the executor is closed" if self._closed else "submit: call start(function) first")
        if ticket in self._tasks:
            raise UsageError(f"submit: ticket {ticket} is still outstanding")
        check_limit(time_limit)
        task = Task(ticket, payload, time_limit, attempt)
        self._tasks[ticket] = task
        self._pending.append(task)
        self._dispatch()

    def wait(self, timeout: float | None) -> list[Event]:
        """At least one event; [] on timeout (None: no limit), and at once when nothing is outstanding."""
        end = None if timeout is None else time.monotonic() + timeout
        if not self._closed:
            self._pump(0.0)
        while not self._events and self._tasks and not self._closed:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0.0:
                break
            self._pump(left)
        events, self._events = self._events, []
        return events

    def stop(self, ticket: int) -> None:
        """Ask the task to end at its next step."""
        task = self._tasks.get(ticket)
        if task is not None and not task.stopped:
            task.stopped = True  # one that is pending is told with its beginning
            if task not in self._pending:
                self._order("stop", task)

    def kill(self, ticket: int) -> None:
        """End the task now; its worker is replaced."""
        task = self._tasks.get(ticket)
        if task is None:
            return
        if task in self._pending:
            self._pending.remove(task)
            self._add(task.failed("killed", "killed on request before it began", retryable=True))
        else:
            self._order("kill", task)

    def close(self, grace: float = 0.0) -> None:
        """End everything; running tasks are asked to stop and get `grace` seconds."""
        if self._closed or os.getpid() != self._pid:
            return
        atexit.unregister(self._at_exit)
        try:
            running = self._tasks.keys() - {task.ticket for task in self._pending}
            self._pending.clear()
            if grace > 0.0:
                self._wind_down(running, grace)
        finally:
            self._closed = True
            self._tasks.clear()
            self._release()

    def _wind_down(self, running: set[int], grace: float) -> None:
        end = time.monotonic() + grace
        for ticket in running:
            self.stop(ticket)
        while any(ticket in self._tasks for ticket in running) and time.monotonic() < end:
            self._pump(max(0.0, end - time.monotonic()))

    def _add(self, event: Event) -> None:
        """Keep an event for `wait`; a report is for the listener where there is one."""
        if isinstance(event, Report) and self.listener is not None:
            self.listener(event)
            return
        if isinstance(event, (Finished, Failed)):
            self._tasks.pop(event.ticket, None)
        self._events.append(event)


def _close_at_exit(executor: Executor) -> Callable[[], None]:
    """Closes the executor when the interpreter ends, without keeping it alive until then."""
    reference = weakref.ref(executor)

    def close() -> None:
        still_there = reference()
        if still_there is not None:
            still_there.close()

    atexit.register(close)
    return close
