from __future__ import annotations

import math

import pytest
import report_fakes as fakes
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fakes import START, trial

from searchitect.records import Fidelity, State, best, front, objectives
from searchitect.report import tables

ACCURACY = objectives(["accuracy"])
BOTH = objectives(["accuracy", "latency_ms"])


def elapsed(moment):
    return moment - START


def test_progress_by_hand():
    trials = [
        trial(0, 0.80, ended=10),
        trial(1, 0.70, ended=20),
        trial(2, None, ended=30),  # failed: counts as ended, has no value
        trial(3, 0.85, ended=60),
        trial(4, 0.80, ended=40, source=0, seconds=0.0),  # reused, ended before 3
        trial(5, 0.90, state=State.PRUNED, ended=70),  # a pruned one is no candidate
        trial(6, 0.99, state=State.RUNNING),
    ]
    (curve,) = tables.progress_curve(trials, ACCURACY, elapsed)
    assert [(p.number, p.ended, p.seconds, p.value) for p in curve.steps] == [(0, 1, 10, 0.80), (3, 5, 60, 0.85)]
    assert [p.number for p in curve.points] == [0, 1, 4, 3]
    assert (curve.ended, curve.seconds) == (6, 70)


def test_progress_downwards_with_a_limit():
    wanted = objectives(["loss", "latency_ms < 2"])
    trials = [
        trial(0, None, state=State.DONE, loss=0.5, latency_ms=1.0),
        trial(1, None, state=State.DONE, loss=0.1, latency_ms=3.0),  # beyond the limit
        trial(2, None, state=State.DONE, loss=math.nan, latency_ms=1.0),
        trial(3, None, state=State.DONE, loss=0.4, latency_ms=1.9),
        trial(4, None, state=State.DONE, latency_ms=1.9),  # goal not measured
    ]
    (curve,) = tables.progress_curve(trials, wanted)
    assert [(p.number, p.value) for p in curve.steps] == [(0, 0.5), (3, 0.4)]
    assert curve.direction == "min"
    assert curve.seconds is None


def test_progress_never_mixes_fidelities():
    short, full, inherited = Fidelity("train", 3), Fidelity("train", 12), Fidelity("inherited")
    trials = [
        trial(0, 0.9, fidelity=inherited),
        trial(1, 0.6, fidelity=short),
        trial(2, 0.7, fidelity=short),
        trial(3, 0.5, fidelity=full),
        trial(4, 0.95, fidelity=inherited),
    ]
    curves = tables.progress_curve(trials, ACCURACY)
    assert [c.fidelity for c in curves] == [full, short, inherited]
    assert [[p.number for p in c.steps] for c in curves] == [[3], [1, 2], [0, 4]]


@pytest.mark.parametrize("wanted", [(), ACCURACY])
def test_progress_of_nothing(wanted):
    assert tables.progress_curve([], wanted) == []


def test_a_trial_without_a_time_counts_last():
    from msgspec.structs import replace

    trials = [replace(trial(0, 0.9), finished=None), trial(1, 0.8), trial(2, 0.85)]
    (curve,) = tables.progress_curve(trials, ACCURACY, elapsed)
    assert [(p.number, p.ended) for p in curve.points] == [(1, 1), (2, 2), (0, 3)]


values = st.one_of(st.none(), st.sampled_from([0.1, 0.5, 0.5, 0.9, math.nan, math.inf]))
kinds = st.sampled_from([Fidelity("train", 3), Fidelity("train", 9), Fidelity("inherited")])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(values, kinds, st.integers(0, 5)), max_size=25))
def test_the_incumbent_is_the_best_trial(rows):
    trials = [trial(n, v, fidelity=f, ended=float(e)) for n, (v, f, e) in enumerate(rows)]
    curves = tables.progress_curve(trials, ACCURACY)
    found = best(trials, ACCURACY)
    assert (curves[0].steps[-1].number if curves else None) == (None if found is None else found.number)
    for curve in curves:
        reached = [p.value for p in curve.steps]
        assert reached == sorted(reached)


def test_rows_by_hand():
    trials = [
        trial(0, 0.8, params=100.0, seconds=4.0),
        trial(1, None, ended=50),
        trial(2, 0.8, source=0, seconds=0.0, params=100.0),
        trial(3, 0.9, params=300.0, seconds=6.0),
        trial(4, state=State.RUNNING),
    ]
    rows = tables.trial_rows(trials, ACCURACY, {0: "finalist"})
    assert tables.shown_metrics(trials, ACCURACY) == ["accuracy", "params"]
    assert [r.values for r in rows] == [(0.8, 100.0), (None, None), (0.8, 100.0), (0.9, 300.0), (None, None)]
    assert [r.seconds for r in rows] == [4.0, 10.0, None, 6.0, None]
    assert [r.mark for r in rows] == ["finalist", "", "", "best", ""]
    assert [r.source for r in rows] == [None, None, 0, None, None]
    assert rows[1].problem == "not finite: the loss is nan in epoch 1"


