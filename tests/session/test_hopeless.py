"""Trainings ended by their curves: with the confidence that is stated, counted, and never without evidence."""

import math

import msgspec
import pytest
import torch.nn as nn

from searchitect import Space, Study, lazy, one_of, resume, search
from searchitect.errors import UsageError
from searchitect.records import Fidelity, Measurement, Proposal, State, Trial, objective
from searchitect.seeds import stream
from searchitect.session.hopeless import PLACES, Hopeless
from searchitect.space import Architecture
from searchitect.store import Store
from searchitect.strategies.extrapolation import extrapolated

L = lazy(nn)
EPOCHS = 12
LOSS, ACCURACY = objective("loss"), objective("accuracy")


def curve(i, quality=None):
    """A noisy loss that falls by a power law."""
    draws = stream(3, i, "curve")
    end = draws.unit() if quality is None else quality
    speed = 0.3 + draws.unit()
    return [0.2 + end + 2.0 * t**-speed + 0.05 * (draws.unit() - 0.5) for t in range(1, EPOCHS + 1)]


def trial(number, losses, *, origin="", horizon=0, epochs=EPOCHS, metric="loss", state=State.DONE):
    proposal = Proposal(Architecture("s", {"a": number}), Fidelity("train", epochs, horizon=horizon), number,
                        origin=origin)  # fmt: skip
    points = tuple({"epoch": t + 1.0, metric: v} for t, v in enumerate(losses))
    return Trial(number, proposal, state, Measurement({metric: losses[-1]}, curve=points))


def reports(losses, metric="loss"):
    return [{"step": t + 1.0, metric: v} for t, v in enumerate(losses)]


def told(watcher, curves, **more):
    for number, losses in enumerate(curves):
        watcher.told(trial(number, losses, **more))
    return watcher


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("seen", [4, 8])
def test_whoever_is_given_up_would_have_ended_worse_as_often_as_stated(confidence, seen):
    """Bounds of 200 curves, from 39 finished ones each: those that end below are 1 - confidence, to noise."""
    below = 0
    for i in range(40):
        watcher = told(Hopeless(LOSS, (), confidence), [curve(100 * i + j) for j in range(39)])
        for new in (curve(100 * i + j) for j in range(90, 95)):
            below += new[-1] < watcher.bound(new[:seen], EPOCHS)
    share, noise = below / 200, 2.6 * math.sqrt(confidence * (1 - confidence) / 200)
    assert abs(share - (1 - confidence)) <= noise + 1 / 40


def test_the_bound_is_the_prediction_and_a_quantile_of_former_errors():
    curves = [curve(j) for j in range(19)]
    watcher, new = told(Hopeless(LOSS, (), 0.9), curves), curve(50)[:6]
    errors = sorted(c[-1] - extrapolated(c[:6], EPOCHS) for c in curves)
    assert watcher.bound(new, EPOCHS) == pytest.approx(extrapolated(new, EPOCHS) + errors[1])  # rank 2 of 19
    few = told(Hopeless(LOSS, (), 0.95), curves[:18])
    assert few.bound(new, EPOCHS) is None  # 5 % need 19
    few.told(trial(18, curves[18]))
    assert few.bound(new, EPOCHS) == pytest.approx(extrapolated(new, EPOCHS) + errors[0])
    assert few.bound(new[:3], EPOCHS) is None
    assert few.bound(new, EPOCHS + 1) is None  # no training of that length has finished


def test_only_those_far_behind_the_fifth_best_are_ended():
    watcher = told(Hopeless(LOSS, (), 0.8), [curve(j, quality=0.1 * j) for j in range(12)])
    bad, good, middling = curve(60, quality=3.0), curve(61, quality=0.0), curve(62, quality=0.35)
    assert watcher(trial(60, bad, state=State.RUNNING), reports(bad[:6])) > watcher.best[PLACES - 1]
    assert watcher(trial(61, good), reports(good[:6])) is None
    known = watcher.bound(middling[:6], EPOCHS)
    assert (watcher(trial(62, middling), reports(middling[:6])) is None) == (known <= watcher.best[-1])
    assert watcher(trial(63, bad, origin="enqueued"), reports(bad[:6])) is None  # the user's own wish
    assert watcher(trial(64, bad, horizon=27), reports(bad[:6])) is None
    assert watcher(trial(65, bad), reports(bad)) is None  # it is at its end


