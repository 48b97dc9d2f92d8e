"""Exhaustive search, random search without replacement, and what counts as seen."""

import itertools

import pytest
import torch.nn

from searchitect import nets
from searchitect.errors import SpaceError, UsageError
from searchitect.records import State, Trial, objectives
from searchitect.seeds import stream
from searchitect.space import Layer, Space, lazy, one_of, real
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.exhaustive import permuted
from searchitect.strategies.seen import Seen, unseen
from searchitect.testing.strategy import toy_space


def setting_of(space, seed=0, **more):
    return Setting(space, objectives("max score"), seed, **more)


def all_of(strategy):
    """What it proposes until it refuses, and the refusal."""
    found = []
    while True:
        try:
            found += strategy.ask(1)
        except SpaceError as error:
            return [p.architecture for p in found], str(error)


def sums():
    """Sums of two parts whose order does not matter: 9 architectures, 6 functions."""
    L, M = lazy(torch.nn), lazy(nets)
    return Space(M.Branches(*[one_of(L.ReLU(), L.Tanh(), L.Sigmoid()) for _ in range(2)]))


@pytest.mark.parametrize("order", ["shuffled", "enumerated"])
def test_every_architecture_comes_once(order):
    space = toy_space(finite=True)
    found, message = all_of(make_strategy("exhaustive", setting_of(space), {"order": order}))
    assert len(found) == len(set(found)) == space.size.finite
    assert set(found) == set(space.enumerate())
    assert message.startswith("the space is exhausted: all architectures")


def test_enumerated_is_the_order_of_the_space_and_shuffled_follows_the_seed():
    space = toy_space(finite=True)
    first = [p.architecture for p in make_strategy("exhaustive", setting_of(space), {"order": "enumerated"}).ask(50)]
    assert first == list(itertools.islice(space.enumerate(), 50))
    one, two, again = (make_strategy("exhaustive", setting_of(space, seed)).ask(50) for seed in (1, 2, 1))
    assert one == again
    assert len({p.architecture for p in one} & {p.architecture for p in two}) < 10


def test_a_start_is_not_proposed_twice():
    space = toy_space(finite=True)
    start = (space.sample(3), space.sample(4))
    found, _ = all_of(make_strategy("exhaustive", setting_of(space, start=start)))
    assert found[:2] == list(start)
    assert len(found) == len(set(found)) == space.size.finite


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_the_permutation_is_one(size):
    assert sorted(permuted(i, size, 7) for i in range(size)) == list(range(size))


def test_the_permutation_puts_the_first_index_everywhere():
    """Over many keys the first place is uniform (chi-square over 10 places, 4 sigma)."""
    counts = [0] * 10
    for key in range(3000):
        counts[permuted(0, 10, key)] += 1
    assert sum((c - 300) ** 2 / 300 for c in counts) < 9 + 4 * 18**0.5


@pytest.mark.parametrize(
    ("name", "options"), [("exhaustive", {"equivalent": True}), ("random", {"replacement": False})]
)
def test_one_of_each_class_of_equivalents(name, options):
    space = sums()
    classes = {space.key(a) for a in space.enumerate()}
    assert len(classes) == 6 < space.size.finite == 9
    for seed in range(5):
        found, message = all_of(make_strategy(name, setting_of(space, seed), options))
        assert len(found) == 6
        assert {space.key(a) for a in found} == classes
        assert "exhausted" in message


def test_infeasible_ones_are_left_out():
    space = toy_space(finite=True)
    for name, options in [("exhaustive", {}), ("random", {"replacement": False})]:
        setting = setting_of(space, feasible=lambda a: a.decisions["blocks"] == 1)
        found, _ = all_of(make_strategy(name, setting, options))
        assert {a.decisions["blocks"] for a in found} == {1}
        assert len(found) == len(set(found))
        if name == "exhaustive":
            assert len(found) == sum(a.decisions["blocks"] == 1 for a in space.enumerate())


def test_what_has_no_end_is_refused_with_advice():
    with pytest.raises(SpaceError, match=r"is a real number: write the values worth trying as one_of"):
        make_strategy("exhaustive", setting_of(toy_space()))
    large = Space(Layer("toy.Net", {f"x{i}": one_of(*range(10)) for i in range(9)}))
    with pytest.raises(SpaceError, match=r"of 1,000,000,000 architectures would not end .* replacement=false"):
        make_strategy("exhaustive", setting_of(large))
    assert make_strategy("exhaustive", setting_of(large), {"largest": 10**10}).ask(1)
    with pytest.raises(UsageError, match="order"):
        make_strategy("exhaustive", setting_of(large), {"order": "backwards"})


def test_without_replacement_knows_what_it_was_told():
    space = toy_space(finite=True)
    strategy = make_strategy("random", setting_of(space), {"replacement": False})
    stranger = make_strategy("random", setting_of(space)).ask(1)[0]
    strategy.tell(Trial(0, stranger, State.DONE))
    assert strategy.ask(1)[0].architecture != stranger.architecture  # the same draw would give it


def test_a_space_with_a_float_is_never_exhausted():
    space = Space(Layer("toy.Net", {"x": real(0.0, 1.0)}))
    found = [p.architecture for p in make_strategy("random", setting_of(space), {"replacement": False}).ask(300)]
    assert len(set(found)) == 300


def test_the_last_one_is_found_although_random_draws_hardly_meet_it():
    space = toy_space(finite=True)
    every = list(space.enumerate())
    for by in ("identical", "equivalent"):
        seen = Seen(space, by)
        for architecture in every[:-1]:
            seen.add(architecture)
        if every[-1] not in seen:
            assert unseen(setting_of(space), seen, stream(0, 0, "test")) == every[-1]
        with pytest.raises(SpaceError, match="exhausted"):
            unseen(setting_of(space), seen, stream(0, 1, "test"))
    with pytest.raises(UsageError, match="equivalent"):
        Seen(space, "similar")
