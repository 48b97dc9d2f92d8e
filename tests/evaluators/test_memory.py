"""Networks that need more memory than there is: fewer rows at a time, the same batches, nothing lost."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
import torch
from torch import nn

from searchitect import OUTPUTS, Space, lazy, one_of, resume, search
from searchitect.errors import out_of_memory
from searchitect.evaluators import TrainEvaluator
from searchitect.evaluators.base import Task
from searchitect.evaluators.memory import fewer, room_mb, rows_at_a_time
from searchitect.nets import Costs
from searchitect.seeds import stream
from searchitect.session.capacity import Capacity
from searchitect.session.preparing import Given
from searchitect.session.preparing import prepare as prepare_study
from searchitect.settings import Settings
from searchitect.testing.evaluator import Recorder
from searchitect.training import Recipe, fit, load
from searchitect.training.tensors import pieces, prepare
from searchitect.training.terms import Machine

L = lazy(nn)


def space(width):
    return Space(L.Sequential(
        L.LazyConv2d(width, 3, padding=1), L.LazyBatchNorm2d(), L.ReLU(), L.LazyConv2d(8, 3, padding=1), L.ReLU(),
        L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)))  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 65])
@pytest.mark.parametrize("most", [None, 2, 3, 8, 100])
def test_pieces_hold_every_row_once_and_two_or_more(n, most):
    found = pieces(n, most)
    assert [i for piece, _ in found for i in range(n)[piece]] == list(range(n))
    sizes = [len(range(n)[piece]) for piece, _ in found]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(n, 2)
    assert most is None or max(sizes) <= max(most, 3)
    assert [share for _, share in found] == pytest.approx([s / n for s in sizes])
    assert list(accumulate(share for _, share in found))[-1] == pytest.approx(1.0)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


@pytest.mark.parametrize("weighted", [False, True])
def test_fewer_rows_at_a_time_are_the_same_training(weighted):
    """Without BatchNorm the gradient of a batch is the sum over its pieces: float64, to rounding."""
    raw = load("digits", limit_train=150)
    data, _ = prepare(raw, np.arange(120), np.arange(120, 150))
    data = replace(data, x=data.x.double(), x_eval=data.x_eval.double())
    if weighted:
        data = replace(data, weights=torch.linspace(0.2, 1.8, 120, dtype=torch.float64))
    recipe = Recipe(batch_size=50, label_smoothing=0.1, augment="none", optimizer="sgd")
    whole, parts = network().double(), network().double()
    first = fit(whole, data, recipe, epochs=2, seed=3)
    second = fit(parts, data, recipe, epochs=2, seed=3, machine=Machine(rows=7))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    assert first.curve[-1]["train_loss"] == pytest.approx(second.curve[-1]["train_loss"], rel=1e-6)
    assert first.curve[-1]["loss"] == pytest.approx(second.curve[-1]["loss"], rel=1e-6)


def test_no_more_rows_than_asked_go_through_the_network():
    raw = load("digits", limit_train=150)
    data, _ = prepare(raw, np.arange(120), np.arange(120, 150))
    model, seen = network(), []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    fit(model, data, Recipe(batch_size=50), epochs=1, seed=3, machine=Machine(rows=7))
    assert max(seen) == 7
    assert sum(seen) == 150


def test_rows_at_a_time_follow_from_the_tables():
    one = space(64)
    costs = Costs(one, (3, 16, 16), 10)
    cost = costs.of(one.sample(0))
    assert costs.training_mb(cost, costs.batch) == pytest.approx(cost.memory_mb)
    of = {rows: Costs(one, (3, 16, 16), 10, batch=rows).of(one.sample(0)).memory_mb for rows in (64, 32, 16, 8)}
    for rows, mb in of.items():
        assert costs.training_mb(cost, rows) == pytest.approx(mb)
    assert rows_at_a_time(costs, cost, 64, None) is None
    assert rows_at_a_time(costs, cost, 64, of[64]) is None
    assert rows_at_a_time(costs, cost, 64, of[64] - 0.01) == 32
    assert rows_at_a_time(costs, cost, 64, of[8] + 0.01) == 8
    assert rows_at_a_time(costs, cost, 64, 0.001) == 2
    assert [fewer(n) for n in (64, 3, 2, 1)] == [32, 2, None, None]


def test_room_is_the_limit_or_a_part_of_what_is_free():
    assert room_mb(300, 4, 1e4) == 300
    half, whole = room_mb(None, 2, 1000.0), room_mb(None, 1, 1000.0)
    assert half == whole / 2
    assert whole <= 800.0


class Greedy(nn.Module):
    """Says that memory ran out when it sees more rows than it can hold, as torch does."""

    seen: list[int] = []  # noqa: RUF012 - of the class: the network is made anew

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.inner = nn.Linear(64, 10)

    def forward(self, x):
        Greedy.seen.append(len(x))
        if self.training and len(x) > self.most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return self.inner(x.flatten(1))


def evaluator(most, room=None):
    rows = np.arange(150)
    one = Space(L.Sequential(lazy(Greedy)(most=one_of(most, most + 1))))
    made = TrainEvaluator(one, load("digits", limit_train=150), rows[:120], rows[120:], Recipe(batch_size=32))
    made.room_mb = room
    return made, Task(0, one.sample(0).decisions, seed=1, epochs=1)


def test_a_training_that_runs_out_of_memory_goes_on_with_fewer_rows():
    made, task = evaluator(9)
    Greedy.seen.clear()
    outcome = made.run(task, Recorder())
    assert outcome.epochs == 1
    assert "out of memory: 8 of 32 rows at a time" in outcome.notes[0]
    assert [n for n in Greedy.seen if n in (32, 16)]  # tried, in this order
    made, task = evaluator(1)
    with pytest.raises(RuntimeError, match="can't allocate"):
        made.run(task, Recorder())


def test_errors_of_memory_are_known_by_their_words():
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"))
    assert not out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))


def test_the_threshold_is_where_the_fewest_are_on_the_wrong_side():
    """Against all thresholds by brute force, on noisy sequences."""
    for i in range(30):
        draws, known, capacity = stream(0, i, "capacity"), [], Capacity()
        for _ in range(25):
            mb = round(100 * draws.unit())
            known.append((mb, draws.unit() < (0.95 if mb < 60 else 0.1)))
            capacity.told(*known[-1])
        wrong = {t: sum(fits == (mb >= t) for mb, fits in known) for t in range(102)}
        if capacity.threshold is None:
            assert min(wrong.values()) == wrong[101]
        else:
            assert wrong[int(capacity.threshold)] == min(wrong.values())
    lucky = Capacity()
    for mb, fits in [(10, False), (20, True), (30, True)]:
        lucky.told(mb, fits)
    assert lucky.allows(25)  # one failure below two successes rules nothing out
    lucky.told(40, False)
    assert not lucky.allows(40)
    assert lucky.allows(39)
    even = Capacity()
    for mb, fits in [(10, False), (20, True), (30, False)]:
        even.told(mb, fits)
    assert even.threshold == 30, "one is on the wrong side of either: the highest"


def test_a_study_learns_what_does_not_fit_and_knows_it_when_it_goes_on(tmp_path):
    """Networks of 40 channels or more fail. What follows from that is the same when the events are played again."""
    widths = list(range(1, 81))
    one = Space(L.Sequential(L.LazyConv2d(one_of(*widths, name="width"), 3), L.Flatten(), L.LazyLinear(2)))

    def evaluate(model, trial):
        if model[0].out_channels >= 40:
            raise MemoryError
        return 0.5

    given = {"evaluate": evaluate, "sample": (1, 8, 8), "objectives": "max score", "strategy": "random",
             "executor": "serial", "workers": 1, "threads": 1, "finalize": False}  # fmt: skip
    whole = search(one, trials=24, path=str(tmp_path / "whole"), **given)
    search(one, trials=12, path=str(tmp_path / "parts"), **given)
    parts = resume(tmp_path / "parts", trials=24, evaluate=evaluate)
    wide = [next(iter(trial.architecture.decisions.values())) for trial in whole.trials]
    assert [next(iter(trial.architecture.decisions.values())) for trial in parts.trials] == wide
    least = 81
    for trial, width in zip(whole.trials, wide, strict=True):
        assert width < least, "as much or more did not fit before"
        if trial.state.value == "failed":
            assert trial.failure.cause == "out of memory"
            least = min(least, width)
    assert least < 81
    assert whole.meta["memory"]["failed"] == sum(trial.state.value == "failed" for trial in whole.trials) < 12


def test_networks_that_do_not_fit_are_led_to_smaller_ones():
    one = Space(L.Sequential(L.LazyConv2d(one_of(4, 64, name="width"), 3), L.Flatten(), L.LazyLinear(2)))
    prepared = prepare_study(Settings(objectives=["max score"]), Given(one, evaluate=lambda *_: 0.0, sample=(1, 8, 8)))
    small, wide = (one.architecture({one.decisions[0].name: width}) for width in (4, 64))
    assert (prepared.excess(small), prepared.excess(wide)) == (0.0, 0.0)
    prepared.capacity.told(prepared.least_mb(wide), fits=False)
    assert (prepared.excess(small), prepared.excess(wide)) == (0.0, 1.0)
    assert (prepared.feasible(small), prepared.feasible(wide)) == (True, False)


@pytest.mark.slow
def test_a_space_of_which_a_third_does_not_fit_loses_nobody(tmp_path):
    """With 250 MB over an idle worker, the widest networks cannot see their batches of 64 at once."""
    one = Space(L.Sequential(
        L.LazyConv2d(one_of(4, 8, 192, name="width"), 3, padding=1), L.LazyBatchNorm2d(), L.ReLU(),
        one_of(L.Identity(), L.LazyConv2d(4, 1)), L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS),
    ))  # fmt: skip
    x = torch.randn(120, 1, 40, 40, generator=torch.Generator().manual_seed(0)).numpy()
    study = search(one, (x, np.arange(120) % 2), trials=6, epochs=1, strategy="exhaustive", workers=1, threads=1,
                   memory_mb=250, finalize=False, recipe={"batch_size": 64}, path=str(tmp_path / "run"))  # fmt: skip
    assert [t.state.value for t in study.trials] == ["done"] * 6
    wide = [t for t in study.trials if 192 in t.architecture.decisions.values()]
    assert len(wide) == 2
    for trial in study.trials:
        few = any("rows at a time" in note for note in trial.measurement.notes)
        assert few == (trial in wide)
