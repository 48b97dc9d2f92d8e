"""What a training minimises: the usual loss of the targets, and the loss of what a teacher says (distillation).

Distillation: Hinton, Vinyals and Dean 2015, section 2. A teacher's soft targets are its probabilities at a
temperature T, q = softmax(z / T); of several networks the arithmetic mean, as there. The student's outputs are held
against them at the same temperature, times T², so that the two losses keep their proportion whatever T is:

    (1 - w) cross-entropy(y) + w T² KL(q, softmax(outputs / T))

The paper's second term is a cross-entropy; KL differs from it by a constant, and is 0 where student and teacher agree.
Where we differ: the teacher has answered each training row once, before it was augmented; mixed rows get mixed answers.
For numbers the teacher is the mean of the outputs, and the second term is the squared error towards it.

Shapes: B batch, N rows, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from searchitect.training.augment import augment

Task = Literal["classification", "regression"]


def hard(outputs: Tensor, y: Tensor, task: Task, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """The usual loss of outputs (B, C) and targets (B,) or (B, C); with `weights` (B,) the mean of each row's loss
    times its weight."""
    how = "mean" if weights is None else "none"
    if task == "classification":
        rows = F.cross_entropy(outputs, y, label_smoothing=smoothing, reduction=how)
    else:
        rows = F.mse_loss(outputs.reshape(len(y), -1), y, reduction=how)
        rows = rows if weights is None else rows.mean(dim=1)
    return rows if weights is None else (weights * rows).mean()


def soft(outputs: Tensor, q: Tensor, task: Task, temperature: float, weights: Tensor | None = None) -> Tensor:
    """The loss of outputs (B, C) against a teacher's answers q (B, C)."""
    if task == "regression":
        return hard(outputs, q, task, weights=weights)
    found = F.log_softmax(outputs / temperature, dim=1)
    rows = F.kl_div(found, q, reduction="none").sum(dim=1) * temperature**2
    return (rows if weights is None else weights * rows).mean()


def soft_targets(outputs: Sequence[Tensor], task: Task, temperature: float) -> Tensor:
    """The answers (N, C) of a teacher of one or more networks, from the outputs (N, C) of each."""
    answers = torch.stack([o.reshape(len(o), -1) for o in outputs])
    return (answers / temperature).softmax(dim=2).mean(dim=0) if task == "classification" else answers.mean(dim=0)


def augmented(
    names: Sequence[str], x: Tensor, y: Tensor, q: Tensor | None, outputs: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`augment` for rows that have a teacher's answers q (B, C) too; with the same draws as without them."""
    if q is None or "mixup" not in names:
        return *augment(names, x, y, outputs, generator), q
    shares = y if y.is_floating_point() else F.one_hot(y, outputs).to(x.dtype)
    x, both = augment(names, x, torch.cat([shares, q], dim=1), outputs, generator)
    return x, both[:, : shares.shape[1]], both[:, shares.shape[1] :]