def test_rows_beyond_the_limit_are_the_least_telling():
    trials = [trial(n, 0.5 + 0.01 * (n % 7)) for n in range(30)] + [trial(30)]
    rows = tables.trial_rows(trials, ACCURACY, {1: "winner"}, limit=6)
    # the marked one, then the four of value 0.56 (6, 13, 20, 27), then one of value 0.55
    assert [r.number for r in rows] == [1, 5, 6, 13, 20, 27]
    assert len(tables.trial_rows(trials, ACCURACY, limit=None)) == 31


def test_metrics_of_the_goals_come_first():
    trials = [trial(0, 0.9, zeta=1.0, latency_ms=1.0, loss=0.3), trial(1, 0.8, loss=0.2)]
    wanted = objectives(["latency_ms < 2", "accuracy"])
    assert tables.shown_metrics(trials, wanted) == ["accuracy", "latency_ms", "loss", "zeta"]
    assert tables.shown_metrics(trials, wanted, most=3) == ["accuracy", "latency_ms", "loss"]


def test_constant_decisions():
    trials = [trial(n, 0.5, decisions={"a": 1, "b": n, **({"c": 2} if n else {})}) for n in range(3)]
    assert tables.constant_decisions(trials) == {"a"}
    assert tables.constant_decisions(trials[:1]) == frozenset()
    assert tables.constant_decisions(trials[1:]) == {"a", "c"}


def test_front_by_hand():
    trials = [
        trial(0, 0.90, latency_ms=3.0),
        trial(1, 0.80, latency_ms=1.0),
        trial(2, 0.85, latency_ms=3.5),  # dominated by 0
        trial(3, 0.80, latency_ms=1.0),  # equal to 1: neither dominates
        trial(4, 0.95, latency_ms=math.inf),  # not finite: no candidate
    ]
    points = tables.front_points(trials, BOTH)
    assert [(p.number, p.values, p.best) for p in points] == [
        (0, (0.90, 3.0), True),
        (2, (0.85, 3.5), False),
        (1, (0.80, 1.0), True),
        (3, (0.80, 1.0), True),
    ]
    assert tables.front_points(trials, ACCURACY) == []


small = st.integers(0, 4).map(float)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(small, small, small), max_size=20))
def test_front_by_definition(rows):
    wanted = objectives(["accuracy", "latency_ms", "max score"])
    trials = [trial(n, a, latency_ms=b, score=c) for n, (a, b, c) in enumerate(rows)]
    found = [p.number for p in tables.front_points(trials, wanted) if p.best]
    assert sorted(found) == sorted(t.number for t in front(trials, wanted))


def curve_of(*values, **extra):
    return [{"epoch": float(e), "accuracy": v, "lr": 0.1, **extra} for e, v in enumerate(values, 1)]


def test_learning_curves_by_hand():
    trials = [
        trial(0, 0.7, curve=curve_of(0.5, math.nan, 0.7)),
        trial(1, 0.9, curve=curve_of(0.6, 0.8, 0.9)),
        trial(2, 0.8, curve=curve_of(0.8)),  # one point is no curve
        trial(3, 0.6),
        trial(4, 0.99, fidelity=Fidelity("inherited"), curve=curve_of(0.9, 0.99)),
    ]
    reports = {3: [{"step": 1.0, "epoch": 1.0, "accuracy": 0.4}, {"step": 2.0, "epoch": 2.0, "accuracy": 0.6}]}
    curves = tables.learning_curves(trials, ACCURACY, {3: "winner"}, reports)
    assert [(c.number, c.role) for c in curves] == [(3, "winner"), (1, "best"), (0, "best")]
    assert curves[0].points == ((1.0, 0.4), (2.0, 0.6))
    assert curves[2].points == ((1.0, 0.5), (3.0, 0.7))
    assert {(c.metric, c.axis) for c in curves} == {("accuracy", "epoch")}
    assert len(tables.learning_curves(trials, ACCURACY, {3: "winner"}, reports, limit=1)) == 1


def test_learning_curves_fall_back_to_the_loss():
    steps = [{"train_loss": 2.0}, {"train_loss": 1.0}]
    (curve,) = tables.learning_curves([trial(0, 0.7, curve=steps)], ACCURACY)
    assert (curve.metric, curve.axis, curve.points) == ("train_loss", "step", ((1.0, 2.0), (2.0, 1.0)))
    assert tables.learning_curves([trial(0, 0.7, curve=[{"lr": 0.1}, {"lr": 0.2}])], ACCURACY) == []


def test_many_trials_are_quick():
    import time

    trials = fakes.many(5000, 1)
    begin = time.process_time()
    tables.progress_curve(trials, ACCURACY, elapsed)
    tables.front_points(trials, BOTH)
    tables.trial_rows(trials, ACCURACY)
    assert time.process_time() - begin < 3.0
