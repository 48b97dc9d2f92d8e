"""BatchNorm of a training batch with a gate in its scale, in a form that is cheap to differentiate twice.

With x̂ = (x - mean) s, s = 1 / √(variance + eps), n pixels, scale γ and the gradient g of the output, algorithm 1 of
Ioffe and Szegedy 2015 has the gradients

    of x  = γ s (g - mean(g) - x̂ mean(g x̂)),   of γ = Σ g x̂,   of the shift = Σ g

Let u, a and b be the gradients of something for these three, p = mean(u x̂), q = mean(g x̂) and
c = mean(u g) - mean(u) mean(g). Then its gradients are

    of g = γ s (u - mean(u) - x̂ p) + a x̂ + b,   of γ = n s (c - p q)
    of x = (a s - γ s² p)(g - mean(g)) - γ s² q (u - mean(u)) - (γ s² (c - 3 p q) + a s q) x̂

(ds/dx = -s² x̂ / n). The library computes the same by some twenty passes over the data, in 10 to 30 times the time.
Shapes: B batch, C channels, H W; for tensors in channels_last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def gated_norm(gate: torch.Tensor | None, norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """gate · norm(x) in training mode, the gate being part of the scale: (B, C, H, W) → the same."""
    scale: torch.Tensor | None = norm.weight
    shift: torch.Tensor | None = norm.bias
    if gate is not None:  # a gate merely expanded would do, but torch 2.13 then computes wrong gradients
        scale = gate.repeat(x.shape[1]) if scale is None else scale * gate
        shift = None if shift is None else shift * gate
    y: torch.Tensor = _Norm.apply(x, scale, shift, norm)  # type: ignore[no-untyped-call]
    return y


class _Norm(torch.autograd.Function):
    """x, scale (C) or None, shift (C) or None → y. The running statistics of the norm move."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor | None, shift: torch.Tensor | None, norm: nn.BatchNorm2d
    ) -> torch.Tensor:
        factor = _factor(norm)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
        running = norm.running_mean, norm.running_var
        y, mean, inverse = torch.native_batch_norm(x, scale, shift, *running, True, factor, norm.eps)
        ctx.save_for_backward(x, scale, mean, inverse)
        found: torch.Tensor = y
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        back, of_scale, of_shift = _NormGradient.apply(gradients[0], *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        wanted = ctx.needs_input_grad
        return back if wanted[0] else None, of_scale if wanted[1] else None, of_shift if wanted[2] else None, None


class _NormGradient(torch.autograd.Function):
    """Gradient of the output, x, scale, mean and s → gradients of x, scale and shift."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, x: torch.Tensor, scale: torch.Tensor | None, mean: torch.Tensor,
        inverse: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        back, of_scale, of_shift = _back(gradient, x, scale, mean, inverse)
        ctx.save_for_backward(gradient, x, scale, mean, inverse, of_scale, of_shift)
        ctx.set_materialize_grads(False)
        return back, of_scale, of_shift

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, u: torch.Tensor | None, a: torch.Tensor | None, b: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        gradient, x, scale, mean, s, of_scale, of_shift = ctx.saved_tensors
        n, zero = x[:, 0].numel(), torch.zeros_like(s)
        gamma = torch.ones_like(s) if scale is None else scale
        g_mean, q = of_shift / n, of_scale / n
        for_g, u_mean, p, c = None, zero, zero, zero
        if u is not None:
            u = u.contiguous(memory_format=torch.channels_last)
            for_g, p, u_mean = _back(u, x, scale, mean, s)
            p, u_mean = p / n, u_mean / n
            c = products(u, gradient) / n - u_mean * g_mean
        a_or_zero = zero if a is None else a
        if a is not None or b is not None:
            own = _affine(x, a_or_zero * s, (zero if b is None else b) - a_or_zero * s * mean)
            for_g = own if for_g is None else for_g.add_(own)
        sharp = gamma * s.square()
        of_g, of_u = a_or_zero * s - sharp * p, -sharp * q
        of_x = -s * (sharp * (c - 3 * p * q) + a_or_zero * s * q)
        for_x = _affine(gradient, of_g, -of_g * g_mean - of_u * u_mean - of_x * mean)
        for_x.addcmul_(x, _wide(of_x))
        if u is not None:
            for_x.addcmul_(u, _wide(of_u))
        return for_g, for_x, None if scale is None else n * s * (c - p * q), None, None


def normalised(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """BatchNorm of a training batch without scale and shift, and the mean and variance (C); keeps its output alone.

    (B, C, H, W) → the same.
    """
    y, inverse, mean = _Normalised.apply(x, eps)  # type: ignore[no-untyped-call]
    return y, mean, inverse.detach().square().reciprocal() - eps


class _Normalised(torch.autograd.Function):
    """x → x̂, s, mean. The gradient is written with x̂ and s, which are results so that they can be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> tuple[torch.Tensor, ...]:
        y, mean, inverse = torch.native_batch_norm(x, None, None, None, None, True, 0.0, eps)
        ctx.save_for_backward(y, inverse)
        ctx.mark_non_differentiable(mean)
        ctx.set_materialize_grads(False)
        return y, inverse, mean

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> Any:
        (y, inverse), (gradient, of_inverse) = ctx.saved_tensors, gradients[:2]
        back = None
        if gradient is not None:
            back = _CentredGradient.apply(gradient, y, inverse)  # type: ignore[no-untyped-call]
        if of_inverse is not None:
            own = y * _wide(of_inverse * inverse.square() / -y[:, 0].numel())
            back = own if back is None else back + own
        return back, None


class _CentredGradient(torch.autograd.Function):
    """g, x̂, s → s (g - mean(g) - x̂ mean(g x̂)), x̂ and s being given by themselves."""

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, y: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        zero = torch.zeros_like(inverse)
        back, along, total = _back(gradient, y, inverse, zero, zero + 1)
        ctx.save_for_backward(gradient, y, inverse, along, total)
        return back

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (gradient, y, s, along, total), zero = ctx.saved_tensors, torch.zeros_like(ctx.saved_tensors[2])
        u, n = u.contiguous(memory_format=torch.channels_last), y[:, 0].numel()
        for_g, p, u_total = _back(u, y, s, zero, zero + 1)
        for_y = _affine(gradient, -s * p / n, zero)
        for_y.addcmul_(u, _wide(-s * along / n))
        return for_g, for_y, products(u, gradient) - u_total * total / n - p * along / n


def products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Σ a b over batch and pixels: (B, C, H, W) × 2 → (C), in one pass and without a product in between."""
    zero = a.new_zeros(a.shape[1])
    return _reduce(a, b, None, zero, zero + 1, [False, True, False])[1]


def _back(
    gradient: torch.Tensor, x: torch.Tensor, scale: torch.Tensor | None, mean: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    return _reduce(gradient, x, scale, mean, inverse, [True, True, True])


def _reduce(
    gradient: torch.Tensor, x: torch.Tensor, scale: torch.Tensor | None, mean: torch.Tensor, inverse: torch.Tensor,
    wanted: list[bool],
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    if scale is None:  # without one the library sums nothing for it
        scale = torch.ones_like(inverse)
    found: tuple[torch.Tensor, ...] = torch.ops.aten.native_batch_norm_backward(
        gradient, x, scale, None, None, mean, inverse, True, 0.0, wanted
    )
    return found


def _affine(x: torch.Tensor, factor: torch.Tensor, constant: torch.Tensor) -> torch.Tensor:
    """factor · x + constant for each channel, in one pass."""
    zero = torch.zeros_like(factor)
    return F.batch_norm(x, zero, zero + 1, factor, constant, False, 0.0, 0.0)


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x.view(1, -1, 1, 1)


def remember(norms: Sequence[nn.BatchNorm2d], mean: torch.Tensor, variance: torch.Tensor, pixels: int) -> None:
    """Move the running statistics of K norms as BatchNorm does, by mean and (biased) variance (K, C) of the pixels.

    By `.data`, since BatchNorm itself moves them unseen by autograd, which may hold them for a second derivative.
    """
    with torch.no_grad():
        groups: dict[float, list[int]] = {}
        for k, norm in enumerate(norms):
            if norm.num_batches_tracked is not None:
                groups.setdefault(_factor(norm), []).append(k)
        counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        if counts:
            torch._foreach_add_(counts, 1)
        unbiased = variance * (pixels / (pixels - 1))
        for factor, members in groups.items():
            for name, new in (("running_mean", mean), ("running_var", unbiased)):
                old = [getattr(norms[k], name).data for k in members]
                torch._foreach_lerp_(old, [new[k] for k in members], factor)


def _factor(norm: nn.BatchNorm2d) -> float:
    """The weight of this batch. A momentum of None stands for the mean over all batches."""
    if norm.momentum is not None:
        return norm.momentum
    # before this batch is counted
    return 1 / (1 + float(norm.num_batches_tracked)) if norm.num_batches_tracked is not None else 0.0
