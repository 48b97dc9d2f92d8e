"""Studies as Optuna sees them."""

import math

import optuna
import pytest
from optuna.trial import TrialState

from searchitect import Manual, Space, integer, one_of, real
from searchitect.errors import ArchitectureError, StorageError, UsageError
from searchitect.interop.optuna import StudyStorage, architectures, as_optuna, frozen
from searchitect.records import Fidelity, Measurement, Proposal, State, Trial, objectives, thoroughness
from searchitect.space import Layer

SPACE = Space(
    Layer("toy.Net", {
        "width": one_of(16, 32, 64), "act": one_of("relu", "tanh"), "depth": integer(1, 5),
        "rate": real(0.001, 1.0, log=True),
    })
)  # fmt: skip


def value(architecture):
    d = architecture.decisions
    return d["width"] / 64 + d["depth"] / 5 - (d["act"] == "tanh") + math.log10(d["rate"])


@pytest.fixture
def folder(tmp_path):
    with Manual(SPACE, ["max score", "cost < 40"], tmp_path / "first") as study:
        for trial in study.take(12):
            if trial.number == 3:
                study.tell_failed(trial, "no such luck\nat line 3")
            else:
                study.tell(trial, score=value(trial.architecture), cost=trial.architecture.decisions["width"])
        study.ask()
    return tmp_path / "first"


def test_trials_are_those_of_the_study(folder):
    seen = as_optuna(folder)
    with Manual(SPACE, ["max score", "cost < 40"], folder) as own:
        trials = own.trials
    assert [t.params for t in seen.trials] == [dict(t.architecture.decisions) for t in trials]
    assert seen.trials[3].state is TrialState.FAIL
    assert seen.trials[3].user_attrs["failure"] == "user code: no such luck"
    assert seen.trials[-1].state is not TrialState.COMPLETE
    for mine, theirs in zip(trials, seen.trials, strict=True):
        if theirs.state is TrialState.COMPLETE:
            assert theirs.value == value(mine.architecture)
            assert (theirs.constraints["cost < 40"] <= 0) == (mine.value("cost") < 40)
    kept = [t for t in trials if t.measurement and t.value("cost") < 40]
    assert seen.best_value == max(t.value("score") for t in kept)
    for theirs in seen.trials:
        theirs._validate()


def test_trials_of_lower_fidelities_are_pruned():
    aims, architecture = objectives("max score"), SPACE.sample(0)
    short, full = Fidelity("train", 1), Fidelity("train", 3)
    trial = Trial(0, Proposal(architecture, short), State.DONE, Measurement({"score": 1.0}))
    for top, state, values in ((full, TrialState.PRUNED, None), (short, TrialState.COMPLETE, [1.0])):
        seen = frozen(trial, SPACE, aims, 0, thoroughness(top))
        assert (seen.state, seen.values) == (state, values)


def test_a_value_at_a_limit_does_not_keep_it():
    aims = objectives(["max score", "cost < 40"])
    for cost, kept in ((40.0, False), (39.9, True), (41.0, False)):
        trial = Trial(0, Proposal(SPACE.sample(0)), State.DONE, Measurement({"score": 1.0, "cost": cost}))
        assert (frozen(trial, SPACE, aims, 0, None).constraints["cost < 40"] <= 0) is kept is aims[1].kept(cost)


def test_a_failure_without_words_is_no_obstacle(tmp_path):
    with Manual(SPACE, "max score", tmp_path / "s") as study:
        study.tell_failed(study.ask(), "")
    (trial,) = as_optuna(tmp_path / "s").trials
    assert trial.user_attrs["failure"] == "user code: "


def test_it_is_read_only_and_live(folder):
    seen = as_optuna(folder)
    seen.trials[0].user_attrs.clear()
    assert seen.trials[0].user_attrs, "what is changed in a look is not in the next one"
    before = len(seen.trials)
    for write in (lambda: seen.ask(), lambda: seen.set_user_attr("a", 1), lambda: seen.optimize(lambda _: 0.0, 1)):
        with pytest.raises(UsageError, match="read-only"):
            write()
    with Manual(SPACE, ["max score", "cost < 40"], folder) as study:
        for trial in study.take(15):
            study.tell(trial, score=1.0, cost=1.0)
    assert len(seen.trials) > before
    assert len(seen.get_trials(states=(TrialState.COMPLETE,))) == 14


@pytest.mark.slow
def test_a_copy_for_the_dashboard_and_pictures(folder, tmp_path):
    view = StudyStorage(folder)
    target = f"sqlite:///{tmp_path / 'optuna.db'}"
    optuna.copy_study(from_study_name="first", from_storage=view, to_storage=target)
    copied = optuna.load_study(study_name="first", storage=target)
    assert [t.params for t in copied.trials] == [t.params for t in as_optuna(folder).trials]
    importance = optuna.importance.get_param_importances(
        as_optuna(folder), evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    assert set(importance) == {d.name for d in SPACE.decisions}


def test_two_studies_in_one_storage(folder, tmp_path):
    with Manual(SPACE, ["min loss", "max score"], tmp_path / "second") as study:
        trial = study.ask()
        study.tell(trial, loss=1.0, score=2.0)
    view = StudyStorage(folder, tmp_path / "second")
    assert [s.study_name for s in view.get_all_studies()] == ["first", "second"]
    second = optuna.load_study(study_name="second", storage=view)
    assert second.trials[0].values == [1.0, 2.0]
    assert [d.name for d in second.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert second.metric_names == ["loss", "score"]
    assert view.get_trial(second.trials[0]._trial_id).params == second.trials[0].params
    with pytest.raises(KeyError):
        view.get_all_trials(2)


def test_what_optuna_found_comes_over(tmp_path):
    theirs = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def goal(trial):
        width = trial.suggest_categorical("width", [16, 32, 64])
        trial.suggest_categorical("act", ["relu", "tanh"])
        trial.suggest_int("depth", 1, 5)
        trial.suggest_float("rate", 0.001, 1.0, log=True)
        if trial.number == 2:
            raise optuna.TrialPruned
        return float(width)

    theirs.optimize(goal, n_trials=6)
    found = architectures(theirs, SPACE)
    assert [v for _, (v,) in found] == [t.value for t in theirs.trials if t.value is not None]
    with Manual(SPACE, "max score", tmp_path / "s", strategy="regularized-evolution") as study:
        for architecture, (score,) in found:
            study.record(architecture, score=score)
        assert study.best.value("score") == theirs.best_value
        with pytest.raises(UsageError, match="the objective 'score' is missing, loss was given"):
            study.record(found[0][0], loss=1.0)
        assert study.ask().number == 5
    with Manual(SPACE, "max score", tmp_path / "s", strategy="regularized-evolution") as again:
        numbers = [again.record(architecture, score=score).number for architecture, (score,) in found]
        assert numbers == [0, 1, 2, 3, 4], "a script that runs again records nothing twice"
        assert again.record(found[0][0], score=100.0).number == 6, "another result is another trial"
    theirs.add_trial(
        optuna.create_trial(
            params={"size": 3}, distributions={"size": optuna.distributions.IntDistribution(1, 5)}, value=1.0
        )
    )
    with pytest.raises(ArchitectureError, match="'width' is missing"):
        architectures(theirs, SPACE)


def test_no_study_there(tmp_path):
    with pytest.raises(StorageError):
        as_optuna(tmp_path)
    with pytest.raises(UsageError, match="one or several"):
        StudyStorage()
