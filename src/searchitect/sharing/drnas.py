"""DrNAS: the mixture is drawn from a Dirichlet distribution, whose concentration is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional as F

from searchitect.sharing.logits import Logits
from searchitect.sharing.method import Batch, Method, Setup, need
from searchitect.sharing.steps import gradients_of, mixed_loss
from searchitect.space import Architecture
from searchitect.torchseeds import seeded_torch


class DrNas(Method):
    """Dirichlet neural architecture search.

    Idea: mixtures are drawn from Dir(β), so that the supernet meets many of them and exploration comes for free; β
    follows the pathwise gradient of the loss on held-back rows.
    Source: Chen et al. 2021, "DrNAS: Dirichlet Neural Architecture Search", equations 4 to 7: β = elu(α) + 1,
    a distance from the symmetric Dir(1) as regulariser with weight 1e-3, mean β / Σβ decides.
    Where we differ: one stage without the progressive growing of partial channels (section 3.3 there); the distance
    is the Kullback-Leibler divergence in their code and here.
    Cost: that of DARTS' first order.

    Options: `regularise` = weight of the divergence; `lr`, `weight_decay` of Adam.
    """

    def __init__(self, setup: Setup, regularise: float = 1e-3, lr: float = 6e-4, weight_decay: float = 0.0) -> None:
        need("regularise", regularise, regularise >= 0, "0 or more")
        self.setup, self.regularise = setup, regularise
        self.logits = Logits(setup.net, setup.seed, lr=lr, weight_decay=weight_decay)

    def _concentrations(self) -> dict[str, Tensor]:
        return {name: F.elu(alpha) + 1.0 for name, alpha in self.logits.values.items()}

    def _drawn(self, concentrations: Mapping[str, Tensor], draw: int) -> dict[str, Tensor]:
        with seeded_torch(draw):
            return {name: Dirichlet(beta, validate_args=False).rsample() for name, beta in concentrations.items()}

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        fixed = {name: beta.detach() for name, beta in self._concentrations().items()}
        loss = mixed_loss(self.setup, batch, self._drawn(fixed, draw))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def architecture_step(self, train: Batch, search: Batch, draw: int, progress: float, lr: float) -> Tensor | None:
        betas = self._concentrations()
        loss = mixed_loss(self.setup, search, self._drawn(betas, draw))
        total = loss
        if self.setup.penalty is not None:
            total = total + self.setup.penalty({name: beta / beta.sum() for name, beta in betas.items()})
        for beta in betas.values():
            flat = Dirichlet(beta.new_ones(len(beta)), validate_args=False)
            total = total + self.regularise * kl_divergence(Dirichlet(beta, validate_args=False), flat)
        self.logits.step(gradients_of(total, self.logits.tensors()))
        return loss.detach()

    def shares(self) -> dict[str, Tensor]:
        return {name: (beta / beta.sum()).detach() for name, beta in self._concentrations().items()}

    def derive(self, judge: Callable[[Architecture], float]) -> Architecture:
        return self.setup.net.derive(self.shares())

    def state(self) -> dict[str, Tensor]:
        return self.logits.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.logits.restore(state)
