"""Tasks in worker processes of this machine: one per slot, kept, watched and replaced by a server process."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from searchitect.errors import SearchitectError, UsageError
from searchitect.executors import system
from searchitect.executors.base import Report, Started, check_counts, check_memory
from searchitect.executors.handle import ServerHandle, send
from searchitect.executors.queued import Queued
from searchitect.executors.slots import Task, Worker, buried
from searchitect.executors.task import LOG_MB, Outcome
from searchitect.executors.wire import pack, receive
from searchitect.executors.worker import Settings

_TRIES = 3  # starts of a worker or server in a row that may fail


class Processes(Queued):
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
        check_counts(workers=workers, threads=threads, recycle_after=recycle_after)
        check_memory(memory_mb)
        if not devices:
            raise UsageError("devices: name at least one, for example ['cpu'] or ['cuda:0', 'cuda:1']")
        super().__init__(workers)
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
        self._acknowledged = ""
        self._failed_starts = 0

    def _order(self, kind: str, task: Task) -> None:
        for worker in self._workers.values():
            if worker.task is not task:
                continue
            if kind == "stop":
                send(worker.sock, pack(["stop", task.ticket]))
            elif self._server is not None:
                worker.doomed = True
                self._server.tell("kill", worker.pid)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """While inside, the workers are stopped (SIGSTOP) and their time limits wait."""
        self._paused = True
        self._tell_all("pause", "paused")
        try:
            yield
        finally:
            self._tell_all("resume", "resumed")
            self._paused = False
            self._dispatch()

    # -- server and workers ----------------------------------------------------------------------------

    def _begin(self, packed: bytes) -> None:
        self._function = packed
        self._launch()

    def _release(self) -> None:
        self._bury_server()
        self._selector.close()

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
                self._add(Started(task.ticket, worker.slot, worker.pid))

    def _tell_all(self, message: str, answer: str) -> None:
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
            self._add(Report(value, message[2]))
        elif kind == "done":
            last, outcome = message[2], Outcome(*message[3:])
            worker.doomed = worker.doomed or last
            worker.task = None
            self._add(outcome.event(value))

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
            self._add(buried(task, status, peak_kb * 1024 / 1e6, reason, memory))
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

    def _on_server_lost(self) -> None:
        """The server died: so did its workers. Their tasks are lost, and a new server is started."""
        lost = [task for task in map(self._let_go, list(self._workers.values())) if task is not None]
        ready = self._server is not None and self._server.ready
        words = self._bury_server()
        for task in lost:
            self._add(task.failed("killed", "the server of the worker processes died", retryable=True))
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
