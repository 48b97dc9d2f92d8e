"""What model-based strategies know, against small cases by hand."""

import numpy as np
import pytest
from scipy.stats import norm

from searchitect.errors import UsageError
from searchitect.records import Cause, Failure, Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import stream
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting
from searchitect.strategies.evidence import (
    Evidence,
    at_least,
    best_first,
    last_fit,
    normal_scores,
    promising,
    recent_and_best,
)

SPACE = Space(Layer("toy.Cell", {f"e{i}": one_of("a", "b", "c") for i in range(4)}))


def evidence(*texts, **more):
    return Evidence(Setting(SPACE, objectives(texts or ("max score",)), 0, **more), SPACE.key)


def tell(known, number, state=State.DONE, retryable=False, **metrics):
    failure = Failure(Cause.USER_CODE, "broken", retryable=retryable) if state is State.FAILED else None
    proposal = Proposal(SPACE.sample(number), draw=number)
    known.tell(Trial(number, proposal, state, Measurement(metrics) if metrics else None, failure))


def test_normal_scores_are_quantiles_of_ranks_and_ties_are_equal():
    scores = normal_scores(np.array([3.0, 1.0, 1e9, 1.0]))
    assert scores == pytest.approx(norm.ppf([5 / 8, 2 / 8, 7 / 8, 2 / 8]))


def test_outcomes_by_hand():
    known = evidence("max score", "cost < 10", "size > 2")
    tell(known, 0, score=1.0, cost=5.0, size=4.0)
    tell(known, 1, State.FAILED)  # its own fault
    tell(known, 2, State.FAILED, retryable=True)  # the machine's: says nothing
    tell(known, 3, score=2.0, cost=20.0, size=2.0)  # over one limit, exactly at the other
    tell(known, 4, score=float("nan"), cost=1.0, size=3.0)  # not a number: its own fault
    tell(known, 5, State.PRUNED, score=9.0)  # stopped early: not known
    outcomes = known.outcomes(6)
    assert [r.number for r in outcomes.results] == [0, 1, 3, 4]
    assert outcomes.usable.tolist() == [0, 2]
    assert outcomes.values[[0, 2], 0] == pytest.approx(norm.ppf([0.75, 0.25]))  # the larger score is the smaller loss
    assert np.isnan(outcomes.values[[1, 3], :3]).all()
    assert outcomes.values[:, -1].tolist() == [0, 1, 0, 1]
    spread = np.sqrt((5.0**2 + 10.0**2) / 2)
    assert outcomes.values[[0, 2], 1] == pytest.approx([-5 / spread, 10 / spread])
    assert outcomes.values[0, 2] < 0 < outcomes.values[2, 2]  # exactly at a strict limit is broken
    assert outcomes.violation[0] == 0
    assert outcomes.violation[2] == pytest.approx(10 / spread + outcomes.values[2, 2])
    assert len(known.outcomes(1).results) == 1  # the first so many results only


def test_the_best_come_first_limits_before_goals():
    known = evidence("max score", "cost < 10")
    for number, (score, cost) in enumerate([(1, 5), (9, 12), (3, 5), (8, 30), (2, 9)]):
        tell(known, number, score=float(score), cost=float(cost))
    ranked = best_first(known.outcomes(5), stream(0, 0, "x"), count=5)
    assert [r.number for r in ranked] == [2, 4, 0, 1, 3]
    assert [r.number for r in best_first(known.outcomes(5), stream(0, 0, "x"), count=2)] == [2, 4]


def test_several_goals_are_weighed_anew_for_each_draw():
    known = evidence("max score", "min cost")
    for number, (score, cost) in enumerate([(9, 9), (1, 1), (5, 20), (0, 30)]):
        tell(known, number, score=float(score), cost=float(cost))
    first = {best_first(known.outcomes(4), stream(0, i, "x"))[0].number for i in range(60)}
    assert first == {0, 1}  # the front


def test_candidates_are_new_feasible_and_not_equivalent():
    known = evidence(feasible=lambda a: a.decisions["e0"] != "c")
    known.key_of = lambda a: "".join(sorted(str(v) for v in a.decisions.values()))  # order of edges does not matter
    for number in range(8):
        tell(known, number, score=float(number))
    known.propose(8, SPACE.sample(50))
    found = known.candidates(stream(0, 0, "c"), best_first(known.outcomes(8), stream(0, 0, "b")), 200)
    keys = [known.key_of(c.architecture) for c in found]
    assert len(found) > 2
    assert len(set(keys)) == len(keys)
    assert not set(keys) & known.keys
    assert known.key_of(SPACE.sample(50)) in known.keys
    assert all(c.architecture.decisions["e0"] != "c" for c in found)


def test_a_space_that_is_used_up_has_no_candidates():
    known = evidence()
    for number, architecture in enumerate(SPACE.enumerate()):
        known.tell(Trial(number, Proposal(architecture), State.DONE, Measurement({"score": float(number)})))
    assert known.candidates(stream(0, 0, "c"), best_first(known.outcomes(81), stream(0, 0, "b")), 50) == []
    assert promising(known, 81, 0, 50, lambda found, _source: np.zeros(len(found))) is None


def test_the_most_promising_is_proposed_with_its_parent():
    known = evidence()
    for number in range(6):
        tell(known, number, score=float(number))

    def score(found, _source):
        return np.array([sum(v == "b" for v in a.decisions.values()) for a in found], dtype=float)

    proposal = promising(known, 6, 12, 100, score)
    assert list(proposal.architecture.decisions.values()).count("b") >= 3
    assert (proposal.draw, proposal.events, proposal.origin) == (6, 12, "model")
    assert all(0 <= p < 6 for p in proposal.parents)


def test_models_are_fitted_at_fixed_counts():
    points = [last_fit(told, 10, 5) for told in range(400)]
    assert points[9] == 0
    assert points[10:21] == [10] * 5 + [15] * 5 + [20]
    steps = np.diff(sorted({*points, points[-1] + points[-1] // 20}))
    assert set(steps[1:20]) == {5}
    assert steps[-1] == points[-1] // 20


def test_long_searches_learn_from_the_best_and_the_latest():
    known = evidence()
    for number in range(60):
        tell(known, number, score=100.0 if number in (3, 7) else float(number % 10))
    rows = recent_and_best(known.outcomes(60), 20)
    assert len(rows) == 20
    assert {3, 7, *range(52, 60)} <= set(rows.tolist())
    assert sorted(rows.tolist()) == rows.tolist()
    assert recent_and_best(known.outcomes(12), 20).tolist() == list(range(12))


def test_wrong_options_are_named():
    with pytest.raises(UsageError, match="every=0: give a whole number of at least 1"):
        at_least(1, startup=3, every=0)
