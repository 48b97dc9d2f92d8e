"""Real trainings that pause and go on: whole studies with successive halving, Hyperband and ASHA."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import nn

from searchitect import resume, search
from searchitect.engine.keeping import state_path
from searchitect.evaluators import TrainEvaluator
from searchitect.evaluators.base import Task
from searchitect.evaluators.train import ANEW
from searchitect.records import PROMOTE, Fidelity, Measurement, Proposal, State, Trial, objectives
from searchitect.report import accounts
from searchitect.report.snapshot import read as read_snapshot
from searchitect.session.finalizing import finalists
from searchitect.space import OUTPUTS, Architecture, Space, lazy, one_of
from searchitect.store import Store
from searchitect.testing.evaluator import Recorder

L = lazy(nn)


def space():
    width = one_of(8, 12, 16, 20, name="width")
    act = one_of(L.ReLU(), L.SiLU(), name="act")
    return Space(L.Sequential(L.Flatten(), L.LazyLinear(width), act, L.Dropout(one_of(0.0, 0.1, 0.2, name="drop")),
                              L.LazyLinear(OUTPUTS)))  # fmt: skip


def digits(folder, **more):
    given = {
        "space": space(), "data": "digits", "limit_train": 300, "epochs": 9, "trials": 16, "executor": "serial",
        "strategy": "asha", "finalize": False, "path": str(folder),
    }  # fmt: skip
    return search(**given | more)


def trials_of(folder):
    with Store.open(folder) as store:
        return {t.number: t for t in store.trials()}


def without_clock(trial):
    metrics = {k: v for k, v in trial.measurement.metrics.items() if k != "seconds"}
    return trial.proposal, trial.state, metrics, trial.measurement.curve, trial.measurement.notes, trial.source


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "s"
    digits(folder)
    return folder


def promotions(trials, epochs):
    return [t for t in trials.values() if t.proposal.origin == PROMOTE and t.proposal.fidelity.epochs == epochs]


def test_a_trial_at_the_top_equals_a_training_without_pauses(whole):
    """Bit for bit: curve and metrics of 1 + 2 + 6 epochs against 9 in one go."""
    trials = trials_of(whole)
    top = promotions(trials, 9)[0]
    assert top.measurement.notes == ()
    with Store.open(whole) as store:
        rows = store.meta["data"]["splits"]
    study = read_evaluator(whole)
    straight = study.run(Task(0, top.architecture.decisions, top.seed, 9), Recorder())
    assert straight.curve == top.measurement.curve
    assert straight.metrics["loss"] == top.value("loss")
    assert len(straight.curve) == 9
    assert rows["train"] == len(study.train)


def read_evaluator(folder):
    """The evaluator of the study, made anew from its settings."""
    from searchitect.session.opening import read_back
    from searchitect.session.preparing import Given, prepare

    with Store.open(folder) as store:
        given = Given()
        prepared = prepare(read_back(dict(store.meta), given, None, {}), given)
    assert isinstance(prepared.evaluator, TrainEvaluator)
    return prepared.evaluator


def test_costs_are_the_differences_and_add_up(whole):
    trials = trials_of(whole)
    for trial in trials.values():
        before = trials[trial.proposal.parents[0]].proposal.fidelity.epochs if trial.proposal.origin == PROMOTE else 0
        assert trial.measurement.epochs == trial.proposal.fidelity.epochs - before
        assert len(trial.measurement.curve) == trial.proposal.fidelity.epochs
    found = accounts.costs(list(trials.values()), {})
    assert found.epochs == sum(t.measurement.epochs for t in trials.values())
    top = promotions(trials, 9)[0]
    chain = [top, trials[top.proposal.parents[0]]]
    chain.append(trials[chain[-1].proposal.parents[0]])
    assert top.measurement.metrics["seconds"] == pytest.approx(sum(t.measurement.seconds for t in chain))


def test_only_trainings_that_may_go_on_have_a_state(whole):
    trials = trials_of(whole)
    went_on = {t.proposal.parents[0] for t in trials.values() if t.proposal.origin == PROMOTE}
    waiting = {t.number for t in trials.values() if t.proposal.fidelity.horizon and t.number not in went_on}
    firsts = set()
    for number in waiting:
        while trials[number].proposal.origin == PROMOTE:
            number = trials[number].proposal.parents[0]
        firsts.add(number)
    assert {p.name for p in (whole / "checkpoints").glob("*.state")} == {
        state_path(whole, number).name for number in firsts
    }


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_study(whole, tmp_path):
    """kill -9 while trainings are paused and running: what was kept goes on to the same bits."""
    folder = tmp_path / "s"
    code = f"import test_pausing_studies as t; t.digits({str(folder)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
        if (folder / "study.db").exists() and sum(t.state is State.DONE for t in trials_of(folder).values()) >= 9:
            process.kill()
    assert process.wait() == -signal.SIGKILL
    assert len(trials_of(folder)) < 16
    resume(folder, trials=16)
    assert [without_clock(t) for t in trials_of(folder).values()] == [
        without_clock(t) for t in trials_of(whole).values()
    ]


@pytest.mark.slow
def test_a_lost_state_costs_a_training_from_the_first_epoch_and_says_so(whole, tmp_path):
    digits(tmp_path / "s", trials=8)
    for path in (tmp_path / "s" / "checkpoints").glob("*.state"):
        path.unlink()
    resume(tmp_path / "s", trials=16)
    found, reference = trials_of(tmp_path / "s"), trials_of(whole)
    anew = [t for t in found.values() if t.measurement.notes == (ANEW,)]
    assert anew
    assert all(t.measurement.epochs == t.proposal.fidelity.epochs for t in anew)
    for trial in found.values():  # the same seed: the same numbers
        assert trial.value("loss") == reference[trial.number].value("loss")


def test_the_trial_table_shows_each_fidelity_and_the_best_is_a_full_one(whole):
    from searchitect.report import tables

    snapshot = read_snapshot(whole)
    rows = tables.trial_rows(snapshot.trials, snapshot.objectives)
    assert {row.fidelity.epochs for row in rows} == {1, 3, 9}
    assert [row.fidelity.epochs for row in rows if row.mark] == [9]
    curves = tables.progress_curve(snapshot.trials, snapshot.objectives)
    assert [c.fidelity.epochs for c in curves] == [9, 3, 1]


@pytest.mark.slow
def test_a_search_in_processes_is_finalised_from_the_highest_rung_and_leaves_no_state(tmp_path):
    options = {"inner": "regularized-evolution", "inner_options": {"population": 4, "sample": 2}}
    study = digits(
        tmp_path / "s", strategy="asha", strategy_options=options, trials=24, executor="processes", workers=2,
        finalize=True, seeds=3, baseline=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    )  # fmt: skip
    assert study.summary()["finalised"]
    assert not list((tmp_path / "s" / "checkpoints").glob("*.state"))
    assert study.best.proposal.fidelity.epochs == 9
    with Store.open(tmp_path / "s") as store:
        retrained = [trials_of(tmp_path / "s")[f["trial"]] for f in store.meta["finalists"]]
    assert retrained[0].proposal.fidelity.epochs == 9
    assert len({trial.architecture for trial in retrained}) == len(retrained)


def test_finalists_come_from_the_top_then_from_below():
    aims = objectives("accuracy")

    def trial(number, width, epochs, accuracy):
        proposal = Proposal(Architecture("s", {"width": width}), Fidelity("train", epochs, horizon=9 % max(epochs, 1)))
        return Trial(number, proposal, State.DONE, Measurement({"accuracy": accuracy}, 1.0, epochs))

    below = [trial(n, n, 1, 0.1 * n) for n in range(6)]
    middle = [trial(10, 0, 3, 0.5), trial(11, 5, 3, 0.6)]
    top = [trial(12, 5, 9, 0.3)]
    assert [t.number for t in finalists([*below, *middle, *top], aims)] == [12, 10, 4, 3, 2, 1]
    plenty = [trial(20 + n, n, 9, 0.1 * n) for n in range(4)]
    assert [t.number for t in finalists([*below, *plenty], aims)] == [23, 22, 21, 20]
    assert finalists([], aims) == []
