"""Ctrl-C, the signals of job managers, and a terminal that goes away."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from drivers import Driver, command, done, meta, trials, until
from tiny import drive, executions

from searchitect.records import State

pytestmark = pytest.mark.slow
HERE = os.path.dirname(__file__)
QUICK = "search --data digits --limit-train 200 --workers 2 --threads 1 --trials 300 --path s".split()
STUCK = [*QUICK, "--epochs", "1", "--space", f"{HERE}/stuck_space.py:space"]


def show(folder):
    driver = command(folder, "show", "s", "--json")
    assert driver.end() == 0
    return json.loads(driver.output())


def until_running(folder, driver):
    until(lambda: any(t.state is State.RUNNING for t in trials(folder / "s")), driver)


@pytest.mark.parametrize(
    ("number", "to_group"),
    [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, False)],
    ids=["SIGINT", "SIGINT-group", "SIGTERM", "SIGHUP"],
)
def test_one_signal(tmp_path, number, to_group):
    """Ctrl-C once (to the group, or to the parent only), SIGTERM or SIGHUP → ends within 5 s after the running step,
    exit code 5, results shown, a bundle marked as not finalised, no process left, resumable."""
    driver = command(tmp_path, *QUICK, "--epochs", "1")
    until(lambda: any(t.state is State.DONE for t in trials(tmp_path / "s")), driver)
    began = time.monotonic()
    os.killpg(driver.pid, number) if to_group else os.kill(driver.pid, number)
    assert driver.end() == 5, driver.output()
    assert time.monotonic() - began < 8  # on an idle machine 1.4, the bundle and the report included; the bar is 5
    driver.assert_nothing_left()
    shown = " ".join(driver.output().split())
    assert ("press Ctrl-C again" if number == signal.SIGINT else "stopping in order") in shown
    assert "searchitect resume s" in shown
    assert "Traceback" not in shown
    found = meta(tmp_path / "s")
    assert (found["stopped"], bool(found.get("finalised"))) == ("interrupted", False)
    assert "not finalised" in (tmp_path / "s" / "best" / "card.md").read_text().lower()
    assert not any(t.state is State.RUNNING for t in trials(tmp_path / "s"))
    kept = done(tmp_path / "s")
    again = command(tmp_path, "resume", "s", "--trials", str(len(kept) + 1), "--no-finalize")
    assert again.end() == 0, again.output()
    assert {n: t for n, t in done(tmp_path / "s").items() if n in kept} == kept
    assert len(done(tmp_path / "s")) > len(kept)


def test_a_long_training_ends_at_its_next_step(tmp_path):
    """Ctrl-C while the very first training has hours to go → it ends at its next step; exit code 5, resumable."""
    space = f"{HERE}/slow_space.py:space"
    driver = command(tmp_path, *QUICK, "--epochs", "100000", "--space", space)
    until_running(tmp_path, driver)
    time.sleep(0.5)
    began = time.monotonic()
    os.kill(driver.pid, signal.SIGINT)
    assert driver.end() == 5, driver.output()
    assert time.monotonic() - began < 6
    driver.assert_nothing_left()
    assert {t.state for t in trials(tmp_path / "s")} == {State.QUEUED}
    assert show(tmp_path)["stopped"] == "interrupted"


def test_a_step_that_does_not_end_is_killed(tmp_path):
    """Ctrl-C while a step hangs → it is killed after a grace of 5 s; exit code 5, the trial is queued again."""
    driver = command(tmp_path, *STUCK)
    until_running(tmp_path, driver)
    began = time.monotonic()
    os.kill(driver.pid, signal.SIGINT)
    assert driver.end() == 5, driver.output()
    assert 4 < time.monotonic() - began < 9
    driver.assert_nothing_left()
    assert {t.state for t in trials(tmp_path / "s")} == {State.QUEUED}


def test_twice_is_at_once(tmp_path):
    """Ctrl-C twice → gone within a second, exit code 130, no process left, resumable."""
    driver = command(tmp_path, *STUCK)
    until_running(tmp_path, driver)
    os.kill(driver.pid, signal.SIGINT)
    until(lambda: "press Ctrl-C again" in " ".join(driver.output().split()), driver)
    began = time.monotonic()
    os.kill(driver.pid, signal.SIGINT)
    assert driver.end() == 130, driver.output()
    assert time.monotonic() - began < 2  # on an idle machine 0.04; the bar is 1
    driver.assert_nothing_left()
    assert "Traceback" not in driver.output()
    again = command(tmp_path, "resume", "s", "--code", f"{HERE}/stuck_space.py", "--time-limit", "0.3", "--trials", "1")
    assert again.end() in (0, 1), again.output()  # its only kind of network never ends in time
    assert all(t.failure.cause == "time limit" for t in done(tmp_path / "s").values())
    assert done(tmp_path / "s")


def test_a_signal_while_the_last_trials_run(tmp_path):
    """Ctrl-C when no trial is left to start → it is still heard, and what runs is queued again."""
    folder = tmp_path / "s"
    driver = Driver(tmp_path / "log", drive, folder, trials=1, workers=1, seconds=0.1, steps=3000)
    until(lambda: executions(folder), driver)
    os.kill(driver.pid, signal.SIGINT)
    assert driver.end(20) == 0, driver.output()
    assert [t.state for t in trials(folder)] == [State.QUEUED]
    assert meta(folder)["stopped"] == "interrupted"


def test_while_the_time_of_an_epoch_is_measured(tmp_path):
    """Ctrl-C during the probe trainings of a budget → exit code 5; no figure of a cut probe is kept."""
    driver = command(tmp_path, *STUCK, "--budget", "10m")
    until(lambda: driver.workers() and (tmp_path / "s" / "study.db").exists(), driver)
    os.kill(driver.pid, signal.SIGINT)
    assert driver.end() == 5, driver.output()
    driver.assert_nothing_left()
    assert "fidelities" not in meta(tmp_path / "s")
    assert trials(tmp_path / "s") == []


def test_the_terminal_goes_away(tmp_path):
    """The terminal is closed (a lost ssh connection) → stops in order like SIGHUP, exit code 5, resumable."""
    ours, theirs = pty.openpty()
    code = "from searchitect.cli import main; main()"
    driver = subprocess.Popen(
        [sys.executable, "-c", code, *QUICK, "--epochs", "1"], cwd=tmp_path, preexec_fn=lambda: os.login_tty(theirs)
    )

    def some_done():
        os.set_blocking(ours, False)
        with contextlib.suppress(BlockingIOError):
            os.read(ours, 65536)  # or it would stand still, waiting for its reader
        return any(t.state is State.DONE for t in trials(tmp_path / "s"))

    until(some_done)
    os.close(ours)
    os.close(theirs)
    assert driver.wait(60) == 5
    assert meta(tmp_path / "s")["stopped"] == "interrupted"
    assert (tmp_path / "s" / "report.html").exists()


def test_stopped_and_continued(tmp_path):
    """SIGSTOP the driver and SIGCONT it → it goes on; its workers wait for it and lose nothing."""
    folder = tmp_path / "s"
    driver = Driver(tmp_path / "log", drive, folder, trials=12, workers=2, strategy="random")
    until(lambda: len(executions(folder)) > 2, driver)
    os.kill(driver.pid, signal.SIGSTOP)
    time.sleep(2.0)
    os.kill(driver.pid, signal.SIGCONT)
    assert driver.end() == 0, driver.output()
    assert {(t.state, t.attempts) for t in trials(folder) if t.source is None} == {(State.DONE, 1)}
