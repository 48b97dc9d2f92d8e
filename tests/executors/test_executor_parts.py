"""The small parts: messages, outcomes of a task, process families."""

import errno
import math
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchitect.executors import system, task, wire
from searchitect.executors.handle import ServerHandle
from searchitect.executors.shipping import pack_function, unpack_function
from searchitect.executors.worker import Settings

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(plain, max_size=4), st.integers(1, 7))
def test_messages_cross_in_any_pieces(messages, piece):
    data = b"".join(map(wire.pack, messages))
    frames = wire.Frames()
    received = [m for i in range(0, len(data), piece) for m in frames.feed(data[i : i + piece])]
    assert repr(received) == repr(messages)


def test_too_long_messages_are_refused_on_both_sides(monkeypatch):
    monkeypatch.setattr(wire, "LONGEST", 1000)
    with pytest.raises(ValueError, match="too much"):
        wire.pack("x" * 2000)
    with pytest.raises(ValueError, match="2000 bytes"):
        list(wire.Frames().feed((2000).to_bytes(4, "big") + b"x"))


@pytest.mark.parametrize("value", [object(), len, int])
def test_what_is_not_plain_is_refused_by_name(value):
    with pytest.raises(TypeError, match="not plain data"):
        wire.copied(value)


def outcome(error):
    def function(payload, context):
        raise error

    return task.run(function, {}, None)


class Strange(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (ValueError(), "user code", "ValueError"),
        (ValueError("\n\n  a line\nmore"), "user code", "ValueError:   a line"),
        (KeyError("x"), "user code", "KeyError: 'x'"),
        (Strange(), "user code", "its text cannot be read"),
        (GeneratorExit(), "user code", "GeneratorExit"),
        (SystemExit("bye"), "killed", "sys.exit('bye')"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory", "2 GiB"),
        (RuntimeError("std::bad_alloc"), "out of memory", "bad_alloc"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory", "peak"),
        (OSError(errno.ENOSPC, "No space left on device"), "storage", "No space"),
        (RuntimeError("x" * 5000), "user code", "RuntimeError: xxx"),
    ],
)
def test_every_error_has_a_cause_and_one_line(error, cause, words):
    found = outcome(error)
    assert found.cause == cause
    assert words in found.message
    assert len(found.message) <= 500
    assert "\n" not in found.message


def test_a_very_long_traceback_is_cut_in_the_middle():
    found = outcome(ValueError("begin " + "x" * 100_000 + " end"))
    assert len(found.traceback) < 21_000
    assert "left out" in found.traceback
    assert found.traceback.endswith(" end\n")


def test_a_result_that_cannot_be_read_is_user_code():
    class Bad(dict):
        def keys(self):
            raise RuntimeError("no keys")

    for result in (Bad(x=1), {"x": {1: object()}}, {"t": "\ud800"}):
        assert task.run(lambda payload, context, result=result: result, {}, None).cause in ("user code", "")
    assert task.run(lambda payload, context: {"x": math.nan}, {}, None).result.keys() == {"x"}


def test_a_function_and_its_values_survive_the_way():
    table = {"a": [1, 2]}
    back = unpack_function(pack_function(lambda payload, context: {"sum": sum(table["a"]) + payload["x"]}))
    table["a"].append(100)
    assert back({"x": 4}, None) == {"sum": 7}


class TestFamilies:
    def test_children_and_grandchildren_are_ended(self):
        code = "import subprocess, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout.readline() == b"up\n"
        (grandchild,) = system.children(process.pid)
        assert process.pid in system.children(os.getpid())
        assert system.family(process.pid) == {grandchild}
        system.kill_group(process.pid)
        assert process.wait(5.0) == -9
        process.stdout.close()
        end = time.monotonic() + 2.0
        while system.family(process.pid) and time.monotonic() < end:
            time.sleep(0.01)
        assert system.family(process.pid) == set()
        system.kill_group(process.pid)  # nobody there: no error

    def test_memory(self):
        held = b"x" * 50_000_000
        assert system.peak_mb() >= system.memory_mb() * 0.9 > len(held) / 1e6
        del held
        system.forget_peak()
        assert system.peak_mb() < system.memory_mb() + 20
        assert system.machine_mb() > system.memory_mb()
        assert system.memory_mb(2**22 + 1) == 0.0
        assert system.cores() >= 1


def test_a_server_whose_driver_died_before_it_began_loads_nothing(tmp_path, monkeypatch):
    """Its parent is then another process, of which it can learn nothing: it must know the driver by number."""
    (tmp_path / "slow_to_load.py").write_text("import pathlib, time\npathlib.Path(__file__ + '.loaded').touch()\n")
    gone = subprocess.Popen(["true"])
    gone.wait()
    settings = Settings(
        threads=1,
        devices=["cpu"],
        fresh=False,
        memory_mb=None,
        recycle_after=10,
        folder=None,
        log_mb=1.0,
        sys_path=[str(tmp_path), *sys.path],
        preload=["slow_to_load"],
    )
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: gone.pid)
        server = ServerHandle(settings, pack_function(print), 1)
    assert server._process.wait(20) == 1
    server.bury()
    assert not list(tmp_path.glob("*.loaded"))
