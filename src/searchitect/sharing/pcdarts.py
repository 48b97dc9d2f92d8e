"""PC-DARTS: gates see a part of the channels, and edges have weights of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from searchitect.errors import UsageError
from searchitect.nets.gates import Combine, Gate
from searchitect.sharing.logits import Logits
from searchitect.sharing.method import Batch, Method, Setup, need
from searchitect.sharing.steps import mixed_gradients, mixed_loss
from searchitect.space import Architecture


class PcDarts(Method):
    """Partially connected DARTS.

    Idea: only 1/k of the channels goes through the mixture, the rest passes by, which saves time and memory and
    takes the advantage from options without weights; weights for edges make up for the noise of that.
    Source: Xu et al. 2020, "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search",
    equations 2 and 3; k = 4 and no architecture steps in the first 30 % of the epochs as published (15 of 50).
    Where we differ: where an option halves the picture, what passes by is max-pooled 2×2 (as in their code); gates
    whose input has fewer than k channels, or is no picture, are left whole; a space whose options have a fixed width
    is refused; spaces without subsets have no edge
    weights. Inherited weights are those of the supernet with its partial channels.
    Cost: about 1/k of DARTS' first order in the mixtures.

    Options: `k` = share of the channels; `warmup` = share of the epochs without architecture steps; `lr`,
    `weight_decay` of Adam.
    """

    def __init__(
        self, setup: Setup, k: int = 4, warmup: float = 0.3, lr: float = 6e-4, weight_decay: float = 1e-3
    ) -> None:
        need("warmup", warmup, 0 <= warmup < 1, "from 0 to below 1")
        self.setup, self.k, self.warmup = setup, k, warmup
        self.logits = Logits(setup.net, setup.seed, lr=lr, weight_decay=weight_decay, members=True)

    @staticmethod
    def around(k: int = 4, **_: Any) -> Combine | None:
        """Each gate of a choice sees the first 1/k of the channels. Raises UsageError, in the dry run, for a gate whose
        options do not take their width from their input."""
        need("k", k, isinstance(k, int) and k >= 1, "a whole number from 1")
        if k == 1:
            return None

        def partial(gate: Gate, inner: Callable[..., Any], *inputs: Any) -> Any:
            x = inputs[0]
            if len(inputs) != 1 or not isinstance(x, Tensor) or x.dim() != 4 or x.shape[1] < k:
                return inner(*inputs)
            cut = x.shape[1] // k
            y = inner(x[:, :cut])
            if not isinstance(y, Tensor) or y.dim() != 4 or y.shape[1] != cut:
                raise UsageError(
                    f"decision {gate.name!r} cannot work on a part of the channels, as pcdarts needs: its options give "
                    f"{y.shape[1] if isinstance(y, Tensor) and y.dim() > 1 else 'no'} channels where {cut} come in. "
                    "Write options whose width follows their input (nets.SameConv, nets.Depthwise, Skip, pooling; the "
                    "darts space has such), or set k=1, or take another method"
                )
            rest = x[:, cut:]
            if y.shape[2:] != rest.shape[2:]:
                rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
            return _shuffled(torch.cat([y, rest], dim=1), k)

        return partial

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        loss = mixed_loss(self.setup, batch, self.logits.detached())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def architecture_step(self, train: Batch, search: Batch, draw: int, progress: float, lr: float) -> Tensor | None:
        if progress < self.warmup:
            return None
        loss, gradients = mixed_gradients(self.setup, search, self.logits.shares(), self.logits.tensors())
        self.logits.step(gradients)
        return loss

    def shares(self) -> dict[str, Tensor]:
        return self.logits.detached()

    def derive(self, judge: Callable[[Architecture], float]) -> Architecture:
        return self.setup.net.derive(self.shares())

    def state(self) -> dict[str, Tensor]:
        return self.logits.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.logits.restore(state)


def _shuffled(x: Tensor, groups: int) -> Tensor:
    """Mix the channels so that other ones come first next time: (B, C, H, W), C a multiple of `groups` or not."""
    B, C, H, W = x.shape
    whole = C - C % groups
    mixed = x[:, :whole].view(B, groups, whole // groups, H, W).transpose(1, 2).reshape(B, whole, H, W)
    return mixed if whole == C else torch.cat([mixed, x[:, whole:]], dim=1)
