"""Acquisition against sampling, targets against their definitions, candidates and feasibility against promises."""

import math

import numpy as np
import pytest

from searchitect.records import Cause, Failure, Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import derive, stream
from searchitect.strategies.base import Setting
from searchitect.strategies.surrogate import acquisition
from searchitect.strategies.surrogate.archive import Archive
from searchitect.strategies.surrogate.candidates import Pool, mutants, strangers
from searchitect.strategies.surrogate.feasibility import log_probability
from searchitect.strategies.surrogate.features import Features
from searchitect.strategies.surrogate.regression import Process
from searchitect.strategies.surrogate.targets import Told, scalarise, warp
from searchitect.strategies.surrogate.weighing import Weighing, draw_weighing, log_improvement, undominated
from searchitect.testing.strategy import toy_space

WIDTH = "blocks.0.part.conv.width"  # in the toy space; only where the first block is a convolution
MEANS, DEVIATIONS = np.array([0.0, 0.5, -1.0, 2.0]), np.array([1.0, 0.3, 0.1, 2.0])


def test_expected_improvement_is_the_mean_of_samples():
    draws = np.random.default_rng(derive(0, "ei")).normal(size=(400_000, 1)) * DEVIATIONS + MEANS
    sampled = np.maximum(0.2 - draws, 0).mean(axis=0)
    error = np.maximum(0.2 - draws, 0).std(axis=0) / math.sqrt(len(draws))
    found = acquisition.expected_improvement(MEANS, DEVIATIONS, 0.2)
    assert (np.abs(found - sampled) < 4.5 * error + 1e-9).all()


def test_the_logarithm_goes_on_where_expected_improvement_is_zero():
    u = np.linspace(-8, 4, 200)
    exact = np.log(acquisition.expected_improvement(-u, np.ones(200), 0.0)[u > -5])
    logs = acquisition.log_expected_improvement(-u, np.ones(200), 0.0)
    assert logs[u > -5] == pytest.approx(exact, rel=1e-6)
    far = acquisition.log_expected_improvement(np.array([10.0, 40.0, 2000.0]), np.ones(3), 0.0)
    # φ(u)/u² (1 − 3/u²) far out
    expected = [-0.5 * u * u - 0.5 * math.log(2 * math.pi) - 2 * math.log(u) + math.log1p(-3 / u**2) for u in (10, 40)]
    assert far[:2] == pytest.approx(expected, rel=1e-3)
    assert np.isfinite(far).all()
    assert (np.diff(far) < 0).all()


def test_probability_bound_and_thompson():
    assert acquisition.probability_below(MEANS, DEVIATIONS, 0.0)[0] == pytest.approx(0.5)
    assert acquisition.probability_below(np.array([1.0]), np.array([1.0]), 2.959964)[0] == pytest.approx(
        0.975, abs=1e-5
    )
    assert acquisition.lower_bound(MEANS, DEVIATIONS, 2.0) == pytest.approx([2.0, 0.1, 1.2, 2.0])
    source = stream(0, 0, "thompson")
    draws = np.array([acquisition.thompson(MEANS, DEVIATIONS, source) for _ in range(4000)])
    assert (np.abs(draws.mean(axis=0) + MEANS) < 4 * DEVIATIONS / math.sqrt(4000)).all()
    assert draws.std(axis=0) == pytest.approx(DEVIATIONS, rel=0.06)


def test_choice_does_not_hang_on_the_last_digits():
    assert acquisition.choose(np.array([0.1, 0.7, 0.7 + 1e-13, 0.2])) == 1
    assert acquisition.choose(np.array([-np.inf, -np.inf])) == 0
    assert acquisition.choose(np.array([-1e5, -2.0])) == 1


def test_warp_keeps_ranks_and_presses_the_bad_together():
    values = np.array([3.0, 1.0, 2.0, 1e9, 2.5])
    warped = warp(values)
    assert list(np.argsort(warped)) == list(np.argsort(values))
    assert warped[4] == pytest.approx(0.0)  # the median
    unit = np.median(values) - np.quantile(values, 0.1)
    assert warped.min() == pytest.approx((values.min() - np.median(values)) / unit)
    assert warped.max() < 25
    assert warp(values * 7 - 100) == pytest.approx(warped)  # no unit
    assert np.isfinite(warp(np.full(4, 3.0))).all()
    assert np.isfinite(warp(np.array([0.0, 0.0, 0.0, 5.0]))).all()


