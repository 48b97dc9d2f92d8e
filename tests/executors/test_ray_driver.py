"""The driver of the Ray executor without Ray: which slots it makes, gives tasks to, and makes anew."""

import time
from concurrent.futures import Future
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from searchitect.errors import SearchitectError
from searchitect.executors import Failed, Finished, Started
from searchitect.executors import ray as driver
from searchitect.executors.ray import RayExecutor
from searchitect.executors.ray_lines import Door
from searchitect.executors.ray_slots import Slot

FETCHED = {4: {"new": (0, b"large")}}  # files that hosts keep until they are asked for
READY = ["ready", {"searchitect": version("searchitect"), "address": "here", "port": 1, "door": 0}]


class Actor:
    """A host whose news are written by the test."""

    def __init__(self):
        self.calls, self.orders, self.brought = [], [], []
        self.listen = SimpleNamespace(remote=self._listen)
        self.serve = SimpleNamespace(remote=lambda: self._listen("serve"))
        self.bring = SimpleNamespace(remote=lambda *task: self.brought.append(task))
        self.fetch = SimpleNamespace(remote=lambda number: number)
        self.end = SimpleNamespace(remote=lambda: SimpleNamespace(future=Future))
        self.order = SimpleNamespace(remote=lambda kind, *task: self.orders.append((kind, *task)))

    def _listen(self, tasks):
        self.calls.append((tasks, Future()))
        return SimpleNamespace(future=lambda: self.calls[-1][1])

    def says(self, *news):
        self.calls[-1][1].set_result([list(word) for word in news])

    def dies(self):
        self.calls[-1][1].set_exception(RuntimeError("it is dead because its node has died. Node Id: 1"))


class Machines:
    """A cluster with room for `room` slots."""

    def __init__(self, address):
        self.ray = SimpleNamespace(put=lambda data: "stored", kill=lambda actor: None, get=FETCHED.__getitem__)
        self.room, self.alone, self.closed = 3, True, False

    def slots(self, cpus, gpus, hosts):
        return self.room

    def capacity(self, cpus, gpus):
        return self.room

    def close(self):
        self.closed = True


def task(payload, context):
    return {}


@pytest.fixture
def make(monkeypatch):
    """Makes an executor on machines with room for three slots, and all actors in the order in which they were made."""
    actors = []

    def hire(slot, making):
        new = [Actor() for _ in range(making.hosts)]
        actors.extend(new)
        return new

    monkeypatch.setattr(driver, "Cluster", Machines)
    monkeypatch.setattr(Slot, "_hire", hire)
    monkeypatch.setattr(driver, "_LOOK", 0.0)
    monkeypatch.setattr(driver, "_ENDING", 0.0)

    def executor(**options):
        one = RayExecutor("local", **options)
        one.start(task)
        return one, actors

    return executor


@pytest.fixture
def made(make):
    """An executor with three hosts that are not ready yet."""
    executor, actors = make()
    with executor:
        yield executor, actors


def ready(executor, actors):
    """All hosts are ready and heard."""
    for actor in actors:
        if not actor.calls[-1][1].done():
            actor.says(READY)
    executor.wait(0.0)


def test_machines_come_and_go(made):
    executor, actors = made
    ready(executor, actors)
    for ticket in range(3):
        executor.submit(ticket, {})
    executor._cluster.room = 1
    executor.wait(0.0)
    assert (executor.slots, len(executor._slots)) == (1, 3), "those that work are not ended"
    actors[1].dies()
    (lost,) = executor.wait(1.0)
    assert (lost.cause, lost.retryable) == ("killed", True)
    assert lost.message == "its host on here was lost: its node has died"
    assert len(actors) == 3, "there is no room for another in its place"
    executor._cluster.room = 4
    executor.wait(0.0)
    assert sorted(slot.number for slot in executor._slots) == [0, 1, 2, 3], "no two have one number"
    executor._cluster.room = 2
    executor.wait(0.0)
    assert [slot.ready for slot in executor._slots] == [True, True], "those that wait for machines are given up"


