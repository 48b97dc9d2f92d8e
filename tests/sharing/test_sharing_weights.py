"""Rows that count differently do so in every step of a supernet, as in a training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_sharing import batch, cell_space, partial_space, setup_of
from torch.nn import functional as F

from searchitect import search
from searchitect.errors import UsageError
from searchitect.report.snapshot import read
from searchitect.report.supernet import epochs
from searchitect.sharing import METHODS, Start, SupernetSearch
from searchitect.sharing.losses import row_losses, usual_loss
from searchitect.sharing.method import Batch
from searchitect.training import Recipe, TrainData
from searchitect.training.own import Own

SHAPE = (3, 4, 4)


def weights_of(x):
    """A weight that follows from the row itself, 1 in the mean of the rows below."""
    return x[:, 0, 0, 0].square() / ROWS.x[:, 0, 0, 0].square().mean()


ROWS = batch(SHAPE, 24, dtype=torch.float32)


def by_hand(network, x, y):
    each = -network(x).log_softmax(1)[torch.arange(len(y)), y]
    return (weights_of(x) * each).mean()


def searched(name, *, weighted, step=None, options=()):
    data = TrainData(ROWS.x, ROWS.y, ROWS.x, ROWS.y, "classification", 3)
    if weighted:
        data = replace(data, weights=weights_of(ROWS.x))
    space = partial_space() if name == "pcdarts" else cell_space()
    more = {"drawn": 2} if name in ("spos", "fairnas", "enas") else {}
    start = Start(space, SHAPE, 3, 0, 1, Recipe(batch_size=12), more | dict(options), own=Own(step=step))
    return SupernetSearch(name, start, data)


CASES = [*((name, {}) for name in METHODS), ("darts", {"order": 2}), ("darts", {"accumulate": 3})]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_search_is_that_of_the_weighted_mean_by_hand(name, options):
    found, hand, none = (
        searched(name, weighted=True, options=options),
        searched(name, weighted=False, step=by_hand, options=options),
        searched(name, weighted=False, options=options),
    )
    losses, expected, other = (s.epoch(1).losses for s in (found, hand, none))
    assert losses == pytest.approx(expected, rel=1e-5)
    assert losses["train"] != pytest.approx(other["train"], rel=1e-3)
    for a, b in zip(found.net.parameters(), hand.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_losses_of_rows_have_the_usual_loss_as_their_mean(task):
    recipe = Recipe(label_smoothing=0.1)
    outputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    y = torch.arange(6) % 3 if task == "classification" else outputs.flip(0)
    each = row_losses(task, recipe, outputs, y)
    assert each.shape == (6,)
    torch.testing.assert_close(each.mean(), usual_loss(task, recipe, outputs, y))


def test_parts_of_a_batch_add_up_to_it():
    setup = setup_of(cell_space(), SHAPE, F.cross_entropy)
    setup.each = lambda outputs, y: F.cross_entropy(outputs, y, reduction="none")
    rows = batch(SHAPE, 7)
    whole = Batch(rows.x, rows.y, torch.arange(7.0, dtype=torch.float64))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).double()
    total = 0.0
    for part in whole.parts(3):
        setup.share = len(part.x) / 7
        total += float(setup.of(network, part).detach())
    setup.share = 1.0
    assert total == pytest.approx(float(setup.of(network, whole).detach()), rel=1e-12)
    assert [len(part.y) for part in whole.parts(3)] == [3, 2, 2]


def test_a_step_of_ones_own_must_weigh_itself():
    with pytest.raises(UsageError, match="with loss= or step= weigh the rows there"):
        searched("spos", weighted=True, step=by_hand)


@pytest.mark.slow
def test_a_study_gives_its_weights_to_the_supernet(tmp_path):
    """Rows of class 1 count nothing: no derived network is taught to name it."""
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(160, 1, 4, 4)).astype(np.float32), np.arange(160) % 2
    shares = {}
    for weights in (None, 1.0 - y):
        study = search(
            cell_space(), data=(x, y), weights=weights, strategy="gdas", epochs=2, finalize=False, executor="serial",
            seed=0, path=tmp_path / str(weights is None), strategy_options={"lr_weights": 0.5},
        )  # fmt: skip
        shares[weights is None] = epochs(read(study.path))[-1].losses["train"]
    assert shares[False] < 0.75 * shares[True]
