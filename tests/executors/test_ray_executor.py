"""The Ray executor on a cluster of this machine: the contract of all executors, and what is its own.

A host takes a second or two to start, so that tests of the contract which look at tasks alone share one executor.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import time

import psutil
import pytest
import torch.nn as nn

from searchitect import Space, lazy, one_of, search
from searchitect.errors import UsageError
from searchitect.executors import Executor, Failed, Finished, Report, Started
from searchitect.executors.ray import RayExecutor
from searchitect.executors.ray_cluster import Cluster, room
from searchitect.testing.executor import ExecutorContract, collect, ends, perform

MISSING = importlib.util.find_spec("ray") is None
ALONE = {  # they look at how an executor begins or ends, or give it a function of their own
    "test_a_closure_can_be_run", "test_wrong_calls_are_refused", "test_close_ends_everything_and_may_be_repeated",
}  # fmt: skip
SPACE = Space(lazy(nn).Linear(4, one_of(*range(1, 33))))
pytestmark = [
    pytest.mark.slow, pytest.mark.skipif(MISSING, reason="the extra is missing: pip install 'searchitect[ray]'"),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster for the whole file; executors use the connection that is there."""
    held = Cluster("local")
    yield held
    assert ray_processes(held)
    held.close()
    end = time.monotonic() + 5.0
    while (left := ray_processes(held)) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []
    assert not os.path.exists(held.folder)


def ray_processes(held):
    """All processes of our own cluster: its folder is in their command lines, or in their environment."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = " ".join([*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()])
        if held.folder in words and is_alive(process.pid) and process.pid != os.getpid():
            found.append(process)
    return found


def is_alive(pid):
    """Whether it runs: the dead of a killed parent may stay in the table until somebody asks for them."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Lent(Executor):
    """An executor that has been started with `perform`, for one test: at its end nothing is outstanding."""

    def __init__(self, shared):
        self.shared = shared
        self.slots = shared.slots
        self.submit, self.wait, self.stop, self.kill = shared.submit, shared.wait, shared.stop, shared.kill
        self.exclusive = shared.exclusive

    def start(self, function):
        assert function is perform

    def submit(self, ticket, payload, *, time_limit=None, attempt=1): ...

    def wait(self, timeout): ...

    def stop(self, ticket): ...

    def kill(self, ticket): ...

    def exclusive(self): ...

    def close(self, grace=0.0):
        for ticket in list(self.shared._tasks):
            self.shared.kill(ticket)
        collect(self.shared)
        self.shared.listener = None

    def __setattr__(self, name, value):
        if name == "listener":
            self.shared.listener = value
        object.__setattr__(self, name, value)


@pytest.fixture(scope="class")
def shared(cluster):
    """An executor for the tests that look at tasks alone."""
    with RayExecutor("local", workers=1, cpus=0.5, preload=()) as executor:
        executor.start(perform)
        yield executor


class TestRay(ExecutorContract):
    @pytest.fixture(autouse=True)
    def lend(self, shared, request):
        self.shared = None if request.node.originalname in ALONE else shared

    def make(self, **options):
        if options or self.shared is None:
            return RayExecutor("local", workers=1, cpus=0.5, preload=(), **options)
        return Lent(self.shared)


def test_tests_that_need_an_executor_of_their_own_are_there():
    assert set(dir(ExecutorContract)) >= ALONE


def host_of(worker):
    """The Ray process above a worker process: worker, server, host."""
    return psutil.Process(worker).parent().parent()


def started(executor):
    """The process of the first task that begins."""
    while True:
        for event in executor.wait(20.0):
            if hasattr(event, "pid"):
                return event.pid


def test_where_hosts_die_one_stands_by(cluster):
    with RayExecutor("local", workers=1, preload=()) as executor:
        executor.start(perform)
        executor.submit(9, {"do": "spin"}, time_limit=0.3)
        (end,) = ends(collect(executor, 30.0)).values()
        assert (end.cause, end.retryable) == ("time limit", False)
        for attempt in (1, 2):
            executor.submit(0, {"do": "sleep", "seconds": 30.0}, attempt=attempt)
            pid = started(executor)
            host = host_of(pid)
            assert host.cmdline()[0].startswith("ray::Host")
            host.send_signal(signal.SIGKILL)
            (lost,) = ends(collect(executor, 30.0)).values()
            assert (lost.cause, lost.retryable) == ("killed", True)
            assert lost.message.endswith("was lost: its worker process has died")
            executor.submit(1, {"do": "echo", "value": attempt})
            events = collect(executor, 30.0)
            assert ends(events)[1] == Finished(1, {"got": attempt})
            end = time.monotonic() + 20.0
            while attempt == 1 and not (executor._standby and executor._standby.ready) and time.monotonic() < end:
                executor._pump(0.05)
        assert events[0].worker == executor._standby.number, "it worked while the slot was made anew"
        assert not is_alive(pid), "what the host ran died with it"


