"""ProxylessNAS: one path is trained at a time, and two of them meet in an architecture step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from searchitect.sharing.logits import Logits
from searchitect.sharing.method import Batch, Method, Setup
from searchitect.sharing.steps import gradients_of, mixed_loss
from searchitect.space import Architecture
from searchitect.torchseeds import seeded_torch

UNSEEN = 1e-30  # a share: not zero, so that the option is run, and lost in rounding beside 1


class Proxyless(Method):
    """Search with binary gates.

    Idea: weights are trained along one path drawn from p = softmax(α). For an architecture step two options of each
    gate are drawn and compared: the gradient of their binary gates g is taken for that of their probabilities.
    Source: Cai, Zhu and Han 2019, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware",
    equations 3 and 4, section 3.2.1 (two paths, and the rescaling that keeps the other probabilities); the latency
    term is that of section 3.3, E[latency] = Σ p_i F_i.
    Where we differ: α moves by Adam on (∂L/∂g) (∂p/∂α) of the two options; the cost term may count MACs or
    parameters instead of milliseconds, and its gradient reaches all options.
    Cost: a weights step is one path; an architecture step two.

    Options: `lr`, `weight_decay` of Adam.
    """

    def __init__(self, setup: Setup, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        self.setup = setup
        self.logits = Logits(setup.net, setup.seed, lr=lr, weight_decay=weight_decay)

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        with seeded_torch(draw):
            drawn = {name: int(torch.multinomial(p, 1)) for name, p in self.logits.detached().items()}
        shares = {name: _one_hot(alpha, drawn[name]) for name, alpha in self.logits.values.items()}
        loss = mixed_loss(self.setup, batch, shares)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def architecture_step(self, train: Batch, search: Batch, draw: int, progress: float, lr: float) -> Tensor | None:
        pairs, active = self._pairs(draw)
        gates = {n: _two(alpha, pairs[n], active[n]).requires_grad_() for n, alpha in self.logits.values.items()}
        loss = mixed_loss(self.setup, search, gates)
        by_gate = dict(zip(gates, gradients_of(loss, list(gates.values())), strict=True))
        gradients = [pair_gradient(alpha, by_gate[n], pairs[n]) for n, alpha in self.logits.values.items()]
        if self.setup.penalty is not None:
            cost = gradients_of(self.setup.penalty(self.logits.shares()), self.logits.tensors())
            gradients = [g if c is None else g + c for g, c in zip(gradients, cost, strict=True)]
        before = {name: alpha.detach().clone() for name, alpha in self.logits.values.items()}
        self.logits.step(gradients)
        if self.setup.penalty is None:
            for name, alpha in self.logits.values.items():
                _rescale(alpha, before[name], pairs[name])
        return loss.detach()

    def _pairs(self, draw: int) -> tuple[dict[str, list[int]], dict[str, int]]:
        """Two options of each decision without repeats, and which of the two is active, by their probabilities."""
        pairs, active = {}, {}
        with seeded_torch(draw):
            for name, p in self.logits.detached().items():
                two = torch.multinomial(p, min(2, len(p))).tolist()
                pairs[name] = two
                active[name] = two[int(torch.multinomial(p[two] / p[two].sum(), 1))]
        return pairs, active

    def shares(self) -> dict[str, Tensor]:
        return self.logits.detached()

    def derive(self, judge: Callable[[Architecture], float]) -> Architecture:
        return self.setup.net.derive(self.shares())

    def state(self) -> dict[str, Tensor]:
        return self.logits.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.logits.restore(state)


def _two(alpha: Tensor, pair: list[int], active: int) -> Tensor:
    """Binary gates in which the other option of the pair is run too, and adds nothing that can be seen."""
    gates = torch.zeros_like(alpha, requires_grad=False)
    gates[pair] = UNSEEN
    gates[active] = 1.0
    return gates


def _one_hot(alpha: Tensor, position: int) -> Tensor:
    chosen = torch.zeros_like(alpha, requires_grad=False)
    chosen[position] = 1.0
    return chosen


def pair_gradient(alpha: Tensor, by_gate: Tensor | None, pair: list[int]) -> Tensor:
    """Equation 4 within the pair: Σ_j ∂L/∂g_j ∂p_j/∂α_i = Σ_j ∂L/∂g_j p_j (δ_ij - p_i), p over the pair; else 0."""
    found = torch.zeros_like(alpha, requires_grad=False)
    if by_gate is None:
        return found
    p = alpha.detach()[pair].softmax(0)
    g = by_gate[pair]
    found[pair] = p * (g - (p * g).sum())
    return found


def _rescale(alpha: Tensor, before: Tensor, pair: list[int]) -> None:
    """Shift the pair so that Σ exp α over it is what it was: the probabilities of the others do not change."""
    with torch.no_grad():
        alpha[[i for i in range(len(alpha)) if i not in pair]] = before[[i for i in range(len(alpha)) if i not in pair]]
        alpha[pair] += before[pair].logsumexp(0) - alpha[pair].logsumexp(0)
