"""ASHA against Algorithm 2 of Li et al. 2020, worked out anew from all results at every ask."""

import time

import pytest
from curves import FULL, best_full, curve_value, failed, measured, search, table_space

from searchitect.errors import SpaceError, UsageError
from searchitect.records import PROMOTE, Fidelity, Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import stream
from searchitect.strategies import Setting, Strategy, make_strategy


def setting(seed=0, texts="max score", fidelity=FULL, **more):
    return Setting(table_space(), objectives(texts), seed, fidelity, **more)


def asha(seed=0, **options):
    return make_strategy("asha", setting(seed), options)


def algorithm_2(trials, told, promoted, rungs, eta):
    """get_job: (rung, trial) to promote, or None where something new begins."""
    for rung in reversed(rungs[:-1]):
        here = [t for t in trials if t.number in told and t.state is State.DONE and t.proposal.fidelity.epochs == rung]
        here.sort(key=lambda t: (-t.value("score"), t.number))
        candidates = [t for t in here[: len(here) // eta] if t.number not in promoted]
        if candidates:
            return rung, candidates[0].number
    return None


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_it_promotes_what_algorithm_2_promotes(eta):
    """12 in flight, ended in any order, every ninth failing."""
    strategy = asha(eta=eta)
    rungs = [f.epochs for f in strategy.fidelities]
    trials, told, promoted, flying = [], set(), set(), []
    order = stream(eta, 0, "ends")
    for _ in range(600):
        if len(flying) < 12:
            expected = algorithm_2(trials, told, promoted, rungs, eta)
            (proposal,) = strategy.ask(1)
            if expected is None:
                assert proposal.origin == "sample"
                assert proposal.fidelity == Fidelity("table", rungs[0], horizon=27)
            else:
                rung, number = expected
                assert (proposal.origin, proposal.parents) == (PROMOTE, (number,))
                assert proposal.architecture == trials[number].architecture
                assert proposal.fidelity.epochs == rungs[rungs.index(rung) + 1]
                promoted.add(number)
            number = len(trials)
            trials.append(failed(number, proposal) if number % 9 == 5 else measured(number, proposal))
            flying.append(number)
        if order.below(3):
            number = flying.pop(order.below(len(flying)))
            told.add(number)
            strategy.tell(trials[number])
    assert {t.proposal.fidelity.epochs for t in trials} == set(rungs)


def test_the_top_is_the_full_fidelity_and_lower_rungs_keep_its_schedule():
    assert asha().fidelities == tuple(
        Fidelity("table", epochs, horizon=horizon) for epochs, horizon in [(1, 27), (3, 27), (9, 27), (27, 0)]
    )
    part = make_strategy("asha", setting(fidelity=Fidelity("train", 10, 0.5)), {"eta": 2, "min_epochs": 2})
    assert [(f.epochs, f.data, f.horizon) for f in part.fidelities] == [(2, 0.5, 10), (5, 0.5, 10), (10, 0.5, 0)]
    assert [f.epochs for f in make_strategy("asha", setting(fidelity=Fidelity("train", 2))).fidelities] == [2]


def test_without_epochs_to_save_it_is_its_inner_strategy():
    plain = setting(fidelity=Fidelity("function"))
    one, two = (
        make_strategy("asha", plain, {"inner": "regularized-evolution"}),
        make_strategy("regularized-evolution", plain),
    )
    for number in range(40):
        (proposal,), (other,) = one.ask(1), two.ask(1)
        assert proposal == other
        for strategy in (one, two):
            strategy.tell(measured(number, proposal))


def test_equivalents_whose_result_was_copied_count_once():
    strategy = asha()
    proposals = strategy.ask(4)
    strategy.tell(measured(0, proposals[0]))
    for number in (1, 2, 3):
        strategy.tell(measured(number, proposals[number], source=0))
    assert strategy.ask(1)[0].origin == "sample"  # one result, not four: nobody is among the best third
    for number, proposal in zip((5, 6), strategy.ask(2), strict=True):
        strategy.tell(measured(number, proposal))
    assert strategy.ask(1)[0].origin == PROMOTE


def test_the_inner_strategy_hears_of_its_own_rung_in_its_own_count():
    """Brackets 1 and 2 have an inner strategy each; promotions into rung 2 reach the second one as strangers."""
    strategy = make_strategy("asha", setting(), {"inner": f"{__name__}:Listener", "brackets": 2})
    trials = search(strategy, epochs=300)
    for rung, epochs in enumerate((1, 3)):
        listener = strategy.inner.strategies[rung]
        here = [t for t in trials if t.proposal.fidelity.epochs == epochs]
        assert sorted(t.number for t in listener.heard) == [t.number for t in here]
        assert {t.proposal.fidelity.epochs for t in listener.heard} == {epochs}
        own = [t.proposal for t in listener.heard if t.proposal.draw >= 0]
        assert [(p.draw, p.events) for p in own] == [(i, 2 * i + s) for i, s in enumerate(listener.strangers)]
        strangers = [t for t in listener.heard if t.proposal.draw < 0]
        assert {t.proposal.origin for t in strangers} == ({PROMOTE} if rung else set())
    assert len(strategy.inner.strategies[1].strangers) > 10


class Listener(Strategy):
    """Random, and remembers what it was told."""

    def __init__(self, setting):
        self.random = make_strategy("random", setting)
        self.heard, self.strangers, self.strange = [], [], 0

    def ask(self, n=1):
        self.strangers += [self.strange] * n
        return self.random.ask(n)

    def tell(self, trial):
        self.strange += trial.proposal.draw < 0
        self.heard.append(trial)
        self.random.tell(trial)


def test_with_brackets_trials_begin_by_the_shares_of_hyperband():
    strategy = asha(brackets=4)
    trials = search(strategy, epochs=3000, workers=5)
    begun = [t.proposal.fidelity.epochs for t in trials if t.proposal.origin != PROMOTE]
    sizes = {1: 27, 3: 12, 9: 6, 27: 4}  # ⌈3^s 4 / (s + 1)⌉
    for epochs, size in sizes.items():
        assert abs(begun.count(epochs) - len(begun) * size / 49) <= 1
    promoted = [t for t in trials if t.proposal.origin == PROMOTE]
    assert all(len(t.proposal.parents) == 1 for t in promoted)
    assert len({t.proposal.parents for t in promoted}) == len(promoted)  # nobody twice


def test_with_several_goals_the_best_fronts_go_on():
    """Ten trials on a line score + cost = 10 (all one front), and 20 behind it: only those of the line go on."""
    strategy = make_strategy("asha", setting(texts=("max score", "min cost")), {})
    proposals = strategy.ask(30)
    for number, proposal in enumerate(proposals):
        behind = 0.0 if number % 3 == 0 else 5.0
        metrics = {"score": float(number // 3) - behind, "cost": float(number // 3)}
        strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement(metrics)))
    promoted = [p.parents[0] for p in strategy.ask(12) if p.origin == PROMOTE]
    assert sorted(promoted) == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    assert set(promoted[:2]) == {0, 27}  # the ends of the front are the least crowded


def test_a_broken_limit_goes_on_last():
    strategy = make_strategy("asha", setting(texts=("max score", "cost < 10")), {})
    for number, proposal in enumerate(strategy.ask(6)):
        metrics = {"score": float(number), "cost": 20.0 if number > 2 else 5.0}
        strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement(metrics)))
    assert [p.parents for p in strategy.ask(2)] == [(2,), (1,)]


