"""Screening: warm start, threshold, and a score that must prove itself."""

import math

import numpy as np
import pytest

from searchitect.errors import UsageError
from searchitect.records import Measurement, State, Trial, objectives
from searchitect.seeds import derive
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting, Strategy
from searchitect.strategies.agreement import agreement
from searchitect.strategies.screened import ENOUGH, UNCHOSEN, Screened
from searchitect.testing.strategy import StrategyContract, toy_value

SPACE = Space(Layer("toy.Net", {f"n{i}": one_of(0, 1, 2, 3, name=f"n{i}") for i in range(6)}))


def worth(architecture) -> float:
    return float(sum(architecture.decisions.values()))


def noise(architecture) -> float:
    return float(derive(1, repr(sorted(architecture.decisions.items()))) % 1000)


def made(value=worth, **more):
    score = None if value is None else (lambda many: [value(a) for a in many])
    setting = Setting(SPACE, objectives("max score"), 3, score=score, start=more.pop("start", ()))
    return Screened(setting, **{"scored": 200, "trained": 45, **more})


def played(strategy, trials, value=worth):
    """Ask and tell; the proposals."""
    proposals = []
    for number in range(trials):
        (proposal,) = strategy.ask(1)
        proposals.append(proposal)
        measured = Measurement({"score": value(proposal.architecture)})
        strategy.tell(Trial(number, proposal, State.DONE, measured))
    return proposals


class TestScreenedRandom(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        own = setting._replace(score=lambda many: [toy_value(a) for a in many])
        return Screened(own, scored=30, trained=9)


class TestScreenedEvolution(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        own = setting._replace(score=lambda many: [toy_value(a) for a in many])
        return Screened(own, "regularized-evolution", {"population": 6, "sample": 3}, scored=30, trained=6, below=0.3)


def test_the_best_scored_come_first_with_one_in_three_drawn_at_random():
    strategy = made()
    values = [worth(p.architecture) for p in played(strategy, 45)]
    chosen = [v for i, v in enumerate(values) if i % UNCHOSEN != UNCHOSEN - 1]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] == max(strategy.known.values())
    unchosen = values[UNCHOSEN - 1 :: UNCHOSEN]
    assert len(unchosen) == 15
    assert min(chosen) >= max(unchosen)


def test_later_proposals_score_at_least_as_well_as_half_of_the_scored():
    strategy = made()
    later = played(strategy, 90)[45:]
    assert strategy.on
    assert all(worth(p.architecture) >= strategy.threshold for p in later)
    scored = list(strategy.known.values())[:200]
    assert strategy.threshold == pytest.approx(np.median(scored), abs=1.0)


def test_a_score_that_ranks_backwards_is_switched_off_after_twelve_unchosen_ones():
    strategy = made(lambda a: -worth(a))
    proposals = played(strategy, 90)
    assert not strategy.on
    assert strategy.agreement.rho == pytest.approx(-1.0)
    assert len(strategy.pairs) == ENOUGH
    assert {p.origin for p in proposals[: UNCHOSEN * ENOUGH]} == {"screen"}
    after = [worth(p.architecture) for p in proposals[UNCHOSEN * ENOUGH :]]
    assert np.mean(after) == pytest.approx(9.0, abs=1.5)  # as random ones: six times 1.5


def test_a_score_of_noise_is_switched_off_and_a_good_one_is_kept():
    assert [played(s, 60) and s.on for s in (made(noise), made())] == [False, True]


def test_the_users_start_comes_before_all_and_may_score_badly():
    worst = SPACE.architecture(dict.fromkeys((f"n{i}" for i in range(6)), 0))
    first = played(made(start=(worst,)), 2)
    assert (first[0].architecture, first[0].origin) == (worst, "start")
    assert first[1].origin == "screen"


def test_architectures_without_a_score_are_neither_preferred_nor_refused():
    strategy = made(lambda a: math.nan if a.decisions["n0"] == 3 else worth(a))
    proposals = played(strategy, 120)
    assert all(p.architecture.decisions["n0"] != 3 for p in proposals[:45])
    assert any(p.architecture.decisions["n0"] == 3 for p in proposals[45:])
    nothing = made(lambda a: math.nan)
    assert len(played(nothing, 5)) == 5
    assert not nothing.on


def test_a_model_learns_from_the_warm_start_at_once():
    strategy = made(inner="gaussian-process", trained=6)
    assert [p.origin for p in played(strategy, 12)][6:10] != ["screen"] * 4
    assert played(made(inner="gaussian-process", trained=12), 13)[-1].origin == "model"


def test_wrong_options_are_named():
    with pytest.raises(UsageError, match="nobody computes any"):
        made(None)
    with pytest.raises(UsageError, match="1 <= trained <= scored"):
        made(trained=300)
    with pytest.raises(UsageError, match="population_size"):
        made(inner="regularized-evolution", inner_options={"population_size": 3})
    with pytest.raises(UsageError, match="that is to be screened"):
        made(inner="searchitect.strategies.screened:Screened")


def test_the_interval_covers_as_often_as_it_says():
    """Bivariate normal with ρ = 0.6: Spearman's is 6/π asin(0.3) = 0.582 (Pearson 1907)."""
    draws, true, inside = np.random.default_rng(0), 6 / math.pi * math.asin(0.3), 0
    for _ in range(400):
        a = draws.normal(size=20)
        b = 0.6 * a + 0.8 * draws.normal(size=20)
        found = agreement(a.tolist(), b.tolist())
        inside += found.low <= true <= found.high
    assert 0.86 <= inside / 400 <= 0.94


def test_too_few_or_equal_values_say_nothing():
    assert agreement([1.0, 2.0], [1.0, 2.0])[1:3] == (-1.0, 1.0)
    assert agreement([1.0] * 9, list(range(9)))[:3] == (0.0, -1.0, 1.0)
