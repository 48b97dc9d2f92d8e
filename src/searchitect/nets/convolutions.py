"""Convolutions that can be differentiated twice at the cost of convolutions, on the CPU.

Σ output gradient · kernel · input is linear in each of the three, so the convolution, its gradient for the input and
its gradient for the kernel are each other's derivatives, and nothing else is ever needed. The library computes second
derivatives in other ways, which take twice to three times as long (torch 2.13, channels_last).

The gradients for input and kernel are separate nodes of autograd's graph, so that `autograd.grad` for something
else than the kernel does not compute it. For depthwise convolutions the library's backward pass is fast only for
kernels up to three columns wide without dilation; for others it takes 4 to 20 times as long as the forward pass. So

- their gradient for the input is a forward convolution with the flipped kernel (stride 1);
- the gradient for a kernel of more than three columns is computed in groups of three columns (5×5: twice as many
  passes over the data at a sixth of the time each).

Elsewhere than on the CPU, `convolution` is `conv2d`.
Shapes: B batch, C channels in, D channels out, H W; kernels (D, C/groups, kH, kW), odd; groups is 1 or C.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

_COLUMNS = 3  # as wide as the library's fast kernel gradient of depthwise convolutions goes


class Geometry(NamedTuple):
    """Of a convolution whose padding keeps the size where the stride is 1."""

    stride: int = 1
    dilation: int = 1
    groups: int = 1

    def padding(self, kernel: torch.Size) -> list[int]:
        """Zeros at each side, by the shape of the kernel."""
        return [self.dilation * (size // 2) for size in kernel[2:]]


def convolution(
    x: torch.Tensor, kernel: torch.Tensor, geometry: Geometry, before: torch.Tensor | None = None
) -> torch.Tensor:
    """`conv2d`: (B, C, H, W) → (B, D, H/stride, W/stride), rounded up.

    before: what x is the ReLU of, where that is kept anyway: x is made again then for the gradient of the kernel.
    """
    if x.device.type != "cpu":
        return _convolve(x, kernel, geometry)
    sizes = [(size - 1) // geometry.stride + 1 for size in x.shape[2:]]
    inside = (x, False) if before is None else (before, True)
    token = _KernelGradient.apply(kernel, inside, (len(x), len(kernel), *sizes), geometry, False)  # type: ignore[no-untyped-call]
    y: torch.Tensor = _Forward.apply(x, kernel, token, geometry)  # type: ignore[no-untyped-call]
    return y


class _Forward(torch.autograd.Function):
    """The convolution, and its gradient for the input. The gradient for the kernel is the token's business."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, kernel: torch.Tensor, token: torch.Tensor, geometry: Geometry
    ) -> torch.Tensor:
        ctx.save_for_backward(kernel)
        ctx.known = x.shape, geometry
        return _convolve(x, kernel, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (kernel,), (shape, geometry), gradient = ctx.saved_tensors, ctx.known, _laid_out(gradients[0])
        back = _backward(gradient, kernel, shape, geometry) if ctx.needs_input_grad[0] else None
        return back, None, gradient, None


class _Backward(torch.autograd.Function):
    """The gradient for the input, from that of the output; the kernel's part in it is the token's business."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, kernel: torch.Tensor, token: torch.Tensor, shape: torch.Size,
        geometry: Geometry,
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(kernel)
        ctx.geometry = geometry
        return _input_gradient(gradient, kernel, shape, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (kernel,), along = ctx.saved_tensors, _laid_out(gradients[0])
        forth = convolution(along, kernel, ctx.geometry) if ctx.needs_input_grad[0] else None
        return forth, None, along, None, None


class _KernelGradient(torch.autograd.Function):
    """A value never read in the shape of a result, without memory of its own; its gradient is the kernel's.

    inside: the other factor, and whether it is to be rectified first. back: whether the result is the gradient for an
    input, made from that of an output (the other factor), and not the reverse.
    """

    @staticmethod
    def forward(
        ctx: Any, kernel: torch.Tensor, inside: tuple[torch.Tensor, bool], shape: tuple[int, ...],
        geometry: Geometry, back: bool,
    ) -> torch.Tensor:  # fmt: skip
        other, rectify = inside  # hidden from the graph, or a path to it would have this gradient computed too
        if kernel.requires_grad:
            ctx.save_for_backward(other)
        ctx.known = kernel.shape, geometry, back, rectify
        return other.new_empty(()).expand(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (other,), (shape, geometry, back, rectify) = ctx.saved_tensors, ctx.known
        gradient, other = _laid_out(gradients[0]), torch.relu(other) if rectify else other
        x, of_output = (gradient, other) if back else (other, gradient)
        product = _Product.apply if torch.is_grad_enabled() else kernel_gradient
        return product(x, of_output, shape, geometry), None, None, None, None


class _Product(torch.autograd.Function):
    """`kernel_gradient`, to be differentiated."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, gradient: torch.Tensor, shape: torch.Size, geometry: Geometry
    ) -> torch.Tensor:
        ctx.save_for_backward(x, gradient)
        ctx.geometry = geometry
        return kernel_gradient(x, gradient, shape, geometry)

    @staticmethod
    def backward(ctx: Any, *kernels: torch.Tensor) -> Any:
        (x, gradient), geometry, (kernel,) = ctx.saved_tensors, ctx.geometry, kernels
        wanted = ctx.needs_input_grad
        for_x = _backward(gradient, kernel, x.shape, geometry) if wanted[0] else None
        for_gradient = convolution(x, kernel, geometry) if wanted[1] else None
        return for_x, for_gradient, None, None


