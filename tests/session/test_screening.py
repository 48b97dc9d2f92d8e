"""A score of untrained networks before the trainings of a study."""

import math

import pytest
from torch import nn

from searchitect import Settings, resume, search
from searchitect.errors import UsageError
from searchitect.records import Fidelity
from searchitect.session import screening
from searchitect.session.preparing import Given, prepare
from searchitect.session.screening import Scores
from searchitect.space import OUTPUTS, Space, lazy, one_of
from searchitect.store import Store
from searchitect.strategies import Setting

L = lazy(nn)
WIDE = Space(
    L.Sequential(
        L.Flatten(), L.LazyLinear(one_of(*range(4, 40), name="width")), L.ReLU(),
        L.LazyLinear(one_of(*range(4, 40), name="second")), L.ReLU(), L.LazyLinear(OUTPUTS),
    )
)  # fmt: skip
SMALL = {"limit_train": 200, "epochs": 1, "executor": "serial", "finalize": False, "seed": 0}


def run(path, **more):
    return search(WIDE, "digits", path=path, strategy="random", screen="params", **SMALL | {"trials": 9} | more)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return run(tmp_path_factory.mktemp("screened") / "s")


def test_the_first_trials_are_the_best_scored_and_every_third_is_not_chosen_by_it(study):
    screen = study.meta["screen"]
    assert (screen["score"], screen["scored"], screen["trained"]) == ("params", 60, 3)
    chosen = [t for t in study.trials if t.proposal.origin == "screen"]
    assert len(chosen) == 3
    sizes = sorted(t.value("params") for t in study.trials)
    assert {chosen[0].value("params"), chosen[1].value("params")} <= set(sizes[-4:]), "the largest of 60"


def test_scores_are_kept_and_never_computed_again(study, monkeypatch):
    prepared = prepare(Settings(data="digits", limit_train=200), Given(space=WIDE))
    with Store.open(study.path) as store:
        scores = Scores(prepared, store, "params")
        monkeypatch.setattr(scores.evaluator, "run", None)
        assert len(scores.known) >= 60
        trial = study.trials[0]
        assert scores([trial.architecture]) == [trial.value("params")]


def test_a_study_goes_on_as_if_it_had_not_ended(tmp_path, study):
    run(tmp_path / "s", trials=4)
    again = resume(tmp_path / "s", data="digits", space=WIDE, trials=9)
    assert [t.architecture for t in again.trials] == [t.architecture for t in study.trials]


def test_how_many_are_scored_is_decided_once(tmp_path, monkeypatch):
    """The clock says so; when the study goes on, it may say something else."""
    prepared = prepare(Settings(data="digits", limit_train=200, screen="params"), Given(space=WIDE))
    setting = Setting(WIDE, prepared.objectives, 0, Fidelity("train", 1))
    with Store.create(tmp_path / "s", {"name": "t"}) as store:
        for count in (60, 200):
            monkeypatch.setattr(screening, "_count", lambda *_, count=count: count)
            screening.screened(prepared, store, "random", {}, setting, 9)
            assert store.meta["screen"] == {"score": "params", "scored": 60, "trained": 3}


def test_a_network_without_a_score_has_none(tmp_path, monkeypatch):
    prepared = prepare(Settings(data="digits", limit_train=200), Given(space=WIDE))
    with Store.create(tmp_path / "s", {"name": "t"}) as store:
        scores = Scores(prepared, store, "params")
        monkeypatch.setattr(scores.evaluator, "run", lambda *_: (_ for _ in ()).throw(RuntimeError("no")))
        (value,) = scores([WIDE.sample(0)])
        assert math.isnan(value)
        assert math.isnan(Scores(prepared, store, "params").known[WIDE.sample(0)])
        assert store.notes("scores")[0].body["without"] == {"RuntimeError: no": 1}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"screen": "synflaw"}, "synflaw"),
        ({"screen": "synflow", "strategy": "darts"}, "screen='synflow' scores networks before our own training"),
    ],
)
def test_what_cannot_be_screened_is_refused(more, message):
    with pytest.raises(UsageError, match=message):
        prepare(Settings(data="digits", **more), Given())


def test_the_report_says_what_the_score_was_worth(study):
    from searchitect.report.savings import screening_words

    told = {"score": "synflow", "scored": 1000, "trained": 50, "rho": 0.1, "low": -0.3, "high": 0.5, "n": 12}
    assert screening_words(told | {"on": False}) == (
        "synflow of 1,000 untrained networks chose the first 50 to train; rank correlation with training 0.10 "
        "(-0.30 to 0.50) on 12 that it did not choose: it was switched off"
    )
    few = told | {"rho": 0.0, "low": -1.0, "high": 1.0, "n": 3, "on": True}
    assert screening_words(few).endswith("to train; 3 measured that it did not choose are too few to judge it")
    assert screening_words({}) == ""
    assert "params of 60 untrained networks chose the first 3" in screening_words(study.meta["screen"])
