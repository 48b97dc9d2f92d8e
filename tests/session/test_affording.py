"""What a budget cannot train is left out of a space that was chosen for the user."""

from dataclasses import replace

import numpy as np
import pytest

from searchitect import resume, search
from searchitect.records import State
from searchitect.session import run
from searchitect.session.affording import LARGEST, LEAST_SHARE, Affordable, affordable, between, left_out
from searchitect.session.budget import DEARER
from searchitect.session.preparing import Given, prepare
from searchitect.session.probing import Probed
from searchitect.session.timeplan import shared_out
from searchitect.settings import Settings
from searchitect.spaces import load_space

SIZES = tuple(range(1_000, 101_000, 1_000))  # of a hundred random networks


@pytest.fixture(scope="module")
def chosen():
    return prepare(Settings(data="digits", budget="2m", workers=2), Given())


def probed(second_each: float, sizes=SIZES, baseline_macs=5_000):
    """Seconds of an epoch are multiply-accumulates / 1,000 times so many."""
    points = tuple((n, n / 1_000 * second_each) for n in (25_000, 75_000, baseline_macs))
    return Probed(50 * second_each, 5 * second_each, sizes, points, baseline_macs)


def test_where_everything_can_be_trained_everything_stays(chosen):
    found = affordable(chosen, "random", 120.0, 1.0, probed(1e-4))
    assert (found.most_macs, found.share, found.candidate) == (None, 1.0, pytest.approx(50e-4))


def test_what_stays_is_the_largest_part_that_can_be_trained_to_the_end(chosen):
    """Against a search through all parts, by the same plan of a budget."""
    for each in (0.004, 0.007, 0.012):
        probe = probed(each, baseline_macs=1_000)
        found = affordable(chosen, "random", 120.0, 1.0, probe)
        enough = []
        for count in range(10, 101):
            seconds = [n / 1_000 * each for n in SIZES[:count]]
            mean = max(sum(seconds) / count, seconds[-1] / (LARGEST * DEARER))
            plan = shared_out(chosen, "random", 120.0, 1.0, mean, min(mean, probe.baseline))
            enough += [count] * (plan.final_epochs >= chosen.full_epochs)
        assert 10 < max(enough) < 100, "an instructive case"
        assert found.most_macs == SIZES[max(enough) - 1]
        assert found.share == max(enough) / 100
        assert found.candidate == pytest.approx(sum(n / 1_000 * each for n in SIZES[: max(enough)]) / max(enough))


def test_the_smallest_and_those_up_to_the_hand_made_one_stay(chosen):
    hopeless = affordable(chosen, "random", 120.0, 1.0, probed(100.0))
    assert hopeless.share == LEAST_SHARE
    assert hopeless.most_macs == 10_000
    larger = affordable(chosen, "random", 120.0, 1.0, probed(100.0, baseline_macs=40_000))
    assert (larger.most_macs, larger.share) == (40_000, 0.4)
    largest = affordable(chosen, "random", 120.0, 1.0, probed(100.0, baseline_macs=400_000))
    assert (largest.most_macs, largest.share) == (None, 1.0)


def test_what_the_user_decided_is_not_narrowed(chosen):
    dear = probed(100.0)
    own = prepare(Settings(data="digits", budget="2m", workers=2), Given(space=load_space("cnn", size=8, width=8)))
    named = prepare(Settings(data="digits", budget="2m", workers=2, space="cnn"), Given())
    epochs = prepare(Settings(data="digits", budget="2m", workers=2, epochs=3), Given())
    for one in (own, named, epochs):
        assert affordable(one, "random", 120.0, 1.0, dear).most_macs is None
    assert affordable(chosen, None, 120.0, 1.0, dear).most_macs is None, "weights are shared"
    assert affordable(chosen, "random", 120.0, 1.0, Probed(9.0, 9.0)).most_macs is None, "costs are not known"


def test_seconds_of_networks_that_were_not_probed():
    at = between([(10_000, 3.0), (1_000, 1.0), (100_000, 30.0)])
    assert [at(n) for n in (500, 1_000, 5_500, 10_000, 55_000, 100_000, 200_000)] == [
        1.0, 1.0, 2.0, 3.0, 16.5, 30.0, 60.0
    ]  # fmt: skip


def test_it_is_said():
    text = left_out(Affordable(1.0, 2_500_000, 0.37), 480.0)
    assert "8 min" in text
    assert "2.5 M" in text
    assert "37 %" in text


def test_larger_networks_are_infeasible_and_known_by_how_much(chosen):
    drawn = [chosen.space.sample(i) for i in range(60)]
    macs = [chosen.costs.of(a).macs for a in drawn]
    most = sorted(macs)[30]
    limited = replace(chosen, most_macs=most)
    for architecture, n in zip(drawn, macs, strict=True):
        assert limited.feasible(architecture) == (n <= most)
        assert limited.excess(architecture) == pytest.approx(max(n / most - 1, 0.0))


def test_a_space_is_chosen_by_the_time_of_one_search():
    """Half of the budget is a control's, and tuning has its share."""
    given = Given(data=(np.zeros((4_000, 28, 28), np.uint8), np.arange(4_000) % 10))
    options = {"strategy": "random", "workers": 2, "executor": "serial"}
    alone, shared, same = (
        prepare(Settings(budget=budget, **options, **more), given)
        for budget, more in (("10m", {}), ("10m", {"control": "random", "tune": 0.2}), ("4m", {}))
    )
    assert alone.space.fingerprint != shared.space.fingerprint == same.space.fingerprint, "10 min · 0.8 / 2 = 4 min"
    assert "what the control and tuning leave of 600 s" in shared.space_why
    assert "leave of" not in alone.space_why


@pytest.mark.slow
def test_a_study_keeps_to_it_and_says_so(tmp_path, monkeypatch):
    """A machine on which an epoch seems to take a thousand times as long, so that little of the space stays."""
    true = run.probe

    def slow(*given):
        found = true(*given)
        points = tuple((macs, 1e3 * seconds) for macs, seconds in found.points)
        return found._replace(candidate=1e3 * found.candidate, baseline=1e3 * found.baseline, points=points)

    monkeypatch.setattr(run, "probe", slow)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    x = rng.normal(size=(200, 4, 24)).astype(np.float32) + y[:, None, None]
    study = search(data=(x, y), budget="2m", trials=4, executor="serial", path=tmp_path / "s", seeds=1, selftest=False)
    most = study.meta["forecast"]["most_macs"]
    assert most is not None
    done = [t for t in study.trials if t.state is State.DONE]
    assert len(done) == 4
    assert all(t.value("macs") <= most for t in done)
    assert "Largest network" in (tmp_path / "s" / "report.html").read_text()
    study = resume(tmp_path / "s", data=(x, y), trials=10)
    later = [t for t in study.trials if t.state is State.DONE]
    assert len(later) == 10
    assert all(t.value("macs") <= most for t in later), "what was left out stays out, without another probe"
