"""`searchitect stop` against real processes that hold a study."""

import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest
from cli_studies import write_study
from click.testing import CliRunner

from searchitect.cli import stopping
from searchitect.cli.app import app
from searchitect.store.lock import LOCK_FILE, Owner

DRIVER = """
import signal, sys, time
from searchitect.store import Store
asked = []
def handle(number, frame):
    asked.append(number)
    if len(asked) > 1:
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, signal.SIG_IGN if "deaf" in sys.argv else handle)
with Store.open(sys.argv[1], write=True):
    print("driving", flush=True)
    while not asked or "slow" in sys.argv:
        time.sleep(0.01)
"""


def run(*args):
    return CliRunner().invoke(app, ["stop", *map(str, args)])


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study")


@pytest.fixture
def drive(study):
    """Start a process that drives the study until it is interrupted."""
    started = []

    def start(*how):
        process = subprocess.Popen([sys.executable, "-c", DRIVER, study, *how], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "driving\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_asks_and_waits(study, drive):
    process = drive()
    result = run(study)
    assert result.exit_code == 0, result.stderr
    assert f"asked process {process.pid}" in result.output
    assert "stopped" in result.output
    assert process.wait(5) == 0


def test_a_slow_driver_is_reported_and_keeps_running(study, drive):
    process = drive("slow")
    result = run(study, "--wait", "0.3")
    assert result.exit_code == 1
    assert "still drives" in result.stderr
    assert "--now" in result.stderr
    assert process.poll() is None


def test_now_interrupts_twice(study, drive):
    process = drive("slow")
    assert run(study, "--now", "--wait", "10").exit_code == 0
    assert process.wait(5) in (-signal.SIGINT, 1)


def test_a_deaf_driver_survives_with_a_message(study, drive):
    process = drive("deaf")
    assert run(study, "--now", "--wait", "0.2").exit_code == 1
    assert process.poll() is None


def test_nobody_drives_it(study):
    result = run(study)
    assert result.exit_code == 0
    assert "not being driven" in result.output


def test_a_dead_driver_needs_no_stop(study, drive):
    process = drive()
    process.kill()
    process.wait()
    assert (study / LOCK_FILE).stat().st_size > 0
    assert "not being driven" in run(study).output


@pytest.mark.parametrize(
    "note",
    [
        b"", b"{", b"\xff\xfe", b"[1]",
        msgspec.json.encode(Owner(-1, os.uname().nodename)), msgspec.json.encode(Owner(0, os.uname().nodename)),
        msgspec.json.encode(Owner(1, os.uname().nodename, "", "0")),
    ],
)  # fmt: skip
def test_a_false_note_in_the_lock_file_signals_nobody(study, note, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a process was signalled"))
    (study / LOCK_FILE).write_bytes(note)
    result = run(study)
    assert result.exit_code == 0
    assert "not being driven" in result.output


def test_a_true_note_of_a_process_that_does_not_hold_the_lock_signals_nobody(study, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a process was signalled"))
    (study / LOCK_FILE).write_bytes(msgspec.json.encode(Owner.me()))
    assert stopping.driver(study) is None
    assert "not being driven" in run(study).output


def test_a_driver_on_another_host_is_named(study, monkeypatch):
    monkeypatch.setattr(stopping, "is_held", lambda folder: True)
    (study / LOCK_FILE).write_bytes(msgspec.json.encode(Owner(123, "elsewhere")))
    result = run(study)
    assert result.exit_code == 4
    assert "process 123 on elsewhere" in result.stderr


def test_a_driver_that_ends_meanwhile_is_fine(study, drive):
    process = drive()
    owner = stopping.driver(study)
    process.kill()
    process.wait()
    stopping.interrupt(owner)
    deadline = time.monotonic() + 5
    while stopping.is_driven(study, owner):
        assert time.monotonic() < deadline
