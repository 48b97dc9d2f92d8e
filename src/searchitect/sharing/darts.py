"""DARTS: every gate is a softmax mixture, and its weights follow the gradient of the loss on held-back rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor

from searchitect.errors import UsageError
from searchitect.sharing.logits import Logits
from searchitect.sharing.method import Batch, Method, Setup
from searchitect.sharing.steps import mixed_gradients, mixed_loss
from searchitect.sharing.unrolled import exact, finite
from searchitect.space import Architecture


class Darts(Method):
    """Differentiable architecture search.

    Idea: relax the choice at each gate to a softmax over its options, and alternate two steps: the weights go down
    the loss of training rows, the architecture goes down the loss of held-back rows.
    Source: Liu, Simonyan and Yang 2019, "DARTS: Differentiable Architecture Search", equations 2 to 8, algorithm 1.
    Second order looks one weights step ahead (equation 6); "finite" computes its second term by finite differences
    as published (equation 8, ε = 0.01 / norm), "exact" by differentiating twice, at about the same cost. The
    published difference can miss the term by far: see docs/sharing.md for measured figures.
    Where we differ: the architecture step computes no gradients of weights; a cost term may be added.
    Cost: a weights step runs all options forward and backward; an architecture step of first order costs about two
    thirds of one, of second order about four.

    Options: `order` = 1 or 2; `second` = "exact" or "finite"; `lr`, `weight_decay` of the architecture's Adam.
    """

    def __init__(
        self, setup: Setup, order: int = 1, second: Literal["exact", "finite"] = "exact", lr: float = 3e-4,
        weight_decay: float = 1e-3,
    ) -> None:  # fmt: skip
        if order not in (1, 2) or second not in ("exact", "finite"):
            raise UsageError(f"darts needs order=1 or 2 and second='exact' or 'finite', got {order!r} and {second!r}")
        self.setup, self.order, self.second = setup, order, second
        self.logits = Logits(setup.net, setup.seed, lr=lr, weight_decay=weight_decay)

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        loss = mixed_loss(self.setup, batch, self.logits.detached())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def architecture_step(self, train: Batch, search: Batch, draw: int, progress: float, lr: float) -> Tensor | None:
        if self.order == 1:
            loss, gradients = mixed_gradients(self.setup, search, self.logits.shares(), self.logits.tensors())
        else:
            unrolled: Callable[..., Any] = exact if self.second == "exact" else finite
            loss, gradients = unrolled(self.setup, self.logits, train, search, lr)
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
