"""Every strategy passes the shipped contract: one row each."""

import pytest

from searchitect.strategies import STRATEGIES, Setting, Strategy, make_strategy
from searchitect.testing.strategy import StrategyContract


class TestRandom(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("random", setting)


class TestRandomOverArchitectures(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("random", setting, {"by": "architecture"})


class TestRegularizedEvolution(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("regularized-evolution", setting, {"population": 8, "sample": 3})


class TestOptunaTPE(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return make_strategy("optuna-tpe", setting, {"startup": 5})


@pytest.mark.slow
class TestOptunaGP(StrategyContract):
    rounds = 9  # a proposal takes about a tenth of a second

    def make(self, setting: Setting) -> Strategy:
        return make_strategy("optuna-gp", setting, {"startup": 4})


def test_every_strategy_has_a_row():
    tested = {cls.make(cls(), cls().setting()).__class__ for cls in StrategyContract.__subclasses__()}
    from searchitect.strategies import strategy_class

    assert {strategy_class(name) for name in STRATEGIES} <= tested
