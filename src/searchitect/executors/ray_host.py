"""What runs on the machines of a Ray cluster: a host, which is one slot, or one member of a slot.

A host is an actor that holds the resources of one trial and an executor of one worker process (`processes`). So
whatever a task does costs no more than its worker, as on one machine: hosts need not be started again, time limits
are kept where the task runs, and its output, its children and its memory are looked after. A host that its driver can
call (see `ray_lines`) serves that line until it breaks. Any other speaks when it is listened to: `listen` returns what
has happened since, and there is one such call at most.
"""

from __future__ import annotations

import itertools
import queue
import socket
import sys
import time
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import ray

from searchitect.errors import SearchitectError
from searchitect.executors.base import Event, Failed, Finished, Report, Started
from searchitect.executors.processes import Processes
from searchitect.executors.ray_files import Mirror
from searchitect.executors.ray_lines import Door, Line
from searchitect.executors.ray_options import Options
from searchitect.executors.shipping import Packed

TICK = 0.05  # seconds between two looks at orders while a task runs
PATIENCE = 0.2  # seconds that the news of a beginning may wait for other news
SHIPPING = 10.0  # seconds between two looks for files that a running task has changed
LARGE = 8 << 20  # bytes of files, from which on Ray carries them
CALL = 10.0  # seconds that the driver has to call
GROUPS = {"talk": 1, "orders": 1}  # one thread each: orders come through while `listen` waits


