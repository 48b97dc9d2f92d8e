"""Normalised 1×1 convolutions as plain products: BatchNorm folded into the convolution while training.

    y = Σ_k scale_k · (W_k z_k - mean_k) / sqrt(variance_k + eps_k) + shift,   or each term by itself

Mean and variance of W z over a batch are W·mean(z) and the diagonal of W·cov(z)·Wᵀ (algorithm 1 of Ioffe and Szegedy
2015 for a linear layer), so that the outputs of the single convolutions are never made: nothing is kept for the
backward pass but the z, and a gate times BatchNorm is a scale that costs nothing. The backward pass is the chain rule
of algorithm 1 with W z left implicit; Σ dy zᵀ is the only product over the data besides the gradients of the z.
When that is differentiated again, autograd has only matrices of C and D channels to deal with (`folded_gradient`).

In float32 the covariance loses digits when a channel's mean is much larger than its spread (one part in 10⁷ times
the square of their ratio), as every one-pass variance does.

Shapes: B batch, C channels in, D channels out, H W, K terms, N = B·H·W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from searchitect.nets.folded_gradient import FoldedGradient, add_times, gram_of, rows, statistics, times
from searchitect.nets.normed import remember


class Term(NamedTuple):
    """One z with its 1×1 convolution, BatchNorm and gate (a scalar; None is 1): gate · norm(conv(z)).

    before: what z is the ReLU of, where that is kept anyway: z is made again then for the backward pass.
    """

    z: torch.Tensor
    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    gate: torch.Tensor | None = None
    before: torch.Tensor | None = None


def folded_sum(terms: Sequence[Term]) -> torch.Tensor:
    """Σ gate · norm(conv(z)), with the statistics of this batch: (B, C, H, W) × K → (B, D, H, W).

    All terms have the same sizes. Running statistics are updated as BatchNorm does.
    """
    return _folded(terms, apart=False)[0]


def folded_relus(terms: Sequence[Term]) -> list[torch.Tensor]:
    """relu(gate · norm(conv(z))) of each term by itself: (B, C, H, W) × K → (B, D, H, W) × K."""
    return _folded(terms, apart=True) if terms else []


def _folded(terms: Sequence[Term], *, apart: bool) -> list[torch.Tensor]:
    weights = torch.stack([term.conv.weight for term in terms]).flatten(2)
    gates = _gates([term.gate for term in terms])
    scale, shift = (_affine([getattr(term.norm, name) for term in terms], gates) for name in ("weight", "bias"))
    if scale is None:
        scale = weights.new_ones((1, 1)) if gates is None else gates
    scale = scale.expand(weights.shape[:2])
    eps = terms[0].norm.eps
    settings = eps, apart, [term.before for term in terms]
    mean, variance, *ys = _Folded.apply(weights, scale, shift, settings, *(term.z for term in terms))  # type: ignore[no-untyped-call]
    remember([term.norm for term in terms], mean, variance, terms[0].z[:, 0].numel())
    return list(ys)


def _gates(gates: list[torch.Tensor | None]) -> torch.Tensor | None:
    """(K, 1), or None where all are 1."""
    given = [gate for gate in gates if gate is not None]
    if not given:
        return None
    one = given[0] if len(given) == len(gates) else given[0].new_ones(())
    return torch.stack([one if gate is None else gate for gate in gates])[:, None]


def _affine(values: list[torch.Tensor | None], gates: torch.Tensor | None) -> torch.Tensor | None:
    """The scales or shifts of all terms times their gates, (K, D)."""
    given = [value for value in values if value is not None]
    if not given:
        return None
    stacked = torch.stack(given)
    return stacked if gates is None else stacked * gates


class _Folded(torch.autograd.Function):
    """weights (K, D, C), scale (K, D), shift (K, D) or None, z × K → mean, variance (K, D), y or relu(y) × K."""

    @staticmethod
    def forward(
        ctx: Any, weights: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor | None,
        settings: tuple[float, bool, list[torch.Tensor | None]], *inputs: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        eps, apart, before = settings
        m = torch.stack([rows(z).mean(0) for z in inputs])[:, :, None]  # (K, C, 1)
        gram = torch.stack([gram_of(z, z) for z in inputs]) / (inputs[0].numel() // inputs[0].shape[1])
        mean, _, variance, inverse = statistics(weights, m, gram, eps)
        gain = scale * inverse
        folded = gain[:, :, None] * weights
        bias = -gain * mean if shift is None else torch.addcmul(shift, gain, mean, value=-1)
        ys = _apart(inputs, folded, bias) if apart else [_together(inputs, folded, bias.sum(0))]
        kept = [z if x is None else x for z, x in zip(inputs, before, strict=True)]
        ctx.save_for_backward(weights, scale, m, gram, *kept, *(ys if apart else []))
        ctx.apart, ctx.eps, ctx.shifted, ctx.rectify = apart, eps, shift is not None, [x is not None for x in before]
        ctx.mark_non_differentiable(mean, variance)
        return mean, variance, *ys

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        weights, scale, m, gram, *inputs = ctx.saved_tensors
        dys = [g.contiguous(memory_format=torch.channels_last) for g in gradients[2:]]
        if ctx.apart:
            inputs, ys = inputs[: len(dys)], inputs[len(dys) :]
            dys = [torch.ops.aten.threshold_backward(dy, y.detach(), 0) for dy, y in zip(dys, ys, strict=True)]
        inputs = [torch.relu(x) if again else x for x, again in zip(inputs, ctx.rectify, strict=True)]
        wanted = ctx.needs_input_grad[4:]
        of_weights, of_scale, total, *of_inputs = FoldedGradient.apply(  # type: ignore[no-untyped-call]
            weights, scale, m, gram, ctx.eps, wanted, *dys, *inputs
        )
        return of_weights, of_scale, total.expand_as(of_scale) if ctx.shifted else None, None, *of_inputs


def _apart(inputs: Sequence[torch.Tensor], folded: torch.Tensor, bias: torch.Tensor) -> list[torch.Tensor]:
    return [times(z, matrix, own).relu_() for z, matrix, own in zip(inputs, folded, bias, strict=True)]


def _together(inputs: Sequence[torch.Tensor], folded: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    y = times(inputs[0], folded[0], bias)
    for z, matrix in zip(inputs[1:], folded[1:], strict=True):
        add_times(y, z, matrix)
    return y
