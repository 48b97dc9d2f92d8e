"""Several scores of one network at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from searchitect.errors import TrialError
from searchitect.scores import flow
from searchitect.scores.batch import Loss, batch_scores, grasp, reason
from searchitect.scores.names import OF_BATCH, check_names


class Scored(NamedTuple):
    """The scores that have a value, and why the others have none."""

    values: dict[str, float]
    reasons: dict[str, str]


def score(
    model: nn.Module, x: Tensor, y: Tensor | None, names: Sequence[str], *, loss: Loss | None = None, seed: int = 0
) -> Scored:  # fmt: skip
    """The named scores of a network; its weights, statistics and mode are the same afterwards.

    x: (B, ...) a batch of inputs. y: (B,) class numbers or (B, outputs) numbers; None where no score needs them.
    loss: of outputs and targets; left out, cross entropy for whole numbers and squared error for others.
    seed: of what a score draws (zen alone). Layers of images are fastest with x and model in `channels_last`.

    Same arguments and thread count, same numbers. A score without a value is in `reasons`; where the network itself
    fails on the batch, that is raised. Raises UsageError for unknown names.
    """
    check_names(names)
    lose = usual_loss if loss is None else loss
    shared = [name for name in names if name in OF_BATCH]
    found: dict[str, float | str] = {}
    if shared:
        found.update(batch_scores(model, x, _targets(y, shared, x), shared, lose))
    alone: dict[str, Callable[[], float]] = {
        "synflow": lambda: flow.synflow(model, x),
        "grasp": lambda: grasp(model, x, _targets(y, ["grasp"], x), lose),
        "zen": lambda: flow.zen(model, x, seed),
        "l2_norm": lambda: flow.l2_norm(model),
        "params": lambda: flow.params(model),
        "macs": lambda: flow.macs(model, x),
    }
    for name in names:
        if name in alone:
            found[name] = reason(alone[name])
    ordered = {name: found[name] for name in names}
    return Scored(
        {name: value for name, value in ordered.items() if isinstance(value, float)},
        {name: value for name, value in ordered.items() if isinstance(value, str)},
    )


def _targets(y: Tensor | None, names: Sequence[str], x: Tensor) -> Tensor:
    if y is not None:
        return y
    if set(names) <= {"naswot", "jacob_cov"}:
        return torch.empty(0)
    raise TrialError(f"{', '.join(names)}: the gradient of a loss needs targets, and there are none (y=None)")


def usual_loss(out: Tensor, y: Tensor) -> Tensor:
    """Cross entropy of logits (B, classes) for class numbers, else the mean squared error."""
    if y.is_floating_point():
        return nn.functional.mse_loss(out.reshape(y.shape), y)
    return nn.functional.cross_entropy(out, y)
