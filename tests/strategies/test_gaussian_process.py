"""The Gaussian-process strategy: what it promises beyond the contract, and what it reaches on published tables."""

import math
from itertools import pairwise

import numpy as np
import pytest

from searchitect.bench import load_table
from searchitect.bench.simulation import Limit, simulate
from searchitect.errors import UsageError
from searchitect.records import Cause, Failure, Measurement, State, Trial, objectives
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting, gaussian_process, make_strategy
from searchitect.testing.strategy import toy_space, toy_value


def done(number, proposal, **metrics):
    return Trial(number, proposal, State.DONE, measurement=Measurement(metrics))


def search(space, rounds, seed=0, goals="max score", value=toy_value, **options):
    strategy = make_strategy("gaussian-process", Setting(space, objectives(goals), seed), options)
    proposals = []
    for number in range(rounds):
        (proposal,) = strategy.ask(1)
        proposals.append(proposal)
        found = value(proposal.architecture)
        metrics = found if isinstance(found, dict) else {"score": found}
        strategy.tell(done(number, proposal, **metrics))
    return strategy, proposals


def flat(decisions=4, options=3):
    kinds = ("a", "b", "c", "d", "e")[:options]
    edges = [one_of(**{k: Layer(f"t.{k}", {}) for k in kinds}) for _ in range(decisions)]
    return Space(Layer("t.Net", {"edges": edges}))


def score_of(architecture):
    return sum(("abcde".index(v) + 1) * (i + 1) for i, v in enumerate(architecture.decisions.values()))


def test_no_equivalent_is_proposed_twice_until_all_have_been():
    space = flat(3, 3)
    _, proposals = search(space, 30, value=score_of)
    keys = [space.key(p.architecture) for p in proposals]
    assert len(set(keys[:27])) == 27
    assert set(keys) == {space.key(a) for a in space.enumerate()}
    nb201 = load_table("nb201-cifar10").space
    _, proposals = search(nb201, 40, value=score_of_length)
    assert len({nb201.key(p.architecture) for p in proposals}) == 40


def score_of_length(architecture):
    return sum(len(str(v)) for v in architecture.decisions.values())


def test_it_finds_the_best_of_a_thousand_in_few_trials():
    space = flat(6, 4)  # 4,096
    for seed in range(3):
        _, proposals = search(space, 40, seed, value=score_of)
        values = [score_of(p.architecture) for p in proposals]
        assert max(values) == 4 * 21
        assert np.mean(values[20:]) > np.mean(values[:10]) + 10
        learned = [p for p in proposals if p.origin == "model"]
        assert len(learned) == 30
        assert all(parent < p.draw for p in learned for parent in p.parents)


def test_trials_in_flight_are_not_proposed_again_and_spread_out():
    space = flat(6, 4)
    strategy, _ = search(space, 14, value=score_of)
    batch = [p.architecture for p in strategy.ask(8)]
    assert len({space.key(a) for a in batch}) == 8
    distances = [sum(a.decisions[d] != b.decisions[d] for d in a.decisions) for a, b in pairwise(batch)]
    assert np.mean(distances) >= 1.5


def test_variance_around_trials_in_flight_shrinks_and_the_mean_stays():
    space = flat(6, 4)
    strategy, _ = search(space, 16, value=score_of)
    strategy.ask(1)
    process, entries = strategy.process, [strategy.archive.entries[i] for i in strategy.rows]
    known = np.array([e.losses is not None for e in entries])
    values = np.array([0.0 if e.losses is None else e.losses[0] for e in entries])
    before = process.posterior(values, known)
    process.add_row(strategy.pool.vectors()[0] * strategy.weights)
    after = process.posterior(np.append(values, 0.0), np.append(known, False))
    assert after[0] == pytest.approx(before[0], rel=1e-7)
    assert (after[1] <= before[1] * (1 + 1e-9)).all()
    assert after[1][0] < 0.5 * before[1][0]


