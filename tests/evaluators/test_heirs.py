"""Trials that begin with the weights of a parent, in evaluators and in whole studies."""

import numpy as np
import pytest
import torch
from torch import nn

from searchitect import OUTPUTS, Space, Study, lazy, one_of, resume, search
from searchitect.engine.keeping import BEST, LATEST, Kept, parent_of, weights_path
from searchitect.evaluators import FunctionEvaluator, TrainEvaluator
from searchitect.evaluators.base import Heir, Task
from searchitect.evaluators.train import save_weights
from searchitect.records import Fidelity, Measurement, Proposal, State, Trial, objectives
from searchitect.space import Architecture
from searchitect.strategies import Setting, make_strategy
from searchitect.testing.evaluator import Recorder
from searchitect.training import Recipe, load

L = lazy(nn)
GOALS = objectives("accuracy")


def space():
    return Space(L.Sequential(
        L.Flatten(), L.LazyLinear(one_of(*range(8, 40, 4), name="width")), L.ReLU(),
        one_of(L.Identity(), L.Dropout(0.1), L.Tanh()), L.LazyLinear(OUTPUTS)))  # fmt: skip


def evaluator():
    rows = np.arange(200)
    return TrainEvaluator(space(), load("digits", limit_train=200), rows[:150], rows[150:], Recipe(batch_size=32))


def parent_and_child(made):
    first, second = (a for a in made.space.enumerate() if a.decisions["1.width"] in (16, 28) and "Identity" in str(a))
    return first, second


def test_a_child_begins_where_its_parent_ended(tmp_path):
    made = evaluator()
    first, second = parent_and_child(made)
    save = str(tmp_path / "parent.safetensors")
    made.run(Task(4, first.decisions, seed=1, epochs=40, save=save), Recorder())
    scratch = made.run(Task(5, second.decisions, seed=2, epochs=1), Recorder())
    heir = Heir(4, dict(first.decisions), save)
    task = Task(5, second.decisions, seed=2, epochs=1, heir=heir)
    found = made.run(task, Recorder())
    assert "began with weights of trial 4: 1 tensors, 3 in part, 0 new; the same function" in found.notes[0]
    assert found.metrics["accuracy"] > scratch.metrics["accuracy"] + 0.2
    assert made.run(task, Recorder()).curve == found.curve  # bit for bit


@pytest.mark.parametrize("how", ["missing", "other", "damaged"])
def test_a_parent_that_is_gone_is_said_and_the_training_is_from_scratch(tmp_path, how):
    made = evaluator()
    first, second = parent_and_child(made)
    path = tmp_path / "parent.safetensors"
    if how == "other":
        save_weights(nn.Linear(2, 2), path)
    elif how == "damaged":
        path.write_bytes(b"nothing")
    heir = Heir(4, dict(first.decisions), str(path))
    found = made.run(Task(5, second.decisions, seed=2, epochs=1, heir=heir), Recorder())
    assert "trained from scratch: the weights of trial 4 cannot be had" in found.notes[0]
    assert found.curve == made.run(Task(5, second.decisions, seed=2, epochs=1), Recorder()).curve


def test_a_function_of_the_users_gets_the_network_with_its_parents_weights(tmp_path):
    def evaluate(model, trial):
        return float(model[1].weight[:16].detach().sum())

    made = FunctionEvaluator(space(), evaluate, "score", sample=(1, 8, 8), outputs=10)
    first, second = parent_and_child(made)
    path = tmp_path / "parent.safetensors"
    save_weights(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Identity(), nn.Linear(16, 10)), path)
    found = made.run(Task(5, second.decisions, seed=2, epochs=1, heir=Heir(4, dict(first.decisions), str(path))),
                     Recorder())  # fmt: skip
    from safetensors.torch import load_file

    assert found.metrics["score"] == pytest.approx(float(load_file(path)["1.weight"].sum()), rel=1e-4)
    assert "began with weights of trial 4" in found.notes[0]


