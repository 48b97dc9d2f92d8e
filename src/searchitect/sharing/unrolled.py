"""The gradient of DARTS' second order: the loss on held-back rows after one more weights step.

    w' = w - ξ (μ v + ∇w L_train(w, α) + λ w)          momentum μ v and weight decay λ as the optimiser has them
    dL_search(w', α) / dα = ∇α L_search(w', α) - ξ ∇²αw L_train(w, α) ∇w' L_search(w', α)

Source: Liu et al. 2019, equations 5 to 8. `exact` differentiates through w'; `finite` computes the product with the
second derivative from two more gradients at w ± ε ∇w' L_search, ε = r / ‖∇w' L_search‖, r = 0.01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from searchitect.nets.outside import cheap_twice
from searchitect.nets.supernets import Supernet
from searchitect.sharing.logits import Logits
from searchitect.sharing.method import Batch, Setup
from searchitect.sharing.steps import gradients_of

RADIUS = 0.01  # r of the published difference


class _Mixture(nn.Module):
    """`net.mix` as the forward pass of a module, so that it can be called with other weights."""

    def __init__(self, net: Supernet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, shares: Mapping[str, Tensor]) -> Any:
        return self.net.mix(x, shares)


def exact(setup: Setup, logits: Logits, train: Batch, search: Batch, lr: float) -> tuple[Tensor, list[Tensor | None]]:
    """Loss on the search batch after the unrolled step, and its gradients for the architecture's parameters."""
    weights = _weights(setup)
    shares = logits.shares()
    with cheap_twice(setup.net):
        inner = _loss(setup, weights, train, shares)
    gradients = torch.autograd.grad(inner, list(weights.values()), create_graph=True, materialize_grads=True)
    outer = _loss(setup, _moved(setup, weights, gradients, lr), search, shares)
    total = outer if setup.penalty is None else outer + setup.penalty(shares)
    return outer.detach(), gradients_of(total, logits.tensors())


def finite(
    setup: Setup, logits: Logits, train: Batch, search: Batch, lr: float, radius: float = RADIUS
) -> tuple[Tensor, list[Tensor | None]]:
    """The same with the published finite difference."""
    weights, alphas = _weights(setup), logits.tensors()
    inner = _loss(setup, weights, train, logits.detached())
    gradients = torch.autograd.grad(inner, list(weights.values()), materialize_grads=True)
    moved = {n: w.detach().requires_grad_() for n, w in _moved(setup, weights, gradients, lr).items()}
    shares = logits.shares()
    outer = _loss(setup, moved, search, shares)
    total = outer if setup.penalty is None else outer + setup.penalty(shares)
    both = torch.autograd.grad(total, [*alphas, *moved.values()], materialize_grads=True)
    first, direction = both[: len(alphas)], both[len(alphas) :]
    norm = torch.stack([d.pow(2).sum() for d in direction]).sum().sqrt()
    epsilon = float(radius / norm.clamp_min(1e-12))
    sides: list[list[Tensor | None]] = []
    for sign in (1.0, -1.0):
        shifted = {n: (w + sign * epsilon * d).detach() for (n, w), d in zip(weights.items(), direction, strict=True)}
        sides.append(gradients_of(_loss(setup, shifted, train, logits.shares()), alphas))
    found: list[Tensor | None] = []
    for own, plus, minus in zip(first, *sides, strict=True):
        second = torch.zeros_like(own) if plus is None or minus is None else (plus - minus) / (2 * epsilon)
        found.append(own - lr * second)
    return outer.detach(), found


def _weights(setup: Setup) -> dict[str, Tensor]:
    return {f"net.{name}": p for name, p in setup.net.named_parameters() if p.requires_grad}


def _loss(setup: Setup, weights: Mapping[str, Tensor], batch: Batch, shares: Mapping[str, Tensor]) -> Tensor:
    return setup.of(lambda x: functional_call(_Mixture(setup.net), dict(weights), (x, shares)), batch)


def _moved(setup: Setup, weights: Mapping[str, Tensor], gradients: Any, lr: float) -> dict[str, Tensor]:
    """The weights after one step of the optimiser."""
    facts: dict[int, tuple[float, float]] = {}
    for group in setup.optimizer.param_groups:
        facts |= {id(p): (group["momentum"], group["weight_decay"]) for p in group["params"]}
    moved = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        momentum, decay = facts.get(id(weight), (0.0, 0.0))
        buffer = setup.optimizer.state.get(weight, {}).get("momentum_buffer")
        step = gradient + decay * weight.detach()
        if momentum and buffer is not None:
            step = step + momentum * buffer
        moved[name] = weight.detach() - lr * step
    return moved