def test_failures_are_avoided_and_never_taken_for_values():
    """All with an "a" first fail: after some of them it proposes others."""
    space = flat(5, 3)
    strategy = make_strategy("gaussian-process", Setting(space, objectives("max score"), 3))
    first, failed = next(iter(space.by_name)), []
    for number in range(60):
        (proposal,) = strategy.ask(1)
        bad = proposal.architecture.decisions[first] == "a"
        failed.append(bad)
        broken = Trial(number, proposal, State.FAILED, failure=Failure(Cause.MEMORY, "too large"))
        strategy.tell(broken if bad else done(number, proposal, score=score_of(proposal.architecture)))
    assert sum(failed[10:40]) <= 7  # a third would be 10; later on little is left to gain elsewhere
    assert all(e.losses is None for e in strategy.archive.entries if e.failures)


def test_a_measured_limit_is_learned():
    """Good ones are dear. With a limit the best that keeps it is found soon, one of 1,024; without, few keep it."""
    space = flat(5, 4)

    def value(architecture):
        return {"score": score_of(architecture), "cost": 1.0 + sum(v == "d" for v in architecture.decisions.values())}

    best = max(value(a)["score"] for a in space.enumerate() if value(a)["cost"] < 2.5)
    for seed in range(4):
        _, proposals = search(space, 40, seed, goals=["max score", "cost < 2.5"], value=value)
        found = [value(p.architecture) for p in proposals]
        first = next(i for i, v in enumerate(found) if v["cost"] < 2.5 and v["score"] == best)
        _, free = search(space, first + 10, seed, goals="max score", value=value)
        kept = [
            np.mean([v["cost"] < 2.5 for v in vs]) for vs in (found[10:], [value(p.architecture) for p in free[10:]])
        ]
        assert kept[0] > kept[1] + 0.15  # later on it looks where the limit might be kept after all


def test_whole_numbers_are_numbers():
    """A goal that is counted, not measured, is learned from as if it were written with a point."""
    searches = [search(flat(4, 3), 25, 2, value=lambda a, kind=kind: kind(score_of(a)))[1] for kind in (int, float)]
    assert [p.architecture for p in searches[0]] == [p.architecture for p in searches[1]]


def test_several_goals_spread_over_the_front():
    space = flat(5, 3)

    def value(architecture):
        heavy = sum(v == "c" for v in architecture.decisions.values())
        return {"score": heavy + 0.1 * sum(v == "b" for v in architecture.decisions.values()), "cost": heavy}

    _, proposals = search(space, 50, goals=["max score", "min cost"], value=value)
    costs = [value(p.architecture)["cost"] for p in proposals]
    found = {
        c: max(value(p.architecture)["score"] for p, k in zip(proposals, costs, strict=True) if k == c) for c in costs
    }
    assert set(found) == set(range(6))
    best = {c: c + 0.1 * (5 - c) for c in range(6)}
    assert sum(math.isclose(found[c], best[c]) for c in best) >= 5


def test_the_user_may_tell_of_a_candidate_that_waits():
    space = flat(5, 3)
    strategy, _ = search(space, 14, value=score_of)
    waiting = strategy.pool.items[0].architecture
    enqueued = strategy.ask(1)[0]
    for number, architecture in enumerate([waiting, strategy.pool.items[1].architecture], 15):
        strange = Trial(number, enqueued, State.DONE, measurement=Measurement({"score": 3.0}))
        strategy.tell(Trial(number, type(enqueued)(architecture), State.DONE, strange.measurement))
    proposed = {space.key(p.architecture) for p in strategy.ask(25)}
    assert space.key(waiting) not in proposed


