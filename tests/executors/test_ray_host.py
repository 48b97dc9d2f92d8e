"""A host without a cluster around it: what it does when it is listened to, and on a line."""

import importlib.util
import threading
from pathlib import Path

import pytest

from searchitect.executors.ray_lines import dial
from searchitect.executors.ray_options import Options
from searchitect.executors.shipping import pack_function
from searchitect.testing.executor import perform

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra is missing: pip install 'searchitect[ray]'"
)
SECRET = "s" * 64


@pytest.fixture
def make(monkeypatch):
    """Makes a host at the loopback address."""
    from searchitect.executors import ray_host

    monkeypatch.setattr(ray_host, "_address", lambda: "127.0.0.1")
    made = []

    def host(function=perform, **options):
        options = {"threads": 1, "device": "cpu", "folder": None, "sys_path": (), "preload": (), **options}
        made.append(ray_host.Host(Options(**options), pack_function(function)))
        return made[-1]

    yield host
    for one in made:
        one.end()


def test_orders_that_come_before_their_task_wait_for_it_alone(make):
    host = make()
    ((kind, facts),) = host.listen([])
    assert (kind, facts["door"]) == ("ready", 0), "there is no door without a secret"
    host.order("kill", 2, 1)  # it has ended already, elsewhere
    host.order("kill", 3, 1)
    assert host.listen([]) == []
    heard = host.listen([[3, 1, None, False, {"do": "sleep", "seconds": 5.0}, []]])
    while heard[-1][0] == "started":
        heard = host.listen([])
    assert (heard[-1][0], heard[-1][2][0]) == ("failed", "killed")
    assert host._early == set()


class Served:
    """A host that serves a line, and the driver's end of it."""

    def __init__(self, host):
        self.words = []
        ((kind, facts),) = host.listen([])
        assert kind == "ready"
        self.line = dial(facts["address"], facts["door"], SECRET)
        self.thread = threading.Thread(target=lambda: setattr(self, "end", host.serve()))
        self.thread.start()
        assert self.next() == ["heard"]

    def next(self):
        """The next piece of news."""
        if not self.words:
            self.line.wait()
            self.words = [word for message in self.line.hear() for word in message]
        return self.words.pop(0)

    def until(self, kind):
        while (word := self.next())[0] != kind:
            pass
        return word

    def over(self):
        self.thread.join(10.0)
        return self.end


def test_on_a_line_tasks_and_orders_come_and_news_go(make):
    host = make(secret=SECRET)
    one = Served(host)
    one.line.send(["task", 1, 1, None, False, {"do": "steps", "steps": 2}, []])
    assert [one.next()[0] for _ in range(4)] == ["started", "report", "report", "finished"]
    one.line.send(["task", 2, 1, None, False, {"do": "sleep", "seconds": 20.0}, []])
    assert one.next()[:2] == ["started", 2]
    one.line.send(["pause", -1, 0])
    assert one.next() == ["paused"]
    one.line.send(["resume", -1, 0])
    one.line.send(["stop", 2, 1])
    assert one.until("finished")[:3] == ["finished", 2, {"stopped": True}]
    one.line.send(["stop", 2, 1])  # too late: another attempt is not stopped by it
    one.line.send(["task", 3, 2, 0.2, False, {"do": "spin"}, []])
    assert one.until("failed")[2][0] == "time limit"
    one.line.send(["task", 4, 1, None, True, {"do": "steps", "steps": 5}, []])
    assert one.until("finished")[2] == {"steps": 1}, "it was told to stop with its beginning"
    one.line.send(["end", -1, 0])
    assert one.next() == ["ended"]
    assert one.over() == [["ended"]]
    one.line.close()


def test_a_host_ends_with_its_driver(make):
    host = make(secret=SECRET)
    one = Served(host)
    one.line.send(["task", 1, 1, None, False, {"do": "spin"}, []])
    assert one.next()[0] == "started"
    one.line.close()
    assert one.over() == [["ended"]]
    assert host._executor._closed


def test_a_host_that_nobody_calls_says_so(make, monkeypatch):
    from searchitect.executors import ray_host

    monkeypatch.setattr(ray_host, "CALL", 0.05)
    host = make(secret=SECRET)
    host.listen([])
    assert host.serve() == [["unheard"]]
    heard = host.listen([[1, 1, None, False, {"do": "echo", "value": 3}, []]])
    while heard[-1][0] == "started":
        heard += host.listen([])
    assert heard[-1][:3] == ["finished", 1, {"got": 3}], "it can still be listened to"


def write(payload, context):
    """Leaves a file of so many bytes."""
    Path(payload["save"]).write_bytes(Path(payload["read"]).read_bytes() * payload["times"])
    return {}


def test_files_that_are_large_wait_to_be_fetched(make, monkeypatch, tmp_path):
    from searchitect.executors import ray_host

    monkeypatch.setattr(ray_host, "LARGE", 100)
    monkeypatch.setattr(ray_host.ray, "get", lambda where: where)
    host = make(write, secret=SECRET, folder=str(tmp_path), mirrored=True)
    one = Served(host)
    payload = {"read": str(tmp_path / "old"), "save": str(tmp_path / "new")}
    host.bring(9, 1, [["old", (5, 7), b"of another task"]])
    for ticket, times in ((1, 3), (2, 50)):
        one.line.send(["task", ticket, 1, None, False, {**payload, "times": times}, None])
        host.bring(ticket, 1, [("old", (5, 7), b"bytes")])
        if times == 3:
            ((name, (_, data)),) = one.until("files")[2].items()
        else:
            number = one.until("large")[2]
            ((name, (_, data)),) = host.fetch(number).items()
        assert (name, data) == ("new", b"bytes" * times)
        assert one.next()[0] == "finished"
    assert host._large == {}
    one.line.close()
    one.over()
