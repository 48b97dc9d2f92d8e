"""Sums with gates as factors, averages and maxima, each keeping as little as possible for the backward pass.

Each can be differentiated again, at the cost of another backward pass. For tensors in channels_last.
Shapes: B batch, C channels, H W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from searchitect.nets.depthwise import depthwise


def weighted_sum(gates: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Σ gate · tensor, without the products in between: scalars × K, (B, C, H, W) × K → (B, C, H, W)."""
    y: torch.Tensor = _WeightedSum.apply(torch.stack(list(gates)), *tensors)  # type: ignore[no-untyped-call]
    return y


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gates, *(tensors if gates.requires_grad else ()))
        return _sum(gates, tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        gates, *tensors = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_gates = _Dots.apply(gradient, *tensors) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        if not any(ctx.needs_input_grad[1:]):
            return of_gates, *([None] * (len(ctx.needs_input_grad) - 1))
        return of_gates, *_Spread.apply(gradient, gates)  # type: ignore[no-untyped-call]


class _Spread(torch.autograd.Function):
    """gradient, gates (K) → gate · gradient × K."""

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, gates: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(gradient, gates)
        return tuple(gradient * gate for gate in gates)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *along: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gradient, gates = ctx.saved_tensors
        along = tuple(t.contiguous(memory_format=torch.channels_last) for t in along)
        return _sum(gates, along), _dots(gradient, along)


class _Dots(torch.autograd.Function):
    """gradient, tensors × K → Σ gradient · tensor (K)."""

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gradient, *tensors)
        return _dots(gradient, tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gradient, *tensors = ctx.saved_tensors
        return _sum(along, tensors), *(gradient * a for a in along)


def _sum(gates: torch.Tensor, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    y = tensors[0] * gates[0]
    for gate, tensor in zip(gates[1:], tensors[1:], strict=True):
        y.addcmul_(tensor, gate)
    return y


def _dots(gradient: torch.Tensor, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    flat = _flat(gradient)
    return torch.stack([torch.dot(flat, _flat(tensor)) for tensor in tensors])


def rectified(x: torch.Tensor) -> torch.Tensor:
    """relu(x), which keeps x and not its result."""
    y: torch.Tensor = _Rectified.apply(x)  # type: ignore[no-untyped-call]
    return y


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], x.detach(), 0)


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
