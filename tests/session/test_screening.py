"""A score of untrained networks before the trainings of a study."""

import math

import pytest
from torch import nn

from searchitect import Settings, resume, search
from searchitect.errors import UsageError
from searchitect.records import Fidelity, Measurement, State, Trial, objectives
from searchitect.report.savings import rung_words
from searchitect.seeds import derive
from searchitect.session import screening
from searchitect.session.preparing import Given, prepare
from searchitect.session.screening import Scores
from searchitect.space import OUTPUTS, Layer, Space, lazy, one_of
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.control import Beside
from searchitect.strategies.shrinking import Shrinking

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


def test_a_rung_that_misleads_is_noted_said_once_and_shown(tmp_path):
    """ASHA inside of shrinking, beside a control: what follows 1 epoch is chance, what follows 3 and 9 is not."""
    space = Space(Layer("toy.Net", {f"n{i}": one_of(*range(8), name=f"n{i}") for i in range(4)}))
    setting = Setting(space, objectives("max score"), 0, Fidelity("train", 9))
    strategy = Shrinking(setting, "asha", {"rungs": [1, 3, 9]})
    heard, beside = [], Beside(strategy, make_strategy("random", setting), timed=False)
    with Store.create(tmp_path / "s", {"name": "t"}) as store:
        for number in range(300):
            (proposal,) = strategy.ask(1)
            chosen, epochs = proposal.architecture.decisions, proposal.fidelity.epochs
            value = derive(0, repr(chosen)) % 100 if epochs == 1 else sum(chosen.values())
            strategy.tell(Trial(number, proposal, State.DONE, Measurement({"score": float(value)})))
            screening.switched_off(beside, store, heard.append)
        screening.judged(beside, store)
        (note,), (first, second) = store.notes("rung off"), store.meta["rungs"]
        screening.switched_off(beside, store, heard.append)  # as a study that goes on does
    assert (note.body["epochs"], first["on"], second["on"]) == (1, False, True)
    (line,) = heard
    assert line.startswith("short trainings that mislead: 1 epoch against 3: rank correlation ")
    assert line.endswith("that went on, switched off")
    with Store.create(tmp_path / "other", {"name": "t"}) as store:
        screening.judged(make_strategy("random", setting), store)
        screening.switched_off(make_strategy("random", setting), store, heard.append)
        assert (store.meta.get("rungs"), len(heard)) == (None, 1)


def test_words_of_a_rung():
    told = {"epochs": 1, "next": 3, "rho": 0.62, "low": 0.41, "high": 0.77, "n": 34, "on": True}
    assert rung_words(told) == "1 epoch against 3: rank correlation 0.62 (0.41 to 0.77) on 34 that went on"
    assert rung_words(told | {"low": -1.0, "n": 2}) == "1 epoch against 3: 2 that went on are too few to judge"
    assert rung_words(told | {"on": False}).endswith("on 34 that went on, switched off")
    assert rung_words({}) == ""


def test_a_prior_mean_takes_a_score_or_a_column_of_a_table(tmp_path):
    gaussian = {"strategy": "gaussian-process", "strategy_options": {"prior": "params", "initial": 3}}
    found = search(WIDE, "digits", path=tmp_path / "s", trials=5, **gaussian, **SMALL)
    before = found.trials
    assert before[-1].proposal.origin == "model"
    with Store.open(found.path) as store:
        scored = {name for note in store.notes("scores") for name in (note.body["score"],)}
    assert scored == {"params"}
    again = resume(found.path, data="digits", space=WIDE, trials=6)
    assert again.trials[:5] == before
    column = {"table": "macro-cifar10", "seed": 0, "trials": 6}
    found = search(path=tmp_path / "t", **gaussian, **column)
    assert found.trials[-1].proposal.origin == "model"
    for wrong, message in (
        ({"strategy_options": {"prior": "synflow"}}, "no such column beforehand; known are"),
        ({"strategy_options": {"prior": "params"}, "table": None, "evaluate": lambda model: 1.0, "space": WIDE,
          "sample": (1, 8, 8), "outputs": 10}, "with evaluate= nobody scores"),
        ({"strategy_options": {"prior": "params"}, "table": None, "data": "digits", "screen": "synflow"}, "two scores"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            search(path=tmp_path / "wrong", **column | {"strategy": "gaussian-process"} | wrong)
    assert not (tmp_path / "wrong").exists()