def test_another_host_is_made_in_the_place_of_a_lost_one_and_one_stands_by(made):
    executor, actors = made
    ready(executor, actors)
    executor.submit(0, {})
    next(actor for actor in actors if actor.calls[-1][0]).dies()
    (lost,) = executor.wait(1.0)
    assert isinstance(lost, Failed)
    assert (len(executor._slots), len(actors)) == (3, 4)
    ready(executor, actors)
    assert executor._standby is not None
    ready(executor, actors)
    for ticket in range(4):
        executor.submit(ticket, {})
    assert executor._standby.sent is None, "it works only while a slot is made anew"


def test_hosts_that_never_get_ready_end_the_search(made):
    executor, actors = made
    for _ in range(8):
        next(actor for actor in actors if not actor.calls[-1][1].done()).dies()
        executor.wait(0.0)
    actors[-1].dies()
    with pytest.raises(SearchitectError, match="hosts ended 9 times before they were ready: its node has died"):
        executor.wait(0.0)
    assert executor._cluster.closed


def test_orders_go_to_the_host_that_has_the_task(made):
    executor, actors = made
    ready(executor, actors)
    for ticket in range(4):
        executor.submit(ticket, {})
    executor.stop(1)
    executor.stop(1)
    executor.kill(2)
    executor.stop(3)
    executor.kill(3)
    (ended,) = executor.wait(0.0)
    assert (ended.ticket, ended.message) == (3, "killed on request before it began")
    holders = {actor.calls[-1][0][0][0]: actor for actor in actors}
    assert {ticket: actor.orders for ticket, actor in holders.items()} == {
        0: [], 1: [("stop", 1, 1)], 2: [("kill", 2, 1)],
    }  # fmt: skip
    holders[0].says(["started", 0, 77], ["finished", 0, {"x": 1}, 5])
    began, done = executor.wait(1.0)
    assert isinstance(began, Started)
    assert done == Finished(0, {"x": 1})


def test_whoever_fails_first_ends_the_others_of_a_group(make):
    executor, (first, second) = make(hosts=2, workers=1)
    with executor:
        ready(executor, [first, second])
        executor.submit(0, {"a": 1})
        groups = [actor.calls[-1][0][0][4] for actor in (first, second)]
        assert groups == [{"a": 1, "group": [rank, 2, "here:1"]} for rank in (0, 1)]
        second.says(["failed", 0, ["user code", "no", "", False, 0.0], 5])
        assert executor.wait(0.0) == []
        assert first.orders == [("kill", 0, 1)]
        first.says(["failed", 0, ["killed", "killed on request", "", True, 0.0], 5])
        assert executor.wait(1.0) == [Failed(0, "user code", "no")]


def test_a_result_whose_files_cannot_be_written_is_a_failure(make, tmp_path):
    executor, (host,) = make(workers=1, folder=tmp_path, shared="/elsewhere")
    with executor:
        ready(executor, [host])
        executor.submit(0, {})
        host.says(["files", 0, {"../outside": (0, b"x")}], ["finished", 0, {}, 5])
        (ended,) = executor.wait(1.0)
    assert (ended.cause, ended.retryable) == ("storage", False)
    assert "'../outside', which is not below its folder" in ended.message


def test_another_version_of_the_package_is_refused(made):
    executor, actors = made
    actors[0].says(["ready", READY[1] | {"searchitect": "0.0.1", "address": "far"}])
    with pytest.raises(SearchitectError, match=r"the machine far has searchitect 0\.0\.1 .* install the same version"):
        executor.wait(0.0)
    assert executor._cluster.closed


def test_the_end_waits_for_running_tasks_alone(made):
    executor, actors = made
    ready(executor, actors)
    for ticket in range(4):
        executor.submit(ticket, {})
    for actor in actors:
        ticket = actor.calls[-1][0][0][0]
        actor.says(["finished", ticket, {}, 5])
    began = time.monotonic()
    executor.close(grace=5.0)
    assert time.monotonic() - began < 2.0
    assert sorted(event.ticket for event in executor.wait(0.0)) == [0, 1, 2]
    assert all(("stop", n, 1) in actor.orders for n, actor in zip((2, 1, 0), actors, strict=True))