def test_without_lines_messages_go_through_ray(cluster, monkeypatch):
    monkeypatch.setattr("searchitect.executors.ray.new_secret", lambda: "")
    with RayExecutor("local", workers=1, cpus=0.5, preload=()) as executor:
        executor.start(perform)
        executor.submit(0, {"do": "steps", "steps": 3})
        assert [type(event) for event in collect(executor)] == [Started, Report, Report, Report, Finished]
        assert all(member.line is None for slot in executor._slots for member in slot.members)
        executor.submit(1, {"do": "spin"}, time_limit=0.3)
        assert ends(collect(executor))[1].cause == "time limit"
        executor.submit(2, {"do": "sleep", "seconds": 60.0})
        executor.submit(3, {"do": "sleep", "seconds": 60.0})
        started(executor)
        executor.kill(2)
        executor.stop(3)
        found = ends(collect(executor))
        assert (found[2].cause, found[3]) == ("killed", Finished(3, {"stopped": True}))


def copy(payload, context):
    """Reads one file of its payload, writes another, and says where it was."""
    if "kill" in payload:
        os.kill(os.getpid(), signal.SIGKILL)
    with open(payload["read"], "rb") as old, open(payload["write"], "wb") as new:
        new.write(old.read() * 2)
    print("copied")
    return {"place": payload["write"]}


def test_files_travel_where_no_folder_is_shared(cluster, tmp_path):
    (tmp_path / "old").write_bytes(b"x" * 300_000)
    nowhere = tmp_path / "elsewhere"  # another folder is shared, so this one is not seen by the machines
    with RayExecutor("local", workers=1, preload=(), folder=tmp_path, shared=nowhere) as executor:
        executor.start(copy)
        executor.submit(3, {"read": str(tmp_path / "old"), "write": str(tmp_path / "sub" / "new")})
        (end,) = ends(collect(executor, 30.0)).values()
        assert isinstance(end, Failed), "the task's own folder is not made for it"
        executor.submit(4, {"read": str(tmp_path / "old"), "write": str(tmp_path / "new")})
        (end,) = ends(collect(executor, 30.0)).values()
        assert isinstance(end, Finished), end
        assert not end.result["place"].startswith(str(tmp_path))
        assert (tmp_path / "new").read_bytes() == b"x" * 600_000
        assert (tmp_path / "logs" / "000004.log").read_text() == "copied\n"
        mirror = os.path.dirname(end.result["place"])
    assert not os.path.exists(mirror), "the mirror is removed with its host"


def a_file(model, trial):
    """A training that leaves a file."""
    (trial.folder / f"mine-{trial.number}").write_text("of the trial's own")
    return float(trial.number)


def test_a_whole_search(cluster, tmp_path):
    options = {"evaluate": a_file, "sample": (4,), "objectives": "max score", "trials": 4, "finalize": False}
    study = search(SPACE, ray="local", shared="/nowhere", workers=1, path=tmp_path / "s", **options)
    assert sorted(t.value("score") for t in study.trials) == [0.0, 1.0, 2.0, 3.0]
    assert (tmp_path / "s" / "mine-3").read_text() == "of the trial's own"
    assert study.meta["executor"] == "ray"


def meet(payload, context):
    """Every member of a group gives its rank to the first one; the first returns what it heard."""
    rank, size, place = payload["group"]
    host, port = place.split(":")
    if payload.get("fails") == rank:
        raise ValueError(f"rank {rank}")
    if rank:
        for _ in range(100):
            try:
                with socket.create_connection((host, int(port)), 1.0) as line:
                    line.sendall(bytes([rank]))
                return {}
            except OSError:
                time.sleep(0.05)
        raise TimeoutError(place)
    with socket.create_server((host, int(port))) as server:
        server.settimeout(10.0)
        line, _ = server.accept()
        with line:
            return {"heard": line.recv(1)[0], "size": size}


def test_several_hosts_work_on_one_task(cluster):
    with RayExecutor("local", workers=1, hosts=2, preload=()) as executor:
        executor.start(meet)
        for ticket in range(3):
            executor.submit(ticket, {})
        found = ends(collect(executor, 40.0))
        assert found == {ticket: Finished(ticket, {"heard": 1, "size": 2}) for ticket in range(3)}
        began = time.monotonic()
        executor.submit(4, {"fails": 1})  # the first would wait for ten seconds
        (end,) = ends(collect(executor, 30.0)).values()
        assert (end.cause, end.message) == ("user code", "ValueError: rank 1")
        assert time.monotonic() - began < 5.0


def test_a_local_cluster_is_closed_to_others(cluster):
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    ours = {process.pid for process in ray_processes(cluster)}
    assert len(ours) >= 4
    listening = {c.laddr.ip for c in psutil.net_connections("inet") if c.status == "LISTEN" and c.pid in ours}
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    stranger = {k: v for k, v in os.environ.items() if k != "RAY_AUTH_TOKEN"} | {"HOME": "/nonexistent"}
    address = cluster.ray.get_runtime_context().gcs_address
    code = f"import ray; ray.init('{address}', logging_level='ERROR')"
    refused = subprocess.run(["python3", "-c", code], env=stranger, capture_output=True, text=True, check=False)
    assert refused.returncode != 0


def test_no_room(cluster):
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(
        UsageError, match=rf"no room for a trial.*wants 1 x \(64 CPUs.*largest machine has {cores} CPUs"
    ):
        RayExecutor("local", cpus=64)
    assert room("local", 0.5, 0.0) == 2 * cores
    with RayExecutor("local", preload=()) as executor:
        assert executor.slots == cores
