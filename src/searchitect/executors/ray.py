"""Tasks on the machines of a Ray cluster: one slot for each trial's worth of processors and GPUs."""

from __future__ import annotations

import itertools
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from searchitect.errors import SearchitectError, UsageError
from searchitect.executors.base import check_counts, check_memory
from searchitect.executors.queued import Queued
from searchitect.executors.ray_cluster import LOCAL, Cluster
from searchitect.executors.ray_files import Depot
from searchitect.executors.ray_lines import Ears, new_secret
from searchitect.executors.ray_options import Options, as_paths
from searchitect.executors.ray_slots import Listening, Lost, Making, Member, Sent, Slot, release, why_lost
from searchitect.executors.slots import Task

log = logging.getLogger(__name__)

_TRIES = 3  # hosts of a slot, one after another, that may end before they were ready
_LOOK = 5.0  # seconds between two looks at the machines of the cluster
_PATIENCE = 60.0  # seconds without a host after which the log says so
_STANDBY = 1_000_000  # number of the slot that stands by
_ENDING = 1.5  # seconds that hosts get to end their workers by themselves


class RayExecutor(Queued):
    """Runs tasks on a Ray cluster.

    `address`: "auto" (RAY_ADDRESS, or the cluster of this machine), "HOST:PORT", or "local" for one of our own on this
    machine, which binds the loopback address, has no dashboard, asks for a token and ends with the executor. Where
    this process is connected to Ray already, that connection is used, and stays.

    `workers`: slots; left out, as many as fit on the machines that are there, which is looked at again and again.
    `cpus` and `gpus` are what each host of a slot holds, `hosts` how many work on one task together: then the
    payload of each has `group`: its rank, their number, and "HOST:PORT" of the first, and what rank 0 returns counts.
    `shared`: a folder that all machines see; where the executor's own folder is not below it, files that a payload
    names there travel with the task, and what the task changed comes back with its end (and every ten seconds with
    its reports). Other options are as those of `processes`. Raises UsageError for impossible values, for a missing or
    old Ray, and where no cluster is found.

    Cost of a task: two small messages on a socket; through Ray, which costs ten times as much, where a host cannot be
    called at the address of its machine. Cost of a slot: a Ray actor beside the worker process and its server.
    """

    def __init__(
        self,
        address: str = "auto",
        workers: int | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        hosts: int = 1,
        folder: Path | str | None = None,
        shared: Path | str | None = None,
        **more: Any,
    ) -> None:
        _check(workers, cpus, gpus, hosts, more.get("memory_mb"))
        place = None if folder is None else Path(folder).absolute()
        threads, device = more.pop("threads", None), more.pop("device", None)
        options = Options(
            threads=threads or max(1, int(cpus)), device=device or ("cuda" if gpus else "cpu"),
            folder=None if place is None else str(place), sys_path=as_paths(sys.path), secret=new_secret(), **more,
        )  # fmt: skip
        self._cluster = Cluster(address)
        self._per_host, self._hosts, self._wanted = (cpus, gpus), hosts, workers
        try:
            super().__init__(workers or self._cluster.slots(cpus, gpus, hosts))
        except UsageError:
            self._cluster.close()
            raise
        travels = place is not None and not self._is_seen(place, address, shared)
        self._depot = Depot(place, self._cluster.ray.put) if travels and place is not None else None
        self._options = options._replace(mirrored=travels)
        self._making: Making | None = None
        self._slots: list[Slot] = []
        self._idle: dict[int, Slot] = {}  # by their numbers
        self._standby: Slot | None = None  # takes the place of a slot that is being made anew
        self._ears: Listening = Ears()
        self._failed_starts = self._losses = 0
        self._looked = self._had_host = time.monotonic()

    def _is_seen(self, place: Path, address: str, shared: Path | str | None) -> bool:
        """Whether all machines see the executor's folder."""
        if shared is not None:
            return place.is_relative_to(Path(shared).absolute())
        return address == LOCAL and self._cluster.alone

    # -- the face --------------------------------------------------------------------------------------

    def _begin(self, packed: bytes) -> None:
        """Put the function into the object store, once; hosts get ready in the background."""
        stored = self._cluster.ray.put(np.frombuffer(packed, np.uint8))
        self._making = Making(self._cluster.ray, stored, self._options, *self._per_host, self._hosts)
        self._fill_slots()

    def _order(self, kind: str, task: Task) -> None:
        for slot in self._all:
            if slot.task is task:
                slot.order(kind)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """While inside, the workers of all hosts are stopped (SIGSTOP) and their time limits wait."""
        self._paused = True
        working = [member for slot in self._all for member in slot.members if member.working]
        try:
            for member in working:
                member.paused = False
                member.order("pause")
            while any(m.working and not m.paused and not m.slot.gone for m in working):
                self._pump(0.1)
            yield
        finally:
            for member in working:
                if not member.slot.gone:
                    member.order("resume")
            self._paused = False
            self._dispatch()

    def _release(self) -> None:
        release(self._all, self._ears, _ENDING)
        self._ears.close()
        self._slots.clear()
        self._cluster.close()

    # -- slots -----------------------------------------------------------------------------------------

    def _fill_slots(self) -> None:
        """As many slots as there should be; those that wait for machines which are gone are given up."""
        taken = {slot.number for slot in self._slots}
        free = (number for number in itertools.count() if number not in taken)
        while len(self._slots) < self.slots:
            self._slots.append(self._made(next(free)))
        while len(self._slots) > self.slots and not self._slots[-1].ready:
            release([self._slots.pop()], self._ears, 0.0)

    @property
    def _all(self) -> list[Slot]:
        return self._slots if self._standby is None else [*self._slots, self._standby]

    def _made(self, number: int, making: Making | None = None) -> Slot:
        making = making or self._making
        assert making is not None
        return Slot(number, making, self._ears)

    def _hire_standby(self) -> None:
        """Where a host has died others may. One that holds no processors waits, and works while another is made."""
        making = self._making
        if making is not None and making.hosts == 1 and not making.gpus:
            self._standby = self._made(_STANDBY, making._replace(cpus=0.0))

    def _capacity(self) -> int:
        return self._cluster.capacity(*self._per_host) // self._hosts

    def _look_around(self) -> None:
        """Machines come and go; say so when none has room for us."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        if any(slot.ready for slot in self._slots):
            self._had_host = now
        elif self._tasks and now - self._had_host > _PATIENCE:
            self._had_host = now
            log.warning(
                "no host since %g s: each waits for %g CPUs and %g GPUs, which others may be using",
                _PATIENCE,
                *self._per_host,
            )
        if self._wanted is None and (capacity := self._capacity()) != self.slots:
            self.slots = max(1, capacity)
            self._fill_slots()

    def _dispatch(self) -> None:
        if self._paused or self._closed:
            return
        while self._pending and self._idle:
            _, slot = self._idle.popitem()
            slot.give(Sent(self._pending.popleft(), self._depot), self._depot)
        spare, running = self._standby, len(self._tasks) - len(self._pending)
        if self._pending and spare is not None and spare.ready and spare.sent is None and running < self.slots:
            spare.give(Sent(self._pending.popleft(), self._depot), self._depot)

    # -- news ------------------------------------------------------------------------------------------

    def _pump(self, timeout: float | None) -> None:
        timeout = 1.0 if timeout is None else min(timeout, 1.0)  # to look around meanwhile
        for member, news in self._ears.hear(max(0.0, timeout)):
            if not (self._closed or member.slot.gone):
                self._hear(member, news)
        if not self._closed:
            self._look_around()
            self._dispatch()

    def _hear(self, member: Member, news: Any) -> None:
        slot = member.slot
        if isinstance(news, BaseException):
            self._on_lost(slot, news)
            return
        try:
            for kind, *words in news:
                for event in slot.hear(member, kind, words, self._depot):
                    self._add(event)
        except Lost as error:
            self._on_lost(slot, error)
            return
        except SearchitectError:
            self.close()
            raise
        if slot.ready and slot.sent is None:
            self._failed_starts = 0
            if slot is not self._standby:
                self._idle[slot.number] = slot
            if self._losses and self._standby is None and all(one.ready for one in self._slots):
                self._hire_standby()
        member.go_on()

    def _on_lost(self, slot: Slot, error: BaseException) -> None:
        """A host has died, and with it its slot: its task is lost, and there will be another in its place."""
        why, member = why_lost(error), slot.members[0]
        place = f"on {member.address} " if member.address else ""
        sent, slot.sent = slot.sent, None
        slot.dismiss()
        self._idle.pop(slot.number, None)
        if sent is not None:
            self._add(sent.ending or sent.task.failed("killed", f"its host {place}was lost: {why}", retryable=True))
        if not slot.ready:
            self._failed_starts += 1
            if self._failed_starts >= _TRIES * self.slots:
                self.close()
                raise SearchitectError(f"hosts ended {self._failed_starts} times before they were ready: {why}")
        self._losses += slot.ready
        if slot is self._standby:
            self._hire_standby()
        elif len(self._slots) <= self.slots:
            self._slots[self._slots.index(slot)] = self._made(slot.number)
        else:
            self._slots.remove(slot)


def _check(workers: int | None, cpus: float, gpus: float, hosts: int, memory_mb: float | None) -> None:
    check_memory(memory_mb)
    check_counts(workers=workers, hosts=hosts)
    for name, amount in (("cpus", cpus), ("gpus", gpus)):
        if not (isinstance(amount, (int, float)) and amount >= 0 and math.isfinite(amount)):
            raise UsageError(f"{name}={amount!r}: must be a number of at least 0, such as 1 or 0.5")
        if amount > 1 and amount != int(amount):
            raise UsageError(f"{name}={amount!r}: Ray shares one, but several must be whole; give {int(amount) + 1}")
    if cpus == 0 and gpus == 0:
        raise UsageError("cpus=0 and gpus=0: a trial must hold some of either, or there would be no end of slots")