def _backward(gradient: torch.Tensor, kernel: torch.Tensor, shape: torch.Size, geometry: Geometry) -> torch.Tensor:
    """Gradient (B, D, H/stride, W/stride) of the output → of the input, (B, C, H, W)."""
    if not torch.is_grad_enabled():
        return _input_gradient(gradient, kernel, shape, geometry)
    token = _KernelGradient.apply(kernel, (gradient, False), shape, geometry, True)  # type: ignore[no-untyped-call]
    back: torch.Tensor = _Backward.apply(gradient, kernel, token, shape, geometry)  # type: ignore[no-untyped-call]
    return back


def _laid_out(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _convolve(x: torch.Tensor, kernel: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    stride, dilation, groups = geometry
    return F.conv2d(x, kernel, None, stride, geometry.padding(kernel.shape), dilation, groups)


def _input_gradient(
    gradient: torch.Tensor, kernel: torch.Tensor, shape: torch.Size, geometry: Geometry
) -> torch.Tensor:
    gradient, (stride, dilation, groups) = _laid_out(gradient), geometry
    if stride == 1 and groups > 1:
        return _convolve(gradient, kernel.flip(2, 3), geometry)
    like = gradient.new_empty(()).expand(shape)
    padding, wanted = geometry.padding(kernel.shape), [True, False, False]
    settings = [stride] * 2, padding, [dilation] * 2, False, [0, 0], groups
    back: torch.Tensor = torch.ops.aten.convolution_backward(gradient, like, kernel, None, *settings, wanted)[0]
    return back


def kernel_gradient(x: torch.Tensor, gradient: torch.Tensor, shape: torch.Size, geometry: Geometry) -> torch.Tensor:
    """Σ over the batch and all pixels of input times output gradient for each place of the kernel, in its shape.

    x (B, C, H, W), gradient (B, D, H/stride, W/stride); for depthwise convolutions at most three columns in one pass.
    """
    (stride, dilation, groups), columns = geometry, shape[3]
    if groups == 1 or columns <= _COLUMNS:
        return _columns(x, gradient, list(shape), geometry.padding(shape), geometry)
    half, reach = dilation * (columns // 2), stride * (gradient.shape[3] - 1) - (x.shape[3] - 1)
    parts = []
    for first in range(0, columns, _COLUMNS):
        last = min(first + _COLUMNS, columns) - 1
        # only what these columns see, as if the kernel began here
        edges = (half - dilation * first, reach + dilation * last - half)
        shifted = _laid_out(F.pad(x, edges))
        size = [*shape[:3], last - first + 1]
        parts.append(_columns(shifted, gradient, size, [dilation * (shape[2] // 2), 0], geometry))
    return torch.cat(parts, dim=3)


def _columns(
    x: torch.Tensor, gradient: torch.Tensor, shape: list[int], padding: list[int], geometry: Geometry
) -> torch.Tensor:
    stride, dilation, groups = geometry
    part: torch.Tensor = conv2d_weight(x, shape, gradient, stride, padding, dilation, groups)  # type: ignore[no-untyped-call]
    return part
