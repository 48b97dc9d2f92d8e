"""Steps that several methods take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from searchitect.sharing.method import Batch, Setup


def mixed_loss(setup: Setup, batch: Batch, shares: Mapping[str, Tensor]) -> Tensor:
    """The loss of a mixture on one batch."""
    return setup.of(lambda x: setup.net.mix(x, shares), batch)


def mixed_gradients(
    setup: Setup, batch: Batch, shares: Mapping[str, Tensor], parameters: Sequence[Tensor],
    expected: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, list[Tensor | None]]:  # fmt: skip
    """The loss of a mixture with its cost term, and its gradients for the architecture's parameters alone.

    expected: the shares whose expected cost is charged, where they are not those of the mixture (a sample).
    """
    loss = mixed_loss(setup, batch, shares)
    total = loss if setup.penalty is None else loss + setup.penalty(shares if expected is None else expected)
    return loss.detach(), gradients_of(total, parameters)


def gradients_of(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients for these parameters only: what leads to others is not computed."""
    if not parameters or not loss.requires_grad:
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, list(parameters), allow_unused=True))
