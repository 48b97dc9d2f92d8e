"""Two processes that train one network equal one process with the same batches."""

import socket

import numpy as np
import pytest
import torch
from torch import nn

from searchitect.errors import UsageError
from searchitect.executors import Finished
from searchitect.executors.processes import Processes
from searchitect.testing.executor import collect, ends
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, TrainData, fit
from searchitect.training.distributed import ALONE, Team, joined
from searchitect.training.terms import Course, Machine

ROWS = 203  # the last batch of 32 has eleven rows


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def rows():
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.normal(size=(ROWS, 3, 6, 6)).astype(np.float32))
    y = (x.mean((1, 2, 3)) > 0).long() + 2 * (x[:, 0].std((1, 2)) > 1).long()
    return x, y


def train(payload, context):
    """One training, alone or as a member of a group; what its network answers, and what it was told."""
    x, y = rows()
    weights = torch.linspace(0.5, 1.5, 150)
    data = TrainData(x[:150], y[:150], x[150:], y[150:], "classification", 4, weights=weights / weights.mean())
    with seeded_torch(7):
        norm = nn.BatchNorm2d(8) if payload.get("norm") else nn.Identity()
        layers = nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Flatten(), nn.Dropout(payload.get("dropout", 0.0))
        model = nn.Sequential(*layers, nn.Linear(128, 4))
    reports = []
    told = Course(
        report=lambda step, numbers: reports.append(numbers["loss"]),
        should_stop=(lambda: True) if payload.get("stop") else None,
    )
    found = fit(
        model, data, Recipe(batch_size=32, lr=0.05, augment="none"), epochs=payload.get("epochs", 2), seed=3,
        course=told, machine=Machine(group=payload.get("group")),
    )  # fmt: skip
    return {
        "weights": torch.cat([p.flatten() for p in model.parameters()]).tolist(), "curve": list(found.curve),
        "reports": reports, "stopped": found.stopped, "metrics": found.metrics,
    }  # fmt: skip


@pytest.fixture(scope="module")
def workers():
    """Three of them: two work together, one alone."""
    with Processes(workers=3, threads=1) as executor:
        executor.start(train)
        yield executor


def together(executor, **payload):
    """The results of both members and of one process alone."""
    meet = f"127.0.0.1:{free_port()}"
    for rank in (0, 1):
        executor.submit(rank, {**payload, "group": [rank, 2, meet]})
    executor.submit(2, payload)
    found = ends(collect(executor, 60.0))
    assert all(isinstance(e, Finished) for e in found.values()), found
    return [found[ticket].result for ticket in range(3)]


@pytest.mark.slow
def test_the_same_training_as_one_process(workers):
    first, second, alone = together(workers)
    assert first["weights"] == second["weights"], "all members hold the same network"
    np.testing.assert_allclose(first["weights"], alone["weights"], rtol=2e-4, atol=2e-5)
    for ours, theirs in zip(first["curve"], alone["curve"], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.021)  # one row of 53
    assert first["curve"] == second["curve"], "the first scores, the other is told"


@pytest.mark.slow
def test_with_batch_norm_and_dropout_within_noise(workers):
    first, second, alone = together(workers, norm=True, dropout=0.2, epochs=12)
    assert first["weights"] == second["weights"]
    assert first["metrics"]["accuracy"] == pytest.approx(alone["metrics"]["accuracy"], abs=0.15)
    assert first["metrics"]["accuracy"] > 0.4


@pytest.mark.slow
def test_the_first_alone_decides_when_to_end(workers):
    meet = f"127.0.0.1:{free_port()}"
    workers.submit(0, {"epochs": 50, "stop": True, "group": [0, 2, meet]})
    workers.submit(1, {"epochs": 50, "group": [1, 2, meet]})
    found = ends(collect(workers, 60.0))
    assert [found[rank].result["stopped"] for rank in (0, 1)] == [True, True]
    assert found[0].result["curve"] == found[1].result["curve"]


@pytest.mark.parametrize(("size", "count"), [(2, 32), (2, 11), (3, 32), (4, 8)])
def test_shares_add_up_to_the_batch(size, count):
    x, y = torch.arange(count).float(), torch.arange(count)
    parts = [Team(rank, size).share(x, y, None, 2 * x) for rank in range(size)]
    assert sorted(torch.cat([part[0] for part in parts]).tolist()) == x.tolist()
    assert sum(part[4] for part in parts) == pytest.approx(1.0)
    mean = sum(part[4] * part[0].mean() for part in parts)
    assert float(mean) == pytest.approx(float(x.mean())), "the weighted mean of the parts is that of the whole"
    for own, targets, nothing, weights, _ in parts:
        assert nothing is None
        assert torch.equal(own.long(), targets)
        assert torch.equal(2 * own, weights)


def test_a_batch_too_small_to_cut_is_everybodys():
    x = torch.arange(3.0)
    for rank in (0, 1):
        own, _, _, _, part = Team(rank, 2).share(x, x, None, None)
        assert own.tolist() == x.tolist()
        assert part == 0.5


def test_alone_nothing_is_exchanged():
    with joined(None) as team, joined((0, 1, "nowhere:1")) as single:
        assert team is single is ALONE
    model, x = nn.Linear(2, 2), torch.ones(3)
    assert ALONE.wrap(model, nn.Linear(1, 1)) is model
    assert ALONE.share(x, x, None, None)[4] == 1.0
    assert ALONE.sum(x) is x
    assert ALONE.agree(lambda: 5, now=False) == 5
    assert not torch.distributed.is_initialized()


def test_an_auxiliary_classifier_is_refused():
    with pytest.raises(UsageError, match="auxiliary"):
        Team(0, 2).wrap(nn.Linear(1, 1), nn.Linear(1, 1))
