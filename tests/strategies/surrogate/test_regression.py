"""The Gaussian process against textbook formulas, scikit-learn, and itself made in other ways."""

import numpy as np
import pytest

from searchitect.seeds import derive
from searchitect.strategies.surrogate.fitting import (
    NOISE,
    START,
    Parameters,
    fit,
    loss,
    mean_distances,
    part_distances,
)
from searchitect.strategies.surrogate.regression import ROOM, Process, covariance


def points(seed, n, d=5):
    return np.random.default_rng(derive(seed, "points")).normal(size=(n, d)) * 0.6


def plain(rows, values, candidates, noise):
    """Rasmussen and Williams 2006, Eq. 2.25 and 2.26, with the likeliest signal variance, by plain inverses."""
    centre = values.mean()
    inverse = np.linalg.inv(covariance(rows, rows) + noise * np.eye(len(rows)))
    cross = covariance(candidates, rows)
    y = values - centre
    scale = y @ inverse @ y / len(y)
    mean = cross @ inverse @ y + centre
    variance = scale * (1.0 - np.einsum("ij,jk,ik->i", cross, inverse, cross))
    return mean, np.sqrt(variance), covariance(rows, rows) @ inverse @ y + centre


def test_covariance_is_its_formula():
    a, b = points(0, 4), points(1, 3)
    by_hand = [[np.exp(-np.sum((x - y) ** 2)) for y in b] for x in a]
    assert covariance(a, b) == pytest.approx(np.array(by_hand), rel=1e-12)
    assert np.linalg.eigvalsh(covariance(points(2, 60), points(2, 60))).min() > -1e-10


def test_posterior_is_the_textbooks():
    rows, candidates = points(0, 12), points(1, 7)
    values = np.sin(rows.sum(axis=1)) * 3 + 5
    mean, deviation, at_rows = Process(rows, candidates, 0.03).posterior(values, np.ones(12, dtype=bool))
    expected = plain(rows, values, candidates, 0.03)
    assert mean == pytest.approx(expected[0], rel=1e-9)
    assert deviation == pytest.approx(expected[1], rel=1e-7)
    assert at_rows == pytest.approx(expected[2], rel=1e-9)


def test_posterior_is_that_of_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    rows, candidates, noise = points(3, 15), points(4, 6), 0.05
    values = rows[:, 0] - rows[:, 1] ** 2
    values -= values.mean()
    mean, deviation, _ = Process(rows, candidates, noise).posterior(values, np.ones(15, dtype=bool))
    kernel = covariance(rows, rows) + noise * np.eye(15)
    scale = values @ np.linalg.solve(kernel, values) / 15
    theirs = GaussianProcessRegressor(  # exp(−d²) is theirs with length √½; their noise is in the signal's units
        ConstantKernel(scale, "fixed") * RBF(np.sqrt(0.5), "fixed"), alpha=noise * scale, optimizer=None
    ).fit(rows, values)
    their_mean, their_deviation = theirs.predict(candidates, return_std=True)
    assert mean == pytest.approx(their_mean, rel=1e-8)
    assert deviation == pytest.approx(their_deviation, rel=1e-6)


def grown(rows, candidates, noise, start):
    """The same process, made row by row and candidate by candidate, with some taken out on the way."""
    process = Process(rows[:start], candidates[:2], noise)
    for i, row in enumerate(rows[start:]):
        process.add_row(row)
        if i == 1:
            process.add_candidates(candidates[2:])
    return process


@pytest.mark.parametrize("start", [0, 1, 5])
def test_growing_gives_what_starting_anew_gives(start):
    rows, candidates = points(5, 5 + ROOM + 9, 6), points(6, 2 + ROOM + 5, 6)
    values, known = np.cos(rows.sum(axis=1)), np.ones(len(rows), dtype=bool)
    whole = Process(rows, candidates, 0.01)
    part = grown(rows, candidates, 0.01, start)
    for ours, theirs in zip(part.posterior(values, known), whole.posterior(values, known), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)
    kept = np.array([0, 3, 7])
    part.drop_candidate(1)  # the last takes its place
    part.keep_candidates(kept)
    fewer = Process(rows, candidates[kept], 0.01)
    assert part.posterior(values, known)[1] == pytest.approx(fewer.posterior(values, known)[1], rel=1e-6)


