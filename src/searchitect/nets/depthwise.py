"""Depthwise convolution with a fast backward pass on the CPU, and the grids that make dilation disappear.

A dilation of 2 is no dilation on the four grids of every second row and column. `split` puts them into the batch,
`join` puts them back. How the backward pass becomes fast is in `convolutions`; elsewhere than on the CPU, `depthwise`
is `conv2d`.

Shapes: B batch, C channels, H W; kernels (C, 1, kH, kW), odd.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from searchitect.nets.convolutions import Geometry, convolution


def depthwise(x: torch.Tensor, kernel: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    """`conv2d` of each channel with its own kernel, padded so that stride 1 keeps the size.

    (B, C, H, W) → (B, C, H/stride, W/stride), rounded up.
    """
    if x.device.type == "cpu" and dilation == 2 and stride == 2:  # output pixels see even rows and columns only
        return depthwise(x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last), kernel)
    if x.device.type == "cpu" and dilation == 2:
        height, width = x.shape[2:]
        return join(depthwise(split(x), kernel), height, width)
    return convolution(x, kernel, Geometry(stride, dilation, x.shape[1]))


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
