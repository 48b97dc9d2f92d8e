"""What a budget buys, before it is spent."""

from dataclasses import replace

import msgspec
import pytest
from torch import nn

from searchitect import Settings, study
from searchitect.engine.limits import usual_seconds
from searchitect.errors import StudyFailedError
from searchitect.evaluators.base import Outcome
from searchitect.seeds import stream
from searchitect.session import budget, probing
from searchitect.session.budget import FINAL_SHARE, REPORT_SECONDS
from searchitect.session.forecasting import buys, trial_seconds
from searchitect.session.preparing import Given, prepare
from searchitect.session.probing import Probed, typical_architectures
from searchitect.session.timeplan import tuning_seconds
from searchitect.space import OUTPUTS, Space, lazy, one_of


@pytest.fixture(scope="module")
def prepared():
    return prepare(Settings(data="digits", budget="10m", workers=2, executor="processes"), Given())


def test_trials_and_final_comparison_fill_the_budget(prepared):
    found = buys(prepared, "random", 600.0, 5.0, Probed(0.5, 0.5))
    used = found.trials * (0.5 * found.epochs * found.data + 0.1) / 2
    assert 5.0 + used + found.finalize == pytest.approx(600.0, abs=10)
    assert found.epochs <= found.final_epochs <= prepared.full_epochs


def test_more_time_never_buys_less(prepared):
    few, many = (buys(prepared, "random", seconds, 5.0, Probed(2.0, 2.0)) for seconds in (300.0, 3_000.0))
    assert few.epochs * few.data < many.epochs
    assert few.trials <= many.trials
    assert few.finalize < many.finalize


def test_what_is_asked_for_beside_the_search_costs_trials(prepared):
    more = prepare(Settings(data="digits", budget="10m", workers=2, tune=0.2, control="random"), Given())
    plain, tuned = (buys(p, "random", 600.0, 5.0, Probed(1.0, 1.0)) for p in (prepared, more))
    assert plain.finalize < tuned.finalize <= 0.2 * 600 + FINAL_SHARE * 0.8 * 600 + REPORT_SECONDS
    assert tuned.trials * tuned.epochs < plain.trials * plain.epochs


@pytest.mark.parametrize(
    ("tune", "seconds"), [(0.2, 120.0), (4, 4 * (1.0 + 2.0) * 5 / 2), (400, 0.3 * 600), (None, 0.0)]
)
def test_what_is_kept_for_tuning(prepared, tune, seconds):
    """A share of the budget; or so many recipes of both networks, up to three tenths of it."""
    asked = replace(prepared, settings=msgspec.structs.replace(prepared.settings, tune=tune, epochs=5))
    assert tuning_seconds(asked, 600.0, 1.0, 2.0) == pytest.approx(seconds)
    assert tuning_seconds(asked, None, 1.0, 2.0) == 0.0


def test_a_small_space_is_tried_whole():
    layers = lazy(nn)
    small = Space(layers.Sequential(layers.Flatten(), layers.LazyLinear(one_of(4, 8)), layers.LazyLinear(OUTPUTS)))
    few = prepare(Settings(data="digits", budget="10m"), Given(space=small))
    found = buys(few, "exhaustive", 600.0, 5.0, Probed(0.1, 0.1))
    assert (found.trials, found.most) == (2, True)


def around(widths):
    layers = lazy(nn)
    chain = (layers.Flatten(), layers.LazyLinear(widths), layers.ReLU(), layers.LazyLinear(OUTPUTS))
    space = Space(layers.Sequential(*chain))
    found = prepare(Settings(data="digits", budget="10m"), Given(space=space))
    drawn = [found.costs.of(space.sample(stream(0, i, "probe"))).macs for i in range(100)]
    return drawn, [found.costs.of(architecture).macs for architecture in typical_architectures(found)]


