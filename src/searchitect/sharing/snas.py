"""SNAS: a soft sample of the options of each decision, whose temperature falls until it is a choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from searchitect.sharing import gumbel
from searchitect.sharing.logits import Logits
from searchitect.sharing.method import Batch, Method, Setup, need
from searchitect.sharing.steps import mixed_gradients, mixed_loss
from searchitect.space import Architecture


class Snas(Method):
    """Stochastic neural architecture search.

    Idea: the gates are a sample from the concrete distribution, softmax((log p + g) / τ); the gradient goes through
    it, and τ falls so that the mixture becomes one architecture.
    Source: Xie, Zheng, Liu and Lin 2019, "SNAS: Stochastic Neural Architecture Search", equations 3 to 6.
    Where we differ: weights and architecture are trained on separate halves, as in DARTS (they train both on all
    rows); their resource term is the cost term that every method here may have.
    Cost: that of DARTS' first order.

    Options: `first`, `last` = temperature at the beginning and the end; `lr`, `weight_decay` of Adam.
    """

    def __init__(
        self, setup: Setup, first: float = 1.0, last: float = 0.03, lr: float = 3e-4, weight_decay: float = 1e-3
    ) -> None:
        for name, value in (("first", first), ("last", last)):
            need(name, value, value > 0, "above 0, it is a temperature")
        self.setup, self.first, self.last = setup, first, last
        self.logits = Logits(setup.net, setup.seed, lr=lr, weight_decay=weight_decay)

    def _drawn(self, draw: int, progress: float) -> dict[str, Tensor]:
        values = self.logits.values
        return gumbel.soft(values, gumbel.noise(values, draw), gumbel.temperature(progress, self.first, self.last))

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        shares = {name: share.detach() for name, share in self._drawn(draw, progress).items()}
        loss = mixed_loss(self.setup, batch, shares)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def architecture_step(self, train: Batch, search: Batch, draw: int, progress: float, lr: float) -> Tensor | None:
        loss, gradients = mixed_gradients(
            self.setup, search, self._drawn(draw, progress), self.logits.tensors(), self.logits.shares()
        )
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
