"""The usual losses of a batch, and of each of its rows, as in a training."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from searchitect.training import Recipe

Task = Literal["classification", "regression"]


def usual_loss(task: Task, recipe: Recipe, outputs: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy or mean square: outputs (B, ...), y (B, ...) → scalar."""
    if task == "classification":
        return F.cross_entropy(outputs, y, label_smoothing=recipe.label_smoothing)
    return F.mse_loss(outputs.reshape(len(y), -1), y)


def row_losses(task: Task, recipe: Recipe, outputs: Tensor, y: Tensor) -> Tensor:
    """What the usual loss is the mean of: outputs (B, ...), y (B, ...) → (B)."""
    if task == "classification":
        return F.cross_entropy(outputs, y, label_smoothing=recipe.label_smoothing, reduction="none")
    return F.mse_loss(outputs.reshape(len(y), -1), y, reduction="none").mean(dim=1)
