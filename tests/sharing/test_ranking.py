"""Kendall's τ against a count of pairs, its interval against the published formula for normal scores."""

import itertools
import math

import numpy as np
import pytest

from searchitect.errors import UsageError
from searchitect.sharing.ranking import agreement


def counted(a, b):
    """τ-b by its definition: concordant minus discordant pairs over the pairs that are not tied."""
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in itertools.combinations(range(len(a)), 2)]
    total = sum(x * y for x, y in signs)
    return total / math.sqrt(sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs))


@pytest.mark.parametrize("seed", range(4))
def test_tau_is_what_counting_pairs_gives(seed):
    draws = np.random.default_rng(seed)
    a, b = draws.integers(6, size=25).tolist(), draws.integers(6, size=25).tolist()
    found = agreement(a, b)
    assert found.tau == pytest.approx(counted(a, b))
    assert found.low < found.tau < found.high
    assert found.n == 25


def test_the_interval_is_about_the_published_one_for_normal_scores():
    """Fieller, Hartley and Pearson 1957: atanh τ has a variance of about 0.437 / (n - 4)."""
    draws = np.random.default_rng(1)
    x = draws.normal(size=300)
    y = x + draws.normal(size=300)
    found = agreement(x, y)
    spread = 1.96 * math.sqrt(0.437 / 296)
    assert found.low == pytest.approx(math.tanh(math.atanh(found.tau) - spread), abs=0.02)
    assert found.high == pytest.approx(math.tanh(math.atanh(found.tau) + spread), abs=0.02)
    assert found.tau == pytest.approx(2 / math.pi * math.asin(1 / math.sqrt(2)), abs=0.06)  # of a correlation of 0.71


def test_the_same_order_and_the_reverse():
    scores = [0.1, 0.4, 0.2, 0.9, 0.5]
    assert agreement(scores, [10 * s for s in scores]).tau == pytest.approx(1)
    assert agreement(scores, [-s for s in scores]).tau == pytest.approx(-1)
    assert agreement(scores, scores, seed=3) == agreement(scores, scores, seed=3)


def test_equal_scores_rank_nothing():
    found = agreement([0.1] * 5, [1, 2, 3, 4, 5])
    assert (found.tau, found.low, found.high) == (0.0, -1.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3])])
def test_too_few_scores_are_refused(a, b):
    with pytest.raises(UsageError, match="4 or more"):
        agreement(a, b)