@pytest.mark.parametrize("name", ["regularized-evolution", "local-search"])
def test_children_of_these_strategies_inherit_when_asked(name):
    one = space()
    for wanted in (False, True):
        strategy = make_strategy(name, Setting(one, GOALS, 0), {"inherit": wanted})
        inherits = []
        for number in range(15):
            (proposal,) = strategy.ask()
            inherits.append(proposal.inherits)
            assert not (proposal.inherits and not proposal.parents)
            done = Measurement({"accuracy": (number * 7 % 11) / 11})
            strategy.tell(Trial(number, proposal, State.DONE, done))
        assert any(inherits) == wanted


def done(number, accuracy, parents=(), state=State.DONE, source=None):
    proposal = Proposal(Architecture("s", {"a": number}), Fidelity("train", 3), number, parents, inherits=bool(parents))
    measurement = Measurement({"accuracy": accuracy}) if state is State.DONE else None
    return Trial(number, proposal, state, measurement, source=source)


def test_files_of_parents_are_bounded_and_needed_ones_stay(tmp_path):
    kept, trials = Kept(tmp_path, GOALS, heirs=True), {}
    count = LATEST + BEST + 20
    for number in range(count):
        trials[number] = done(number, 1.0 - number / 100)  # the first are the best
        weights_path(tmp_path, number).write_bytes(b"x")
        if number == 10:
            trials[1000] = done(1000, 0.0, (9,), State.RUNNING)  # a child of 9 is under way
        kept.drop_weights(trials[number])  # nobody goes for not being the best
        kept.told(trials[number], trials)
    here = {n for n in range(count) if weights_path(tmp_path, n).exists()}
    assert here == {*range(BEST), 9, *range(count - LATEST, count)}
    again = Kept(tmp_path, GOALS, heirs=True)
    for number in range(count):
        again.told(trials[number], trials)
    assert {n for n in range(count) if weights_path(tmp_path, n).exists()} == here  # a replay removes nothing more
    kept.clear()
    assert {n for n in range(count) if weights_path(tmp_path, n).exists()} <= {0, 9}
    assert weights_path(tmp_path, 0).exists()  # the incumbent
    assert parent_of(3, {3: done(3, 0.5, source=1)}) == 1


def rows(study):
    return [(t.number, dict(t.architecture.decisions), t.proposal.parents, t.measurement.metrics["accuracy"],
             t.measurement.notes) for t in study.trials]  # fmt: skip


OPTIONS = {"epochs": 1, "workers": 1, "executor": "serial", "selftest": False, "threads": 1, "finalize": False,
           "limit_train": 400, "strategy": "regularized-evolution",
           "strategy_options": {"inherit": True, "population": 3, "sample": 2}}  # fmt: skip


def test_a_study_with_heirs_and_its_interruption(tmp_path):
    whole = search(space(), "digits", trials=9, path=str(tmp_path / "whole"), **OPTIONS)
    heirs = [t for t in whole.trials if t.proposal.inherits]
    assert len(heirs) >= 5
    for trial in heirs:
        assert f"began with weights of trial {trial.proposal.parents[0]}" in trial.measurement.notes[0]
    assert not any(t.source is not None for t in heirs)  # never taken for an equivalent
    search(space(), "digits", trials=5, path=str(tmp_path / "parts"), **OPTIONS)
    parts = resume(tmp_path / "parts", space=space(), trials=9)
    assert rows(parts) == rows(whole)


def test_finalists_are_trained_from_scratch(tmp_path):
    study = search(space(), "digits", trials=6, path=str(tmp_path / "run"), **OPTIONS | {"finalize": True})
    assert study.verdict is not None
    files = {p.name for p in (tmp_path / "run" / "checkpoints").glob("*.safetensors")}
    assert len(files) <= 1
    assert Study(tmp_path / "run").meta["finalised"]
    assert torch.get_num_threads() >= 1