def test_a_candidate_that_is_taken_is_the_same_as_a_row_that_is_added():
    rows, candidates = points(9, 6 + ROOM), points(10, 9)
    values, known = np.sin(rows.sum(axis=1)), np.ones(len(rows) + 3, dtype=bool)
    taken, added = Process(rows, candidates, 0.02), Process(rows, candidates, 0.02)
    for position, vector in ((3, 3), (6, 6), (3, 8)):  # the last of nine lies at 3 once the fourth is gone
        taken.take_candidate(position)
        added.drop_candidate(position)
        added.add_row(candidates[vector])
    assert (taken.n, taken.m) == (added.n, added.m) == (len(rows) + 3, 6)
    for ours, theirs in zip(
        *(p.posterior(np.append(values, [1.0, 2.0, 0.5]), known) for p in (taken, added)), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_columns_of_zeros_change_nothing_and_come_in_when_they_are_needed():
    rows, candidates = points(11, 8, 6), points(12, 5, 6)
    rows[:, [1, 4]] = candidates[:2, [1, 4]] = 0.0
    values, known = np.cos(rows.sum(axis=1)), np.ones(9, dtype=bool)
    process = Process(rows[:6], candidates[:2], 0.01)  # columns 1 and 4 are not looked at yet
    process.add_candidates(candidates[2:])  # now they are
    process.add_row(rows[6])
    process.add_row(rows[7])
    late = points(13, 1, 6)
    process.add_row(late[0])
    expected = plain(np.concatenate([rows, late]), np.append(values, 3.0), candidates, 0.01)
    mean, deviation, at_rows = process.posterior(np.append(values, 3.0), known)
    assert mean == pytest.approx(expected[0], rel=1e-8)
    assert deviation == pytest.approx(expected[1], rel=1e-6)
    assert at_rows == pytest.approx(expected[2], rel=1e-8)


def test_rows_without_a_value_shrink_the_variance_and_leave_the_mean():
    rows, candidates = points(7, 10), points(8, 30)
    values, known = np.sin(3 * rows[:, 0]), np.arange(10) != 4
    mean, deviation, _ = Process(rows, candidates, 0.02).posterior(np.where(known, values, np.nan), known)
    without = plain(rows[known], values[known], candidates, 0.02)
    assert mean == pytest.approx(without[0], rel=1e-8)
    assert (deviation <= without[1] * (1 + 1e-9)).all()
    assert (deviation < without[1] * 0.999).any()
    # the believer: a value equal to the prediction changes nothing either
    at_row = plain(rows[known], values[known], rows[[4]], 0.02)[0]
    filled = np.where(known, values, at_row)
    centre = values[known].mean()
    weights = Process(rows, candidates, 0.02).weights(filled - centre, np.ones(10, dtype=bool))
    assert weights[4] == pytest.approx(0.0, abs=1e-9)


def brute(point, distances, targets, middle, spread):
    """The marginal likelihood by a determinant and an inverse, without the constants; and the prior."""
    n, goals = targets.shape
    kernel = np.exp(-np.tensordot(np.exp(point[:-1]), distances.reshape(-1, n, n), 1)) + np.exp(point[-1]) * np.eye(n)
    total = 0.0
    for y in targets.T:
        scale = y @ np.linalg.inv(kernel) @ y / n
        total += 0.5 * np.log(np.linalg.det(scale * kernel)) + 0.5 * y @ np.linalg.inv(scale * kernel) @ y - 0.5 * n
    assert goals == targets.shape[1]
    return total + 0.5 * np.sum(((point - middle) / spread) ** 2)


def problem(seed=9, n=14):
    rows, parts = points(seed, n, 7), np.array([0, 0, 1, 1, 1, 2, 2])
    targets = np.stack([rows[:, 0] * 2 + rows[:, 2], rows[:, 3] ** 2], axis=1)
    distances = part_distances(rows, parts)
    return rows, parts, targets - targets.mean(axis=0), distances


def test_marginal_likelihood_is_its_formula_and_the_gradient_its_slope():
    _, _, targets, distances = problem()
    flat = distances.reshape(3, -1)
    middle, spread = np.array([START] * 3 + [NOISE]), np.array([0.75, 1.5, 1.5, 2.0])
    for shift in (0.0, 0.7, -1.1):
        point = middle + shift * np.array([1.0, -0.5, 0.3, 1.2])
        value, slope = loss(point, flat, targets, middle, spread)
        assert value == pytest.approx(brute(point, distances, targets, middle, spread), rel=1e-9)
        for i in range(4):
            step = np.zeros(4)
            step[i] = 1e-5
            ends = [brute(point + s, distances, targets, middle, spread) for s in (step, -step)]
            assert slope[i] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-6)


def test_distances_by_part_add_up_and_decisions_share_one_scale():
    rows, parts, _, distances = problem()
    whole = ((rows[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2)
    assert distances.sum(axis=0) == pytest.approx(whole, abs=1e-12)
    means = mean_distances(distances, decisions=2)
    assert means[0] == means[1] == pytest.approx(distances[:2].mean(axis=(1, 2)).sum())
    assert mean_distances(np.zeros((2, 3, 3)), 1) == pytest.approx([1.0, 1.0])
    parameters = Parameters(np.log(np.array([0.5, 2.0, 1.0])), -4.0, means)
    scaled = rows * parameters.weights(parts)
    expected = np.exp(-np.tensordot(np.array([0.5, 2.0, 1.0]) / means, distances, 1))
    assert covariance(scaled, scaled) == pytest.approx(expected, rel=1e-9)


def test_fitting_finds_which_parts_matter_and_is_no_worse_than_its_starts():
    rng = np.random.default_rng(derive(0, "fit"))
    rows = rng.normal(size=(60, 6))
    parts = np.arange(6)
    targets = (np.sin(2 * rows[:, 0]) + 0.02 * rng.normal(size=60))[:, None]
    found = fit(rows, targets, parts, decisions=0)
    assert found.scales.argmax() == 0
    assert found.scales[0] > found.scales[1:].max() + 1.5
    again = fit(rows, targets, parts, 0, before=found)
    assert again.scales == pytest.approx(found.scales, abs=0.05)
    flat = fit(rows, np.zeros((60, 1)), parts, 0)  # nothing to learn is no error
    assert np.isfinite(flat.scales).all()
