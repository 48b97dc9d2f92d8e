"""On a Ray cluster: hosts that die, a driver that is killed, files that travel, and another cluster on resume."""

import importlib.util
import os
import signal
import time

import psutil
import pytest
from drivers import Driver, assert_sound, trials, until
from tiny import SPACE

from searchitect import resume, search
from searchitect.records import State

WHY = (
    "the extra is missing: pip install 'searchitect[ray]'" if importlib.util.find_spec("ray") is None
    else "it starts two clusters, half a minute: SEARCHITECT_RAY=all runs it"
)  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None or os.environ.get("SEARCHITECT_RAY") != "all", reason=WHY
    ),
]


def drive(folder, count, resumed=False):
    """A search on a local cluster whose hosts do not see the study's folder; then it is resumed on another one."""

    def nap(model, trial, log=folder.parent / "naps"):
        with open(log, "a") as file:
            file.write(f"{trial.number}\n")
        (trial.folder / f"mine-{trial.number}").write_text("a file of the trial's own")
        time.sleep(0.4)
        return 1.0

    options = {"trials": count, "workers": 2, "ray": "local", "shared": "/nowhere", "finalize": False}
    if resumed:
        resume(folder, evaluate=nap, space=SPACE, **options)
    else:
        search(SPACE, evaluate=nap, sample=(4,), objectives="max score", strategy="random", path=folder, **options)


def begun(folder):
    """The numbers of the trials that have begun."""
    file = folder.parent / "naps"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def test_hosts_and_the_driver_are_killed(tmp_path):
    """kill -9 a host of the cluster, then the driver, then resume on another cluster → only what ran then is run
    again, what trials left in their folder is in the study, and no process of Ray stays behind."""
    folder = tmp_path / "s"
    driver = Driver(tmp_path / "log", drive, folder, 1_000)
    until(lambda: len(begun(folder)) >= 3, driver, 60.0)
    hosts = [p for p in psutil.Process(driver.process.pid).children(recursive=True) if p.name().startswith("ray::Host")]
    hosts[0].send_signal(signal.SIGKILL)
    before = len(begun(folder))
    until(lambda: len(begun(folder)) >= before + 5, driver, 60.0)
    driver.kill()
    driver.assert_nothing_left(10.0)
    kept, ran = [t.number for t in trials(folder) if t.state is State.DONE], len(begun(folder))
    assert kept
    assert Driver(tmp_path / "log", drive, folder, len(kept) + 3, True).end() == 0
    assert not set(begun(folder)[ran:]) & set(kept), "a finished trial was executed again"
    assert_sound(folder)
    end = trials(folder)
    assert {t.state for t in end} == {State.DONE}
    assert len(begun(folder)) <= len(set(begun(folder))) + 3, "one host and two trials of the driver's were lost"
    assert all((folder / f"mine-{t.number}").exists() for t in end if t.source is None)
