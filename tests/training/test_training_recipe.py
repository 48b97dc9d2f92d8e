"""Recipes: sensible by default, checked, and the schedule and groups by their definitions."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch
from torch import nn

from searchitect.errors import UsageError
from searchitect.training.recipe import Recipe, make_optimizer, rate, recipe_for
from searchitect.training.tensors import batch_count, batches


@pytest.mark.parametrize(
    "wrong",
    [{"lr": 0}, {"lr": -1}, {"lr": float("nan")}, {"lr": "big"}, {"batch_size": 0}, {"momentum": 2}, {"warmup": 1.5},
     {"label_smoothing": -0.1}, {"clip": 0}, {"early_stop": 0}, {"optimizer": "adam"}, {"schedule": "step"},
     {"augment": "rotate"}, {"augment": ("crop", "spin")}, {"weight_decay": -1}],
)  # fmt: skip
def test_wrong_values_are_named(wrong):
    with pytest.raises(UsageError, match=f"recipe: {next(iter(wrong))}"):
        Recipe(**wrong)


def test_json_both_ways():
    recipe = Recipe(augment=("crop", "mixup"), early_stop=3, clip=None)
    assert msgspec.convert(msgspec.to_builtins(recipe), Recipe) == recipe


@pytest.mark.parametrize(
    ("sample", "names"),
    [((1, 28, 28), ("crop",)), ((1, 8, 8), ("crop",)), ((3, 32, 32), ("crop", "flip")), ((3, 224, 224), ()),
     ((1, 4, 4), ()), ((12,), ()), ((3, 50), ())],
)  # fmt: skip
def test_auto_augmentation_is_careful(sample, names):
    assert Recipe().augmentations(sample) == names


def test_auto_augmentation_leaves_short_trainings_alone():
    assert Recipe().augmentations((3, 32, 32), epochs=8) == ()
    assert Recipe(augment=("flip",)).augmentations((3, 32, 32), epochs=8) == ("flip",)


def test_named_augmentation():
    assert Recipe(augment="none").augmentations((3, 32, 32)) == ()
    assert Recipe(augment=("mixup",)).augmentations((12,)) == ("mixup",)
    with pytest.raises(UsageError, match="is for images; rows have shape \\(12,\\)"):
        Recipe(augment=("crop",)).augmentations((12,))


@pytest.mark.parametrize("kind", ["image", "table", "sequence"])
def test_recipe_for_every_kind_and_size(kind):
    sizes = [recipe_for(kind, n).batch_size for n in (10, 1_000, 20_000, 10**6)]
    assert sizes == sorted(sizes)
    assert recipe_for(kind, 1000).augment == "auto"


def test_rate_by_definition():
    recipe = Recipe(lr=1.0, warmup=0.1)
    rates = [rate(recipe, s, 100) for s in range(100)]
    assert rates[:10] == pytest.approx([(s + 1) / 11 for s in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert [rate(Recipe(lr=2.0, warmup=0, schedule="constant"), s, 5) for s in range(5)] == [2.0] * 5


def test_norms_and_biases_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model[3].bias.requires_grad_(False)
    decayed, plain = make_optimizer(model, Recipe(weight_decay=0.3)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert decayed["weight_decay"] == 0.3
    assert len(plain["params"]) == 3
    assert plain["weight_decay"] == 0
    assert isinstance(make_optimizer(model, Recipe(optimizer="sgd")), torch.optim.SGD)
    with pytest.raises(UsageError, match="no parameter to train"):
        make_optimizer(nn.ReLU(), Recipe())


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 15, 16, 17, 33])
@pytest.mark.parametrize("size", [1, 2, 8, 100])
def test_d7_batches_hold_every_row_and_none_is_alone(n, size):
    order = torch.randperm(n)
    pieces = list(batches(n, size, order))
    assert torch.equal(torch.cat(pieces), order)
    assert len(pieces) == batch_count(n, size)
    if n > 1 and size > 1:
        assert min(len(p) for p in pieces) > 1
