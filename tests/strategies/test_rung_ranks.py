"""Rungs are compared with the next ones while a search runs, and one that misleads is switched off."""

import itertools
import math

import numpy as np
import pytest

from searchitect.errors import UsageError
from searchitect.records import PROMOTE, Fidelity, Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import derive
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.agreement import Agreement, agreement, among_all, spread_share
from searchitect.strategies.rung_ranks import ENOUGH, RungRanks

SPACE = Space(Layer("toy.Net", {f"n{i}": one_of(*range(8), name=f"n{i}") for i in range(4)}))
RUNGS = [Fidelity("train", 1, horizon=9), Fidelity("train", 3, horizon=9), Fidelity("train", 9)]


def worth(architecture, epochs, misleading=()) -> float:
    """The true worth, with some noise after fewer epochs; a number by chance where the rung misleads."""
    chance = derive(3, epochs, repr(sorted(architecture.decisions.items()))) % 10_000 / 10_000
    return chance if epochs in misleading else sum(architecture.decisions.values()) + 4 * chance / epochs


def played(name, trials, misleading=(), **options):
    """Ask and tell with a ladder of 1, 3 and 9 epochs; the strategy and its proposals."""
    setting = Setting(SPACE, objectives("max score"), 0, Fidelity("train", 9))
    strategy, proposals = make_strategy(name, setting, {"rungs": [1, 3, 9], **options}), []
    for number in range(trials):
        (proposal,) = strategy.ask(1)
        proposals.append(proposal)
        score = worth(proposal.architecture, proposal.fidelity.epochs, misleading)
        strategy.tell(Trial(number, proposal, State.DONE, Measurement({"score": score})))
    return strategy, proposals


def ranks_of(strategy):
    return strategy.ranks if hasattr(strategy, "ranks") else strategy.brackets.ranks


def test_the_correction_brings_back_the_correlation_among_all():
    """Normal pairs, the best third by the first chosen: in the mean of many the corrected correlation is that of all,
    and the interval holds it about as often as it says."""
    draws, inside, found, plain = np.random.default_rng(0), 0, [], []
    for _ in range(300):
        a = draws.normal(size=120)
        b = 0.8 * a + 0.6 * draws.normal(size=120)
        best = np.argsort(a)[:40]
        told = agreement(a[best].tolist(), b[best].tolist())
        whole = among_all(told, spread_share(a[best].tolist(), a.tolist()))
        plain.append(told.rho)
        found.append(whole.rho)
        inside += whole.low <= 6 / math.pi * math.asin(0.4) <= whole.high
    assert np.mean(plain) < 0.62
    assert np.mean(found) == pytest.approx(6 / math.pi * math.asin(0.4), abs=0.04)
    assert 0.84 <= inside / 300 <= 0.97


def test_the_correction_by_its_formula():
    """r = .5 among chosen ones with half the spread: .5·2 / sqrt(1 - .25 + .25·4) = .756."""
    told = among_all(Agreement(0.5, -0.1, 0.8, 20), 0.5)
    assert told.rho == pytest.approx(1 / math.sqrt(1.75))
    assert told.low == pytest.approx(-0.2 / math.sqrt(1 - 0.01 + 0.04))
    assert (told.low < 0 < told.high, told.n) == (True, 20)
    assert among_all(Agreement(0.3, 0.1, 0.5, 9), 1.0)[:3] == pytest.approx((0.3, 0.1, 0.5))


def test_the_share_of_the_spread_is_that_of_normal_scores():
    everything = [float(i) for i in range(99)]
    assert spread_share(everything, everything) == 1.0
    low = spread_share(everything[:33], everything)
    assert low == pytest.approx(0.52, abs=0.03)  # λ(λ + c) with c = 0.431, λ = φ(c) / (1/3): sqrt(1 - 0.718) = 0.53
    assert low == pytest.approx(spread_share([v**3 for v in everything[:33]], [v**3 for v in everything]))
    assert spread_share([1.0], everything) == 1.0


