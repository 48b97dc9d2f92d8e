"""Objectives as they are written, limits, and which trial is best or on the front."""

import itertools
import json
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import get_scorer, get_scorer_names

from searchitect.errors import UsageError
from searchitect.records import (
    COST_METRICS,
    KNOWN_METRICS,
    SCORERS,
    Cause,
    Failure,
    Fidelity,
    Measurement,
    Objective,
    Proposal,
    State,
    Trial,
    best,
    candidates,
    dominates,
    feasible,
    front,
    goals,
    jsonable,
    losses,
    objective,
    objectives,
    text_of,
)
from searchitect.space import Architecture

READ = {
    "accuracy": ("accuracy", "max", None, ""),
    "loss": ("loss", "min", None, ""),
    "latency_ms": ("latency_ms", "min", None, "ms"),
    "memory_mb": ("memory_mb", "min", None, "MB"),
    " accuracy ": ("accuracy", "max", None, ""),
    "max accuracy": ("accuracy", "max", None, ""),
    "min accuracy": ("accuracy", "min", None, ""),
    "min cost": ("cost", "min", None, ""),
    "max  score": ("score", "max", None, ""),
    "f1_macro": ("f1_macro", "max", None, ""),
    "neg_log_loss": ("neg_log_loss", "max", None, ""),
    "latency_ms < 2": ("latency_ms", "min", 2.0, "ms"),
    "latency_ms<2": ("latency_ms", "min", 2.0, "ms"),
    "latency_ms <= 2.5": ("latency_ms", "min", 2.5, "ms"),
    "params < 1e6": ("params", "min", 1e6, ""),
    "f1 > 0.9": ("f1", "max", 0.9, ""),
    "my_metric >= -3": ("my_metric", "max", -3.0, ""),
    "größe < 5": ("größe", "min", 5.0, ""),
}


@pytest.mark.parametrize("text", READ)
def test_objective_is_read(text):
    read = objective(text)
    assert (read.metric, read.direction, read.limit, read.unit) == READ[text]
    assert objective(str(read)) == read
    assert objective(read) is read
    assert read.is_limit == (READ[text][2] is not None)


WRONG = {
    "": "is not known",
    "acuracy": "'max acuracy' or 'min acuracy'",
    "cost": "'max cost' or 'min cost'",
    "max": "is not known",
    "max two words": "is not known",
    "best accuracy": "is not known",
    "max a-b": "is not known",
    "latency_ms <": "'' is not a number",
    "latency_ms < fast": "'fast' is not a number.*'latency_ms < 2'",
    "latency_ms < nan": "metric < number",
    "latency ms < 2": "metric < number",
    "< 2": "metric < number",
    "1 < latency_ms < 2": "'latency_ms < 2' is not a number",
    "max accuracy > 0.9": "metric > number",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_objective_says_how_to_write_it(text):
    with pytest.raises(UsageError, match=WRONG[text]) as caught:
        objective(text)
    assert repr(text) in str(caught.value)


def test_several_objectives():
    read = objectives(["accuracy", "latency_ms < 2", "min params"])
    assert [str(o) for o in read] == ["accuracy", "latency_ms < 2", "params"]
    assert [o.metric for o in goals(read)] == ["accuracy", "params"]
    assert objectives("loss") == objectives(["loss"]) == objectives(Objective("loss", "min"))
    with pytest.raises(UsageError, match="at least one goal"):
        objectives(["latency_ms < 2"])
    with pytest.raises(UsageError, match="at least one goal"):
        objectives([])
    with pytest.raises(UsageError, match="given twice"):
        objectives(["accuracy", "max accuracy"])
    both = objectives(["accuracy", "accuracy > 0.9", "latency_ms > 1", "latency_ms < 2"])  # a range is no contradiction
    assert len(both) == 4


@pytest.mark.parametrize(("low", "high"), [("3", "2"), ("2", "2"), ("2", "-1"), ("inf", "inf"), ("0", "-0.0")])
def test_contradictory_limits_are_refused(low, high):
    for order in ([f"latency_ms > {low}", f"latency_ms < {high}"], [f"latency_ms < {high}", f"latency_ms > {low}"]):
        with pytest.raises(UsageError, match=r"contradict each other.*leave one out"):
            objectives(["accuracy", *order, "params < 5"])


def test_scorers_are_those_of_scikit_learn_and_point_upwards():
    assert set(get_scorer_names()) >= SCORERS
    for name in SCORERS:
        scorer = get_scorer(name)
        # a negated loss carries its sign in the name
        assert (scorer._sign == 1) or name.startswith("neg_"), name
        assert objective(name).direction == "max"
    assert set(COST_METRICS) <= set(KNOWN_METRICS)


def trial(number, state=State.DONE, fidelity=None, **metrics):
    architecture = Architecture("space", {"n": number})
    measured = Measurement(metrics) if metrics else None
    return Trial(number, Proposal(architecture, fidelity or Fidelity(epochs=3)), state, measurement=measured)


GOALS = objectives(["accuracy", "params", "latency_ms < 2"])


def test_limits_hold_strictly_and_missing_numbers_keep_none():
    assert feasible({"latency_ms": 1.9}, GOALS)
    assert not feasible({"latency_ms": 2.0}, GOALS)
    assert not feasible({"latency_ms": math.nan}, GOALS)
    assert not feasible({}, GOALS)
    assert objective("f1 > 0.5").kept(0.6)
    assert not objective("f1 > 0.5").kept(0.5)
    assert objective("accuracy").kept(None)
    assert objective("latency_ms < inf").kept(1e300)
    far = {
        "latency_ms < 2": 0.5,
        "latency_ms > 4": 0.25,
        "latency_ms < 3": 1e-9,
        "latency_ms": 0.0,
        "latency_ms > 2": 0.0,
    }
    assert {text: objective(text).excess(3.0) for text in far} == far
    assert objective("latency_ms < 2").excess(math.nan) == math.inf


def test_losses_turn_every_goal_downwards():
    measured = trial(0, accuracy=0.9, params=10.0, latency_ms=1.0)
    assert losses(measured, GOALS) == (-0.9, 10.0)
    assert losses(trial(0, accuracy=0.9), GOALS) is None
    assert losses(trial(0), GOALS) is None
    assert objective("accuracy").loss(math.nan) == math.inf
    assert objective("loss").loss(math.nan) == math.inf


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), max_size=12))
def test_best_and_front_against_their_definitions(points):
    trials = [trial(i, accuracy=a / 4, params=float(p), latency_ms=float(m)) for i, (a, p, m) in enumerate(points)]
    allowed = [t for t in trials if t.value("latency_ms") < 2]
    pareto = [
        t
        for t in allowed
        if not any(
            o.value("accuracy") >= t.value("accuracy")
            and o.value("params") <= t.value("params")
            and (o.value("accuracy"), o.value("params")) != (t.value("accuracy"), t.value("params"))
            for o in allowed
        )
    ]
    found = front(trials, GOALS)
    assert {t.number for t in found} == {t.number for t in pareto}
    assert [t.value("accuracy") for t in found] == sorted((t.value("accuracy") for t in found), reverse=True)
    chosen = best(trials, GOALS)
    if not allowed:
        assert chosen is None
        return
    top = max(t.value("accuracy") for t in allowed)
    least = min(t.value("params") for t in allowed if t.value("accuracy") == top)
    same = [t.number for t in allowed if (t.value("accuracy"), t.value("params")) == (top, least)]
    assert chosen.number == min(same)
    assert chosen in found


