"""The adapter against Optuna itself: what it asks, what it is told, what a sampler can see of it."""

import logging
import time

import optuna
import pytest

from searchitect.errors import UsageError
from searchitect.records import Cause, Failure, Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import derive, stream
from searchitect.space import Layer, Space, integer, one_of, real
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.optuna_samplers import OptunaTPE
from searchitect.strategies.optuna_study import Adapter, _suggestion
from searchitect.testing.strategy import toy_space, toy_value

TRIALS = optuna.trial.TrialState


def cell(edges=4):
    """A flat space of unordered choices, as tables of cells are."""
    return Space(Layer("toy.Cell", {f"e{i}": one_of("none", "skip", "conv", "pool") for i in range(edges)}))


def told(number, proposal, state=State.DONE, **metrics):
    failure = Failure(Cause.USER_CODE, "broken") if state is State.FAILED else None
    return Trial(number, proposal, state, measurement=Measurement(metrics), failure=failure)


def score(decisions):
    return sum(value == "conv" for value in decisions.values()) - 0.5 * (decisions["e0"] == "conv")


def plain_tpe(seed, names, rounds):
    """Plain Optuna, a new sampler for every ask, without any of the adapter."""
    study = optuna.create_study(direction="minimize")
    proposals = []
    for number in range(rounds):
        study.sampler = optuna.samplers.TPESampler(seed=derive(seed, number, "optuna", 0) % 2**32)
        trial = study.ask()
        labels = ("none", "skip", "conv", "pool")
        chosen = {name: labels[trial.suggest_categorical(name, range(4))] for name in names}
        study.tell(trial, -score(chosen))
        proposals.append(chosen)
    return proposals


def test_proposals_are_those_of_plain_optuna():
    """Also shows that handing the sampler's memory to the next sampler changes nothing."""
    space = cell()
    strategy = make_strategy("optuna-tpe", Setting(space, objectives("max score"), 3))
    mine = []
    for number in range(40):
        (proposal,) = strategy.ask()
        mine.append(proposal.architecture.decisions)
        strategy.tell(told(number, proposal, score=score(proposal.architecture.decisions)))
    assert mine == plain_tpe(3, list(space.by_name), 40)


def test_without_the_samplers_memory_proposals_are_the_same():
    def run(memory):
        strategy = OptunaTPE(Setting(toy_space(), objectives("max score"), 1))
        strategy.adapter.memory = memory
        for number in range(30):
            (proposal,) = strategy.ask()
            strategy.tell(told(number, proposal, score=toy_value(proposal.architecture)))
        return [t.params for t in strategy.adapter.study.trials]

    assert run("_search_space") == run("no_such_attribute")


def test_an_ask_takes_little_more_than_optunas_own(fresh_heap):
    """CPU time side by side at about 200 told trials; without the memory it is four times as much."""
    space = cell(6)
    strategy = OptunaTPE(Setting(space, objectives("max score"), 0))
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=0))
    mine = theirs = 0.0
    for number in range(230):
        before = time.process_time()
        (proposal,) = strategy.ask()
        strategy.tell(told(number, proposal, score=score(proposal.architecture.decisions)))
        middle = time.process_time()
        trial = study.ask()
        positions = [trial.suggest_categorical(name, range(4)) for name in space.by_name]
        study.tell(trial, -float(positions.count(2)))
        if number >= 180:
            mine, theirs = mine + middle - before, theirs + time.process_time() - middle
    assert mine < 1.8 * theirs, (mine, theirs)


def test_values_and_suggestions_are_inverse_for_every_kind_of_decision():
    space = Space(
        Layer(
            "toy.Net",
            {
                "mixed": one_of(2, "2", True, None),
                "sizes": one_of(64, 16, 32),
                "steps": integer(3, 15, 4),
                "log": integer(2, 100, log=True),
                "rate": real(1e-4, 1e-1, log=True),
            },
        )
    )
    adapter = OptunaTPE(Setting(space, objectives("max score"), 0)).adapter
    assert isinstance(adapter, Adapter)
    for seed in range(60):
        architecture = space.sample(seed)
        back = adapter._suggested(adapter._fixed(architecture))
        assert {k: repr(v) for k, v in back.decisions.items()} == {
            k: repr(v) for k, v in architecture.decisions.items()
        }
    # numbers are suggested by their order, whatever the order in which they were written
    by_name = space.by_name
    assert [_suggestion(by_name["sizes"], v) for v in (16, 32, 64)] == [0, 1, 2]
    assert [_suggestion(by_name["mixed"], v) for v in (2, "2", True, None)] == [0, 1, 2, 3]


