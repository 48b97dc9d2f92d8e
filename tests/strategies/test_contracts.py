"""Every strategy passes the shipped contract: one row each."""

import pytest

from searchitect.records import CONTROL
from searchitect.strategies import STRATEGIES, Setting, Strategy, make_strategy
from searchitect.strategies.control import Beside
from searchitect.testing.strategy import StrategyContract


class TestRandom(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("random", setting)


class TestRandomOverArchitectures(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("random", setting, {"by": "architecture"})


class TestRandomWithoutReplacement(StrategyContract):
    repeats = False

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("random", setting, {"replacement": False})


class TestEvolutionBesideRandom(StrategyContract):
    timed = False

    def make(self, setting: Setting) -> Strategy:
        control = make_strategy("random", setting._replace(seed=setting.seed + 1, start=()))
        return Beside(make_strategy("regularized-evolution", setting, {"population": 8}), control, self.timed)

    def test_start_architectures_come_first_as_draws_like_others(self) -> None:
        """They are the strategy's; the control's proposals come between."""
        space = self.setting().space
        start = tuple(space.sample(number) for number in (101, 102, 103))
        proposals = self.make(self.setting(start=start)).ask(12)
        own = [p for p in proposals if p.origin != CONTROL]
        assert [p.architecture for p in own[:3]] == list(start)
        assert [p.origin for p in own[:4]] == ["start"] * 3 + ["sample"]
        assert any(p.origin == CONTROL for p in proposals)


class TestEvolutionBesideRandomByTheClock(TestEvolutionBesideRandom):
    timed = True


class TestExhaustive(StrategyContract):
    finite, repeats = True, False

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("exhaustive", setting)


class TestRegularizedEvolution(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("regularized-evolution", setting, {"population": 8, "sample": 3})


class TestRegularizedEvolutionWithCrossover(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("regularized-evolution", setting, {"population": 8, "sample": 3, "crossover": 0.7})


class TestNSGA2(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("nsga2", setting, {"population": 6})


class TestNSGA2InGenerations(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        options = {"population": 6, "children": 5, "crossover": "two-point", "distinct": "off", "cross": 0.9}
        return make_strategy("nsga2", setting, options)


class TestLocalSearch(StrategyContract):
    repeats = False

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("local-search", setting)


class TestLocalSearchOverWholeNeighbourhoods(StrategyContract):
    repeats = False

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("local-search", setting, {"move": "best", "restart": "perturb", "distinct": "identical"})


class TestLocalSearchWithRepeats(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("local-search", setting, {"distinct": "off", "restart": "perturb"})


class TestLevelByLevel(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("level-by-level", setting, {"initial": 4, "trials": 5})


class TestLevelByLevelAroundEvolution(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        inner = {"inner": "regularized-evolution", "inner_options": {"population": 3, "sample": 2}}
        return make_strategy("level-by-level", setting, {"initial": 3, "trials": 4, **inner})


class TestReinforce(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("reinforce", setting)


class TestReinforceWithTheLstm(StrategyContract):
    rounds = 12

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("reinforce", setting, {"policy": "lstm", "hidden": 8, "entropy": 0.01})


class TestPPO(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("ppo", setting, {"batch": 4})


class TestPPOWithTheLstm(StrategyContract):
    rounds = 12

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("ppo", setting, {"batch": 3, "policy": "lstm", "hidden": 8})


class TestOptunaTPE(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("optuna-tpe", setting, {"startup": 5})


@pytest.mark.slow
class TestOptunaGP(StrategyContract):
    rounds = 7  # a proposal takes some tenths of a second

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("optuna-gp", setting, {"startup": 4})


class TestSuccessiveHalving(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("successive-halving", setting, {"rungs": [1, 2, 4], "eta": 2})


class TestHyperband(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("hyperband", setting, {"rungs": [1, 2, 4], "eta": 2})


class TestHyperbandAroundEvolution(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        inner = {"inner": "regularized-evolution", "inner_options": {"population": 6, "sample": 2}}
        return make_strategy("hyperband", setting, {"rungs": [1, 3], **inner})


class TestASHA(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("asha", setting, {"rungs": [1, 2, 4], "eta": 2, "rank_by": "extrapolated"})


class TestASHAAroundEvolution(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        inner = {"inner": "regularized-evolution", "inner_options": {"population": 6, "sample": 2}}
        return make_strategy("asha", setting, {"rungs": [1, 3, 9], "brackets": 2, **inner})


@pytest.mark.slow
class TestBananas(StrategyContract):
    rounds = 10  # a training takes about a tenth of a second

    def make(self, setting: Setting) -> Strategy:
        options = {"startup": 4, "candidates": 12, "every": 4, "members": 2}
        return make_strategy("bananas", setting, options)


@pytest.mark.slow
class TestNasBowl(StrategyContract):
    rounds = 12

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("nas-bowl", setting, {"startup": 5, "candidates": 12})


class TestGaussianProcess(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("gaussian-process", setting, {"initial": 6})


def test_every_strategy_has_a_row():
    tested = {cls.make(cls(), cls().setting()).__class__ for cls in StrategyContract.__subclasses__()}
    from searchitect.strategies import strategy_class

    assert {strategy_class(name) for name in STRATEGIES} <= tested