def test_dominance_is_its_definition_on_all_small_pairs():
    points = list(itertools.product(range(3), repeat=2))
    for a, b in itertools.product(points, points):
        assert dominates(a, b) == (a != b and a[0] <= b[0] and a[1] <= b[1])
    with pytest.raises(ValueError, match="longer"):
        dominates((1,), (1, 2))


def test_only_done_finite_feasible_trials_are_candidates():
    goal = objectives(["accuracy", "latency_ms < 2"])
    trials = [
        trial(0, accuracy=math.nan, latency_ms=1.0),
        trial(1, accuracy=math.inf, latency_ms=1.0),
        trial(2, accuracy=0.99, latency_ms=3.0),
        trial(3, accuracy=0.99),
        trial(4, State.FAILED, accuracy=0.99, latency_ms=1.0),
        trial(5, State.PRUNED, accuracy=0.99, latency_ms=1.0),
        trial(6, State.RUNNING),
        trial(7, accuracy=0.5, latency_ms=1.0),
    ]
    assert [t.number for t in candidates(trials, goal)] == [7]
    assert best(trials, goal).number == 7
    assert best(trials[:7], goal) is None
    assert front([], goal) == []


def test_the_highest_fidelity_reached_decides():
    goal = objectives("accuracy")
    order = [
        Fidelity("zero_cost"), Fidelity("inherited"), Fidelity(epochs=1), Fidelity(epochs=4, data=0.5),
        Fidelity(epochs=4, resolution=16), Fidelity(epochs=4),
    ]  # fmt: skip
    trials = [trial(i, fidelity=f, accuracy=1.0 - i / 10) for i, f in enumerate(order)]
    for n in range(1, len(trials) + 1):
        assert best(trials[:n], goal).number == n - 1
    # a failed trial at a higher fidelity does not hide those below
    assert best([*trials, trial(9, State.FAILED, Fidelity(epochs=99))], goal).number == 5


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(NUMBERS)
def test_numbers_travel_as_text_when_json_has_none(number):
    text = json.dumps(jsonable({"a": [number, (number,)]}), allow_nan=False)
    back = json.loads(text)["a"]
    for value in (back[0], back[1][0]):
        assert repr(float(value)) == repr(number)
    assert text_of(1.5) == 1.5
    assert [text_of(v) for v in (math.inf, -math.inf)] == ["inf", "-inf"]


def test_records_go_to_json_and_back():
    chosen = Architecture("s", {"a": 1, "b": 0.1, "c": None, "d": True})
    full = Trial(
        3, Proposal(chosen, Fidelity(epochs=2), 4, (1, 2), 9, "mutate"),
        State.FAILED, Measurement({"accuracy": 0.1}, 1.5, 2, "cpu", ({"loss": 0.3},), ("note",)),
        Failure(Cause.NOT_FINITE, "loss became nan", "Traceback", True), 2, 1, "key", 77, 1.0, 2.0, 1,
    )  # fmt: skip
    again = msgspec.json.decode(msgspec.json.encode(full), type=Trial)
    assert again == full
    assert again.proposal.architecture.decisions["d"] is True
    assert again.architecture == full.proposal.architecture
    assert again.value("accuracy") == 0.1
    assert again.value("loss") is None
    with pytest.raises(AttributeError):
        full.number = 4