def test_larger_may_be_better_and_limits_count():
    curves = [[1 - v / 4 for v in curve(j, quality=0.1 * j)] for j in range(12)]
    watcher = told(Hopeless(ACCURACY, (), 0.8), curves, metric="accuracy")
    bad = [1 - v / 4 for v in curve(60, quality=3.0)]
    assert watcher(trial(60, bad, metric="accuracy"), reports(bad[:6], "accuracy")) is not None
    limited = told(Hopeless(ACCURACY, [objective("params < 5")], 0.8), curves, metric="accuracy")
    assert limited(trial(60, bad, metric="accuracy"), reports(bad[:6], "accuracy")) is None  # nobody keeps the limit


def space():
    return Space(L.Sequential(L.Linear(2, one_of(*range(1, 40)))))


def end(width, epochs=20):
    return (1.0 if width % 2 else 0.1) * (1 - 0.8**epochs) + 0.001 * width


def evaluate(model, trial):
    """Half of the networks end at a tenth of what the others do; every step is reported."""
    width = next(model.parameters()).shape[0]
    for step in range(trial.epochs):
        score = end(width, step + 1)
        trial.report(step, score=score)
        if trial.should_stop():
            break
    return score


def test_a_study_ends_hopeless_trainings_and_counts_what_that_saves(tmp_path):
    options = {"evaluate": evaluate, "sample": (2,), "objectives": "max score", "executor": "serial", "workers": 1,
               "threads": 1, "finalize": False, "strategy": "random", "epochs": 20}  # fmt: skip
    study = search(space(), trials=30, prune=0.7, path=str(tmp_path / "run"), **options)
    pruned = [t for t in study.trials if t.state is State.PRUNED]
    assert pruned
    ends = {t.number: end(*t.architecture.decisions.values()) for t in study.trials}
    fifth = sorted(set(ends.values()))[-PLACES]
    for one in pruned:
        assert ends[one.number] < fifth
        assert len(one.measurement.curve) < 20
    assert any(ends[one.number] < 0.2 for one in pruned)
    with Study(tmp_path / "run")._store() as store:
        notes = [note.body for note in store.notes("pruned")]
    assert [n["trial"] for n in notes] == [t.number for t in pruned]
    assert all(n["likely_best"] < n["fifth_best"] and n["confidence"] == 0.7 for n in notes)
    facts = study.meta["pruned"]
    assert facts["trials"] == len(pruned)
    assert facts["saved_seconds"] == pytest.approx(sum(n["saved_seconds"] for n in notes))
    whole = search(space(), trials=30, path=str(tmp_path / "whole"), **options)
    assert whole.best.architecture == study.best.architecture
    assert not any(t.state is State.PRUNED for t in whole.trials)


def test_a_training_that_goes_on_from_a_checkpoint_is_not_taken_for_one_that_begins():
    watcher = told(Hopeless(LOSS, (), 0.8), [curve(j, quality=0.1) for j in range(19)])
    bad = reports(curve(50, quality=0.9))
    running = msgspec.structs.replace(trial(50, [1.0], state=State.RUNNING), attempts=1)
    again = msgspec.structs.replace(running, attempts=2)
    assert watcher(running, bad[:8]) is not None
    assert watcher(again, bad[:8]) is not None, "from the first epoch on"
    assert watcher(again, bad[3:11]) is None


def test_what_was_noted_twice_or_was_done_nevertheless_is_not_counted(tmp_path):
    """A session that was killed after it had asked a training to end; the training is begun again."""
    options = {"evaluate": evaluate, "sample": (2,), "objectives": "max score", "executor": "serial", "workers": 1,
               "threads": 1, "finalize": False, "strategy": "random", "epochs": 20, "prune": 0.7}  # fmt: skip
    study = search(space(), trials=30, path=str(tmp_path / "run"), **options)
    before, done = study.meta["pruned"], next(t for t in study.trials if t.state is State.DONE)
    with Store.open(tmp_path / "run", write=True) as store:
        notes = [note.body for note in store.notes("pruned")]
        for body in (notes[0], {**notes[0], "trial": done.number}):
            store.note("pruned", body)
    after = resume(tmp_path / "run", trials=30, evaluate=evaluate).meta["pruned"]
    assert after == before | {"saved_seconds": pytest.approx(before["saved_seconds"])}


@pytest.mark.parametrize(
    ("options", "words"),
    [({"strategy": "asha"}, "asha saves them in its own way"), ({"objectives": ["max score", "params"]}, "several")],
)
def test_where_curves_cannot_end_trainings_it_is_refused(tmp_path, options, words):
    given = {"objectives": "max score", "trials": 3, "prune": 0.9, "path": str(tmp_path / "run")} | options
    with pytest.raises(UsageError, match=words):
        search(space(), evaluate=evaluate, sample=(2,), **given)