def test_scalarisation_is_the_augmented_chebyshev_function_of_ranks():
    losses = np.array([[0.0, 30.0], [1.0, 20.0], [2.0, 10.0]])
    found = scalarise(losses, stream(0, 0, "weights"))
    source = stream(0, 0, "weights")
    draws = np.array([-math.log(1 - source.unit()) for _ in range(2)])
    weights = draws / draws.sum()
    ranks = np.array([[0, 1], [0.5, 0.5], [1, 0]])
    assert found == pytest.approx((ranks * weights).max(axis=1) + 0.05 * (ranks * weights).sum(axis=1))
    assert scalarise(losses[:, :1], stream(0, 0, "w")) == pytest.approx(losses[:, 0])
    firsts = {int(scalarise(losses, stream(0, i, "w")).argmin()) for i in range(30)}
    assert firsts == {0, 1, 2}  # every architecture of the front has its turn


def trial(number, architecture, state=State.DONE, **metrics):
    failure = None if state is State.DONE else Failure(Cause.USER_CODE, "broken")
    return Trial(number, Proposal(architecture), state, Measurement(metrics) if metrics else None, failure)


def test_told_trials_without_numbers_are_no_values():
    space, told = toy_space(), Told(objectives(["max score", "cost < 5"]))
    one = space.sample(0)
    assert told.add(trial(0, one, score=1.0, cost=2.0)) == (0, one, (-1.0,), (2.0,), True)
    assert not told.add(trial(1, one, score=1.0, cost=5.0)).kept
    for bad in ({"score": math.nan, "cost": 1.0}, {"score": 1.0}, {"score": math.inf, "cost": 1.0}):
        assert told.add(trial(2, one, **bad)).losses is None
    assert told.add(trial(3, one, State.FAILED)).losses is None


def test_the_archive_averages_what_is_told_of_one_network():
    space = toy_space()
    archive = Archive(Features(space), objectives("max score"))
    one, other = space.sample(0), space.sample(1)
    archive.tell(trial(0, one, State.FAILED))
    assert archive.failed == 1
    archive.tell(trial(1, one, score=1.0))
    archive.tell(trial(2, one, score=2.0))
    archive.add(other)
    assert archive.failed == 0
    assert archive.measured == [0]
    assert archive.losses([0, 1])[0, 0] == pytest.approx(-1.5)
    assert math.isnan(archive.losses([0, 1])[1, 0])


def test_a_full_archive_keeps_the_best_the_latest_and_some_of_all_times():
    space = toy_space()
    archive = Archive(Features(space), objectives("max score"))
    number = 0
    while len(archive.entries) < 200:
        one, number = space.sample(number), number + 1
        if archive.features.of(one).key not in archive.by_key:
            archive.tell(trial(number, one, score=float(-len(archive.entries))))  # the first is the best
    chosen = archive.active(40)
    assert len(chosen) == 40
    assert chosen == sorted(set(chosen))
    assert set(range(20)) <= set(chosen)
    assert set(range(190, 200)) <= set(chosen)
    between = [i for i in chosen if 20 <= i < 190]
    assert max(np.diff(between)) < 40
    assert archive.active(500) == list(range(200))


def test_candidates_are_feasible_new_and_no_equivalents():
    space = toy_space()
    setting = Setting(space, objectives("max score"), 0, feasible=lambda a: a.decisions.get(WIDTH) != 32)
    parents = [space.sample(i) for i in range(3)]
    seen = {c.architecture for c in strangers(setting, stream(0, 0, "a"), 20, ())}
    assert len(seen) == 20
    children = mutants(setting, stream(0, 1, "b"), parents, 30, seen)
    assert len({c.architecture for c in children}) == len(children) == 30
    assert not seen & {c.architecture for c in children}
    assert all(c.architecture.decisions.get(WIDTH) != 32 for c in children)
    assert mutants(setting, stream(0, 1, "b"), [], 5, ()) == []
    closed = {space.key(children[0].architecture)}
    pool = Pool(Features(space), closed)
    assert pool.extend((c.architecture, 7) for c in children) <= 29
    assert pool.extend((c.architecture, 7) for c in children) == 0
    keys = [item.described.key for item in pool.items]
    assert len(set(keys)) == len(keys)
    assert not closed & set(keys)
    last, taken = pool.items[-1], pool.take(0)
    assert pool.items[0] is last
    closed.add(taken.described.key)
    closed.add(last.described.key)
    assert pool.open() == list(range(1, len(pool.items)))
    pool.keep([2, 1])
    assert [item.described.key for item in pool.items] == [keys[2], keys[1]]
    assert children[5].architecture not in pool.spent  # it may come back


