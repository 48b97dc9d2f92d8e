"""Normalised 1×1 convolutions as plain products: BatchNorm folded into the convolution while training.

    y = Σ_k scale_k · (W_k z_k - mean_k) / sqrt(variance_k + eps_k) + shift,   or each term by itself

Mean and variance of W z over a batch are W·mean(z) and the diagonal of W·cov(z)·Wᵀ (algorithm 1 of Ioffe and Szegedy
2015 for a linear layer), so that the outputs of the single convolutions are never made: nothing is kept for the
backward pass but the z, and a gate times BatchNorm is a scale that costs nothing. The backward pass is the chain rule
of algorithm 1 with W z left implicit; Σ dy zᵀ is the only product over the data besides the gradients of the z.
A gradient that is to be differentiated again is made anew by autograd from the same formulas (`_formula`).

In float32 the covariance loses digits when a channel's mean is much larger than its spread (one part in 10⁷ times
the square of their ratio), as every one-pass variance does.

Shapes: B batch, C channels in, D channels out, H W, K terms, N = B·H·W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from searchitect.nets.weighted import remember

_WIDE = 16  # from so many channels on, a matrix product that adds to its output beats a convolution and an addition


class Term(NamedTuple):
    """One z with its 1×1 convolution, BatchNorm and gate (a scalar; None is 1): gate · norm(conv(z))."""

    z: torch.Tensor
    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    gate: torch.Tensor | None = None


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
    mean, variance, *ys = _Folded.apply(weights, scale, shift, eps, apart, *(term.z for term in terms))  # type: ignore[no-untyped-call]
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
        ctx: Any,
        weights: torch.Tensor,
        scale: torch.Tensor,
        shift: torch.Tensor | None,
        eps: float,
        apart: bool,
        *inputs: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        pixels = inputs[0].numel() // inputs[0].shape[1]
        m = torch.stack([_rows(z).mean(0) for z in inputs])[:, :, None]  # (K, C, 1)
        covariance = torch.baddbmm(torch.stack([_gram(z, z) for z in inputs]), m, m.mT, beta=1 / pixels, alpha=-1)
        mean = torch.bmm(weights, m)[:, :, 0]
        spread = torch.bmm(weights, covariance)  # (K, D, C)
        variance = (spread * weights).sum(2).clamp_min_(0)
        inverse = (variance + eps).rsqrt_()
        gain = scale * inverse
        folded = gain[:, :, None] * weights
        bias = -gain * mean if shift is None else torch.addcmul(shift, gain, mean, value=-1)
        ys = _apart(inputs, folded, bias) if apart else [_together(inputs, folded, bias.sum(0))]
        ctx.save_for_backward(weights, scale, shift, m, spread, mean, inverse, gain, *inputs, *(ys if apart else []))
        ctx.apart, ctx.pixels, ctx.eps = apart, pixels, eps
        ctx.mark_non_differentiable(mean, variance)
        return mean, variance, *ys

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        if torch.is_grad_enabled():
            return _again(ctx, *gradients[2:])
        weights, _, shift, m, spread, mean, inverse, gain, *inputs = ctx.saved_tensors
        dys = [g.contiguous(memory_format=torch.channels_last) for g in gradients[2:]]
        if ctx.apart:
            inputs, ys = inputs[: len(dys)], inputs[len(dys) :]
            dys = [torch.ops.aten.threshold_backward(dy, y, 0) for dy, y in zip(dys, ys, strict=True)]
        total = torch.stack([_rows(dy).sum(0) for dy in dys])  # (K, D), or (1, D) for one sum
        dys = dys if ctx.apart else dys * len(inputs)
        products = torch.stack([_gram(dy, z) for dy, z in zip(dys, inputs, strict=True)])  # (K, D, C)
        along = torch.addcmul((products * weights).sum(2), mean, total, value=-1)  # Σ dy · (W z - mean), (K, D)
        pull = gain * inverse.square() * along  # N times the share of W z in the gradient of W z
        of_weights = gain[:, :, None] * (products - total[:, :, None] * m.mT) - pull[:, :, None] * spread
        pull /= ctx.pixels
        constants = torch.bmm((pull * mean - gain * (total / ctx.pixels))[:, None, :], weights)[:, 0]  # (K, C)
        forth = (gain[:, :, None] * weights).mT  # (K, C, D)
        back = torch.bmm(weights.mT, pull[:, :, None] * weights).neg_()  # (K, C, C)
        of_inputs: list[torch.Tensor | None] = [None] * len(inputs)
        for k, (z, dy) in enumerate(zip(inputs, dys, strict=True)):
            if ctx.needs_input_grad[5 + k]:
                of_inputs[k] = _add_times(_times(dy, forth[k], constants[k]), z, back[k])
        of_shift = None if shift is None else total.expand_as(along)
        return of_weights, inverse * along, of_shift, None, None, *of_inputs


def _again(ctx: Any, *gradients: torch.Tensor) -> Any:
    """The gradients as a part of autograd's graph."""
    saved = ctx.saved_tensors
    inputs = saved[8 : 8 + len(gradients)] if ctx.apart else saved[8:]
    # views of their own: one input may be computed from another one, and only the formula's own ways count here
    weights, scale, *inputs = (t.view_as(t) for t in (*saved[:2], *inputs))
    shift = None if saved[2] is None else saved[2].view_as(saved[2])
    ys = _formula(weights, scale, shift, ctx.eps, ctx.apart, inputs)
    given = [weights, scale, shift, *inputs]
    wanted = [t for t in given if t is not None and t.requires_grad]
    found = iter(torch.autograd.grad(ys, wanted, gradients, create_graph=True, materialize_grads=True))
    of = [next(found) if t is not None and t.requires_grad else None for t in given]
    return *of[:3], None, None, *of[3:]