def test_the_probes_have_the_mean_of_sizes_not_their_median():
    """Nine small networks for one of a hundred times their size: trials take ten times as long as the median says."""
    sizes, probed = around(one_of(*range(8, 17), 1_200, name="width"))
    halves = sorted(sizes)[:50], sorted(sizes)[50:]
    for half, size in zip(halves, probed, strict=True):
        mean = sum(half) / 50
        assert abs(size - mean) == min(abs(s - mean) for s in half)
    sizes, probed = around(one_of(*range(8, 400, 8), name="width"))
    assert sum(probed) / 2 == pytest.approx(sum(sizes) / 100, rel=0.05)
    assert around(one_of(9, name="width"))[1] == [9 * 74], "one network is probed once"


def test_no_feasible_architecture_is_an_error():
    few = prepare(Settings(data="digits", budget="10m", objectives=("accuracy", "params < 1")), Given())
    with pytest.raises(StudyFailedError, match=r"none of 1,?000 random architectures keeps the limits"):
        typical_architectures(few)


def test_strategies_that_pause_are_told_apart(prepared):
    assert not buys(prepared, "random", 600.0, 5.0, Probed(0.5, 0.5)).pausing
    assert buys(prepared, "asha", 600.0, 5.0, Probed(0.5, 0.5)).pausing


def test_the_first_two_trials_do_not_outweigh_the_probes():
    assert usual_seconds([3.0, 5.0, 100.0], None) == 5.0
    assert usual_seconds([1.0, 3.0], 10.0) == pytest.approx((6 * 10 + 4) / 8)
    assert usual_seconds([4.0] * 600, 10.0) == pytest.approx(4.0, rel=0.02)


@pytest.mark.slow
def test_a_plan_with_probes_names_the_users_own_budget_first():
    found = study.plan(Settings(data="digits", budget="90s", executor="serial"), probe=True)["forecasts"]
    assert [f["seconds"] for f in found] == [90.0, 600.0, 3_600.0, 28_800.0]
    assert all(f["trials"] > 0 for f in found)


def test_strategies_that_learn_propose_dearer_networks(prepared):
    found = budget.Fidelities(4, 0.5, 8, 100.0)
    beside = prepare(Settings(data="digits", budget="10m", workers=2, control="random"), Given())
    assert trial_seconds(prepared, "random", 3.0, found) == pytest.approx(6.0 + budget.START_SECONDS)
    learns = trial_seconds(prepared, "gaussian-process", 3.0, found)
    assert learns == pytest.approx(budget.DEARER * 6.0 + budget.START_SECONDS)
    assert trial_seconds(beside, "gaussian-process", 3.0, found) == pytest.approx((learns + 6.1) / 2), "half are random"


def test_short_epochs_are_measured_with_more_networks():
    """A part of the space each; what takes long is trained for one epoch, and only what is short again."""

    class Clock:
        def __init__(self, seconds):
            self.seconds, self.asked = seconds, []

        def __call__(self, _executor, tasks, **_):
            self.asked.append([task.epochs for task in tasks])
            return [Outcome({}, task.epochs * self.seconds(task), task.epochs) for task in tasks]

    few = prepare(Settings(data="digits", budget="10m", workers=2), Given())
    with pytest.MonkeyPatch.context() as patch:
        quick = Clock(lambda task: 0.1 / task.epochs + 0.1)
        patch.setattr(probing, "run_tasks", quick)
        found = probing.probe(few, None, lambda: False)
        assert quick.asked == [[1, 1, 1], [4, 4, 4, 4, 4]]
        assert found.candidate == pytest.approx(0.125)
        assert len(found.points) == 5
        assert found.sampled == tuple(sorted(found.sampled))
        assert len(found.sampled) == probing.SAMPLES
        baseline = few.baseline_architecture
        assert found.baseline_macs == few.costs.of(baseline).macs
        mixed = Clock(lambda task: (0.5 if task.decisions == baseline.decisions else 3.0) + (task.epochs == 1))
        patch.setattr(probing, "run_tasks", mixed)
        found = probing.probe(few, None, lambda: False)
        assert mixed.asked == [[1, 1, 1]], "all took long at first"
        mixed = Clock(lambda task: 0.5 if task.decisions == baseline.decisions else 3.0)
        patch.setattr(probing, "run_tasks", mixed)
        found = probing.probe(few, None, lambda: False)
        assert mixed.asked == [[1, 1, 1], [4]]
        assert (found.candidate, found.baseline) == (3.0, 0.5)
