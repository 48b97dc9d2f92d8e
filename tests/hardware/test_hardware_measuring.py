"""A table measured in place, on networks whose time is known because they keep a core busy for so long."""

import time

import pytest
import torch
from torch import nn

from searchitect import OUTPUTS, Space, lazy, one_of, repeat
from searchitect.errors import UsageError
from searchitect.hardware import Predictor, measured, measured_table
from searchitect.hardware.measuring import FEWEST, chosen
from searchitect.hardware.predicting import operations
from searchitect.nets import Costs, build

L = lazy(nn)


class Working(nn.Module):
    """Gives its input on after so many milliseconds, and what it holds besides."""

    def __init__(self, ms: float, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.ms, self.inner = ms, inner

    def forward(self, x):
        end = time.thread_time() + self.ms / 1e3
        while not self.training and time.thread_time() < end:
            pass
        return x if self.inner is None else self.inner(x)


S = lazy(Working)


def space():
    return Space(L.Sequential(
        S(ms=one_of(0.4, 1.2, name="first")), repeat(lambda: one_of(S(ms=0.2), S(ms=0.8), L.Identity()), 1, 2),
        S(ms=0.6, inner=L.Linear(4, 4)), L.LazyLinear(OUTPUTS)))  # fmt: skip


def worked(space, architecture):
    """Milliseconds that a network works, by its modules."""
    model = build(space, architecture, (4,), outputs=2)
    return sum(m.ms for m in model.modules() if isinstance(m, Working))


def test_operations_are_timed_by_themselves_and_their_sum_is_the_network():
    one = space()
    costs = Costs(one, (4,), 2)
    table, line = measured_table(costs, seconds=3.0, threads=1)
    by_ms = {name: e.ms for name, e in table.entries.items() if "Working" in name}
    for ms in (0.2, 0.4, 0.8, 1.2):
        name = next(n for n in by_ms if f"ms={ms}" in n)
        assert 0.95 * ms <= by_ms[name] < 1.5 * ms + 0.5
    holding = next(n for n in by_ms if "ms=0.6" in n)  # a user's class is one operation with what it holds
    assert by_ms[holding] > 0.6
    root = next(e for n, e in table.entries.items() if n.startswith("nn.Sequential(*=[. . . .])"))
    assert root.ms < 0.4  # without what it holds
    predictor = Predictor(costs, table, line)
    for architecture in one.enumerate():
        assert predictor.unknown(architecture) == []
        assert predictor(architecture) == pytest.approx(worked(one, architecture), rel=0.2, abs=0.6)
    assert line.networks >= FEWEST
    assert line.error < 0.4


def test_networks_are_chosen_so_that_together_they_hold_what_the_space_has():
    one = space()
    costs = Costs(one, (4,), 2)
    everything = {o.name for a in one.enumerate() for o in operations(costs, a)}
    few = list(chosen(costs, 0, lambda _: True, float("inf")))[:5]
    assert {o.name for a in few for o in operations(costs, a)} >= {n for n in everything if "Working" in n}
    assert len(set(few)) == 5
    short = list(chosen(costs, 0, lambda a: a.decisions["0.first"] == 1.2, float("inf")))
    assert {a.decisions["0.first"] for a in short} == {1.2}
    with pytest.raises(UsageError, match="none of 300 random networks"):
        measured_table(costs, allowed=lambda _: False)


def test_a_network_that_was_timed_is_as_it_was():
    one = Space(L.Sequential(L.Linear(4, 4), L.ReLU()))
    threads = torch.get_num_threads()
    table, _ = measured_table(Costs(one, (4,)), seconds=1.0, threads=1)
    assert len(table) == 3
    assert torch.get_num_threads() == threads
    assert "1 thread" in table.device
    asked = []
    _, line = measured_table(Costs(space(), (4,), 2), stop=lambda: bool(asked) or bool(asked.append(1)))
    assert line.networks <= 2
    assert measured([build(one, one.sample(0), (4,))], (4,), seconds=0.05)[0].ms > 0


def test_when_time_is_up_a_few_networks_and_turns_have_to_do():
    one = Space(L.Sequential(S(ms=one_of(20.0, 30.0, 40.0, 50.0)), L.Linear(4, 4)))
    began = time.thread_time()
    _, line = measured_table(Costs(one, (4,)), seconds=0.01)
    assert line.networks == FEWEST
    assert time.thread_time() - began < 3.0  # all turns of all four would take ten seconds
