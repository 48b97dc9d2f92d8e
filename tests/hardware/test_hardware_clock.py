"""The clock: medians of turns with intervals that hold, on a clock that the tests turn."""

import os
import statistics
import subprocess
import sys
import time

import pytest
import torch
from scipy.stats import binom
from torch import nn

from searchitect.errors import UsageError
from searchitect.hardware import measured
from searchitect.hardware.clock import (
    FEWEST,
    LEAST,
    MOST,
    Pass,
    Timing,
    fastest,
    in_turns,
    median_interval,
    passes,
    timing,
    waited,
)
from searchitect.seeds import stream


class Clock:
    """Time passes when somebody says so, and a millionth of a second at each look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1e-6
        return self.now

    def work(self, seconds):
        """A function that takes so long: a number, or the next of a list for ever."""
        rows = iter(seconds) if not isinstance(seconds, float) else None

        def run():
            self.now += seconds if rows is None else next(rows)

        return run


@pytest.mark.parametrize("n", [6, 9, 20, 61])
def test_the_interval_of_a_median_covers_as_the_binomial_says(n):
    values = list(range(n))
    low, high = median_interval(values)
    assert low + high == n - 1  # symmetric
    # the median of the distribution lies between order statistics low and high (from 0) unless at most `low` of the
    # values are below it, or as few above: scipy's binomial says how likely that is
    assert 1 - 2 * binom.cdf(low, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(low + 1, n, 0.5) < 0.95


def test_few_values_give_their_ends_and_order_does_not_matter():
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([5.0]) == (5.0, 5.0)
    assert timing([2.0, 1.0, 3.0]) == Timing(2.0, 1.0, 3.0, 3)


def test_the_interval_covers_the_true_median_in_a_simulation():
    held = 0
    for i in range(400):
        draws = stream(0, i, "test")
        values = [draws.unit() ** 2 for _ in range(15)]  # true median 0.25, skewed
        low, high = median_interval(values)
        held += low <= 0.25 <= high
    assert 0.95 <= held / 400 <= 1.0


def test_functions_are_timed_in_turns_to_what_they_take():
    clock = Clock()
    found = in_turns([clock.work(2e-3), clock.work(5e-3)], clock=clock)
    assert [round(one.ms, 2) for one in found] == [2.0, 5.0]
    assert all(one.turns == LEAST and one.uncertainty < 0.01 for one in found)
    assert in_turns([], clock=clock) == []


def test_the_first_pass_of_a_turn_does_not_count():
    clock, calls = Clock(), []

    def run():  # cold after the other function has run: its own first pass takes ten times as long
        cold = calls[-1:] != ["own"]
        calls.append("own")
        clock.now += 50e-3 if cold else 5e-3

    def other():
        calls.append("other")
        clock.now += 5e-3

    own, _ = in_turns([run, other], clock=clock)
    assert own.ms == pytest.approx(5.0, abs=0.01)


def test_it_goes_on_until_the_interval_is_narrow_or_time_is_up():
    def noisy(spread):
        draws = stream(1, 0, "noise")
        return (5e-3 * (1 + spread * (draws.unit() - 0.5)) for _ in iter(int, 1))

    clock = Clock()
    (calm,) = in_turns([clock.work(noisy(0.3))], clock=clock, seconds=60.0)
    assert calm.uncertainty <= 0.05
    clock = Clock()
    (wild,) = in_turns([clock.work(noisy(1.9))], clock=clock, seconds=0.5)
    assert wild.uncertainty > 0.05
    assert LEAST <= wild.turns < MOST
    assert clock.now < 2.0
    (late,) = in_turns([clock.work(1.0)], clock=clock, seconds=0.5)
    assert late.turns == FEWEST


def test_a_burst_of_load_does_not_make_the_interval_narrow():
    """Passes that are slow together are one observation: their turn."""
    clock, count = Clock(), 0

    def run():
        nonlocal count
        count += 1
        clock.now += 9e-3 if (count // 24) % 2 else 3e-3

    (found,) = in_turns([run], clock=clock, seconds=0.1)
    assert found.high - found.low > 5.0


def busy(seconds):
    """So long on a core, whatever others do."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_time_in_which_others_had_the_core_is_not_the_networks():
    """Two processes for one core: half of the wall time is waiting, and taken out."""
    if waited() == 0.0 and not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not count how long a thread waits for a core")
    cores = os.sched_getaffinity(0)
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for process in (0, rival.pid):
            os.sched_setaffinity(process, {min(cores)})
        began = time.perf_counter()
        found = passes(lambda: busy(0.05), 5)[1:]
        wall = time.perf_counter() - began
    finally:
        rival.kill()
        rival.wait()
        os.sched_setaffinity(0, cores)
    assert wall > 0.4
    assert fastest(found) == pytest.approx(0.05, rel=0.15)


def test_passes_that_were_interrupted_do_not_count():
    assert fastest([Pass(5.0, 0.0), Pass(4.0, 0.0), Pass(3.0, 2.0)]) == 4.0
    assert fastest([Pass(5.0, 1.0), Pass(9.0, 5.5), Pass(3.0, 3.0)]) == 3.5  # each was: the median of what is left


def test_networks_are_measured_and_left_as_they_were():
    small = nn.Linear(8, 8)
    large = nn.Sequential(*[nn.Linear(8, 8) for _ in range(40)])
    large[3].eval()
    threads = torch.get_num_threads()
    found = measured([small, large], (8,), seconds=0.3, threads=1)
    assert 0 < found[0].ms < found[1].ms
    assert found[1].low <= found[1].ms <= found[1].high
    assert large.training
    assert not large[3].training
    assert torch.get_num_threads() == threads
    with_rows = measured([small], torch.zeros(1, 8), batch=3, seconds=0.1)
    assert with_rows[0].turns >= FEWEST
    assert statistics.median([with_rows[0].ms]) > 0
    with pytest.raises(UsageError, match="above 0"):
        measured([small], (8,), batch=0)