def test_every_state_reaches_optuna():
    space = cell()
    strategy = OptunaTPE(Setting(space, objectives(["max score", "cost < 10", "size > 2"]), 0))
    proposals = strategy.ask(6)
    study = strategy.adapter.study
    assert [t.state for t in study.trials] == [TRIALS.RUNNING] * 6
    strategy.tell(told(0, proposals[0], score=0.5, cost=5.0, size=3.0))
    strategy.tell(told(1, proposals[1], score=0.9, cost=15.0, size=2.0))
    strategy.tell(told(2, proposals[2], State.FAILED))
    strategy.tell(told(3, proposals[3], score=float("nan"), cost=1.0, size=3.0))
    strategy.tell(told(4, proposals[4], State.PRUNED, score=0.25))
    states = [t.state for t in study.trials]
    assert states == [TRIALS.COMPLETE, TRIALS.COMPLETE, TRIALS.FAIL, TRIALS.FAIL, TRIALS.PRUNED, TRIALS.RUNNING]
    assert study.trials[0].constraints == {"cost < 10": -0.5, "size > 2": -0.5}
    assert study.trials[1].constraints == {"cost < 10": 0.5, "size > 2": 1e-12}  # exactly at a strict limit: broken
    assert study.trials[0].values == [-0.5]
    assert study.trials[4].intermediate_values == {1: -0.25}
    stranger = Proposal(space.sample(9), origin="enqueued")
    strategy.tell(told(6, stranger, score=0.1, cost=1.0))
    assert study.trials[6].constraints == {"cost < 10": -0.9, "size > 2": 1.0}  # not measured: not kept
    assert len(study.trials) == 7


def test_a_draw_told_for_another_architecture_does_not_finish_it():
    space = cell()
    strategy = OptunaTPE(Setting(space, objectives("max score"), 0))
    (proposal,) = strategy.ask()
    other = next(a for a in space.enumerate() if a != proposal.architecture)
    strategy.tell(told(0, Proposal(other, draw=0), score=1.0))
    assert [t.state for t in strategy.adapter.study.trials] == [TRIALS.RUNNING, TRIALS.COMPLETE]


def test_an_infeasible_proposal_is_no_running_trial_and_the_last_resort_is_random():
    space = cell(6)
    allowed = {a for i, a in enumerate(space.enumerate()) if i % 97 == 5}
    strategy = OptunaTPE(Setting(space, objectives("max score"), 0, feasible=lambda a: a in allowed))
    origins = set()
    for number in range(30):
        (proposal,) = strategy.ask()
        assert proposal.architecture in allowed
        assert sum(t.state is TRIALS.RUNNING for t in strategy.adapter.study.get_trials(deepcopy=False)) == 1
        origins.add(proposal.origin)
        strategy.tell(told(number, proposal, score=score(proposal.architecture.decisions)))
    assert "sample" in origins


@pytest.mark.parametrize("seed", range(3))
def test_limits_steer_it(seed):
    """Told that more than two convolutions break a limit, it proposes few of them later."""
    space = cell(6)
    strategy = OptunaTPE(Setting(space, objectives(["max score", "cost < 2.5"]), seed))
    kept = 0
    for number in range(90):
        (proposal,) = strategy.ask()
        convs = sum(v == "conv" for v in proposal.architecture.decisions.values())
        kept += number >= 50 and convs <= 2
        strategy.tell(told(number, proposal, score=float(convs), cost=float(convs)))
    at_random = 0.83  # P(at most 2 of 6 are convolutions); without the limit it would be near 0
    assert kept / 40 > 0.8 * at_random


def test_it_finds_more_than_random_on_the_toy_over_twelve_seeds():
    def best_of(name, seed):
        strategy, best = make_strategy(name, Setting(cell(6), objectives("max score"), seed)), -1.0
        for number in range(50):
            (proposal,) = strategy.ask()
            value = score({**proposal.architecture.decisions})
            best = max(best, value)
            strategy.tell(told(number, proposal, score=value))
        return best

    pairs = [(best_of("optuna-tpe", s), best_of("random", s)) for s in range(12)]
    assert sum(a > b for a, b in pairs) >= sum(a < b for a, b in pairs) + 5, pairs


@pytest.mark.slow
def test_gp_proposals_are_those_of_plain_optuna():
    space = cell(3)
    strategy = make_strategy("optuna-gp", Setting(space, objectives("max score"), 5), {"startup": 4})
    study = optuna.create_study(direction="minimize")
    for number in range(7):
        (proposal,) = strategy.ask()
        seed = derive(5, number, "optuna", 0) % 2**32
        study.sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=4)
        trial = study.ask()
        chosen = {
            name: ("none", "skip", "conv", "pool")[trial.suggest_categorical(name, range(4))] for name in space.by_name
        }
        assert proposal.architecture.decisions == chosen
        value = score(chosen) + 0.1 * stream(0, number, "noise").normal()
        study.tell(trial, -value)
        strategy.tell(told(number, proposal, score=value))


def test_optuna_stays_quiet_and_its_verbosity_the_users(capfd):
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.INFO)
    try:
        make_strategy("optuna-tpe", Setting(cell(), objectives("max score"), 0)).ask(2)
        assert optuna.logging.get_verbosity() == logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
    assert capfd.readouterr().err == ""


def test_gp_without_torch_says_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="needs torch"):
        make_strategy("optuna-gp", Setting(cell(), objectives("max score"), 0))


@pytest.mark.parametrize(("name", "options"), [("optuna-tpe", {"candidates": 0}), ("optuna-gp", {"startup": -1})])
def test_bad_options_are_named(name, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        make_strategy(name, Setting(cell(), objectives("max score"), 0), options)
