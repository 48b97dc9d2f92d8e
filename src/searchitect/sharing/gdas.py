"""GDAS: one option is drawn for each decision, and the gradient goes through the draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from searchitect.sharing import gumbel
from searchitect.sharing.logits import Logits
from searchitect.sharing.method import Batch, Method, Setup, need
from searchitect.sharing.steps import mixed_gradients, mixed_loss
from searchitect.space import Architecture


class Gdas(Method):
    """Gradient-based search with a differentiable architecture sampler.

    Idea: draw one option per decision from softmax((log p + g) / τ), run it alone, and let the gradient pass
    through the soft share of what was drawn (straight-through Gumbel-softmax).
    Source: Dong and Yang 2019, "Searching for a Robust Neural Architecture in Four GPU Hours", equations 3 to 7;
    τ falls linearly from 10 to 0.1 as in their code.
    Where we differ: their code adds the zero shares of the options that were not drawn to the output, so that the
    sum of shares leaks into the network; here an option that is not drawn has no part in it. Its α still moves,
    because shares sum to one. Both steps draw anew.
    Cost: one path forward and backward per step, whatever the number of options.

    Options: `first`, `last` = temperature at the beginning and the end; `lr`, `weight_decay` of Adam.
    """

    def __init__(
        self, setup: Setup, first: float = 10.0, last: float = 0.1, lr: float = 3e-4, weight_decay: float = 1e-3
    ) -> None:
        for name, value in (("first", first), ("last", last)):
            need(name, value, value > 0, "above 0, it is a temperature")
        self.setup, self.first, self.last = setup, first, last
        self.logits = Logits(setup.net, setup.seed, lr=lr, weight_decay=weight_decay)

    def _drawn(self, draw: int, progress: float) -> dict[str, Tensor]:
        values = self.logits.values
        temperature = gumbel.temperature(progress, self.first, self.last)
        return gumbel.hard(gumbel.soft(values, gumbel.noise(values, draw), temperature))

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        shares = {name: share.detach() for name, share in self._drawn(draw, progress).items()}
        loss = mixed_loss(self.setup, batch, shares)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def architecture_step(self, train: Batch, search: Batch, draw: int, progress: float, lr: float) -> Tensor | None:
        shares = self._drawn(draw, progress)
        loss, gradients = mixed_gradients(self.setup, search, shares, self.logits.tensors(), self.logits.shares())
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
