"""NAS-BOWL's Gaussian process against its formulas, and what it does on small problems."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from searchitect.bench import Limit, load_table, simulate
from searchitect.errors import UsageError
from searchitect.records import Cause, Failure, Measurement, State, Trial, objectives
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.graph_process import LENGTHS, NOISES, Kernel, likeliest, marginal, posterior
from searchitect.strategies.nas_bowl import NasBowl

SPACE = Space(Layer("torch.nn.Sequential", {"*": tuple(
    one_of(conv=Layer("toy.Conv", {}), skip=Layer("toy.Skip", {}), pool=Layer("toy.Pool", {})) for _ in range(6)
)}))  # fmt: skip


def convs(architecture):
    return sum(v == "conv" for v in architecture.decisions.values())


def run(strategy, rounds, measure):
    proposals = []
    for number in range(rounds):
        (proposal,) = strategy.ask()
        proposals.append(proposal)
        metrics = measure(proposal.architecture)
        failure = Failure(Cause.USER_CODE, "broken") if metrics is None else None
        state = State.FAILED if failure else State.DONE
        strategy.tell(Trial(number, proposal, state, Measurement(metrics) if metrics else None, failure))
    return proposals


def normals(*shape, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).normal(size=shape)


def covariances(n, m, seed=0):
    x = normals(n + m, 3, seed=seed)
    whole = np.exp(-0.5 * ((x[:, None] - x[None]) ** 2).sum(axis=2))
    return whole[:n, :n], whole[:n, n:], whole


def test_the_kernel_by_hand():
    squared = np.array([[[0.0, 4.0], [4.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], [[0.0, 9.0], [9.0, 0.0]]])
    kernel = Kernel(2, 0.5, 0.1, np.array([4.0, 2.0, 1.0]))
    assert kernel(squared)[0, 1] == pytest.approx((np.exp(-1.0) + np.exp(-0.5)) / 2)
    assert kernel(squared)[0, 0] == 1.0


def test_marginal_likelihood_against_the_density_of_a_normal():
    """Up to a constant of n: the same differences between kernels as scipy's density at the likeliest variance."""
    y, n = normals(9, seed=2), 9

    def by_density(matrix):
        variance = float(y @ np.linalg.solve(matrix, y)) / n
        return multivariate_normal(np.zeros(n), variance * matrix).logpdf(y)

    def by_formula(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return marginal(values, ((vectors.T @ y) ** 2)[:, None])

    matrices = [covariances(n, 0, seed)[0] + noise * np.eye(n) for seed in (0, 1) for noise in (0.1, 1.0)]
    reference = by_density(matrices[0]) - by_formula(matrices[0])
    for matrix in matrices[1:]:
        assert by_density(matrix) - by_formula(matrix) == pytest.approx(reference)


def test_the_likeliest_kernel_is_the_best_of_all_of_the_grid():
    squared = np.array([4.0 * (normals(12, 1, seed=s) - normals(12, 1, seed=s).T) ** 2 for s in range(3)])
    targets = np.sin(normals(12, 1, seed=1) * 2.0) + 0.1 * normals(12, 1, seed=9)
    found = likeliest(squared, targets)
    y = targets[:, 0] - targets.mean()

    def density(kernel):
        matrix = kernel(squared) + kernel.noise * np.eye(12)
        variance = float(y @ np.linalg.solve(matrix, y)) / 12
        return multivariate_normal(np.zeros(12), variance * matrix).logpdf(y)

    grid = [Kernel(h, length, noise, found.medians) for h in (1, 2, 3) for length in LENGTHS for noise in NOISES]
    assert density(found) == pytest.approx(max(map(density, grid)))


def test_the_posterior_against_conditioning_a_joint_normal():
    among, across, whole = covariances(6, 4)
    values, noise = normals(6, seed=5), 0.05
    mean, deviation, at_rows = posterior(among, across, values, noise)
    y = values - values.mean()
    inverse = np.linalg.inv(among + noise * np.eye(6))
    variance = float(y @ inverse @ y) / 6
    joint = whole[6:, 6:] - across.T @ inverse @ across
    assert mean == pytest.approx(values.mean() + across.T @ inverse @ y)
    assert deviation == pytest.approx(np.sqrt(variance * np.diag(joint)))
    assert at_rows == pytest.approx(values.mean() + among @ inverse @ y)


def test_running_trials_keep_means_and_shrink_deviations():
    """As if they gave what is predicted: told exactly that, the mean stays where it was."""
    among, across, _ = covariances(7, 5, seed=3)
    values = normals(7, seed=4)
    values[5:] = np.nan
    mean, deviation, at_rows = posterior(among, across, values, 0.05)
    without, wider, _ = posterior(among[:5, :5], across[:5], values[:5], 0.05)
    assert mean == pytest.approx(without)
    assert (deviation < wider).all()
    believed = values.copy()
    believed[5:] = at_rows[5:]
    inverse = np.linalg.inv(among + 0.05 * np.eye(7))
    centre = values[:5].mean()
    assert centre + across.T @ inverse @ (believed - centre) == pytest.approx(mean)


def test_it_learns_what_is_good():
    strategy = NasBowl(Setting(SPACE, objectives("max score"), 0))
    proposals = run(strategy, 40, lambda a: {"score": float(convs(a))})
    assert {p.origin for p in proposals[10:]} == {"model"}
    # at random 2; it goes on to the next best, as nothing is proposed twice: one of 6, six or more of 5
    assert max(convs(p.architecture) for p in proposals) == 6
    assert sum(convs(p.architecture) >= 5 for p in proposals) >= 5


def test_limits_and_failures_steer_it():
    strategy = NasBowl(Setting(SPACE, objectives(["max score", "cost < 2.5"]), 1))

    def measure(a):
        broken = list(a.decisions.values()).count("pool") >= 4
        return None if broken else {"score": float(convs(a)), "cost": float(convs(a))}

    proposals = run(strategy, 60, measure)
    kept = [measure(p.architecture) is not None and convs(p.architecture) <= 2 for p in proposals]
    assert np.mean(kept[30:]) > 0.75  # at random 0.58


def test_nothing_equivalent_is_proposed_twice_and_the_kernel_is_chosen_at_fixed_counts():
    space = load_table("nb201-cifar10").space
    strategy = NasBowl(Setting(space, objectives("max score"), 0), candidates=24)
    learned = run(strategy, 24, lambda a: {"score": float(list(a.decisions.values()).count("nor_conv_3x3"))})[10:]
    keys = [space.key(p.architecture) for p in learned]
    assert len(set(keys)) == len(keys)
    assert strategy.fitted == 20


def test_parallel_proposals_are_different():
    strategy = NasBowl(Setting(SPACE, objectives("max score"), 0))
    run(strategy, 12, lambda a: {"score": float(convs(a))})
    proposals = strategy.ask(8)
    assert len({SPACE.key(p.architecture) for p in proposals}) == 8
    assert set(strategy.evidence.pending) == set(range(12, 20))


@pytest.mark.slow
def test_it_beats_random_search_on_a_table():
    """Regret of the signal after 40 evaluations, two seeds."""
    table = load_table("nb201-cifar10")
    losses = table.losses(table.signal)
    for seed in range(2):
        mine, other = (losses[simulate(table, s, Limit(40), seed=seed).at(40)] for s in ("nas-bowl", "random"))
        assert mine < other


def test_bad_options_are_named():
    setting = Setting(SPACE, objectives("max score"), 0)
    for options, words in (({"rounds": -1}, "rounds=-1"), ({"candidates": 0}, "candidates=0")):
        with pytest.raises(UsageError, match=words):
            make_strategy("nas-bowl", setting, options)
    assert make_strategy("nas-bowl", setting, {"rounds": 0}).levels.rounds == 0


def test_an_architecture_whose_plan_cannot_be_computed_equals_itself_only():
    width = one_of(0, 1, 2, name="width")
    space = Space(Layer("toy.Net", {"ratio": 8 // width, "other": one_of("a", "b", name="other")}))
    strategy = NasBowl(Setting(space, objectives("max score"), 0))
    keys = {strategy._of(a).key for a in space.enumerate()}
    assert len(keys) == 6


def test_remembered_covariances_are_those_computed_anew():
    strategy = NasBowl(Setting(SPACE, objectives("max score"), 0))
    run(strategy, 17, lambda a: {"score": float(convs(a))})
    strategy.ask(2)
    architectures = [SPACE.sample(1), *strategy.places, SPACE.sample(2), SPACE.sample(1)]
    assert len(strategy.places) > 15
    assert strategy._among(architectures) == pytest.approx(strategy._covariances(architectures, architectures))
