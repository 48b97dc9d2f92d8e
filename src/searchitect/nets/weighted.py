"""Sums with gates as factors, averages and normalisation, each keeping as little as possible for the backward pass.

Each can be differentiated again. For tensors in channels_last.
Shapes: B batch, C channels, H W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from searchitect.nets.depthwise import depthwise


def weighted_sum(gates: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Σ gate · tensor, without the products in between: scalars × K, (B, C, H, W) × K → (B, C, H, W)."""
    y: torch.Tensor = _WeightedSum.apply(torch.stack(list(gates)), *tensors)  # type: ignore[no-untyped-call]
    return y


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        y = tensors[0] * gates[0]
        for gate, tensor in zip(gates[1:], tensors[1:], strict=True):
            y.addcmul_(tensor, gate)
        ctx.save_for_backward(gates, *tensors)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        gates, *tensors = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_gates = None
        if ctx.needs_input_grad[0]:
            flat = _flat(gradient)
            of_gates = torch.stack([torch.dot(flat, _flat(tensor)) for tensor in tensors])
        wanted = ctx.needs_input_grad[1:]
        of_tensors = [gradient * gate if want else None for gate, want in zip(gates, wanted, strict=True)]
        return of_gates, *of_tensors


def normalised(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """BatchNorm of a training batch without scale and shift, and the mean and variance (C); keeps its output alone.

    (B, C, H, W) → the same.
    """
    y, _, mean, variance = _Normalised.apply(x, eps)  # type: ignore[no-untyped-call]
    return y, mean, variance


class _Normalised(torch.autograd.Function):
    """x → y, 1 / √(variance + eps), mean, variance. Ioffe and Szegedy 2015, algorithm 1; its gradient (section 3) is
    written with y and the second result, which is a result so that the gradient can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> tuple[torch.Tensor, ...]:
        y, mean, inverse = torch.native_batch_norm(x, None, None, None, None, True, 0.0, eps)
        variance = inverse.square().reciprocal() - eps
        ctx.save_for_backward(y, inverse)
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return y, inverse, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> Any:
        y, inverse = ctx.saved_tensors
        gradient, of_inverse = gradients[:2]
        shape, pixels = (1, -1, 1, 1), y.numel() // y.shape[1]
        back = None
        if gradient is not None:
            mean, along = gradient.sum((0, 2, 3)) / pixels, (gradient * y).sum((0, 2, 3)) / pixels
            back = torch.addcmul((-mean * inverse).view(shape), gradient, inverse.view(shape))
            back = torch.addcmul(back, y, (-along * inverse).view(shape))
        if of_inverse is not None:
            own = y * (of_inverse * inverse.square() / -pixels).view(shape)
            back = own if back is None else back + own
        return back, None


def gated_norm(gate: torch.Tensor | None, norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """gate · norm(x) in training mode, the gate being part of the scale: (B, C, H, W) → the same."""
    scale: torch.Tensor | None = norm.weight
    shift: torch.Tensor | None = norm.bias
    if gate is not None:  # a gate merely expanded would do, but torch 2.13 then computes wrong gradients
        scale = gate.repeat(x.shape[1]) if scale is None else scale * gate
        shift = None if shift is None else shift * gate
    factor = _factor(norm)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1
    return F.batch_norm(x, norm.running_mean, norm.running_var, scale, shift, True, factor, norm.eps)


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
    return 1 / (1 + float(norm.num_batches_tracked)) if norm.num_batches_tracked is not None else 0.0


def average(pool: nn.AvgPool2d, x: torch.Tensor) -> torch.Tensor:
    """What the pooling gives, as a depthwise convolution where that is the same, which keeps nothing.

    (B, C, H, W) → (B, C, H/stride, W/stride).
    """
    size, stride = pool.kernel_size, pool.stride
    other = pool.ceil_mode or pool.divisor_override is not None or x.device.type != "cpu"
    if other or not isinstance(size, int) or not isinstance(stride, int) or (size % 2, pool.padding) != (1, size // 2):
        pooled: torch.Tensor = pool(x)
        return pooled
    kernel = x.new_full((1, 1, size, size), 1 / size**2)
    y = depthwise(x, kernel.expand(x.shape[1], 1, size, size), stride)
    if pool.count_include_pad:
        return y
    inside = F.conv2d(x.new_ones((1, 1, *x.shape[2:])), kernel, None, stride, size // 2)
    return y.mul_(inside.reciprocal())


def maximum(pool: nn.MaxPool2d, x: torch.Tensor) -> torch.Tensor:
    """What the pooling gives; where each maximum was is kept in two bytes or four, not in eight.

    (B, C, H, W) → (B, C, H/stride, W/stride).
    """
    if pool.return_indices or x.device.type != "cpu":
        pooled: torch.Tensor = pool(x)
        return pooled
    geometry = pool.kernel_size, pool.stride, pool.padding, pool.dilation
    y: torch.Tensor = _Maximum.apply(x, [[n, n] if isinstance(n, int) else list(n) for n in geometry], pool.ceil_mode)  # type: ignore[no-untyped-call]
    return y


class _Maximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, geometry: list[list[int]], ceil: bool) -> torch.Tensor:
        y: torch.Tensor
        y, places = torch.ops.aten.max_pool2d_with_indices(x, *geometry, ceil)
        small = x.shape[2] * x.shape[3] <= torch.iinfo(torch.int16).max
        ctx.save_for_backward(x, places.to(torch.int16 if small else torch.int32))
        ctx.geometry = *geometry, ceil
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, places = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        back = torch.ops.aten.max_pool2d_with_indices_backward(gradient, x, *ctx.geometry, places.long())
        return back, None, None


def _flat(x: torch.Tensor) -> torch.Tensor:
    """All numbers in one row, a view in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1)
