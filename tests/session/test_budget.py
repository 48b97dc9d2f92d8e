"""Budget arithmetic against hand-made sums and a simulation of the final stages."""

import heapq
import itertools
import math

import pytest

from searchitect.session import budget


def simulated(costs, workers):
    """Wall seconds of runs given to whichever worker is free first."""
    free = [0.0] * workers
    heapq.heapify(free)
    for cost in costs:
        heapq.heappush(free, heapq.heappop(free) + cost)
    return max(free)


@pytest.mark.parametrize(("rows", "batch", "epochs"), [(1079, 64, 30), (8000, 128, 10), (60_000, 128, 8), (10, 64, 30)])
def test_usual_epochs(rows, batch, epochs):
    assert budget.usual_epochs(rows, batch) == epochs


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("finalists", [1, 2, 3, 5])
def test_final_seconds_agree_with_a_simulation(workers, finalists):
    candidate, baseline, epochs, seeds = 2.0, 1.0, 10, 3
    stage_a = simulated([candidate * epochs] * (finalists * seeds), workers) if finalists > 1 else 0.0
    more = budget.MORE_ROWS * epochs
    stage_b = simulated([candidate * more] * seeds + [baseline * more] * seeds, workers)
    told = budget.final_seconds(candidate, baseline, epochs, workers, finalists=finalists, seeds=seeds)
    assert told == pytest.approx(stage_a + stage_b + budget.REPORT_SECONDS, rel=0.25)


@pytest.mark.parametrize("total", [30.0, 60.0, 180.0, 600.0, 3600.0])
@pytest.mark.parametrize("candidate", [0.01, 0.1, 1.0, 5.0, 30.0])
def test_the_parts_fit_into_the_budget(total, candidate):
    found = budget.choose(total - 5.0, candidate, candidate / 2, 20, 2, 3)
    assert 1 <= found.epochs <= found.final_epochs <= 20
    assert 0.1 <= found.data <= 1.0
    if found.final_epochs > 1:  # one epoch is the least there is, whatever it costs
        assert found.reserve <= budget.FINAL_SHARE * total + budget.REPORT_SECONDS
    seconds = found.epochs * found.data * candidate
    if found.data > 0.1 and found.epochs > 1:
        trials = (total - 5.0 - found.reserve) * 2 / seconds
        assert trials >= 0.9 * budget.TRIALS


def test_cheap_networks_are_trained_in_full_and_dear_ones_are_not():
    assert budget.choose(175, 0.1, 0.05, 30, 2, 3).epochs == 30
    dear = budget.choose(175, 10.0, 5.0, 8, 2, 3)
    assert dear.epochs <= 3
    assert dear.data < 1.0


@pytest.mark.parametrize("epoch", [10.0, 60.0, 1e4])
def test_however_dear_an_epoch_is_a_fifth_of_the_time_is_for_the_search(epoch):
    """One final epoch of four finalists over three seeds may cost more than everything; some network is tried first."""
    found = budget.choose(500, epoch, epoch, 20, 1, 3)
    assert found.reserve <= 0.8 * 500


def test_the_users_epochs_stand():
    found = budget.choose(55, 1.0, 1.0, 20, 2, 3, epochs=4)
    assert (found.epochs, found.data) == (4, 1.0)
    assert found.final_epochs >= 4


def test_a_longer_budget_never_buys_less():
    plans = [budget.choose(total - 5, 1.0, 0.7, 20, 2, 3) for total in range(20, 2000, 20)]
    assert all(a.final_epochs <= b.final_epochs for a, b in itertools.pairwise(plans))


def test_without_final_trainings_the_search_has_all_the_time():
    found, with_them = (budget.choose(95, 1.0, 1.0, 60, 2, seeds) for seeds in (0, 3))
    assert found.reserve == budget.REPORT_SECONDS < with_them.reserve
    assert found.epochs == int((95 - budget.REPORT_SECONDS) * 2 / budget.TRIALS) > with_them.epochs
    assert budget.reserve_for([1.0, 2.0], 1.0, 60, 2, 0) == budget.REPORT_SECONDS


def test_the_reserve_follows_what_candidates_cost():
    base = budget.reserve_for([1.0, 1.0, 1.0], 1.0, 10, 2, 3)
    twice = budget.reserve_for([2.0, 2.0, 2.0], 2.0, 10, 2, 3)
    assert math.isclose(twice - budget.REPORT_SECONDS, 2 * (base - budget.REPORT_SECONDS))


def test_where_most_trials_pause_the_full_training_is_longer():
    """32 full trials against 12: 8/3 times the epochs, as far as the final training allows."""
    usual, pausing = (budget.choose(595, 1.0, 1.0, 60, 2, 1, trials=n) for n in (32, budget.PAUSING_TRIALS))
    assert pausing.final_epochs == usual.final_epochs
    assert pausing.reserve == usual.reserve
    assert usual.epochs < pausing.epochs <= pausing.final_epochs
    search = (600 - 5 - usual.reserve) * 2
    assert pausing.epochs == min(int(search / 12), pausing.final_epochs)
