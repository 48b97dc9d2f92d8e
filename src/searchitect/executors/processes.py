"""Tasks in worker processes of this machine: one per slot, kept, watched and replaced by a server process."""

from __future__ import annotations

import atexit
import errno
import os
import selectors
import socket
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from searchitect.errors import SearchitectError, UsageError
from searchitect.executors import system
from searchitect.executors.base import Event, Executor, Failed, Function, Report, Started, check_limit
from searchitect.executors.handle import ServerHandle, send
from searchitect.executors.shipping import pack_function
from searchitect.executors.slots import Task, Worker, buried
from searchitect.executors.task import LOG_MB, Outcome
from searchitect.executors.wire import pack, receive
from searchitect.executors.worker import Settings

_TRIES = 3  # starts of a worker or server in a row that may fail


class Processes(Executor):
    """`workers` processes that keep what they have imported.

    `threads` each (default: cores / workers). `memory_mb` limits how much a worker's address space may grow
    over that of an idle one. A worker is replaced after `recycle_after` tasks. Output of a ticket goes to
    `folder/logs/<ticket>.log`, at most `log_mb` of it. Worker i computes on `devices[i % len(devices)]`; unless
    all are "cpu", each worker is a process of its own instead of a fork ("cpu:0" asks for that on the
    processor). `preload` names modules that are imported once, before the forks. Raises UsageError for
    impossible values, and where there are no forks.
    """

    def __init__(
        self,
        workers: int = 1,
        threads: int | None = None,
        memory_mb: float | None = None,
        recycle_after: int = 200,
        folder: Path | str | None = None,
        log_mb: float = LOG_MB,
        devices: Sequence[str] = ("cpu",),
        preload: Sequence[str] = ("torch",),
    ) -> None:
        if not hasattr(os, "fork") or not hasattr(socket, "send_fds"):
            raise UsageError("executor 'processes' needs Linux or macOS; use 'serial' (workers=0) here")
        _check(workers=workers, threads=threads, recycle_after=recycle_after)
        if memory_mb is not None and not memory_mb >= 64:
            raise UsageError(f"memory_mb={memory_mb!r}: must be at least 64 MB, or None for no limit")
        if not devices:
            raise UsageError("devices: name at least one, for example ['cpu'] or ['cuda:0', 'cuda:1']")
        self.slots = workers
        self._settings = Settings(
            threads=threads or max(1, system.cores() // workers),
            devices=list(devices),
            fresh=any(d != "cpu" for d in devices) or not system.LINUX,
            memory_mb=memory_mb,
            recycle_after=recycle_after,
            folder=None if folder is None else str(Path(folder).absolute()),
            log_mb=log_mb,
            sys_path=[p or os.getcwd() for p in sys.path],
            preload=list(preload),
        )
        self._function: bytes | None = None
        self._server: ServerHandle | None = None
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, Worker] = {}
        self._pending: deque[Task] = deque()
        self._tasks: dict[int, Task] = {}
        self._events: list[Event] = []
        self._acknowledged = ""
        self._paused = False
        self._failed_starts = 0
        self._closed = False
        self._pid = os.getpid()
        self._at_exit = _close_at_exit(self)

    # -- the face --------------------------------------------------------------------------------------

    def start(self, function: Function) -> None:
        """Take the function, once; the workers get ready in the background."""
        if self._function is not None:
            raise UsageError("start: this executor has its function already; make a new one for another")
        self._function = pack_function(function)
        self._launch()

    def submit(
        self, ticket: int, payload: Mapping[str, Any], *, time_limit: float | None = None, attempt: int = 1
    ) -> None:
        """Queue one task; it is given to the next idle worker."""
        if self._function is None or self._closed:
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
        if task is None or task.stopped:
            return
        task.stopped = True
        for worker in self._workers.values():
            if worker.task is task:
                send(worker.sock, pack(["stop", ticket]))

    def kill(self, ticket: int) -> None:
        """End the task now; its worker is replaced."""
        task = self._tasks.get(ticket)
        if task is None:
            return
        if task in self._pending:
            self._pending.remove(task)
            self._end(task.failed("killed", "killed on request before it began", retryable=True))
            return
        for worker in self._workers.values():
            if worker.task is task:
                worker.doomed = True
                if self._server is not None:
                    self._server.tell("kill", worker.pid)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """While inside, the workers are stopped (SIGSTOP) and their time limits wait."""
        self._paused = True
        self._order("pause", "paused")
        try:
            yield
        finally:
            self._order("resume", "resumed")
            self._paused = False
            self._dispatch()

    def close(self, grace: float = 0.0) -> None:
        """End everything; running tasks are asked to stop and get `grace` seconds."""
        if self._closed or os.getpid() != self._pid:
            return
        atexit.unregister(self._at_exit)
        try:
            self._pending.clear()
            if grace > 0.0:
                self._wind_down(grace)
        finally:
            self._closed = True
            self._bury_server()
            self._selector.close()
            self._tasks.clear()

    def _wind_down(self, grace: float) -> None:
        end = time.monotonic() + grace
        running = [w.task for w in self._workers.values() if w.task is not None]
        for task in running:
            self.stop(task.ticket)
        while any(t.ticket in self._tasks for t in running) and time.monotonic() < end:
            self._pump(max(0.0, end - time.monotonic()))

    # -- server and workers ----------------------------------------------------------------------------

    def _launch(self) -> None:
        assert self._function is not None
        try:
            self._server = ServerHandle(self._settings, self._function, self.slots)
            self._selector.register(self._server.control, selectors.EVENT_READ, None)
            for slot in range(self.slots):
                self._hire(slot)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            need = 20 + 2 * self.slots
            why = f"too many open files: {self.slots} workers need about {need} more; raise the limit (ulimit -n)"
            raise UsageError(why) from error

    def _hire(self, slot: int) -> None:
        if self._server is None:
            return
        worker = Worker(slot, self._server.hire(slot))
        self._workers[slot] = worker
        self._selector.register(worker.sock, selectors.EVENT_READ, worker)

    def _dispatch(self) -> None:
        if self._paused or self._closed or self._server is None:
            return
        for worker in self._workers.values():
            if not self._pending:
                return
            if worker.ready and worker.task is None and not worker.doomed:
                task = self._pending.popleft()
                self._server.clock.set(worker.slot, task.limit)
                if not send(worker.sock, task.message()):  # it has just died: another will do it
                    self._pending.appendleft(task)
                    worker.doomed = True
                    continue
                worker.task = task
                self._events.append(Started(task.ticket, worker.slot, worker.pid))

    def _order(self, message: str, answer: str) -> None:
        """Tell the server something and wait until it has done it (or is dead, and its workers with it)."""
        server = self._server
        if server is None:
            return
        self._acknowledged = ""
        server.tell(message)
        while self._acknowledged != answer and self._server is server:
            self._pump(1.0)

    def _pump(self, timeout: float | None) -> None:
        """Take in whatever has arrived, waiting for it at most so long."""
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._hear_server()
                continue
            worker: Worker = key.data
            if self._workers.get(worker.slot) is worker:  # not one that was buried in this very round
                self._hear(worker)
        self._dispatch()

    def _hear(self, worker: Worker) -> None:
        data = receive(worker.sock)
        if data is None:
            self._selector.unregister(worker.sock)  # the server will say how it died
            worker.doomed = True
            return
        for message in worker.frames.feed(data):
            self._on_message(worker, message)

    def _on_message(self, worker: Worker, message: list[Any]) -> None:
        kind, value = message[:2]
        if kind == "ready":
            worker.ready, worker.pid = True, value
            self._failed_starts = 0
        elif worker.task is None or worker.task.ticket != value:
            return
        elif kind == "report":
            report = Report(value, message[2])
            if self.listener is None:
                self._events.append(report)
            else:
                self.listener(report)
        elif kind == "done":
            last, outcome = message[2], Outcome(*message[3:])
            worker.doomed = worker.doomed or last
            worker.task = None
            del self._tasks[value]
            self._events.append(outcome.event(value))

    def _hear_server(self) -> None:
        server = self._server
        messages = server.hear() if server is not None else []
        if server is None or messages is None:
            self._on_server_lost()
            return
        for message in messages:
            kind = message[0]
            if kind == "exit":
                self._on_exit(*message[1:])
            elif kind == "ready":
                server.ready = True
            elif kind == "broken":
                self._give_up(f"the workers could not load the function: {message[1]}\n{message[2]}")
            elif kind == "forked":
                self._workers[message[1]].pid = message[2]
            else:
                self._acknowledged = kind

    def _on_exit(self, slot: int, pid: int, status: int, peak_kb: int, reason: str) -> None:
        """A worker has ended: its last words first, then its task, then another in its place."""
        worker = self._workers[slot]
        task = self._let_go(worker)
        if task is not None:
            memory = self._settings.memory_mb or system.machine_mb()
            self._end(buried(task, status, peak_kb * 1024 / 1e6, reason, memory))
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _TRIES:
                self._give_up(f"a worker ended {_TRIES} times before it was ready ({reason or f'status {status}'})")
        self._hire(slot)

    def _let_go(self, worker: Worker) -> Task | None:
        """Read what a dead worker had sent, close its socket; its task if that has not ended."""
        while True:
            data = receive(worker.sock)
            if not data:
                break
            for message in worker.frames.feed(data):
                self._on_message(worker, message)
        self._drop(worker.sock)
        task, worker.task = worker.task, None
        return task

    def _end(self, failed: Failed) -> None:
        self._tasks.pop(failed.ticket, None)
        self._events.append(failed)

    def _on_server_lost(self) -> None:
        """The server died: so did its workers. Their tasks are lost, and a new server is started."""
        lost = [task for task in map(self._let_go, list(self._workers.values())) if task is not None]
        ready = self._server is not None and self._server.ready
        words = self._bury_server()
        for task in lost:
            self._end(task.failed("killed", "the server of the worker processes died", retryable=True))
        self._failed_starts = 0 if ready else self._failed_starts + 1
        if self._failed_starts >= _TRIES:
            self._give_up(f"the server of the worker processes cannot be started\n{words}")
        self._launch()

    def _bury_server(self) -> str:
        """End the server and everything under it; the end of what it wrote to its standard error."""
        for worker in self._workers.values():
            self._drop(worker.sock)
        self._workers.clear()
        if self._server is None:
            return ""
        server, self._server = self._server, None
        with suppress(KeyError, ValueError):
            self._selector.unregister(server.control)
        return server.bury()

    def _drop(self, sock: socket.socket) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()

    def _give_up(self, why: str) -> None:
        self.close()
        raise SearchitectError(why)


def _check(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UsageError(f"{name}={value!r}: must be a whole number of at least 1")


def _close_at_exit(executor: Processes) -> Callable[[], None]:
    """Closes the executor when the interpreter ends, without keeping it alive until then."""
    reference = weakref.ref(executor)

    def close() -> None:
        still_there = reference()
        if still_there is not None:
            still_there.close()

    atexit.register(close)
    return close