def called(executor, actor):
    """The host's end of its line to the driver."""
    slot = next(slot for slot in executor._slots if slot.members[0].actor is actor)
    door = Door("127.0.0.1", slot._secret)
    actor.says(["ready", READY[1] | {"address": "127.0.0.1", "door": door.port}])
    executor.wait(0.0)
    assert not slot.ready, "until it is heard"
    line = door.admit(5.0)
    line.send([["heard"]])
    while not slot.ready:
        executor._pump(5.0)
    return line


def said(line):
    line.wait()
    return line.hear()


def test_a_host_with_a_line_is_spoken_with_by_it_alone(make):
    executor, (host,) = make(workers=1)
    with executor:
        line = called(executor, host)
        executor.submit(0, {"a": 1}, time_limit=3.0)
        assert said(line) == [["task", 0, 1, 3.0, False, {"a": 1}, []]]
        line.send([["started", 0, 77]])
        assert executor.wait(5.0) == [Started(0, 0, 77)]
        executor.stop(0)
        assert said(line) == [["stop", 0, 1]]
        line.send([["finished", 0, {"x": 2}, 5]])
        assert executor.wait(5.0) == [Finished(0, {"x": 2})]
        executor.submit(1, {})
        line.send([["finished", 0, {"x": 3}, 5]])
        assert executor.wait(0.2) == [], "a late result is not heard"
        assert [call[0] for call in host.calls] == [[], "serve"], "Ray was asked for nothing else"
        assert host.orders == []
        host.dies()
        (lost,) = executor.wait(5.0)
        assert (lost.ticket, lost.cause, lost.retryable) == (1, "killed", True)
    line.close()


def test_a_line_that_breaks_costs_its_task(make):
    executor, hosts = make(workers=1)
    with executor:
        line = called(executor, hosts[0])
        executor.submit(0, {})
        line.close()
        assert executor.wait(0.2) == [], "Ray says what has become of it"
        hosts[0].says(["ended"])
        (lost,) = executor.wait(5.0)
        assert lost.message == "its host on 127.0.0.1 was lost: the connection to it broke"
        assert len(hosts) == 2


def test_a_door_that_led_elsewhere_is_given_up_for_ray(make):
    executor, (host,) = make(workers=1)
    with executor:
        door = Door("127.0.0.1", "of somebody else")
        host.says(["ready", READY[1] | {"address": "127.0.0.1", "door": door.port}])
        executor.wait(0.0)
        host.says(["unheard"])
        executor.submit(0, {"a": 1})
        executor.wait(0.0)
        assert host.calls[-1][0] == [[0, 1, None, False, {"a": 1}, []]]
        executor.kill(0)
        assert host.orders == [("kill", 0, 1)]
        assert door.admit(1.0) is None


def test_files_go_by_ray_where_there_is_a_line(make, tmp_path):
    executor, hosts = make(workers=1, folder=tmp_path, shared="/elsewhere")
    (tmp_path / "old").write_bytes(b"state")
    with executor:
        line = called(executor, hosts[0])
        names = {"read": str(tmp_path / "old"), "save": str(tmp_path / "new")}
        executor.submit(0, names)
        assert said(line) == [["task", 0, 1, None, False, names, None]]
        ((ticket, attempt, parcels),) = hosts[0].brought
        assert (ticket, attempt) == (0, 1)
        assert [(name, where) for name, _, where in parcels] == [("old", "stored")]
        line.send([["files", 0, {"logs/000000.log": (0, b"text")}], ["large", 0, 4], ["finished", 0, {}, 5]])
        assert executor.wait(5.0) == [Finished(0, {})]
        assert (tmp_path / "logs" / "000000.log").read_bytes() == b"text"
        assert (tmp_path / "new").read_bytes() == b"large"
        executor.submit(1, names)
        line.send([["large", 1, 5], ["finished", 1, {}, 5]])
        (lost,) = executor.wait(5.0)
        assert (lost.cause, lost.retryable) == ("killed", True), "a host that dies with its files has not finished"
    line.close()


def test_an_unknown_option_is_refused_before_a_cluster_is_started(monkeypatch):
    monkeypatch.setattr(driver, "Cluster", lambda address: pytest.fail("started"))
    with pytest.raises(TypeError, match="cpu_count"):
        RayExecutor("local", cpu_count=3)
