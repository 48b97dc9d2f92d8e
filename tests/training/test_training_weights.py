"""Weights of rows: from the data into the loss of a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from searchitect.errors import DataError, UsageError
from searchitect.seeds import derive
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, fit, load, prepare
from searchitect.training.own import Own
from searchitect.training.terms import Goal

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
ROWS = np.arange(40)
PLAIN = Recipe(optimizer="sgd", lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant", warmup=0.0, clip=None,
               batch_size=64)  # fmt: skip


def linear(outputs):
    with seeded_torch(derive(0, "weights test")):
        return nn.Linear(3, outputs)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_one_step_is_that_of_the_weighted_mean_by_hand(task):
    y = np.arange(40) % 3 if task == "classification" else X @ [1.0, -2.0, 0.5]
    weights = RNG.uniform(0, 3, 40)
    data, _ = prepare(load((X, y), task=task, weights=weights), ROWS)
    model, hand = linear(data.outputs), linear(data.outputs)
    fit(model, data, PLAIN, epochs=1, seed=0)
    out = hand(data.x)
    if task == "classification":
        each = -out.log_softmax(dim=1)[torch.arange(40), data.y]
    else:
        each = (out - data.y).square().mean(dim=1)
    w = torch.from_numpy(weights / weights.sum()).float()
    (w * each).sum().backward()
    for found, start in zip(model.parameters(), hand.parameters(), strict=True):
        assert torch.allclose(found, start - 0.1 * start.grad, atol=1e-6)


def test_equal_weights_are_none_at_all():
    y = np.arange(40) % 2
    trained = []
    for weights in (None, np.full(40, 7.0)):
        data, _ = prepare(load((X, y), weights=weights), ROWS)
        model = linear(2)
        fit(model, data, Recipe(label_smoothing=0.1), epochs=2, seed=0)
        trained.append(model.weight.detach())
    assert torch.allclose(*trained, atol=1e-6)


def test_weights_follow_their_rows_and_change_the_fingerprint():
    y, weights = np.arange(40) % 2, np.arange(40.0)
    raw = load((X, y), weights=weights)
    assert raw.only(np.array([3, 5])).weights.tolist() == [3.0, 5.0]
    assert raw.fingerprint() != load((X, y)).fingerprint()
    data, _ = prepare(raw, np.array([1, 3]))
    assert data.weights.tolist() == [0.5, 1.5]


def test_wrong_weights_are_named():
    y = np.arange(40) % 2
    with pytest.raises(DataError, match=r"weights of shape \(3,\): give one number for each of the 40 rows"):
        load((X, y), weights=[1, 2, 3])
    with pytest.raises(DataError, match="the weight of row 2 is -1"):
        load((X, y), weights=[1, 1, -1, *[1] * 37])
    with pytest.raises(DataError, match="all weights are zero"):
        load((X, y), weights=np.zeros(40))
    with pytest.raises(DataError, match="give weights to more rows"):
        prepare(load((X, y), weights=[1, *[0] * 39]), np.arange(5, 9))


def test_a_loss_of_the_users_must_weigh_itself():
    data, _ = prepare(load((X, np.arange(40) % 2), weights=np.ones(40)), ROWS)
    own = Own(loss=lambda outputs, y: nn.functional.cross_entropy(outputs, y))
    with pytest.raises(UsageError, match="weigh the rows there"):
        fit(linear(2), data, PLAIN, epochs=1, seed=0, goal=Goal(own=own))
