"""The gradient of normalised 1×1 convolutions, and the gradient of that, by the fewest passes over the data.

Of the large tensors only sums and products Σ a bᵀ over all pixels are taken, and matrices are applied to them; all
else happens on matrices of C and D channels.

Shapes: B batch, C channels in, D channels out, H W, K terms, N = B·H·W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_WIDE = 16  # from so many channels on, a matrix product that adds to its output beats a convolution and an addition


def statistics(
    weights: torch.Tensor, m: torch.Tensor, gram: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of W z by those of z: mean (K, D), W·cov(z) (K, D, C), variance (K, D), 1 / √(variance + eps)."""
    spread = torch.bmm(weights, torch.baddbmm(gram, m, m.mT, alpha=-1))
    variance = (spread * weights).sum(2).clamp_min(0)
    return torch.bmm(weights, m)[:, :, 0], spread, variance, (variance + eps).rsqrt()


class _Gradients(NamedTuple):
    """What a backward pass is made of: `forth` (K, D, C), `back` (K, C, C) and `constants` (K, C) give the gradient of
    z as forthᵀ dy + back z + constants."""

    of_weights: torch.Tensor
    of_scale: torch.Tensor
    forth: torch.Tensor
    back: torch.Tensor
    constants: torch.Tensor


def _algebra(
    weights: torch.Tensor, scale: torch.Tensor, m: torch.Tensor, gram: torch.Tensor, products: torch.Tensor,
    total: torch.Tensor, settings: tuple[float, int],
) -> _Gradients:  # fmt: skip
    """The chain rule of algorithm 1 with W z left implicit, by small matrices alone.

    products: Σ dy zᵀ (K, D, C). total: Σ dy (K, D), or (1, D) for one sum. settings: eps, number of pixels.
    """
    eps, pixels = settings
    mean, spread, _, inverse = statistics(weights, m, gram, eps)
    gain = scale * inverse
    along = torch.addcmul((products * weights).sum(2), mean, total, value=-1)  # Σ dy · (W z - mean), (K, D)
    pull = gain * inverse.square() * along  # N times the share of W z in the gradient of W z
    of_weights = gain[:, :, None] * (products - total[:, :, None] * m.mT) - pull[:, :, None] * spread
    pull = pull / pixels
    constants = torch.bmm((pull * mean - gain * (total / pixels))[:, None, :], weights)[:, 0]
    back = -torch.bmm(weights.mT, pull[:, :, None] * weights)
    return _Gradients(of_weights, inverse * along, gain[:, :, None] * weights, back, constants)


class FoldedGradient(torch.autograd.Function):
    """weights, scale, m, gram, dy × K or one, z × K → gradients of weights and scale, Σ dy, gradients of the z.

    Its own derivative has two parts: that of the small matrices is left to autograd, the products with dy and z, which
    alone are large, are written down.
    """

    @staticmethod
    def forward(
        ctx: Any, weights: torch.Tensor, scale: torch.Tensor, m: torch.Tensor, gram: torch.Tensor, eps: float,
        wanted: Sequence[bool], *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor | None, ...]:  # fmt: skip
        inputs, dys = tensors[-len(weights) :], tensors[: -len(weights)]
        total = torch.stack([rows(dy).sum(0) for dy in dys])
        products = torch.stack([gram_of(dy, z) for dy, z in _pairs(dys, inputs)])
        settings = eps, inputs[0].numel() // inputs[0].shape[1]
        found = _algebra(weights, scale, m, gram, products, total, settings)
        of_inputs: list[torch.Tensor | None] = [None] * len(inputs)
        for k, (dy, z) in enumerate(_pairs(dys, inputs)):
            if wanted[k]:
                of_inputs[k] = add_times(times(dy, found.forth[k].mT, found.constants[k]), z, found.back[k])
        ctx.save_for_backward(weights, scale, m, gram, products, total, *tensors)
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        return found.of_weights, found.of_scale, total, *of_inputs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_weights: torch.Tensor | None, of_scale: torch.Tensor | None, of_total: torch.Tensor | None,
        *along: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, ...]:  # fmt: skip
        small, tensors = ctx.saved_tensors[:6], ctx.saved_tensors[6:]
        inputs, dys = tensors[-len(along) :], tensors[: -len(along)]
        us = [None if u is None else u.contiguous(memory_format=torch.channels_last) for u in along]
        with torch.enable_grad():
            given = [t.detach().requires_grad_() for t in small]
            weights, scale, m, gram, products, total = given
            found = _algebra(weights, scale, m, gram, products, total, ctx.settings)
        back = [torch.zeros_like(t) for t in found]
        back[0], back[1] = (z if t is None else t for z, t in zip(back, (of_weights, of_scale), strict=False))
        for k, (dy, z) in enumerate(_pairs(dys, inputs)):
            u = us[k]
            if u is not None:
                back[2][k], back[3][k], back[4][k] = gram_of(dy, u), gram_of(u, z), rows(u).sum(0)
        of = torch.autograd.grad(found, given, back)
        for_total = of[5] if of_total is None else of[5] + of_total
        for_dys = _for_dys(len(dys), inputs, us, (of[4], found.forth.detach(), for_total))
        curve = (of[3] + of[3].mT) / ctx.settings[1]
        for_inputs = []
        for k, (dy, z) in enumerate(_pairs(dys, inputs)):
            x = add_times(times(dy, of[4][k].mT, of[2][k, :, 0] / ctx.settings[1]), z, curve[k])
            u = us[k]
            for_inputs.append(x if u is None else add_times(x, u, found.back[k].detach().mT))
        return of[0], of[1], None, None, None, None, *for_dys, *for_inputs


def _pairs(dys: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each z with its dy, which may be one for all."""
    return list(zip(dys if len(dys) == len(inputs) else list(dys) * len(inputs), inputs, strict=True))


def _for_dys(
    n: int, inputs: Sequence[torch.Tensor], us: Sequence[torch.Tensor | None],
    matrices: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> list[torch.Tensor]:  # fmt: skip
    """The gradients of n dy, which meet z by `products`, u by `forth` (both K, D, C), and stand alone in `total`."""
    products, forth, total = matrices
    found: list[torch.Tensor] = []
    for k, (z, u) in enumerate(zip(inputs, us, strict=True)):
        if k < n:
            found.append(times(z, products[k], total[k]))
        else:
            add_times(found[0], z, products[k])
        if u is not None:
            add_times(found[min(k, n - 1)], u, forth[k])
    return found


def rows(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) → (N, C), a view in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def times(z: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A matrix (D, C) for every pixel of z (B, C, H, W), plus bias (D) → (B, D, H, W)."""
    return F.conv2d(z, matrix[:, :, None, None], bias)


def add_times(y: torch.Tensor, z: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """y += matrix · z, in place."""
    if matrix.shape[0] < _WIDE or not y.is_contiguous(memory_format=torch.channels_last):
        return y.add_(F.conv2d(z, matrix[:, :, None, None]))
    rows(y).addmm_(rows(z), matrix.t())
    return y


def gram_of(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Σ a bᵀ over all pixels: (B, D, H, W), (B, C, H, W) → (D, C)."""
    if a.shape[1] >= 2 * _WIDE:
        return rows(a).t() @ rows(b)
    kernel = a.new_empty((a.shape[1], b.shape[1], 1, 1))
    wanted = [False, True, False]
    geometry = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
    found: torch.Tensor = torch.ops.aten.convolution_backward(a, b, kernel, None, *geometry, wanted)[1]
    return found.flatten(1)