def test_what_the_inner_strategy_cannot_give_is_made_up_by_promotions():
    """A strategy that ends after five: the rest of the search brings those to the top, the best first."""
    strategy = make_strategy("asha", setting(), {"inner": f"{__name__}:Five"})
    trials = []
    for number in range(5 * 4):
        (proposal,) = strategy.ask(1)
        trials.append(measured(number, proposal))
        strategy.tell(trials[-1])
    with pytest.raises(SpaceError, match="no more"):
        strategy.ask(1)
    assert [t.proposal.fidelity.epochs for t in trials].count(27) == 5
    order = [t.architecture for t in trials if t.proposal.fidelity.epochs == 27]
    assert order[0] == max(order, key=lambda a: curve_value(a, 1))


class Five(Strategy):
    def __init__(self, setting):
        self.random, self.asked = make_strategy("random", setting), 0

    def ask(self, n=1):
        if self.asked == 5:
            raise SpaceError("no more")
        self.asked += 1
        return self.random.ask(n)

    def tell(self, trial):
        self.random.tell(trial)


def test_the_users_architectures_are_promoted_unless_they_break_a_limit():
    strategy = make_strategy("asha", setting(feasible=lambda a: a.decisions["d0"] != 3), {})
    drawn = [table_space().sample(i) for i in range(100)]
    enqueued = [a for a in drawn if a.decisions["d0"] == 3][:3] + [a for a in drawn if a.decisions["d0"] == 1][:3]
    for number, architecture in enumerate(enqueued):
        metrics = Measurement({"score": float(10 - number)})
        proposal = Proposal(architecture, strategy.fidelities[0], origin="enqueued")
        strategy.tell(Trial(number, proposal, State.DONE, measurement=metrics))
    assert strategy.ask(1)[0].parents == (3,)


