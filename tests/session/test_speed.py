"""How much slower a machine has become, by trials of all sizes."""

import numpy as np
import pytest

from searchitect.records import Fidelity, Measurement, Proposal, State, Trial
from searchitect.session import speed
from searchitect.session.speed import LATEST, Speed, _line, crowded, epoch_seconds
from searchitect.space import Architecture


def trial(number, macs, seconds, *, epochs=1, data=1.0, source=None):
    proposal = Proposal(Architecture("s", {"n": number}), Fidelity("train", epochs, data))
    metrics = {} if macs is None else {"macs": macs}
    return Trial(
        number, proposal, State.DONE, Measurement(metrics, seconds, epochs), finished=float(number), source=source
    )


def trials(count, slower, seed=0, noise=0.05):
    """Seconds are 0.2 and one for each thousand of multiply-accumulates; `slower(number)` times that."""
    r = np.random.default_rng(seed)
    sizes = r.uniform(100, 3_000, count)
    return [
        trial(i, m, (0.2 + m / 1000) * slower(i) * r.lognormal(0, noise)) for i, m in enumerate(sizes)
    ]  # fmt: skip


def test_a_machine_of_one_speed_is_said_to_have_it_whatever_the_sizes():
    assert [Speed(trials(n, lambda i: 1.0, seed)).slower for n in (0, 5, 12, 40) for seed in range(5)] == [1.0] * 20


@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_a_slower_machine_is_seen_by_the_latest_trials(factor):
    found = Speed(trials(40, lambda i: factor if i >= 34 else 1.0))
    assert found.slower == pytest.approx(factor, rel=0.15)
    old, new = trials(40, lambda i: 1.0)[3], trials(40, lambda i: 1.0)[37]
    assert found.epoch(old) == pytest.approx(found.slower * epoch_seconds(old))
    assert found.epoch(new) == epoch_seconds(new), "it was measured at this speed"


def test_a_faster_machine_and_too_few_trials_change_nothing():
    assert Speed(trials(40, lambda i: 0.4 if i >= 34 else 1.0)).slower == 1.0
    assert Speed(trials(2 * LATEST - 1, lambda i: 3.0 if i >= LATEST else 1.0)).slower == 1.0
    assert Speed([trial(i, None, 1.0 + i) for i in range(40)]).slower == 1.0, "sizes are not known"
    small = [trial(i, 1000.0 if i < 30 else 100.0, 1.0 if i < 30 else 0.3) for i in range(36)]
    assert Speed(small).slower == 1.0, "smaller networks, not a slower machine"


def test_reused_results_say_nothing_and_order_is_that_of_ending():
    own = trials(40, lambda i: 1.0)
    assert Speed([*own, *(trial(100 + i, 500.0, 50.0, source=1) for i in range(9))]).slower == 1.0
    assert Speed(own[::-1]).latest == set(range(34, 40))


def test_an_epoch_is_one_on_all_rows():
    assert epoch_seconds(trial(0, 1.0, 6.0, epochs=3, data=0.25)) == pytest.approx(8.0)
    assert epoch_seconds(Trial(0, Proposal(Architecture("s", {})))) == 0.0


def test_the_line_is_least_squares_without_nonsense():
    x, y = [1.0, 2.0, 4.0, 7.0], [1.5, 2.4, 4.7, 7.4]
    slope, start = np.polyfit(x, y, 1)
    line = _line(x, y)
    assert [line(a) for a in (2.0, 9.0)] == pytest.approx([slope * 2 + start, slope * 9 + start])
    assert _line([1.0, 2.0], [3.0, 1.0])(5.0) == 2.0, "larger networks are not faster"
    assert _line([1.0, 2.0], [0.5, 4.0])(4.0) == pytest.approx(6.0), "through the origin at least"
    assert _line([2.0, 2.0], [1.0, 3.0])(2.0) == 2.0


@pytest.mark.parametrize(("load", "workers", "times"), [
    (0.3, 2, 1.0), (2.0, 2, 1.0), (5.0, 2, 1.52), (8.0, 2, 2.12), (17.0, 2, 3.48), (60.0, 2, 4.0), (4.0, 1, 1.52),
])  # fmt: skip
def test_a_crowded_machine_is_known_by_its_load(monkeypatch, load, workers, times):
    """Two cores: what is left of the load beside our workers, and this process, share them."""
    monkeypatch.setattr(speed.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(speed.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert crowded(workers) == pytest.approx(times, abs=0.005)


def test_where_no_load_is_told_there_is_room(monkeypatch):
    monkeypatch.delattr(speed.os, "getloadavg", raising=False)
    assert crowded(2) == 1.0
