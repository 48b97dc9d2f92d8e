"""The same seed gives the same study, however often it was cut and whatever the environment."""

import os
import subprocess
import sys

import pytest
from drivers import Driver, command, done, history, until
from tiny import drive

from searchitect.seeds import stream

MAIN_JOB = (
    "search --data digits --limit-train 100 --trials 12 --epochs 3 --workers 1 --threads 1 --seed 0 --no-finalize"
).split()


@pytest.mark.slow
def test_the_same_command_twice(tmp_path):
    """The main job twice with one seed → the same proposals, metrics and curves, bit for bit; so does the main job
    killed with SIGKILL twice and resumed."""
    whole = [command(tmp_path, *MAIN_JOB, "--path", name) for name in ("one", "two")]
    first = command(tmp_path, *MAIN_JOB, "--path", "cut")
    for count in (2, 7):
        until(lambda n=count: len(done(tmp_path / "cut")) >= n, first)
        first.kill()
        first.assert_nothing_left()
        first = command(tmp_path, "resume", "cut")
    for driver in (*whole, first):
        assert driver.end(150) == 0, driver.output()
    one = history(tmp_path / "one")
    assert sum(source is None for _, _, _, source, *_ in one) == 12
    assert one == history(tmp_path / "two")
    assert one == history(tmp_path / "cut")


@pytest.mark.slow
def test_cut_at_random_points(tmp_path):
    """kill -9 at random points of a serial search, resumed each time → the same study as without."""
    options = {"trials": 25, "executor": "serial", "seconds": 0.02, "steps": 2}
    assert Driver(tmp_path / "log", drive, tmp_path / "whole", **options).end() == 0
    draw, cuts = stream(0, 0, "cuts"), 0
    while cuts < 6:
        driver = Driver(tmp_path / "log", drive, tmp_path / "cut", **options)
        if cuts:  # the first is cut wherever it is, also while the study is made
            before = len(done(tmp_path / "cut"))
            until(lambda n=before: len(done(tmp_path / "cut")) > n, driver)
        driver.process.join(draw.uniform(0.0, 0.15))
        driver.kill()
        cuts += 1
    assert Driver(tmp_path / "log", drive, tmp_path / "cut", **options).end() == 0
    assert history(tmp_path / "cut") == history(tmp_path / "whole")


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from tiny import drive
drive(sys.argv[1], trials=15, executor="serial", seconds=0.0)
"""


@pytest.mark.slow
def test_the_environment_has_no_part_in_it(tmp_path):
    """Another PYTHONHASHSEED, locale, time zone or current folder → no effect on the study."""
    surroundings = [
        {"PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "UTC"},
        {"PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu"},
    ]
    running = []
    for i, more in enumerate(surroundings):
        folder = tmp_path / f"folder {i}"
        folder.mkdir()
        code = SCRIPT.format(here=os.path.dirname(__file__))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **more}
        running.append(subprocess.Popen([sys.executable, "-c", code, tmp_path / str(i)], cwd=folder, env=environment))
    assert [process.wait(120) for process in running] == [0, 0]
    assert history(tmp_path / "0") == history(tmp_path / "1")