def test_it_finds_better_architectures_than_full_trainings_for_the_same_epochs():
    """20 seeds of 810 epochs: 30 full trainings, or some 300 begun."""
    wins = 0
    for seed in range(20):
        plain = search(make_strategy("random", setting(seed)), epochs=810)
        wins += best_full(search(asha(seed), epochs=810), 27) > best_full(plain, 27)
    assert wins >= 15


def test_an_evolution_inside_learns_from_the_lowest_rung():
    wins = 0
    for seed in range(20):
        inner = {"inner": "regularized-evolution", "inner_options": {"population": 10, "sample": 3}}
        wins += best_full(search(asha(seed, **inner), epochs=810), 27) > best_full(search(asha(seed), epochs=810), 27)
    assert wins >= 15


def test_asking_does_not_slow_down_with_the_number_of_results():
    """CPU time of 1,000 asks and tells beside 1,000 and 30,000 results: no scan of a rung."""

    def scored(number, proposal):
        return Trial(number, proposal, State.DONE, measurement=Measurement({"score": (number * 7919) % 1e4}))

    def cost(strategy, first):
        proposals = strategy.ask(first)
        for number, proposal in enumerate(proposals):
            strategy.tell(
                Trial(number, proposal, State.DONE, measurement=Measurement({"score": (number * 7919) % 1e4}))
            )
        begun = time.process_time()
        for number in range(first, first + 1000):
            (proposal,) = strategy.ask(1)
            strategy.tell(
                Trial(number, proposal, State.DONE, measurement=Measurement({"score": (number * 7919) % 1e4}))
            )
        return time.process_time() - begun

    few = min(cost(asha(), 1000) for _ in range(3))
    many = min(cost(asha(), 30_000) for _ in range(2))
    assert many < 3 * few


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eta": 1}, "eta=1"),
        ({"min_epochs": 0}, "min_epochs=0"),
        ({"rungs": [3, 1, 27]}, "rising list"),
        ({"rungs": [1, 3, 9]}, "end at 9 epochs, but a full trial has 27"),
        ({"brackets": 0}, "brackets=0"),
        ({"rank_by": "luck"}, "rank_by='luck'"),
        ({"inner": "hyperband"}, "has rungs of its own"),
        ({"inner": "annealing"}, "'annealing' is not known"),
        ({"inner": "random", "inner_options": {"heat": 1}}, "heat"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(UsageError, match=words):
        asha(**options)
