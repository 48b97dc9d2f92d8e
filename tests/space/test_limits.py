"""Limits that a space declares: read, stored, named in errors, and kept by every strategy and by searches."""

import json
import pickle

import pytest
import torch.nn as nn

from searchitect import OUTPUTS, Manual, Space, lazy, limit, one_of, resume, search
from searchitect.errors import SpaceError, UsageError
from searchitect.nets import Costs
from searchitect.records import Fidelity, Measurement, State, Trial, objectives
from searchitect.strategies import STRATEGIES, Setting, make_strategy

L = lazy(nn)


def small(architecture):
    """Not both widths large."""
    return architecture.decisions["0.width"] + architecture.decisions["2.width"] <= 24


def make(limits=()):
    return Space(
        L.Sequential(
            L.LazyLinear(one_of(8, 16, 32, name="width")), one_of(L.ReLU(), L.Tanh()),
            L.LazyLinear(one_of(8, 16, 32, name="width")), L.LazyLinear(OUTPUTS),
        ),
        limits=limits,
    )  # fmt: skip


def params(architecture, features=4, outputs=2):
    first, second = architecture.decisions["0.width"], architecture.decisions["2.width"]
    return first * (features + 1) + second * (first + 1) + outputs * (second + 1)


@pytest.mark.parametrize(
    ("text", "metric", "direction", "bound"),
    [
        ("params < 1e6", "params", "min", 1e6),
        (" macs>200 ", "macs", "max", 200),
        ("memory_mb <= 0.5", "memory_mb", "min", 0.5),
    ],
)
def test_text_is_read(text, metric, direction, bound):
    found = limit(text)
    assert (found.metric, found.direction, found.bound) == (metric, direction, bound)
    assert limit(str(found)).bound == bound


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("latency_ms < 2", "objectives"),
        ("params", "params < 1e6"),
        ("params < many", "'many' is not a number"),
        ("params < nan", "finite number"),
        (3, "give a function"),
    ],
)
def test_what_cannot_be_a_limit_says_why(wrong, said):
    with pytest.raises(SpaceError, match=said):
        limit(wrong)


def test_contradicting_limits_are_refused_at_definition():
    with pytest.raises(SpaceError, match="contradict"):
        make(["params < 100", "params > 100"])
    assert len(make(["params < 101", "params > 100"]).limits) == 2


def test_feasible_is_what_the_limits_say():
    costs = Costs(make(["params < 500", limit(small)]), (4,), 2)
    for architecture in costs.space.enumerate():
        kept = params(architecture) < 500 and small(architecture)
        assert costs.feasible(architecture) is kept
        assert (costs.excess(architecture) == 0.0) is kept
        assert costs.of(architecture).params == params(architecture)
    kept = [a for a in costs.space.enumerate() if costs.feasible(a)]
    assert 0 < len(kept) < int(costs.space.size)


def test_files_keep_limits_and_name_functions():
    space = make(["params < 500", small])
    text = space.to_json()
    assert space.fingerprint != make().fingerprint
    target = f"{small.__module__}.small"
    again = Space.from_json(text, targets={target: small})
    assert again.fingerprint == space.fingerprint
    assert [str(one) for one in again.limits] == ["params < 500", target]
    assert [again.allows(a) for a in again.enumerate()] == [small(a) for a in again.enumerate()]
    alone = Space.from_json(text)
    with pytest.raises(SpaceError, match="function of yours"):
        alone.allows(alone.sample(0))
    back = pickle.loads(pickle.dumps(space))
    assert back.limits[1].function is small


def test_functions_without_a_name_work_but_cannot_be_written():
    space = make(lambda a: a.decisions["0.width"] == 8)
    assert {a.decisions["0.width"] for a in space.enumerate() if space.allows(a)} == {8}
    with pytest.raises(SpaceError, match="lambda"):
        space.to_json()


def test_damaged_files_are_refused():
    body = json.loads(make(["params < 500"]).to_json())
    for wrong in (
        {"metric": "latency_ms", "direction": "min", "bound": 2},
        {"metric": "params"},
        {"target": "os; x"},
        3,
    ):
        with pytest.raises(SpaceError, match="not a space file"):
            Space.from_json(json.dumps(body | {"limits": [wrong]}))


def test_a_function_that_fails_is_named_with_what_it_saw():
    with pytest.raises(SpaceError, match=r"KeyError.*'depth'.*0\.width"):
        make(lambda a: a.decisions["depth"] < 3).allows(make().sample(0))
    with pytest.raises(SpaceError, match="True or False, got 3"):
        make(lambda _a: 3).allows(make().sample(0))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_proposes_only_what_keeps_them(name):
    costs = Costs(make(["params < 500", small]), (4,), 2)
    aims = objectives(["min score"])
    strategy = make_strategy(name, Setting(costs.space, aims, 3, Fidelity("function", 9), costs.feasible), {})
    for number in range(6):
        found = strategy.ask(1)
        if not found:
            break
        proposal = found[0]
        assert params(proposal.architecture) < 500
        assert small(proposal.architecture)
        measured = Measurement({"score": float(params(proposal.architecture))})
        strategy.tell(Trial(number, proposal, State.DONE, measured))
    assert number == 5


def test_an_empty_remainder_names_the_limit():
    costs = Costs(make(["params < 10"]), (4,), 2)
    setting = Setting(costs.space, objectives(["min score"]), 0, Fidelity(), costs.feasible)
    with pytest.raises(SpaceError, match=r"almost empty.*params < 10"):
        make_strategy("regularized-evolution", setting, {}).ask(1)


def test_a_search_keeps_them_and_goes_on_only_with_the_function(tmp_path):
    def score(_model, trial):
        return float(params(trial.architecture))

    path = tmp_path / "study"
    options = {"objectives": ["min score"], "executor": "serial", "finalize": False, "path": str(path)}
    study = search(make(["params < 500", small]), evaluate=score, sample=(4,), outputs=2, trials=6, **options)
    assert len(study.trials) >= 6
    assert all(params(t.architecture) < 500 and small(t.architecture) for t in study.trials)
    assert study.meta["space"]["limits"] == ["params < 500", f"{small.__module__}.small"]
    with pytest.raises(UsageError, match=r"limit .*small is code of yours.*space="):
        resume(path, evaluate=score, trials=7)
    again = resume(path, evaluate=score, space=make(["params < 500", small]), trials=7)
    assert len(again.trials) > len(study.trials) - 1
    with pytest.raises(UsageError, match="space has changed"):
        resume(path, evaluate=score, space=make(["params < 600", small]), trials=8)
    with pytest.raises(UsageError, match="pass sample="):
        search(make(["params < 500"]), evaluate=score, trials=2, **options | {"path": str(tmp_path / "other")})


def test_by_hand_functions_count_and_costs_are_refused(tmp_path):
    with Manual(make([small]), "min score", tmp_path / "mine") as study:
        for trial in study.take(8):
            assert small(trial.architecture)
            study.tell(trial, score=float(params(trial.architecture)))
    with pytest.raises(UsageError, match="Manual knows none"):
        Manual(make(["params < 500"]), "min score", tmp_path / "other")
