"""The driver's books of a Ray executor: slots, the hosts that each consists of, and what they say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

from searchitect.errors import SearchitectError
from searchitect.executors.base import Event, Failed, Finished, Report, Started
from searchitect.executors.ray_files import Depot, named
from searchitect.executors.ray_lines import Ears, Line
from searchitect.executors.ray_options import Options
from searchitect.executors.slots import Task


class Sent:
    """A task that a slot has. `ending` is how it ends, once that is known; `unwritten` why its files are not here."""

    __slots__ = ("ending", "names", "task", "unwritten")

    def __init__(self, task: Task, depot: Depot | None) -> None:
        self.task = task
        self.names = set() if depot is None else named(task.payload, str(depot.folder))
        self.ending: Event | None = None
        self.unwritten = ""


class Lost(Exception):
    """A host cannot be heard any more."""


class Member:
    """One host of a slot. `line`: where the driver could call it; messages go through calls of its actor otherwise.
    `out`: such a call is under way. `working`: its part of the task has not ended."""

    __slots__ = ("_ears", "actor", "address", "line", "out", "paused", "port", "rank", "ready", "slot", "working")

    def __init__(self, slot: Slot, rank: int, actor: Any, ears: Listening) -> None:
        self.slot, self.rank, self.actor, self._ears = slot, rank, actor, ears
        self.ready = self.out = self.working = self.paused = False
        self.line: Line | None = None
        self.address, self.port = "", 0
        self.call("listen", [])

    def call(self, method: str, *words: Any) -> None:
        """Call its actor; the answer will be heard."""
        self.out = True
        future: Future[Any] = getattr(self.actor, method).remote(*words).future()
        future.add_done_callback(partial(self._ears.answer, self))

    def begin(self, task: list[Any], parcels: list[Any]) -> None:
        """Let it begin a task, with these files."""
        self.working = True
        if self.line is None:
            self.call("listen", [[*task, parcels]])
            return
        if parcels:
            self.actor.bring.remote(*task[:2], parcels)
        self.line.send(["task", *task, None if parcels else []])

    def order(self, kind: str, task: Task | None = None) -> None:
        """Send an order that comes through while a task runs."""
        ticket, attempt = (-1, 0) if task is None else (task.ticket, task.attempt)
        if self.line is None:
            self.actor.order.remote(kind, ticket, attempt)
        else:
            self.line.send([kind, ticket, attempt])

    def go_on(self) -> None:
        """Where it speaks only when it is listened to, listen until its task has ended."""
        if self.line is None and self.working and not self.out:
            self.call("listen", [])

    def introduce(self, facts: Mapping[str, Any], secret: str) -> None:
        """It has started. It is ready when it is known how it is spoken with. Raises SearchitectError."""
        ours = version("searchitect")
        if facts["searchitect"] != ours:
            raise SearchitectError(
                f"the machine {facts['address']} has searchitect {facts['searchitect']} and this one {ours}: install "
                "the same version on all"
            )
        self.address, self.port = facts["address"], facts["port"]
        if self._ears.dial(self, self.address, facts["door"], secret):
            self.call("serve")
        else:
            self.ready = True

    def hang_up(self) -> None:
        """End its line."""
        self._ears.hang_up(self)
        self.line = None


Listening = Ears[Member]


class Making(NamedTuple):
    """What a host is made of: Ray, the packed function in its object store, options, and resources of each host."""

    ray: Any
    function: Any
    options: Options
    cpus: float
    gpus: float
    hosts: int


class Slot:
    """Room for one task: one host, or several that work on it together, of which the first speaks for all."""

    def __init__(self, number: int, making: Making, ears: Listening) -> None:
        self.number = number
        self.ready = self.gone = False
        self.sent: Sent | None = None
        self._ray, self._secret = making.ray, making.options.secret
        self._group: Any = None
        self.members = [Member(self, rank, actor, ears) for rank, actor in enumerate(self._hire(making))]

    def _hire(self, making: Making) -> list[Any]:
        from searchitect.executors.ray_host import GROUPS, Host

        options: dict[str, Any] = {
            "num_cpus": making.cpus, "num_gpus": making.gpus, "concurrency_groups": GROUPS, "max_restarts": 0,
        }  # fmt: skip
        actor = making.ray.remote(**options)(Host)
        if making.hosts == 1:
            return [actor.options(scheduling_strategy="SPREAD").remote(making.options, making.function)]
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        each = {name: amount for name, amount in (("CPU", making.cpus), ("GPU", making.gpus)) if amount}
        self._group = placement_group([each] * making.hosts, strategy="PACK")
        return [
            actor.options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank)
            ).remote(making.options, making.function)
            for rank in range(making.hosts)
        ]

    @property
    def task(self) -> Task | None:
        """What runs here."""
        return None if self.sent is None else self.sent.task

    def give(self, sent: Sent, depot: Depot | None) -> None:
        """Let all members begin this task."""
        task, first = sent.task, self.members[0]
        parcels = depot.parcels(sent.names) if depot is not None else []
        self.sent = sent
        for member in self.members:
            payload: Mapping[str, Any] = task.payload
            if len(self.members) > 1:
                meet = f"{first.address}:{first.port}"
                payload = {**payload, "group": [member.rank, len(self.members), meet]}
            member.begin([task.ticket, task.attempt, task.limit, task.stopped, payload], parcels)

    def order(self, kind: str) -> None:
        """Send an order about the task to all who work on it."""
        for member in self.members:
            if member.working:
                member.order(kind, self.task)

    def hear(self, member: Member, kind: str, words: list[Any], depot: Depot | None) -> list[Event]:
        """Take in one piece of news; the events that follow. Raises Lost when the host cannot be heard any more, and
        SearchitectError when hosts cannot be used."""
        if kind == "ready":
            member.introduce(words[0], self._secret)
            self.ready = all(one.ready for one in self.members)
        elif kind in ("heard", "unheard"):  # the line leads to it, or somewhere else
            if kind == "unheard":
                member.hang_up()
            member.ready = True
            self.ready = all(one.ready for one in self.members)
        elif kind == "ended":
            raise Lost("the connection to it broke")
        elif kind == "broken":
            raise SearchitectError(words[0])
        elif kind == "paused":
            member.paused = True
        elif self.sent is None or self.sent.task.ticket != words[0]:
            return []
        elif kind in ("finished", "failed"):
            return self._part_ended(member, kind, words, self.sent)
        elif member.rank == 0:
            return self._of_the_first(member, self.sent, kind, words, depot)
        return []

    def _of_the_first(
        self, member: Member, sent: Sent, kind: str, words: list[Any], depot: Depot | None
    ) -> list[Event]:
        ticket = words[0]
        if kind == "started":
            return [Started(ticket, self.number, words[1])]
        if kind == "report":
            return [Report(ticket, words[1])]
        if depot is not None:
            files = words[1] if kind == "files" else self._fetched(member, words[1])
            try:
                depot.take(files, sent.names)
            except (OSError, ValueError) as error:
                sent.unwritten = f"a file of the task could not be written: {error}"
        return []

    def _fetched(self, member: Member, number: int) -> Any:
        """Files that are too large for a line. Raises Lost."""
        try:
            return self._ray.get(member.actor.fetch.remote(number))
        except Exception as error:  # whatever Ray says of a host that is dead
            raise Lost(str(error)) from error

    def _part_ended(self, member: Member, kind: str, words: list[Any], sent: Sent) -> list[Event]:
        """A member has done its part. The task has ended when all have; how, the first says, or who fails first."""
        ticket, how, member.port = words
        member.working = False
        if kind == "failed":
            if sent.ending is None:
                self.order("kill")
            sent.ending = sent.ending or Failed(ticket, *how)
        elif member.rank == 0:
            why = sent.unwritten
            sent.ending = sent.ending or (
                sent.task.failed("storage", why, retryable=False) if why else Finished(ticket, how)
            )
        if any(one.working for one in self.members):
            return []
        self.sent = None
        assert sent.ending is not None
        return [sent.ending]

    def dismiss(self) -> None:
        """End its hosts at once; what they still say is not heard."""
        self.gone = True
        for member in self.members:
            member.hang_up()
            with suppress(Exception):  # it is dead already
                self._ray.kill(member.actor)
        if self._group is not None:
            from ray.util.placement_group import remove_placement_group

            with suppress(Exception):
                remove_placement_group(self._group)


def why_lost(error: BaseException) -> str:
    """What became of a host, in a few words: Ray's own are long."""
    text = " ".join(str(error).split())
    found = re.search(r"\bbecause (.{5,150}?)(?:\.(?: |$)|: |$)", text)
    return found[1] if found else text[:150]


def release(slots: Iterable[Slot], ears: Listening, seconds: float) -> None:
    """Let all hosts end their workers by themselves, for so long; then end them."""
    slots = list(slots)
    waiting = set()
    for member in (member for slot in slots for member in slot.members if member.ready):
        with suppress(Exception):
            if member.out:
                member.order("end")
            else:
                member.call("end")
            waiting.add(member)
    end = time.monotonic() + seconds
    while waiting and (left := end - time.monotonic()) > 0:
        for member, news in ears.hear(left):
            if isinstance(news, BaseException) or not news or ["ended"] in news:
                waiting.discard(member)
    for slot in slots:
        slot.dismiss()