class Host:
    """One worker process, and its way to the driver. `function` is packed, as bytes."""

    def __init__(self, options: Options, function: Any) -> None:
        sys.path += [place for place in options.sys_path if place not in sys.path]
        self._options = options
        self._mirror = Mirror(options.folder) if options.mirrored and options.folder else None
        folder = options.folder if self._mirror is None else str(self._mirror.folder)
        self._executor = Processes(
            workers=1, threads=options.threads, memory_mb=options.memory_mb, recycle_after=options.recycle_after,
            folder=folder, log_mb=options.log_mb, devices=(options.device,), preload=options.preload,
        )  # fmt: skip
        self._function: Packed | None = Packed(bytes(memoryview(function)))
        self._door = Door(_address(), options.secret)
        self._line: Line | None = None
        self._brought: queue.SimpleQueue[tuple[tuple[int, int], list[Any]]] = queue.SimpleQueue()
        self._large: dict[int, Any] = {}  # files that wait to be fetched, by numbers
        self._numbers = itertools.count()
        self._orders: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
        self._early: set[tuple[str, int, int]] = set()  # orders that came before their task
        self._task: tuple[int, int] | None = None  # ticket and attempt of what runs
        self._pause: ExitStack | None = None
        self._over = False
        self._shipped = 0.0

    @ray.method(concurrency_group="orders")
    def order(self, kind: str, ticket: int, attempt: int) -> None:
        """Stop or kill this attempt of a ticket; "pause" or "resume" what runs; "end" everything."""
        self._orders.put((kind, ticket, attempt))

    @ray.method(concurrency_group="orders")
    def bring(self, ticket: int, attempt: int, parcels: list[Any]) -> None:
        """The files of a task that comes by the line: what Ray stores cannot be named there."""
        self._brought.put(((ticket, attempt), parcels))

    @ray.method(concurrency_group="orders")
    def fetch(self, number: int) -> Any:
        """Files that were too large for the line."""
        return self._large.pop(number)

    @ray.method(concurrency_group="talk")
    def listen(self, tasks: list[Any]) -> list[list[Any]]:
        """Begin these tasks (one at most), then what has happened. Returns at once when nothing is to be done."""
        try:
            if self._function is not None:
                self._executor.start(self._function)  # type: ignore[arg-type]
                self._function = None
                return [["ready", {**_facts(), "door": self._door.port}]]
            for task in tasks:
                self._door.close()  # the driver did not find it
                self._begin(*task)
            return self._news()
        except SearchitectError as error:
            return [["broken", str(error)]]

    @ray.method(concurrency_group="talk")
    def serve(self) -> list[list[Any]]:
        """Let the driver in at the door, and do what it says there until it is gone: so the end of this call is the end
        of the host. "unheard": nobody came, and the host is to be listened to."""
        self._line = line = self._door.admit(CALL)
        if line is None:
            return [["unheard"]]
        line.send([["heard"]])
        try:
            while not self._over:
                if self._task is None:
                    line.wait()
                if news := self._news():
                    line.send(news)
        except SearchitectError as error:
            return [["broken", str(error)]]
        finally:
            line.close()
        return [["ended"]]

    @ray.method(concurrency_group="talk")
    def end(self) -> None:
        """End everything; called when nobody listens."""
        self._close()

    def _close(self) -> None:
        self._door.close()
        self._executor.close()
        if self._mirror is not None:
            self._mirror.remove()

    def _begin(
        self, ticket: int, attempt: int, limit: float | None, stopped: bool, payload: Any, parcels: list[Any] | None
    ) -> None:
        if self._mirror is not None:
            while parcels is None:  # they come by another way
                task, found = self._brought.get()
                parcels = found if task == (ticket, attempt) else None
            payload = self._mirror.receive(payload, parcels, lambda reference: ray.get(reference))
        self._task, self._shipped = (ticket, attempt), time.monotonic()
        self._executor.submit(ticket, payload, time_limit=limit, attempt=attempt)
        if stopped:
            self._executor.stop(ticket)
        early, self._early = self._early, set()
        for order in early:
            if order[1:] == self._task:  # others are for tasks that had ended when they came
                self._obey(*order)

    def _news(self) -> list[list[Any]]:
        """Wait for something worth saying."""
        news: list[list[Any]] = []
        since = time.monotonic()
        while True:
            self._hear_driver()
            while not self._orders.empty():
                news += self._obey(*self._orders.get())
            if self._over:
                return [*news, ["ended"]]
            news += [word for event in self._executor.wait(TICK) for word in self._words(event)]
            only_begun = all(word[0] == "started" for word in news)
            if news and (not only_begun or time.monotonic() - since > PATIENCE):
                return news
            if self._task is None:
                return news

    def _hear_driver(self) -> None:
        """Take in what has come by the line: a task to begin, or orders."""
        messages = [] if self._line is None else self._line.hear()
        if messages is None:
            self._orders.put(("end", 0, 0))
            return
        for kind, *words in messages:
            if kind == "task":
                self._begin(*words)
            else:
                self._orders.put((kind, *words))

    def _obey(self, kind: str, ticket: int, attempt: int) -> list[list[Any]]:
        """Carry out an order; the answer, where there is one."""
        if kind == "end":
            self._over = True
            self._close()
        elif kind == "pause":
            if self._pause is None:
                self._pause = ExitStack()
                self._pause.enter_context(self._executor.exclusive())
            return [["paused"]]
        elif kind == "resume":
            if self._pause is not None:
                self._pause.close()
                self._pause = None
        elif self._task == (ticket, attempt):
            (self._executor.stop if kind == "stop" else self._executor.kill)(ticket)
        else:
            self._early.add((kind, ticket, attempt))
        return []

    def _words(self, event: Event) -> list[list[Any]]:
        """An event as plain data, behind the files that belong to it."""
        ticket = event.ticket
        if isinstance(event, Started):
            return [["started", ticket, event.pid]]
        if isinstance(event, Report):
            return [*self._files(ticket, end=False), ["report", ticket, event.data]]
        self._task = None
        files = self._files(ticket, end=True)
        if isinstance(event, Finished):
            return [*files, ["finished", ticket, event.result, _free_port()]]
        assert isinstance(event, Failed)
        how = [event.cause, event.message, event.traceback, event.retryable, event.peak_mb]
        return [*files, ["failed", ticket, how, _free_port()]]

    def _files(self, ticket: int, *, end: bool) -> list[list[Any]]:
        if self._mirror is None or (not end and time.monotonic() - self._shipped < SHIPPING):
            return []
        self._shipped = time.monotonic()
        found = self._mirror.changed(logs=end)
        size = sum(len(file[1]) for file in found.values() if file is not None)
        if self._line is not None and size > LARGE:
            number = next(self._numbers)
            self._large[number] = found
            return [["large", ticket, number]]
        return [["files", ticket, found]] if found else []


def _facts() -> dict[str, Any]:
    """Who we are, for the driver to compare."""
    return {
        "searchitect": version("searchitect"),
        "address": _address(),
        "port": _free_port(),
    }


def _address() -> str:
    """Of this machine in the cluster."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _free_port() -> int:
    """A port that nobody uses now, for the members of a slot to meet at."""
    with socket.socket() as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])
