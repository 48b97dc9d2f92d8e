"""Limits that hardly any random architecture keeps."""

import math

import pytest

from searchitect.errors import SpaceError
from searchitect.records import Fidelity, objectives
from searchitect.seeds import stream
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import STRATEGIES, Setting, make_strategy
from searchitect.strategies.base import led_to_limits
from searchitect.strategies.seen import Seen, unseen

WIDTHS = (1, 2, 4, 8, 16, 32)
SPACE = Space(Layer("torch.nn.Sequential", {"*": tuple(Layer("toy.A", {"w": one_of(*WIDTHS)}) for _ in range(20))}))


def weight(architecture):
    return sum(int(v) for v in architecture.decisions.values())


def setting(most, **more):
    """Architectures whose widths add up to at most `most`: of random ones (mean 210, deviation 48) none below 46."""
    excess = lambda a: max(0.0, weight(a) / most - 1)  # noqa: E731
    goals = objectives("max score")
    return Setting(SPACE, goals, 5, Fidelity("function", 1), lambda a: excess(a) == 0, excess=excess, **more)


def test_random_draws_find_none():
    assert min(weight(SPACE.sample(stream(0, i, "test"))) for i in range(3000)) > 45


# The one left out walks through the space, the other takes seconds for a proposal.
@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"exhaustive", "optuna-gp"}))
def test_every_strategy_proposes_what_keeps_them(name):
    strategy = make_strategy(name, setting(45))
    found = {p.architecture for p in strategy.ask(6)}
    assert all(weight(a) <= 45 for a in found)
    assert len(found) >= 4


def test_new_ones_are_found_again_and_again():
    seen, tight = Seen(SPACE, "identical"), setting(45)
    found = [unseen(tight, seen, stream(1, i, "test")) for i in range(30)]
    assert len(set(found)) == 30
    assert all(weight(a) <= 45 for a in found)


def test_what_nothing_keeps_is_still_said():
    for name in ("random", "regularized-evolution", "gaussian-process"):
        with pytest.raises(SpaceError, match="almost empty"):
            make_strategy(name, setting(19)).ask(1)  # twenty widths of at least 1


def test_a_step_is_never_farther_from_the_limits():
    asked = []

    def excess(architecture):
        asked.append(weight(architecture))
        return max(0.0, asked[-1] - 40.0)

    source = stream(3, 0, "test")
    found = led_to_limits(SPACE, excess, source, SPACE.sample(source))
    best = [min(asked[: i + 1]) for i in range(len(asked))]
    assert weight(found) <= 40
    assert best == sorted(best, reverse=True)
    assert led_to_limits(SPACE, lambda _: math.inf, source, found) is None


def test_one_architecture_that_breaks_them_is_no_endless_walk():
    single = Space(Layer("torch.nn.Identity", {}))
    assert led_to_limits(single, lambda _: 1.0, stream(0, 0, "test"), single.sample(stream(0, 1, "test"))) is None
