from __future__ import annotations

from pathlib import Path

import pytest
import report_fakes as fakes

from searchitect.errors import StorageError
from searchitect.records import Fidelity, Objective, State
from searchitect.report import page, terminal
from searchitect.report.snapshot import Clock, assemble, clock, read


def test_reads_a_finished_study(tmp_path):
    notes = [("test_read", {"at": fakes.START, "who": "finalize", "n": 360})]
    found = read(fakes.write(tmp_path / "s", fakes.finished_meta(), fakes.many(20), notes))
    assert found.name == "digits"
    assert found.objectives == (Objective("accuracy", "max"),)
    assert found.verdict.winner.mean == 0.9828
    assert found.verdict.words == "better"
    assert [(f.trial, f.mean, f.chosen) for f in found.finalists] == [(7, 0.985, True), (3, 0.98, False)]
    assert found.finalists[1].architecture == {"depth": 4, "kernel": 3}
    assert found.winner_trial == 7
    assert len(found.trials) == 20
    assert len(found.test_reads()) == 1


def test_an_unfinished_study_has_no_verdict(tmp_path):
    running = fakes.trial(1, state=State.RUNNING)
    found = read(fakes.write(tmp_path / "s", fakes.meta(), [fakes.trial(0, 0.9), running]))
    assert found.verdict is None
    assert found.finalists == ()
    assert found.winner == {}
    assert (found.count(State.DONE), found.count(State.RUNNING)) == (1, 1)


@pytest.mark.parametrize("junk", [None, 7, "text", [], [1, {"x": 2}], {"a": {"b": []}}, True, -1.5])
def test_any_type_in_meta_is_stood(junk):
    found = assemble(Path("s"), dict.fromkeys(fakes.finished_meta(), junk), [fakes.trial(0, 0.9)])
    assert "<!DOCTYPE html>" in page.render(found)
    assert terminal.render(found)
    assert found.verdict is None
    assert found.objectives == ()
    assert found.winner_trial is None


@pytest.mark.parametrize("junk", [None, "text", [[]], {"x": {}}, float("nan"), 10**400])
def test_any_type_within_meta_is_stood(junk):
    about = fakes.finished_meta()
    for name, value in about.items():
        if isinstance(value, dict):
            about[name] = {**dict.fromkeys(value, junk), **({"words": "better"} if name == "verdict" else {})}
    about["finalists"] = [dict.fromkeys(about["finalists"][0], junk), junk]
    found = assemble(Path("s"), about, [fakes.trial(0, 0.9)])
    assert "<!DOCTYPE html>" in page.render(found)
    assert terminal.render(found)


@pytest.mark.parametrize("part", ["winner", "words"])
def test_a_verdict_that_is_not_whole_is_none(part):
    about = fakes.finished_meta()
    about["verdict"][part] = "excellent"
    assert assemble(Path("s"), about, []).verdict is None


def test_infinite_intervals_survive(tmp_path):
    about = fakes.finished_meta()
    about["verdict"]["winner"] = {"mean": 0.9, "low": float("-inf"), "high": float("inf"), "n": 1}
    verdict = read(fakes.write(tmp_path / "s", about, [])).verdict
    assert verdict.winner.low == float("-inf")
    assert verdict.winner.high == float("inf")


@pytest.mark.parametrize("where", ["epochs", "decision"])
def test_numbers_that_no_driver_writes_are_refused(where):
    huge = 10**400
    odd = fakes.trial(1, 0.5, decisions={"depth": huge}) if where == "decision" else fakes.trial(1, 0.5)
    if where == "epochs":
        odd = fakes.trial(1, 0.5, fidelity=Fidelity("train", huge))
    with pytest.raises(StorageError, match="trial 1 holds a number beyond 63 bits"):
        assemble(Path("s"), fakes.meta(), [fakes.trial(0, 0.5), odd])


def test_steps_of_marked_trials_come_from_reports(tmp_path):
    from searchitect.store import Store

    folder = tmp_path / "s"
    with Store.create(folder, fakes.meta(winner={"trial": 0})) as store:
        store.queue([fakes.trial(0, state=State.QUEUED)])
        store.start(0, worker=0)
        store.report(0, 1, 1, {"accuracy": 0.5})
        store.report(0, 1, 2, {"accuracy": 0.6})
    assert read(folder).reports == {0: ({"step": 1.0, "accuracy": 0.5}, {"step": 2.0, "accuracy": 0.6})}


def test_a_folder_that_is_no_study(tmp_path):
    with pytest.raises(StorageError, match="is not a study"):
        read(tmp_path)


def test_clock_leaves_out_breaks():
    # first session lives from 100 to 160, the second begins at 1000
    ticks = Clock([100.0, 1000.0], [110.0, 160.0, 1005.0, 1050.0])
    assert [ticks(t) for t in (90.0, 100.0, 130.0, 160.0, 500.0, 1000.0, 1030.0, 1050.0)] == [
        0.0, 0.0, 30.0, 60.0, 60.0, 60.0, 90.0, 110.0,
    ]  # fmt: skip


def test_clock_without_sessions_begins_at_the_first_sign():
    ticks = Clock([], [50.0, 70.0])
    assert (ticks(50.0), ticks(65.0), ticks(400.0)) == (0.0, 15.0, 20.0)
    assert Clock([], [])(5.0) == 0.0


def test_clock_of_a_study(tmp_path):
    folder = fakes.write(tmp_path / "s", fakes.meta(), [fakes.trial(n, 0.9, ended=10.0 * (n + 1)) for n in range(3)])
    ticks = clock(read(folder))
    assert [ticks(fakes.START + s) for s in (0.0, 10.0, 30.0)] == [0.0, 10.0, 30.0]