def _formula(
    weights: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor | None, eps: float, apart: bool,
    inputs: Sequence[torch.Tensor],
) -> list[torch.Tensor]:  # fmt: skip
    """The results of `_Folded.forward` by operations that autograd knows."""
    rows = [_rows(z) for z in inputs]
    m = torch.stack([row.mean(0) for row in rows])[:, :, None]
    grams = torch.stack([row.t() @ row for row in rows]) / len(rows[0])
    variance = ((weights @ (grams - m @ m.mT)) * weights).sum(2)
    gain = scale * (variance + eps).rsqrt()
    bias = -gain * (weights @ m)[:, :, 0]
    bias = bias if shift is None else bias + shift
    matrices = gain[:, :, None] * weights
    if apart:
        return [torch.relu(_times(z, *own)) for z, *own in zip(inputs, matrices, bias, strict=True)]
    zero = torch.zeros_like(bias[0])
    ys = [
        _times(z, matrix, zero if k else bias.sum(0))
        for k, (z, matrix) in enumerate(zip(inputs, matrices, strict=True))
    ]
    return [torch.stack(ys).sum(0)]


def _apart(inputs: Sequence[torch.Tensor], folded: torch.Tensor, bias: torch.Tensor) -> list[torch.Tensor]:
    return [_times(z, matrix, own).relu_() for z, matrix, own in zip(inputs, folded, bias, strict=True)]


def _together(inputs: Sequence[torch.Tensor], folded: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    y = _times(inputs[0], folded[0], bias)
    for z, matrix in zip(inputs[1:], folded[1:], strict=True):
        _add_times(y, z, matrix)
    return y


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) → (N, C), a view in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _times(z: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A matrix (D, C) for every pixel of z (B, C, H, W), plus bias (D) → (B, D, H, W)."""
    return F.conv2d(z, matrix[:, :, None, None], bias)


def _add_times(y: torch.Tensor, z: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """y += matrix · z, in place."""
    if matrix.shape[0] < _WIDE or not y.is_contiguous(memory_format=torch.channels_last):
        return y.add_(F.conv2d(z, matrix[:, :, None, None]))
    _rows(y).addmm_(_rows(z), matrix.t())
    return y


def _gram(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Σ a bᵀ over all pixels: (B, D, H, W), (B, C, H, W) → (D, C)."""
    if a.shape[1] >= 2 * _WIDE:
        return _rows(a).t() @ _rows(b)
    kernel = a.new_empty((a.shape[1], b.shape[1], 1, 1))
    wanted = [False, True, False]
    geometry = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
    found: torch.Tensor = torch.ops.aten.convolution_backward(a, b, kernel, None, *geometry, wanted)[1]
    return found.flatten(1)
