"""How a network is trained: one small frozen record with defaults that are meant to be kept."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import torch
from torch import nn

from searchitect.errors import UsageError
from searchitect.training.average import LAST

AUGMENTATIONS = ("crop", "flip", "cutout", "mixup")
LARGEST_CROPPED = 64  # pixels a side; what suits small pictures is not known to suit large ones
LONG = 20  # epochs; shorter trainings lost 1 to 6 points by shifts (Fashion-MNIST, 8 epochs, one seed)


class Recipe(msgspec.Struct, frozen=True):
    """Optimiser, schedule and regularisation of one training. Raises UsageError for values that make no sense.

    `warmup` is a share of all steps. `augment` is "auto" (see `augmentations`), "none", or names out of
    crop, flip, cutout, mixup. `early_stop` ends after that many epochs without a better evaluation loss and
    gives back the weights of the best epoch. `drop_path` and `auxiliary` (`regular.py`) help networks of DARTS cells in
    long trainings, and do nothing in others. `average` (`average.py`) hands over the mean of the weights along the
    training instead of the last ones; `average_decay` is that of "ema". `mixed_precision` and `channels_last` "auto"
    mean: where the device and the model gain from it.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 3e-3
    weight_decay: float = 0.02
    momentum: float = 0.9
    batch_size: int = 64
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1
    label_smoothing: float = 0.0
    clip: float | None = 5.0
    augment: Literal["auto", "none"] | tuple[str, ...] = "auto"
    mixed_precision: Literal["auto", "off"] = "auto"
    early_stop: int | None = None
    channels_last: Literal["auto", "off"] = "auto"
    drop_path: float = 0.0
    auxiliary: float = 0.0
    average: Literal["none", "ema", "swa"] = "none"
    average_decay: float = 0.99

    def __post_init__(self) -> None:
        for name, low, high in (("lr", 0, 1e3), ("batch_size", 1, 1e7), ("weight_decay", 0, 1e3), ("momentum", 0, 1),
                                ("warmup", 0, 1), ("label_smoothing", 0, 1),
                                ("drop_path", 0, 0.99), ("auxiliary", 0, 10), ("average_decay", 0, 1)):  # fmt: skip
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and low <= value <= high) or (name == "lr" and value == 0):
                raise UsageError(f"recipe: {name}={value!r} must be a number between {low} and {high:g}")
        for name in ("clip", "early_stop"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"recipe: {name}={value!r} must be above 0, or None for off")
        for name, allowed in (("optimizer", ("adamw", "sgd")), ("schedule", ("cosine", "constant")),
                              ("average", ("none", "ema", "swa"))):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise UsageError(f"recipe: {name}={getattr(self, name)!r} is not known; use {' or '.join(allowed)}")
        if self.average != "none" and self.early_stop is not None:
            raise UsageError(
                f"recipe: average={self.average!r} takes the mean at the end of the schedule, early_stop="
                f"{self.early_stop} the best epoch before it: choose one of them"
            )
        unknown = [n for n in self._named() if n not in AUGMENTATIONS]
        if unknown:
            raise UsageError(
                f"recipe: augment {unknown[0]!r} is not known; use auto, none or {', '.join(AUGMENTATIONS)}"
            )

    def _named(self) -> tuple[str, ...]:
        if isinstance(self.augment, str):
            return () if self.augment in ("auto", "none") else (self.augment,)
        return tuple(self.augment)

    def augmentations(self, sample: tuple[int, ...], epochs: int = LONG) -> tuple[str, ...]:
        """The names to apply to rows of this shape in a training of so many epochs.

        "auto" is careful: nothing below 20 epochs and nothing for tables and sequences; else a shifted crop for
        pictures up to 64 pixels a side, and mirroring only with three channels (a mirrored digit is another sign).
        """
        image = len(sample) == 3
        if self.augment != "auto":
            names = self._named()
            if not image and set(names) - {"mixup"}:
                raise UsageError(
                    f"recipe: augment {names} is for images; rows have shape {sample}, use 'mixup' or 'none'"
                )
            return names
        if not image or epochs < LONG or max(sample[1:]) > LARGEST_CROPPED or min(sample[1:]) < 8:
            return ()
        return ("crop", "flip") if sample[0] == 3 else ("crop",)


def recipe_for(kind: Literal["image", "table", "sequence", "text", "stream"], n: int) -> Recipe:
    """The usual recipe for n training rows.

    Rates for images and tables are a compromise: in single runs of 3 to 15 epochs on digits, Fashion-MNIST and two
    tables, convolutions and perceptrons did best at the highest rate tried (1e-2), a small transformer on
    Fashion-MNIST at 3e-3. The rate for sequences and texts and the batch sizes are customary, not compared.
    """
    if kind == "image":
        return Recipe(batch_size=32 if n < 500 else 64 if n < 20_000 else 128, lr=8e-3, label_smoothing=0.05)
    if kind in ("sequence", "text", "stream"):
        return Recipe(batch_size=32 if n < 2_000 else 64, lr=3e-3)
    return Recipe(batch_size=32 if n < 500 else 64 if n < 5_000 else 128 if n < 50_000 else 256, lr=5e-3)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser; norm weights and biases (all parameters with fewer than two axes) are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    if not groups:
        raise UsageError("the model has no parameter to train")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of step 0 ≤ step < steps: a linear warm-up, then cosine to zero or constant; for SWA it stays
    where it is in the last quarter of the steps."""
    if recipe.average == "swa":
        step = min(step, int((1 - LAST) * steps))
    warm = int(recipe.warmup * steps)
    if step < warm:
        return recipe.lr * (step + 1) / (warm + 1)
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
