"""A worker process: takes one task after another from its socket, and answers on it.

Made by the server, by fork or (for devices that do not survive a fork) as a process of its own. It leads
its own session, adopts the orphans of its descendants, and leaves none of them alive after a task.
"""

from __future__ import annotations

import gc
import importlib
import mmap
import multiprocessing.resource_tracker
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec

from searchitect.executors import system
from searchitect.executors.base import Context, Function
from searchitect.executors.isolation import Remembered
from searchitect.executors.shipping import unpack_function
from searchitect.executors.task import Outcome, drop_empty_log, log_stream, open_log, run
from searchitect.executors.wire import Frames, pack, receive

_GROWTH_MB = 1024.0  # a worker that has grown by so much is replaced


class Settings(msgspec.Struct, frozen=True):
    """What the driver tells the server once, for all workers."""

    threads: int
    devices: list[str]
    fresh: bool  # a new process instead of a fork
    memory_mb: float | None
    recycle_after: int
    folder: str | None
    log_mb: float
    sys_path: list[str]
    preload: list[str]


class Clock:
    """Deadlines of the tasks in memory shared between driver, server and workers (0: none).

    So a limit costs no message, and the server can keep it whatever the worker or the driver is doing. The
    driver sets it when it gives out the task, and the worker again when it begins.
    """

    def __init__(self, descriptor: int, slots: int) -> None:
        os.ftruncate(descriptor, 8 * slots)
        self._map = mmap.mmap(descriptor, 8 * slots)
        self._times = memoryview(self._map).cast("d")

    def set(self, slot: int, limit: float | None) -> None:
        """The task that begins now in this slot may take `limit` seconds."""
        self._times[slot] = 0.0 if limit is None else time.monotonic() + limit

    def passed(self, slot: int) -> bool:
        """Whether the task in this slot has had its time."""
        return 0.0 < self._times[slot] < time.monotonic()

    def close(self) -> None:
        """Give the memory back."""
        self._times.release()
        self._map.close()

    def extend(self, slot: int, seconds: float) -> None:
        """The task in this slot was paused for so long."""
        if self._times[slot] > 0.0:
            self._times[slot] += seconds


class Link:
    """The worker's end of its socket to the driver. When the driver is gone, so is the worker."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._frames = Frames()
        self._unsent = bytearray()
        self._guard = threading.RLock()
        self.stopped: set[int] = set()
        self._tasks: deque[list[Any]] = deque()

    def send(self, message: list[Any], *, wait: bool) -> None:
        """Send, or (without `wait`) keep what the socket does not take now for the next time."""
        data = pack(message)
        with self._guard:
            self._unsent += data
            while self._unsent:
                try:
                    sent = self._socket.send(self._unsent)
                except BlockingIOError:
                    if not wait:
                        return
                    select.select([], [self._socket], [])
                except OSError:
                    os._exit(0)
                else:
                    del self._unsent[:sent]

    def poll(self) -> None:
        """Take in what has arrived, without waiting."""
        with self._guard:
            data = receive(self._socket)
            if data is None:
                os._exit(0)
            for message in self._frames.feed(data):
                if message[0] == "stop":
                    self.stopped.add(message[1])
                else:
                    self._tasks.append(message)

    def next_task(self) -> list[Any]:
        """Wait for the next task."""
        while not self._tasks:
            select.select([self._socket], [], [])
            self.poll()
        return self._tasks.popleft()


class WorkerContext(Context):
    """A running task's way to its driver."""

    def __init__(self, link: Link, ticket: int, attempt: int, settings: Settings, device: str) -> None:
        self.attempt = attempt
        self.device = device
        self.threads = settings.threads
        self.folder = None if settings.folder is None else Path(settings.folder)
        self._link = link
        self._ticket = ticket

    def report(self, data: Mapping[str, Any]) -> None:
        """Send small plain data to the driver while running. Does not wait for it."""
        self._link.send(["report", self._ticket, dict(data)], wait=False)

    def should_stop(self) -> bool:
        """Whether the driver asked this task to stop at its next step."""
        self._link.poll()
        return self._ticket in self._link.stopped


