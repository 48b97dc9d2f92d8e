"""Regularized evolution against its definition."""

import pytest

from searchitect.errors import UsageError
from searchitect.records import Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import stream
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.base import fitness, violation
from searchitect.testing.strategy import toy_space, toy_value


def told(number, space, **metrics):
    return Trial(number, Proposal(space.sample(number)), State.DONE, measurement=Measurement(metrics))


def test_the_oldest_dies_and_the_youngest_stays():
    space = toy_space()
    strategy = make_strategy(
        "regularized-evolution", Setting(space, objectives("max score"), 0), {"population": 4, "sample": 2}
    )
    for number in range(7):
        strategy.tell(told(number, space, score=float(-number)))
    assert [member.number for member in strategy.living] == [3, 4, 5, 6]


def test_children_differ_from_their_parent_in_one_mutation():
    space = toy_space()
    strategy = make_strategy(
        "regularized-evolution", Setting(space, objectives("max score"), 0), {"population": 5, "sample": 5}
    )
    trials = {}
    for number in range(60):
        (proposal,) = strategy.ask(1)
        trials[number] = Trial(
            number, proposal, State.DONE, measurement=Measurement({"score": toy_value(proposal.architecture)})
        )
        strategy.tell(trials[number])
        if number < 5:
            assert proposal.origin == "sample"
            continue
        # the whole population fights: the parent is the best of the five youngest
        parent = trials[proposal.parents[0]]
        alive = [trials[i] for i in range(number - 5, number)]
        assert parent.value("score") == max(t.value("score") for t in alive)
        shared = set(parent.architecture.decisions) & set(proposal.architecture.decisions)
        changed = [n for n in shared if parent.architecture.decisions[n] != proposal.architecture.decisions[n]]
        assert len(changed) == 1


def test_the_tournament_is_won_with_the_probability_of_its_definition():
    """P(best of all wins) = sample / population when drawn without replacement."""
    space = toy_space()
    strategy = make_strategy(
        "regularized-evolution", Setting(space, objectives("max score"), 0), {"population": 10, "sample": 3}
    )
    for number in range(10):
        strategy.tell(told(number, space, score=float(number)))
    wins = sum(strategy._tournament(stream(1, i, "t")).number == 9 for i in range(4000))
    assert abs(wins / 4000 - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5


def test_crossed_children_mix_two_parents_and_are_never_one_of_them():
    space = toy_space(finite=True)
    options = {"population": 8, "sample": 2, "crossover": 0.6}
    strategy = make_strategy("regularized-evolution", Setting(space, objectives("max score"), 0), options)
    trials, mixed = [], 0
    for number in range(300):
        (proposal,) = strategy.ask(1)
        value = toy_value(proposal.architecture)
        trials.append(Trial(number, proposal, State.DONE, measurement=Measurement({"score": value})))
        strategy.tell(trials[-1])
        parents = [trials[i].architecture for i in proposal.parents]
        assert proposal.architecture not in parents
        if len(parents) == 2:
            assert proposal.origin == "cross"
            a, b = (p.decisions for p in parents)
            mixed += all(value in (a.get(n), b.get(n)) for n, value in proposal.architecture.decisions.items())
    crossed = sum(t.proposal.origin == "cross" for t in trials)
    assert abs(crossed / 292 - 0.6) < 4 * (0.24 / 292) ** 0.5
    assert mixed > 20
    with pytest.raises(UsageError, match="crossover from 0 to 1"):
        make_strategy("regularized-evolution", Setting(space, objectives("max score"), 0), {"crossover": 2})


def test_a_smaller_violation_beats_a_better_goal():
    space, goals = toy_space(), objectives(["max score", "cost < 10"])
    good, near, far = (told(i, space, score=s, cost=c) for i, (s, c) in enumerate([(0.1, 9), (0.9, 11), (0.95, 30)]))
    assert violation(good, goals) == 0
    assert violation(near, goals) == pytest.approx(0.1)
    assert sorted([far, near, good], key=lambda t: fitness(t, goals)) == [good, near, far]
    assert violation(told(3, space, score=1.0, cost=10), goals) > 0
    assert violation(told(4, space, score=1.0), goals) == 1.0


def test_with_two_goals_only_undominated_parents_win():
    space, goals = toy_space(), objectives(["max score", "min cost"])
    strategy = make_strategy("regularized-evolution", Setting(space, goals, 0), {"population": 6, "sample": 6})
    for number, (score, cost) in enumerate([(1, 1), (2, 2), (3, 3), (1, 2), (2, 3), (0, 9)]):
        strategy.tell(told(number, space, score=float(score), cost=float(cost)))
    winners = {strategy._tournament(stream(0, i, "t")).number for i in range(200)}
    assert winners == {0, 1, 2}


def test_it_finds_more_than_random_on_the_toy_over_twenty_seeds():
    def best_of(name, seed):
        setting = Setting(toy_space(), objectives("max score"), seed)
        strategy, best = make_strategy(name, setting), -1.0
        for number in range(80):
            (proposal,) = strategy.ask(1)
            value = toy_value(proposal.architecture)
            best = max(best, value)
            strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement({"score": value})))
        return best

    pairs = [(best_of("regularized-evolution", s), best_of("random", s)) for s in range(20)]
    wins, losses = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    assert wins >= losses + 5, (wins, losses)


def test_bad_options_are_named():
    setting = Setting(toy_space(), objectives("max score"), 0)
    with pytest.raises(UsageError, match="sample=9"):
        make_strategy("regularized-evolution", setting, {"population": 4, "sample": 9})
    with pytest.raises(UsageError, match="temperature"):
        make_strategy("random", setting, {"temperature": 1})
    with pytest.raises(UsageError, match=r"auto, random, .*regularized-evolution"):
        make_strategy("annealing", setting)
    with pytest.raises(UsageError, match="not a searchitect"):
        make_strategy("searchitect.space:Space", setting)
    with pytest.raises(UsageError, match="cannot be loaded"):
        make_strategy("no_such_module:Thing", setting)