@pytest.mark.parametrize("name", ["asha", "successive-halving", "hyperband"])
def test_rungs_that_rank_stay_on_and_say_how_well(name):
    strategy, _ = played(name, 400)
    ranks = ranks_of(strategy)
    assert ranks.on == [True, True, True]
    first = ranks.facts()[0]
    assert (first["epochs"], first["next"], first["on"]) == (1, 3, True)
    assert first["n"] >= ENOUGH
    assert 0.3 < first["low"] < first["rho"] < 1


@pytest.mark.parametrize("name", ["asha", "successive-halving", "hyperband"])
@pytest.mark.parametrize("inner", ["random", "regularized-evolution"])
def test_a_rung_that_misleads_is_switched_off_and_nothing_begins_there(name, inner):
    strategy, proposals = played(name, 500, misleading=(1,), inner=inner)
    ranks = ranks_of(strategy)
    assert ranks.on == [False, True, True]
    off = max(i for i, p in enumerate(proposals) if p.fidelity.epochs == 1)
    assert off < 420
    assert {p.fidelity.epochs for p in proposals[off + 1 :]} == {3, 9}
    assert [f["on"] for f in ranks.facts()] == [False, True]
    assert ranks.facts()[0]["low"] < 0
    never, _ = played(name, 500, misleading=(1,), inner=inner, level=None)
    assert ranks_of(never).on == [True, True, True]
    assert ranks_of(never).facts()[0]["low"] < 0


@pytest.mark.parametrize("name", ["asha", "successive-halving"])
def test_a_rung_in_the_middle_is_passed_by(name):
    strategy, proposals = played(name, 1200, misleading=(3,))
    ranks = ranks_of(strategy)
    assert ranks.on[1] is False
    if not ranks.on[0]:  # what the middle says is chance, so the lowest cannot rank it either
        assert {p.fidelity.epochs for p in proposals[-50:]} == {9}
        return
    late = [p for p in proposals[-200:] if p.origin == PROMOTE]
    assert {p.fidelity.epochs for p in late} == {9}
    assert ranks.pairs[0, 2]


def test_a_study_that_is_replayed_switches_off_at_the_same_place():
    strategy, proposals = played("asha", 300, misleading=(1,), inner="regularized-evolution")
    again, found = played("asha", 300, misleading=(1,), inner="regularized-evolution")
    assert (found, ranks_of(again).on) == (proposals, [False, True, True])
    setting = Setting(SPACE, objectives("max score"), 0, Fidelity("train", 9))
    fresh = make_strategy("asha", setting, {"rungs": [1, 3, 9], "inner": "regularized-evolution"})
    for number, proposal in enumerate(proposals):
        assert fresh.ask(1) == [proposal]
        score = worth(proposal.architecture, proposal.fidelity.epochs, (1,))
        fresh.tell(Trial(number, proposal, State.DONE, Measurement({"score": score})))
    assert fresh.ask(3) == strategy.ask(3)


def test_copies_and_strangers_are_no_pairs():
    ranks, architectures = RungRanks(RUNGS, 0.0), itertools.islice(SPACE.enumerate(), 40)
    for number, architecture in enumerate(architectures):
        ranks.tell(0, Trial(number, Proposal(architecture, RUNGS[0])), float(number))
    promoted = Proposal(SPACE.at(0), RUNGS[1], 1, (0,), 0, PROMOTE)
    ranks.tell(1, Trial(100, promoted, source=7), 1.0)
    ranks.tell(1, Trial(101, Proposal(SPACE.at(0), RUNGS[1], 1, (0,))), 1.0)
    assert ranks.pairs == {}
    ranks.tell(1, Trial(102, promoted), 1.0)
    ranks.tell(1, Trial(102, promoted), 2.0)  # told twice
    assert ranks.pairs == {(0, 1): [(0.0, 1.0)]}


def test_wrong_levels_are_named():
    with pytest.raises(UsageError, match=r"level=2: the rank correlation under which"):
        played("asha", 1, level=2)