def work(sock: socket.socket, slot: int, settings: Settings, function: Function, clock: Clock) -> NoReturn:
    """Run tasks until the driver is gone or this worker is due to be replaced."""
    _settle(settings)
    device = settings.devices[slot % len(settings.devices)]
    link = Link(sock)
    link.send(["ready", os.getpid()], wait=True)
    base_mb, threads = system.memory_mb(), threading.active_count()
    done, before = 0, Remembered()
    while True:
        _, ticket, attempt, limit, stopped, payload = link.next_task()
        if stopped:
            link.stopped.add(ticket)
        if not before.complete():
            before = Remembered()
        clock.set(slot, limit)
        outcome = _run(function, payload, WorkerContext(link, ticket, attempt, settings, device), ticket, settings)
        clock.set(slot, None)
        _clean_up(before, settings, ticket)
        link.stopped.clear()
        done += 1
        last = (
            done >= settings.recycle_after
            or outcome.cause == "out of memory"
            or threading.active_count() > threads  # something of the task still runs
            or system.memory_mb() > base_mb + _GROWTH_MB
        )
        link.send(["done", ticket, last, *outcome], wait=True)
        if last:
            os._exit(0)
        if outcome.result is None:
            del outcome
            gc.collect()  # a traceback keeps a whole network alive


def _run(function: Function, payload: dict[str, Any], context: Context, ticket: int, settings: Settings) -> Outcome:
    """One task with its output in its log."""
    descriptor = open_log(context.folder, ticket)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
    system.forget_peak()
    limits = "" if settings.memory_mb is None else f", limit {settings.memory_mb:g} MB over an idle worker"
    output = log_stream(1, int(settings.log_mb * 1e6))
    sys.stdout = sys.stderr = output
    outcome = run(function, payload, context, limits)
    with suppress(Exception):
        output.flush()
    return outcome


def _clean_up(before: Remembered, settings: Settings, ticket: int) -> None:
    """After a task: its process state undone, its children ended, its log closed."""
    before.restore()
    if system.has_children():
        system.end_children(_spared())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    drop_empty_log(None if settings.folder is None else Path(settings.folder), ticket)


def _spared() -> list[int]:
    """Python's own helper for shared memory: it serves the whole process, and ends with it."""
    pid = getattr(multiprocessing.resource_tracker._resource_tracker, "_pid", None)
    return [pid] if pid else []


def _settle(settings: Settings) -> None:
    """What a new worker does first."""
    system.die_with_parent()
    system.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(settings.threads)
    if settings.memory_mb is not None:
        system.limit_memory(settings.memory_mb)


def load(settings: Settings, data: bytes) -> Function:
    """Import what is to be ready before the first task, and unpack the function. Raises what user code raises.

    Runs with one thread: a pool of threads made here would be missing in forked workers.
    """
    sys.path[:] = settings.sys_path
    for name in settings.preload:
        with suppress(ImportError):
            importlib.import_module(name)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
    function: Function = unpack_function(data)
    return function


def read_start(file: BinaryIO) -> tuple[Settings, bytes]:
    """Settings and function as `start_message` wrote them."""
    size = int.from_bytes(file.read(8), "big")
    settings = msgspec.msgpack.decode(file.read(size), type=Settings)
    return settings, file.read()


def start_message(settings: Settings, function: bytes) -> bytes:
    """Settings and function for a process that is about to begin, up to the end of the stream."""
    head = msgspec.msgpack.encode(settings)
    return len(head).to_bytes(8, "big") + head + function


def main() -> NoReturn:
    """A worker as its own process: settings and function come on standard input."""
    socket_fd, clock_fd, slot, slots = map(int, sys.argv[1:5])
    for descriptor in (socket_fd, clock_fd):
        os.set_inheritable(descriptor, False)
    settings, data = read_start(sys.stdin.buffer)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    work(socket.socket(fileno=socket_fd), slot, settings, load(settings, data), Clock(clock_fd, slots))


if __name__ == "__main__":
    main()
