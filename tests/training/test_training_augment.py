"""Augmentation: shapes, distributions, labels, and that only the given generator is used."""

from __future__ import annotations

import time

import pytest
import torch

from searchitect.training.augment import augment, crop, cutout, flip, mixup


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("function", [crop, flip, cutout])
@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (3, 3, 32, 20), (1, 13, 9, 9), (2, 1, 1, 1)])
def test_shape_is_kept_and_nothing_changes_in_place(function, shape):
    x = torch.randn(shape)
    before = x.clone()
    assert function(x, generator()).shape == shape
    assert torch.equal(x, before)


@pytest.mark.parametrize("function", [crop, flip, cutout])
def test_randomness_is_the_generators(function):
    x = torch.randn(16, 1, 8, 8)
    state = torch.random.get_rng_state()
    first, again, other = (function(x, generator(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_crop_shifts_every_way_equally_often():
    x = torch.zeros(4500, 1, 9, 9)
    x[:, 0, 4, 4] = 1  # one dot in the middle
    dots = crop(x, generator(), padding=1).sum(0)[0]
    assert dots.sum() == 4500
    assert (dots[3:6, 3:6] > 0).all()
    assert dots[3:6, 3:6].sum() == 4500
    assert (dots[3:6, 3:6] - 500).abs().max() < 100  # 4.7 standard deviations


def test_crop_is_a_shift_with_a_mirrored_border():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    wide = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    windows = [wide[..., i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    for seed in range(12):
        out = crop(x, generator(seed), padding=1)
        assert any(torch.equal(out, w) for w in windows)


def test_flip_is_a_fair_coin():
    x = torch.tensor([[1.0, 2.0]]).view(1, 1, 1, 2).repeat(2000, 1, 1, 1)
    out = flip(x, generator())
    turned = (out[:, 0, 0, 0] == 2).float().mean()
    assert abs(turned - 0.5) < 0.06
    assert torch.equal(out.sum(-1), x.sum(-1))


def test_cutout_covers_a_square_around_every_place():
    out = cutout(torch.ones(4000, 2, 8, 8), generator(), size=4)
    holes = (out == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 1])  # all channels alike
    assert holes.max() == 16
    assert holes.min() == 4  # cut at a corner
    share = (out == 0).float().mean(0)[0]
    assert share.min() > 0
    assert share[3, 3] == pytest.approx(16 / 64, abs=0.04)


def test_mixup_mixes_labels_as_it_mixes_rows():
    y = torch.eye(4).repeat(4, 1)
    x = y[:, :, None] * torch.ones(1, 1, 5)  # the row is its label
    for seed in range(10):
        mixed, labels = mixup(x, y, generator(seed), alpha=1.0)
        assert torch.allclose(mixed[:, :, 0], labels)
        assert torch.allclose(labels.sum(1), torch.ones(16))
    shares = {round(float(v), 5) for s in range(20) for v in mixup(x, y, generator(s))[1].flatten()}
    assert len(shares) > 30  # a share of its own each time


def test_mixup_shares_follow_the_beta_distribution():
    x, y = torch.tensor([[0.0], [1.0]]), torch.eye(2)
    g = generator(3)
    shares = torch.tensor([float(mixup(x, y, g, alpha=0.2)[0][0]) for _ in range(4000)])
    mixed = shares[(shares != 0) & (shares != 1)]
    exact = 0.25 / (2 * 0.2 + 1)  # variance of Beta(α, α)
    centred = torch.cat([mixed, 1 - mixed])
    assert centred.var() == pytest.approx(exact, abs=0.01)


def test_augment_by_name():
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    same, labels = augment((), x, y, 3, generator())
    assert same is x
    assert labels is y
    both, soft = augment(("mixup", "flip", "crop", "cutout"), x, y, 3, generator())
    assert both.shape == x.shape
    assert soft.shape == (8, 3)
    _, numbers = augment(("mixup",), x, torch.randn(8, 1), 1, generator())
    assert numbers.shape == (8, 1)


def test_fast_enough():
    x, g = torch.randn(128, 1, 28, 28), generator()
    best = {}
    for function in (crop, flip, cutout):
        times = []
        for _ in range(15):
            start = time.perf_counter()
            function(x, g)
            times.append(time.perf_counter() - start)
        best[function.__name__] = min(times) * 1e3
    assert max(best.values()) < 3, best  # about 0.1-0.3 ms on one idle core
