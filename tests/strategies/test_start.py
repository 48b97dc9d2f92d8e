"""Start architectures: checked before anything runs, and proposed before all others."""

import pytest

from searchitect.errors import UsageError
from searchitect.records import objectives
from searchitect.space import Architecture
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.base import initial, started
from searchitect.testing.strategy import toy_space


def setting_with(start, **more):
    return Setting(toy_space(), objectives(["max score", "cost < 9"]), 0, start=tuple(start), **more)


def test_an_architecture_of_another_space_is_named_by_its_position():
    space = toy_space()
    wrong = Architecture("0" * 16, dict(space.sample(1).decisions))
    with pytest.raises(UsageError, match=r"start architecture 2: .*belongs to space 0000"):
        make_strategy("random", setting_with([space.sample(0), wrong]))


def test_a_wrong_value_is_named():
    space = toy_space()
    name = space.decisions[0].name
    decisions = dict(space.sample(1).decisions) | {name: 17}
    with pytest.raises(UsageError, match=rf"start architecture 1: .*'{name}' cannot be 17"):
        make_strategy("random", setting_with([Architecture(space.fingerprint, decisions)]))


def test_one_that_breaks_a_limit_known_beforehand_is_refused():
    space = toy_space()
    with pytest.raises(UsageError, match=r"start architecture 1 .* breaks a limit \(cost < 9\)"):
        make_strategy("random", setting_with([space.sample(0)], feasible=lambda _: False))


def test_what_follows_the_start_is_what_comes_without_it():
    """A random proposal depends on its draw alone, so a start only takes the place of the first ones."""
    start = (toy_space().sample(7),)
    with_start, without = setting_with(start), setting_with(())
    assert initial(with_start, 0, 4).architecture == start[0]
    assert initial(with_start, 0, 4).events == 4
    assert initial(with_start, 1, 1) == initial(without, 1, 1)
    assert started(with_start, 1, 1) is None


def test_evolution_lets_all_start_architectures_in_before_it_mutates():
    space = toy_space()
    start = [space.sample(i) for i in range(9)]
    strategy = make_strategy("regularized-evolution", setting_with(start), {"population": 4, "sample": 2})
    assert [p.origin for p in strategy.ask(9)] == ["start"] * 9