def test_the_feasibility_model_knows_which_side_breaks():
    space = toy_space()
    archive = Archive(Features(space), objectives(["max score", "cost < 5"]))
    parts = archive.features.parts
    architectures = [space.sample(i) for i in range(40)]
    for i, one in enumerate(architectures[:30]):
        deep = sum(v == "conv" for v in one.decisions.values())
        state = State.FAILED if one.decisions.get(WIDTH) == 32 else State.DONE
        archive.tell(trial(i, one, state, **({} if state is State.FAILED else {"score": 0.1, "cost": 3.0 + deep})))
    rows = list(range(len(archive.entries)))
    scale = np.sqrt(np.where(parts < len(space.decisions), 0.3, 0.0))
    vectors = np.array([archive.features.of(a).vector for a in architectures[30:]]) * scale
    process = Process(archive.vectors(rows) * scale, vectors, 0.01)
    found = log_probability(archive, rows, process)
    assert (found <= 1e-12).all()
    breaks = np.array(
        [
            a.decisions.get(WIDTH) == 32 or sum(v == "conv" for v in a.decisions.values()) >= 2
            for a in architectures[30:]
        ]
    )
    assert breaks.any()
    assert not breaks.all()
    assert found[~breaks].mean() > found[breaks].mean() + 0.5
    fine = Archive(archive.features, objectives(["max score", "cost < 5"]))
    fine.tell(trial(0, architectures[0], score=1.0, cost=1.0))
    assert log_probability(fine, [0], Process(fine.vectors([0]), vectors, 0.01)) == pytest.approx(0.0)


def test_weighing_is_the_augmented_chebyshev_function_on_the_scale_of_the_front():
    values = np.array([[0.0, 30.0], [1.0, 20.0], [2.0, 10.0], [2.0, 40.0], [3.0, 10.0]])
    assert list(undominated(values)) == [True, True, True, False, False]
    brute = [not any((o <= v).all() and (o < v).any() for o in values) for v in values]
    assert list(undominated(values)) == brute
    weighing = draw_weighing(values, stream(0, 0, "weights"))
    assert weighing.weights.sum() == pytest.approx(1.0)
    scaled = np.array([[0, 1], [0.5, 0.5], [1, 0], [1, 1.5], [1.5, 0]]) * weighing.weights
    assert weighing.of(values) == pytest.approx(scaled.max(axis=1) + 0.05 * scaled.sum(axis=1))
    firsts = {int(draw_weighing(values, stream(0, i, "w")).of(values).argmin()) for i in range(40)}
    assert firsts == {0, 1, 2}  # every architecture of the front has its turn


def test_weighed_improvement_is_that_of_one_goal_when_only_one_counts():
    """With all weight on a goal it is 1.05 times (max and sum) the expected improvement of that goal."""
    rng = np.random.default_rng(derive(0, "weighed"))
    rows, candidates = rng.normal(size=(12, 3)), rng.normal(size=(9, 3))
    process, known = Process(rows, candidates, 0.01), np.ones(12, dtype=bool)
    values = np.stack([rows[:, 0], rng.normal(size=12)], axis=1)
    weighing = Weighing(np.array([1.0, 0.0]), np.array([-50.0, 0.0]), np.ones(2))  # the first is never below 0
    logs = [
        log_improvement(process, values, known, known, weighing, stream(i, 0, "draws")) for i in range(60)
    ]  # 32 draws each
    mean, deviation, at_rows = process.posterior(values[:, 0], known)
    exact = 1.05 * acquisition.expected_improvement(mean, deviation, float(at_rows.min()))
    assert np.exp(logs).mean(axis=0) == pytest.approx(exact, abs=0.08 * exact.max() + 0.003)
