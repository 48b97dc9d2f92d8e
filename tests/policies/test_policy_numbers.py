"""Numbers under a policy: long ranges and Floats are cut into bins."""

import itertools
import math

import numpy as np
import pytest
from policy_spaces import SMALL, long_space, numbers_space, uneven

from searchitect.policies import POLICIES, make_policy
from searchitect.seeds import stream


@pytest.mark.parametrize("name", POLICIES)
def test_the_probabilities_of_long_ranges_add_up_to_one(name):
    space = long_space()
    assert math.fsum(np.exp(uneven(name, space).log_probs(list(space.enumerate())))) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", POLICIES)
def test_numbers_are_drawn_from_bins_and_found_again(name):
    space = numbers_space()
    policy = uneven(name, space)
    for i in range(60):
        sample = policy.sample(stream(2, i, "policy"))
        space.validate(sample.architecture)
        assert policy.log_probs([sample.architecture])[0] == pytest.approx(sample.log_prob, abs=1e-12)


@pytest.mark.parametrize("name", POLICIES)
def test_the_start_is_the_spaces_own_sampling_for_even_numbers(name):
    """Untrained, the mean of a Float, of a log Float's logarithm and of a long range are those of a uniform draw."""
    space = numbers_space()
    policy = make_policy(name, space, 0, SMALL[name])
    number = 3000 if name == "factorised" else 200
    drawn = [policy.sample(stream(5, i, "policy")).architecture.decisions for i in range(number)]
    for decision, low, high in (("rate", 0.0, 0.5), ("decay", math.log(1e-5), math.log(1e-1)), ("long", 10, 209)):
        values = [math.log(d[decision]) if decision == "decay" else d[decision] for d in drawn]
        spread = (high - low) / math.sqrt(12 * number)
        assert abs(np.mean(values) - (low + high) / 2) < 5 * spread
        assert min(values) < low + 0.05 * (high - low) < high - 0.05 * (high - low) < max(values)


def test_all_bins_of_the_factorised_policy_are_hit_equally_often():
    space = numbers_space()
    policy = make_policy("factorised", space, 0)
    rows = policy.categories
    hits = {d: np.zeros(int(n)) for d, n in enumerate(rows.sizes)}
    for i in range(4000):
        for d, place in zip(*rows.places(space.sample(stream(0, i, "own"))), strict=True):
            hits[d][place - rows.starts[d]] += 1
    for d, decision in enumerate(rows.space.decisions):
        if decision.name in ("rate", "decay"):
            assert len(hits[d]) == 8
            assert np.abs(hits[d] - 500).max() < 5 * math.sqrt(500)
        if decision.name in ("long", "stepped"):
            assert len(hits[d]) == 64
    shown = policy.probabilities()
    assert shown["few"] == pytest.approx(dict.fromkeys((1, 2, 3, 4), 0.25))
    assert list(shown["rate"]) == list(range(8))
    assert all(math.isclose(sum(row.values()), 1.0) for row in shown.values())


def test_every_number_of_a_range_lies_in_one_bin():
    rows = make_policy("factorised", numbers_space(), 0).categories
    for name in ("long", "wide", "stepped"):
        d = rows.number[name]
        edges = rows.bins[d]
        assert edges[0] == 0
        assert edges[-1] == rows.space.decisions[d].n
        assert all(b > a for a, b in itertools.pairwise(edges))
        for i, label in enumerate(rows.space.decisions[d].labels):
            bin_of = rows.place(d, label) - rows.starts[d]
            assert edges[bin_of] <= i < edges[bin_of + 1]
