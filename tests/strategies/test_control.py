"""A search and its control: neither hears of the other, both spend the same."""

import pytest
from torch import nn

from searchitect.records import CONTROL, Measurement, Proposal, State, Trial, best, candidates, objectives
from searchitect.space import OUTPUTS, Space, lazy, one_of
from searchitect.strategies import Setting, Strategy, make_strategy
from searchitect.strategies.control import Beside

L = lazy(nn)
SPACE = Space(L.Sequential(L.LazyLinear(one_of(*range(2, 40), name="width")), L.LazyLinear(OUTPUTS)))
AIMS = objectives("accuracy")


class Listener(Strategy):
    """Proposes at random and writes down what it is told."""

    def __init__(self, seed):
        self.inner = make_strategy("random", Setting(SPACE, AIMS, seed))
        self.heard = []

    def ask(self, n=1):
        return self.inner.ask(n)

    def tell(self, trial):
        self.heard.append(trial)


def measured(proposal, number, seconds=1.0, value=0.5, **more):
    return Trial(number, proposal, State.DONE, Measurement({"accuracy": value}, seconds), **more)


def run(beside, count, seconds):
    """Ask and tell one after the other; each trial takes seconds[side]."""
    trials = []
    for number in range(count):
        (proposal,) = beside.ask(1)
        trials.append(measured(proposal, number, seconds[proposal.origin == CONTROL]))
        beside.tell(trials[-1])
    return trials


def test_each_side_hears_of_its_own_trials_as_it_proposed_them():
    strategy, control = Listener(1), Listener(2)
    trials = run(Beside(strategy, control, timed=False), 10, (1.0, 1.0))
    for side, name in ((strategy, "sample"), (control, CONTROL)):
        own = [t for t in trials if t.proposal.origin == name]
        assert [t.number for t in side.heard] == [t.number for t in own]
        assert [t.proposal.draw for t in side.heard] == list(range(5))
        assert {t.proposal.origin for t in side.heard} == {"sample"}
    assert [t.proposal.draw for t in trials] == list(range(10))
    assert [t.proposal.events for t in trials] == list(range(0, 20, 2))


def test_what_the_user_enqueued_is_the_strategys_and_costs_nobody():
    strategy, control = Listener(1), Listener(2)
    beside = Beside(strategy, control, timed=True)
    beside.tell(measured(Proposal(SPACE.sample(0), origin="enqueued"), 0, seconds=1e6))
    assert len(strategy.heard) == 1
    assert not control.heard
    assert beside.seconds == [0.0, 0.0]


@pytest.mark.parametrize("seconds", [(1.0, 1.0), (1.0, 5.0), (7.0, 1.0)])
def test_both_sides_use_equally_many_seconds(seconds):
    trials = run(Beside(Listener(1), Listener(2), timed=True), 120, seconds)
    used = [
        sum(t.measurement.seconds for t in trials if (t.proposal.origin == CONTROL) == side) for side in (False, True)
    ]
    assert abs(used[0] - used[1]) <= max(seconds)


def test_running_trials_count_as_usual_ones():
    beside = Beside(Listener(1), Listener(2), timed=True)
    beside.seconds, beside.told, beside.asked = [10.0, 10.0], [10, 1], [10, 1]  # 1 s and 10 s each
    assert [i for i, p in enumerate(beside.ask(12)) if p.origin == CONTROL] == [0, 11]


def test_a_reused_result_is_charged_with_what_it_had_cost():
    beside = Beside(Listener(1), Listener(2), timed=True)
    (proposal,) = beside.ask(1)
    beside.tell(measured(proposal, 3, seconds=9.0, source=1))
    assert beside.seconds == [9.0, 0.0]
    assert beside.ask(1)[0].origin == CONTROL


def test_the_best_of_a_study_is_the_searchs_own():
    trials = [
        measured(Proposal(SPACE.sample(n), draw=n, origin=origin), n, value=value)
        for n, (origin, value) in enumerate([("sample", 0.7), (CONTROL, 0.9), ("mutate", 0.8)])
    ]
    assert best(trials, AIMS).number == 2
    assert [t.number for t in candidates(trials, AIMS, control=True)] == [1]
