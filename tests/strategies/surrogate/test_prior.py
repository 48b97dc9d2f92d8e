"""A prior mean from scores: the slope against least squares, the posterior against its formula, searches with it."""

import math

import numpy as np
import pytest

from searchitect.errors import UsageError
from searchitect.records import Measurement, State, Trial, objectives
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.surrogate.prior import ScorePrior, slope
from searchitect.strategies.surrogate.regression import Process, covariance

SPACE = Space(Layer("toy.Net", {f"n{i}": one_of(*"abcd", name=f"n{i}") for i in range(5)}))


def process_of(rows, candidates, noise=0.1):
    return Process(rows, candidates, noise)


def test_the_slope_is_that_of_generalised_least_squares_with_its_prior():
    """The maximum of the posterior of β on a fine grid, with values and standings around their means."""
    draws = np.random.default_rng(0)
    rows, z = draws.normal(size=(12, 3)), draws.normal(size=12)
    y = -0.8 * z + 0.3 * draws.normal(size=12) + 5.0
    kernel = covariance(rows, rows)
    kernel[np.diag_indices(12)] = 1.1
    inverse, known = np.linalg.inv(kernel), np.ones(12, dtype=bool)
    found = slope(process_of(rows, rows[:2]), y, known, z)
    h, v = z - z.mean(), y - y.mean()
    grid = np.linspace(-2, 1, 30_001)
    left = v[:, None] - h[:, None] * grid
    cost = np.einsum("ig,ij,jg->g", left, inverse, left) + grid**2
    assert found == pytest.approx(grid[np.argmin(cost)], abs=2e-4)
    assert slope(process_of(rows, rows[:2]), -y, known, z) == 0.0  # a score that ranks backwards


def test_values_that_are_not_known_say_nothing_of_the_slope():
    draws = np.random.default_rng(1)
    rows, z, known = draws.normal(size=(8, 2)), draws.normal(size=8), np.arange(8) < 6
    y = -z + 0.1 * draws.normal(size=8)
    other = np.where(known, y, 1e6)
    assert slope(process_of(rows, rows), y, known, z) == pytest.approx(slope(process_of(rows, rows), other, known, z))


def test_the_posterior_is_that_of_the_rest_with_the_mean_put_back():
    """k'(K + noise)⁻¹(y - m) + m, written out."""
    draws = np.random.default_rng(2)
    rows, candidates = draws.normal(size=(9, 3)), draws.normal(size=(4, 3))
    architectures = [SPACE.at(i) for i in range(13)]
    scores = dict(zip(architectures, draws.normal(size=13), strict=True))
    prior = ScorePrior("mine", lambda many: [scores[a] for a in many])
    z = prior.standing(architectures)
    y, known = -2.0 * z[:9] + 0.1 * draws.normal(size=9), np.ones(9, dtype=bool)
    process = process_of(rows, candidates)
    mean, _, at_rows = prior.posterior(process, y, known, architectures[:9], architectures[9:])
    beta = slope(process, y, known, z[:9])
    rest = y - beta * z[:9]
    kernel = covariance(rows, rows)
    kernel[np.diag_indices(9)] = 1.1
    weights = np.linalg.solve(kernel, rest - rest.mean())
    expected = covariance(candidates, rows) @ weights + rest.mean() + beta * z[9:]
    assert mean == pytest.approx(expected)
    assert at_rows == pytest.approx(covariance(rows, rows) @ weights + rest.mean() + beta * z[:9])


def test_standings_are_normal_scores_of_ranks():
    values = dict(zip((SPACE.at(i) for i in range(5)), (3.0, 1e9, -5.0, math.nan, 3.0), strict=True))
    asked = []
    prior = ScorePrior("mine", lambda many: asked.extend(many) or [values[a] for a in many])
    found = prior.standing(list(values))
    assert found[0] == found[4] == pytest.approx(0.0)
    assert found[1] == pytest.approx(-found[2]) == pytest.approx(1.1503, abs=1e-4)  # the 7/8 quantile
    assert found[3] == 0.0
    assert prior.standing([SPACE.at(1)])[0] == found[1]
    assert len(asked) == 5  # each once


def search(score, seed, trials=30, **options):
    """The best of a search for as many "d" as there are decisions."""
    setting = Setting(SPACE, objectives("max score"), seed, score=score)
    strategy, best = make_strategy("gaussian-process", setting, {"initial": 4, "prior": "mine", **options}), 0.0
    for number in range(trials):
        (proposal,) = strategy.ask(1)
        value = worth(proposal.architecture)
        best = max(best, value)
        strategy.tell(Trial(number, proposal, State.DONE, Measurement({"score": value})))
    return best


def worth(architecture) -> float:
    chosen = architecture.decisions
    return sum(v == "d" for v in chosen.values()) + 0.5 * (chosen["n0"] == chosen["n1"])


def test_a_score_that_ranks_helps_and_a_backward_one_does_little_harm():
    good = [search(lambda many: [worth(a) for a in many], seed, 9) for seed in range(3)]
    backward = [search(lambda many: [-worth(a) for a in many], seed, 30) for seed in range(3)]
    assert min(good) == 5.5
    assert min(backward) >= 4.5


def test_what_a_prior_cannot_do_is_named():
    with pytest.raises(UsageError, match="nobody computes scores here"):
        search(None, 0)
    setting = Setting(SPACE, objectives(["max score", "min cost"]), 0)
    with pytest.raises(UsageError, match="prior='synflow' is for one goal"):
        make_strategy("gaussian-process", setting, {"prior": "synflow"})
