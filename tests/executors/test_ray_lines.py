"""Lines between the driver of a Ray executor and its hosts: who is let in, what crosses, and what is heard when."""

import socket
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from searchitect.executors import ray_lines
from searchitect.executors.ray_lines import Door, Ears, Line, dial, new_secret
from searchitect.executors.wire import LONGEST

SECRET = "a" * 64
HERE = "127.0.0.1"


@pytest.fixture
def ends():
    """Both ends of a line: the driver's and the host's."""
    door = Door(HERE, SECRET)
    ours = dial(HERE, door.port, SECRET)
    theirs = door.admit(5.0)
    yield ours, theirs
    ours.close()
    theirs.close()


def heard(line, count=1):
    """So many messages."""
    found = []
    while len(found) < count:
        line.wait()
        found += line.hear()
    return found


def test_messages_cross_both_ways_and_the_end_is_heard(ends):
    ours, theirs = ends
    assert ours.hear() == []
    ours.send(["task", 3, {"x": float("inf"), "y": [None, "☃"]}])
    ours.send(["stop", 3, 1])
    assert heard(theirs, 2) == [["task", 3, {"x": float("inf"), "y": [None, "☃"]}], ["stop", 3, 1]]
    large = b"\0\xff" * 3_000_000
    writer = threading.Thread(target=theirs.send, args=([["files", 3, {"w": [7, large]}]],))
    writer.start()
    assert heard(ours) == [[["files", 3, {"w": [7, large]}]]]
    writer.join()
    theirs.close()
    ours.wait()
    assert ours.hear() is None
    ours.send(["to nobody"])


@pytest.mark.parametrize("words", [(LONGEST + 1).to_bytes(4, "big"), b"\0\0\0\1\xc1"])
def test_what_is_no_message_ends_the_line(words):
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        line = object.__new__(Line)
        line._socket, line._frames = one, ray_lines.Frames()
        other.sendall(words)
        assert line.hear() is None


def test_only_who_knows_the_secret_is_let_in_and_once(monkeypatch):
    monkeypatch.setattr(ray_lines, "_ANSWER", 0.1)
    door = Door(HERE, SECRET)
    strangers = [dial(HERE, door.port, "b" * 64), dial(HERE, door.port, "a" * 63), dial(HERE, door.port, "")]
    strangers[1].close()
    ours = dial(HERE, door.port, SECRET)
    theirs = door.admit(5.0)
    ours.send(["it is me"])
    assert heard(theirs) == [["it is me"]]
    for stranger in (strangers[0], strangers[2]):
        stranger.wait()
        assert stranger.hear() is None, "sent away"
    assert dial(HERE, door.port, SECRET) is None, "the door is closed"
    for line in (*strangers, ours, theirs):
        line.close()


def test_doors_that_nobody_comes_to_or_that_are_not_there(caplog):
    assert Door(HERE, SECRET).admit(0.05) is None
    assert Door(HERE, "").port == 0
    assert Door("192.0.2.1", SECRET).port == 0, "an address that this machine does not have"
    caplog.set_level("INFO")
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
    assert dial(HERE, port, SECRET) is None
    assert f"no line to {HERE}:{port}" in caplog.text
    assert SECRET not in caplog.text


def test_where_ray_encrypts_there_are_no_lines(monkeypatch):
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    assert len(new_secret()) == 64
    assert new_secret() != new_secret()
    monkeypatch.setenv("RAY_USE_TLS", "1")
    assert new_secret() == ""


@pytest.fixture
def ears():
    held = Ears()
    yield held
    held.close()


def caller(line=None):
    return SimpleNamespace(line=line, out=True)


def test_what_was_said_on_the_line_comes_before_the_end(ears):
    door, who = Door(HERE, SECRET), caller()
    assert ears.dial(who, HERE, door.port, SECRET)
    theirs = door.admit(5.0)
    theirs.send([["started", 0, 5]])
    assert ears.hear(5.0) == [(who, [["started", 0, 5]])]
    theirs.send([["finished", 0, {}]])
    theirs.close()
    end = Future()
    end.set_exception(RuntimeError("dead"))
    ears.answer(who, end)
    (_, news), (_, error) = ears.hear(5.0)
    assert news == [["finished", 0, {}]]
    assert str(error) == "dead"
    assert not who.out
    assert ears.hear(0.0) == []
    assert ears.hear(0.0) == [], "a line that has ended is heard once"


def test_what_arrives_while_the_end_is_told_comes_before_it(ears, monkeypatch):
    """The last words reach the socket after one has looked at all lines, and before one asks who has ended."""
    door, who = Door(HERE, SECRET), caller()
    assert ears.dial(who, HERE, door.port, SECRET)
    theirs, end, look = door.admit(5.0), Future(), ears._selector.select

    def just_after(timeout):
        found = look(timeout)
        theirs.send([["finished", 0, {}]])
        end.set_exception(RuntimeError("dead"))
        ears.answer(who, end)
        return found

    monkeypatch.setattr(ears._selector, "select", just_after)
    (_, news), (_, error) = ears.hear(0.0)
    assert news == [["finished", 0, {}]]
    assert str(error) == "dead"
    theirs.close()
    ears.hang_up(who)


def test_an_answer_of_ray_wakes_who_waits(ears):
    who, done = caller(), Future()
    done.set_result([["ready", {}]])
    timer = threading.Timer(0.05, ears.answer, (who, done))
    timer.start()
    assert ears.hear(20.0) == [(who, [["ready", {}]])]
    timer.join()
    for _ in range(3):
        ears.answer(who, done)
    assert len(ears.hear(1.0)) == 3
    assert ears.hear(0.0) == []


def test_after_one_host_that_cannot_be_reached_no_other_is_called(ears, monkeypatch):
    tried = []
    monkeypatch.setattr(ray_lines, "dial", lambda *place: tried.append(place[:2]))
    first, second, third = caller(), caller(), caller()
    assert not ears.dial(first, HERE, 0, SECRET)
    assert not ears.dial(second, HERE, 7, SECRET)
    assert not ears.dial(third, HERE, 8, SECRET)
    assert tried == [(HERE, 7)]


def test_after_the_end_nothing_is_heard_and_nothing_fails():
    held, who, done = Ears(), caller(), Future()
    held.close()
    done.set_result([])
    held.answer(who, done)
