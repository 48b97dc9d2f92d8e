"""Depthwise convolution with a fast backward pass on the CPU, and the grids that make dilation disappear.

The library's backward pass of depthwise convolutions is fast only for kernels up to three columns wide without
dilation; for others it takes 4 to 20 times as long as the forward pass (torch 2.13, AVX2, channels_last, float32).
So here

- the gradient for the input is a forward convolution with the flipped kernel (stride 1);
- the gradient for a kernel of more than three columns is computed in groups of three columns (5×5: twice as many
  passes over the data at a sixth of the time each);
- a dilation of 2 is no dilation on the four grids of every second row and column. `split` puts them into the
  batch, `join` puts them back.

The gradients for input and kernel are separate nodes of autograd's graph, so that `autograd.grad` for something
else than the kernel does not compute it. Both can be differentiated again, by the same three products: the form
Σ output gradient · kernel · input is linear in each, so each of its derivatives is another of them.
Elsewhere than on the CPU, `depthwise` is `conv2d`.

Shapes: B batch, C channels, H W; kernels (C, 1, kH, kW), odd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

_COLUMNS = 3  # as wide as the library's fast kernel gradient goes


def depthwise(x: torch.Tensor, kernel: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    """`conv2d` of each channel with its own kernel, padded so that stride 1 keeps the size.

    (B, C, H, W) → (B, C, H/stride, W/stride), rounded up.
    """
    if x.device.type != "cpu":
        return _convolve(x, kernel, stride, dilation)
    if dilation == 2 and stride == 2:  # output pixels see even rows and columns only
        return depthwise(x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last), kernel)
    if dilation == 2:
        height, width = x.shape[2:]
        return join(depthwise(split(x), kernel), height, width)
    token = _KernelGradient.apply(kernel, (x,), stride, dilation)  # type: ignore[no-untyped-call]
    y: torch.Tensor = _InputGradient.apply(x, kernel, token, stride, dilation)  # type: ignore[no-untyped-call]
    return y


def split(x: torch.Tensor) -> torch.Tensor:
    """The four grids of every second row and column as a batch: (B, C, H, W) → (4B, C, H/2, W/2), rounded up.

    Odd sizes are padded with zeros, as a convolution would.
    """
    B, C, H, W = x.shape
    if H % 2 or W % 2:
        return split(F.pad(x, (0, W % 2, 0, H % 2)))
    grids = x.permute(0, 2, 3, 1).reshape(B, H // 2, 2, W // 2, 2, C).permute(2, 4, 0, 1, 3, 5)
    return grids.reshape(4 * B, H // 2, W // 2, C).permute(0, 3, 1, 2)


def join(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of `split`: (4B, C, H/2, W/2) → (B, C, height, width)."""
    B, C, H, W = x.shape
    grids = x.permute(0, 2, 3, 1).reshape(2, 2, B // 4, H, W, C).permute(2, 3, 0, 4, 1, 5)
    return grids.reshape(B // 4, 2 * H, 2 * W, C).permute(0, 3, 1, 2)[:, :, :height, :width]


def _convolve(x: torch.Tensor, kernel: torch.Tensor, stride: int, dilation: int) -> torch.Tensor:
    padding = [dilation * (size // 2) for size in kernel.shape[2:]]
    return F.conv2d(x, kernel, None, stride, padding, dilation, x.shape[1])


class _InputGradient(torch.autograd.Function):
    """The convolution, and its gradient for the input. The gradient for the kernel is the token's business."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, kernel: torch.Tensor, token: torch.Tensor, stride: int, dilation: int
    ) -> torch.Tensor:
        ctx.save_for_backward(kernel)
        ctx.geometry = x.shape, stride, dilation
        return _convolve(x, kernel, stride, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (kernel,), (shape, stride, dilation) = ctx.saved_tensors, ctx.geometry
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        if not ctx.needs_input_grad[0]:
            return None, None, gradient, None, None
        return _input_gradient(gradient, kernel, shape, stride, dilation), None, gradient, None, None


class _KernelGradient(torch.autograd.Function):
    """A value never read in the shape of the output, without memory of its own; its gradient is the kernel's."""

    @staticmethod
    def forward(
        ctx: Any, kernel: torch.Tensor, inside: tuple[torch.Tensor], stride: int, dilation: int
    ) -> torch.Tensor:
        (x,) = inside  # hidden from the graph: a path to it would have this gradient computed on the way to others
        ctx.save_for_backward(x)
        ctx.geometry = kernel.shape, stride, dilation
        sizes = [(size - 1) // stride + 1 for size in x.shape[2:]]
        return x.new_empty(()).expand(*x.shape[:2], *sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (x,), (shape, stride, dilation) = ctx.saved_tensors, ctx.geometry
        again = _Product.apply if torch.is_grad_enabled() else kernel_gradient
        return again(x, gradients[0], (shape[2], shape[3]), stride, dilation), None, None, None


class _Product(torch.autograd.Function):
    """`kernel_gradient`, to be differentiated."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, gradient: torch.Tensor, size: tuple[int, int], stride: int, dilation: int
    ) -> torch.Tensor:
        ctx.save_for_backward(x, gradient)
        ctx.geometry = stride, dilation
        return kernel_gradient(x, gradient, size, stride, dilation)

    @staticmethod
    def backward(ctx: Any, *kernels: torch.Tensor) -> Any:
        (x, gradient), (stride, dilation), (kernel,) = ctx.saved_tensors, ctx.geometry, kernels
        wanted = ctx.needs_input_grad
        for_x = _input_gradient(gradient, kernel, x.shape, stride, dilation) if wanted[0] else None
        for_gradient = depthwise(x, kernel, stride, dilation) if wanted[1] else None
        return for_x, for_gradient, None, None, None


def _input_gradient(
    gradient: torch.Tensor, kernel: torch.Tensor, shape: torch.Size, stride: int, dilation: int
) -> torch.Tensor:
    """Gradient (B, C, H/stride, W/stride) of the output → of the input, (B, C, H, W)."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    if stride == 1:
        convolve = depthwise if torch.is_grad_enabled() else _convolve
        return convolve(gradient, kernel.flip(2, 3), 1, dilation)
    padding = [dilation * (size // 2) for size in kernel.shape[2:]]
    back: torch.Tensor = conv2d_input(shape, kernel, gradient, stride, padding, dilation, shape[1])  # type: ignore[no-untyped-call]
    return back


def kernel_gradient(
    x: torch.Tensor, gradient: torch.Tensor, size: tuple[int, int], stride: int = 1, dilation: int = 1
) -> torch.Tensor:
    """Σ over the batch and all pixels of input times output gradient for each place of the kernel: (C, 1, kH, kW).

    x (B, C, H, W), gradient (B, C, H/stride, W/stride); at most three columns of the kernel in one pass.
    """
    C, (rows, columns) = x.shape[1], size
    half, reach = dilation * (columns // 2), stride * (gradient.shape[3] - 1) - (x.shape[3] - 1)
    parts = []
    for first in range(0, columns, _COLUMNS):
        last = min(first + _COLUMNS, columns) - 1
        shifted = x
        padding = [dilation * (rows // 2), half]
        if (first, last) != (0, columns - 1):  # only what these columns see, as if the kernel began here
            edges = (half - dilation * first, reach + dilation * last - half)
            shifted = F.pad(x, edges).contiguous(memory_format=torch.channels_last)
            padding[1] = 0
        shape = [C, 1, rows, last - first + 1]
        part = conv2d_weight(shifted, shape, gradient, stride, padding, dilation, C)  # type: ignore[no-untyped-call]
        parts.append(part)
    return torch.cat(parts, dim=3) if len(parts) > 1 else parts[0]
