"""A study's file runs nobody's code, has one driver, and any number of readers who disturb nothing."""

import json
import sqlite3
import time

import pytest
from drivers import Driver, command, done, trials, until
from tiny import SPACE, drive, evaluator

from searchitect import Manual, Study, resume, search
from searchitect.errors import StudyLockedError, UsageError
from searchitect.records import State
from searchitect.store import Store

MINE = """
from pathlib import Path
import torch.nn as nn
from searchitect import OUTPUTS, Space, lazy, one_of
from searchitect.strategies.random import Random

with open(Path(__file__).parent / "imported.txt", "a") as file:
    file.write("x")

L = lazy(nn)

class Mine(nn.Module):
    def forward(self, x):
        return x

space = Space(L.Sequential(L.Flatten(), L.LazyLinear(one_of(4, 8)), lazy(Mine)(), L.LazyLinear(OUTPUTS)))

def make():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))

baseline = make

class Strategy(Random):
    pass
"""
QUICK = "--data digits --limit-train 100 --trials 1 --epochs 1 --workers 1 --threads 1 --no-finalize --path s".split()


def imports(folder):
    """How often the user's file was run so far."""
    file = folder / "imported.txt"
    return len(file.read_text()) if file.exists() else 0


@pytest.mark.slow
def test_a_study_names_no_code_to_import(tmp_path):
    """A study begun with --space FILE.py:object, --baseline FILE.py:make and a strategy of one's own → no command that
    opens it runs the file; resume asks for --code, and takes the objects from there."""
    (tmp_path / "mine.py").write_text(MINE)
    named = ["--space", "mine.py:space", "--baseline", "mine.py:make"]
    assert command(tmp_path, "search", *QUICK, *named).end() == 0
    with Store.open(tmp_path / "s") as store:
        facts = dict(store.meta)
    assert "mine.py" in facts.pop("command")  # text to be shown, and so is the name of the space
    facts["space"].pop("name")
    assert "mine.py" not in json.dumps(facts)
    assert not {"space", "baseline", "strategy"} & set(facts["settings"])
    ran = imports(tmp_path)
    for words in (["show", "s"], ["status", "s"], ["report", "s"], ["list", "."], ["export", "s", "out"]):
        driver = command(tmp_path, *words)
        assert driver.end() == 0, driver.output()
    driver = command(tmp_path, "resume", "s", "--trials", "2")
    assert driver.end() == 2
    assert "--code FILE.py" in driver.output()
    assert imports(tmp_path) == ran
    driver = command(tmp_path, "resume", "s", "--trials", "2", "--code", "mine.py")
    assert driver.end() == 0, driver.output()
    assert imports(tmp_path) > ran
    assert sum(t.source is None for t in done(tmp_path / "s").values()) == 2


EVIL = """
from pathlib import Path
Path(__file__).with_name("canary.txt").write_text("code of the file was run")
"""


def forge(folder, **changes):
    """Change the facts of a study as a stranger could."""
    connection = sqlite3.connect(folder / "study.db")
    for name, value in changes.items():
        connection.execute("UPDATE meta SET body=? WHERE name=?", (json.dumps(value).encode(), name))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("place", ["strategy", "strategy and another named", "space", "baseline", "setting strategy"])
def test_a_strangers_study_imports_nothing(tmp_path, monkeypatch, place):
    """A study file from a stranger that names a module as strategy, space or baseline → never imported by resume."""
    folder = tmp_path / "s"
    (tmp_path / "evilmodule.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    study = search(
        SPACE, evaluate=evaluator(0.0), sample=(4,), objectives="max score", trials=1, executor="serial", threads=1,
        strategy="random", finalize=False, path=folder,
    )  # fmt: skip
    evil = "evilmodule:thing"
    changes = {"evaluate": evaluator(0.0), "space": SPACE, "trials": 3}
    if place.startswith("strategy"):
        forge(folder, strategy=study.meta["strategy"] | {"name": evil})
    else:
        forge(folder, settings=study.meta["settings"] | {place.removeprefix("setting "): evil})
    if place == "strategy":
        with pytest.raises(UsageError, match="is code of yours"):
            resume(folder, **changes)
    else:
        resume(folder, **changes, **({"strategy": "random"} if " and " in place else {}))
        assert sum(t.source is None for t in trials(folder)) == 3
    assert not (tmp_path / "canary.txt").exists()


def test_two_drivers(tmp_path):
    """A second driver on one study → refused at once, naming the first; the first is not disturbed."""
    folder = tmp_path / "s"
    first = Driver(tmp_path / "log", drive, folder, trials=20, executor="serial", seconds=0.1)
    until(lambda: done(folder), first)
    with pytest.raises(StudyLockedError, match=f"process {first.pid} "):
        drive(folder, trials=5)
    with pytest.raises(StudyLockedError, match=str(first.pid)):
        Manual(SPACE, "max score", folder)
    with pytest.raises(StudyLockedError):
        Study(folder).enqueue(SPACE.sample(1))
    assert first.end() == 0, first.output()
    assert sum(t.source is None for t in trials(folder)) == 20


@pytest.mark.slow
def test_readers_have_no_effect(tmp_path):
    """status, show, list and report in a loop, and a reader that stays open, while a study runs → no effect on it; they
    never see half a trial, and never fail."""
    folder = tmp_path / "s"
    driver = Driver(tmp_path / "log", drive, folder, trials=60, workers=2, seconds=0.1, strategy="random", seed=3)
    until(lambda: trials(folder), driver)
    commands = [["status", "s"], ["show", "s", "--json"], ["list", "."], ["report", "s"]]
    with Store.open(folder) as stays:
        looks = 0
        while driver.process.is_alive():
            readers = [command(tmp_path, *words) for words in commands]
            seen = stays.trials()
            assert all(t.measurement is not None for t in seen if t.state is State.DONE)
            for reader in readers:
                assert reader.end() == 0, reader.output()
            looks += 1
    assert looks > 2
    assert driver.end() == 0, driver.output()
    first = [t for t in trials(folder) if t.source is None]
    assert {(t.state, t.attempts) for t in first} == {(State.DONE, 1)}
    assert len(first) == 60


def test_what_was_enqueued_survives(tmp_path):
    """kill -9 before an architecture that the user enqueued was tried → it is tried first when the study goes on."""
    folder = tmp_path / "s"
    wanted = SPACE.sample(7)
    driver = Driver(tmp_path / "log", drive, folder, trials=3, workers=1, enqueue=[wanted])
    until(lambda: (folder / "study.db").exists(), driver)
    driver.kill()  # its workers are still starting
    assert not done(folder)
    study = drive(folder, trials=3, executor="serial")
    assert study.trials[0].architecture == wanted
    assert study.trials[0].state is State.DONE
    Study(folder).enqueue(SPACE.sample(8))
    assert drive(folder, trials=4, executor="serial").trials[-1].architecture == SPACE.sample(8)


def test_a_jump_of_the_clock(tmp_path, monkeypatch):
    """The system clock jumps by a day → durations are right, and nothing counts as late."""
    with Manual(SPACE, "max score", tmp_path / "s") as study:
        trial = study.ask()
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 86_400)
        study.tell(trial, score=1.0)
        assert 0 <= study.trials[0].measurement.seconds < 10
        assert study.trials[0].state is State.DONE