def test_long_searches_model_a_part_and_go_on(monkeypatch):
    """With room for 24 networks the same search replays exactly and still finds the best."""
    monkeypatch.setattr(gaussian_process, "CAPACITY", 24)
    monkeypatch.setattr(gaussian_process, "ROOM", 8)
    monkeypatch.setattr(gaussian_process, "POOL", 40)
    space = flat(6, 4)
    strategy, proposals = search(space, 90, value=score_of)
    assert strategy.process.n <= 24 + 8 + 1
    assert len(strategy.pool.items) <= 40 + 8 + 60
    assert max(score_of(p.architecture) for p in proposals) == 4 * 21
    assert [p.architecture for p in search(space, 90, value=score_of)[1]] == [p.architecture for p in proposals]


@pytest.mark.parametrize("acquisition", ["ucb", "thompson"])
def test_other_acquisitions_learn_too(acquisition):
    _, proposals = search(flat(6, 4), 60, value=score_of, acquisition=acquisition)
    values = [score_of(p.architecture) for p in proposals]
    assert max(values) >= 4 * 21 - 3
    assert np.mean(values[30:]) > np.mean(values[:10]) + 10


@pytest.mark.parametrize("acquisition", ["ei", "thompson"])
def test_climbing_finds_the_best_and_replays(acquisition):
    options = {"climb": True, "acquisition": acquisition}
    space = flat(6, 4)
    searches = [search(space, 30, 1, value=score_of, **options) for _ in range(2)]
    assert [p.architecture for p in searches[0][1]] == [p.architecture for p in searches[1][1]]
    values = [score_of(p.architecture) for p in searches[0][1]]
    assert len({p.architecture for p in searches[0][1]}) == 30
    if acquisition == "ei":
        assert max(values) == 4 * 21


def test_a_flat_objective_and_an_endless_space_are_no_trouble():
    _, proposals = search(toy_space(), 25, value=lambda _: 1.0)
    assert len({p.architecture for p in proposals}) == 25


def test_bad_options_are_named():
    setting = Setting(flat(), objectives("max score"), 0)
    with pytest.raises(UsageError, match="'pi' is not known: write ei, ucb or thompson"):
        make_strategy("gaussian-process", setting, {"acquisition": "pi"})
    with pytest.raises(UsageError, match="initial=0"):
        make_strategy("gaussian-process", setting, {"initial": 0})


@pytest.mark.slow
def test_nas_bench_201_by_the_published_protocol():
    """12,000 simulated seconds. Mean of 100 seeds 94.29 ± 0.20 and 72.82 ± 0.73; random search has 93.70 and 71.04."""
    table, other = load_table("nb201-cifar10"), load_table("nb201-cifar100")
    runs = [simulate(table, "gaussian-process", Limit(seconds=12_000), seed=seed) for seed in range(6)]
    rows = [run.at() for run in runs]
    assert all(75 <= len(run.rows) <= 106 for run in runs)
    assert np.mean(table.columns[table.score].values[rows]) > 94.1  # 2.3 standard errors of six
    assert np.mean(other.columns[other.score].values[rows]) > 72.1


def test_candidates_that_are_no_longer_feasible_leave_the_pool():
    """What is feasible may become less while a search runs: what waits in the pool is looked at again."""
    banned: list[str] = []
    space = Space(Layer("toy.Net", {f"n{i}": one_of("a", "b", "c", "d", name=f"n{i}") for i in range(5)}))
    setting = Setting(space, objectives("max score"), 0, feasible=lambda a: a.decisions["n0"] not in banned)
    strategy = make_strategy("gaussian-process", setting, {"initial": 4})
    for number in range(40):
        (proposal,) = strategy.ask(1)
        assert proposal.architecture.decisions["n0"] not in banned
        value = "abcd".index(str(proposal.architecture.decisions["n0"])) + number / 1000
        strategy.tell(Trial(number, proposal, State.DONE, Measurement({"score": float(value)})))
        if number == 15:
            banned.append("d")  # which is the best, and fills the pool
            assert any(item.architecture.decisions["n0"] == "d" for item in strategy.pool.items)
