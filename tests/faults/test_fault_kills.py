"""kill -9 at any time: nothing that was finished is lost or run again, and no process stays behind.

SEARCHITECT_KILLS sets how many kills there are (20).
"""

import os
import signal
from collections import Counter

import psutil
import pytest
from drivers import Driver, assert_sound, done, trials, until
from tiny import drive, executions

from searchitect.records import State
from searchitect.seeds import stream

KILLS = int(os.environ.get("SEARCHITECT_KILLS", "20"))


@pytest.mark.slow
@pytest.mark.timeout(60 + 15 * KILLS)
def test_the_driver_is_killed(tmp_path):
    """kill -9 the driver, 20 times at random points, and resume → no finished trial is lost or executed again, none
    stays running, no process is left after two seconds, and the file is sound."""
    folder, draw = tmp_path / "s", stream(0, 0, "kills")
    options = {"trials": 1_000_000, "workers": 2, "steps": 2}
    kept, ran_before = {}, 0
    for kill in range(KILLS):
        # every other session has worker processes; the rest trains in the driver itself and starts quickly
        driver = Driver(tmp_path / "log", drive, folder, executor=("processes", "serial")[kill % 2], **options)
        if kill % 3:  # else it is killed wherever it is in the first seconds: opening, starting workers, asking
            until(lambda n=ran_before: len(executions(folder)) > n, driver)
            driver.process.join(draw.uniform(0.0, 0.4))
        else:
            driver.process.join(draw.uniform(0.0, 2.0))
        assert driver.process.is_alive(), driver.output()
        driver.kill()
        driver.assert_nothing_left(2.0)
        now, ran = done(folder), executions(folder)
        for number, trial in kept.items():
            assert now[number] == trial
        assert not set(ran[ran_before:]) & set(kept), "a finished trial was executed again"
        if ran:
            assert_sound(folder)
        kept, ran_before = now, len(ran)
    assert kept
    last = {**options, "trials": len(kept) + 4, "executor": "serial"}
    assert Driver(tmp_path / "log", drive, folder, **last).end() == 0
    end = trials(folder)
    assert not set(executions(folder)[ran_before:]) & set(kept)
    assert {t.state for t in end} == {State.DONE}
    assert [t.number for t in end] == list(range(len(end)))
    assert all(done(folder)[n] == trial for n, trial in kept.items())
    begun = Counter(executions(folder))
    assert all(begun[t.number] == (0 if t.source is not None else begun[t.number]) for t in end)
    assert sum(begun.values()) <= len(begun) + 2 * KILLS  # at most what ran at a kill was executed again


def was_hit(folder):
    """Whether a trial that was killed before is still to be measured: a third kill would be its last."""
    return any(t.attempts > 1 and t.state in (State.QUEUED, State.RUNNING) for t in trials(folder))


@pytest.mark.slow
@pytest.mark.timeout(60 + 5 * KILLS)
def test_workers_are_killed(tmp_path):
    """kill -9 a worker, 20 times at random → its trial alone is run again with the same seed; all others keep their
    result, the search goes on and ends."""
    folder, draw = tmp_path / "s", stream(0, 1, "kills")
    options = {"workers": 2, "steps": 3, "strategy": "random"}
    driver = Driver(tmp_path / "log", drive, folder, trials=1_000_000, **options)
    for _ in range(KILLS):
        before = len(done(folder))
        until(lambda n=before: len(done(folder)) > n and not was_hit(folder), driver)
        workers = until(driver.workers, driver)
        driver.process.join(draw.uniform(0.0, 0.1))
        assert driver.process.is_alive(), driver.output()
        try:
            draw.pick(workers).send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    before = len(done(folder))
    until(lambda n=before: len(done(folder)) > n + 2 and not was_hit(folder), driver)
    os.kill(driver.pid, signal.SIGINT)
    assert driver.end() == 0, driver.output()
    driver.assert_nothing_left()
    assert_sound(folder)
    end = done(folder).values()
    assert {t.state for t in end} == {State.DONE}, [t.failure for t in end if t.failure]
    begun = Counter(executions(folder))
    for trial in end:  # executed once, and once more for each kill that hit it while it ran
        assert begun[trial.number] <= trial.attempts, trial
        assert trial.attempts <= 3
    again = sum(t.attempts - 1 for t in end if t.source is None)
    assert 0 < again <= KILLS
    measured = sum(t.source is None for t in end)
    last = Driver(tmp_path / "log", drive, folder, **options | {"trials": measured + 4})
    assert last.end() == 0, last.output()
    assert {t.state for t in trials(folder)} == {State.DONE}
    assert sum(t.source is None for t in trials(folder)) == measured + 4
    assert all(done(folder)[t.number] == t for t in end)


@pytest.mark.slow
def test_the_last_trial_is_killed(tmp_path):
    """kill -9 the worker of the very last trial → it is measured again, not left queued."""
    folder = tmp_path / "s"
    driver = Driver(tmp_path / "log", drive, folder, trials=2, workers=1, seconds=0.5, steps=2, strategy="random")
    until(lambda: len(done(folder)) == 1 and len(executions(folder)) == 2, driver)
    (worker,) = driver.workers()
    worker.kill()
    assert driver.end() == 0, driver.output()
    assert [(t.state, t.attempts) for t in trials(folder) if t.source is None] == [(State.DONE, 1), (State.DONE, 2)]
