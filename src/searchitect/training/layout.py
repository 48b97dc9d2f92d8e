"""How images lie in memory while a network is trained: channels last is faster on CPUs, where it is safe.

torch 2.13 writes beyond its memory on the CPU, so that the process dies, in the backward pass of a convolution with a
1×1 kernel, stride 2 and fewer than 8 input channels in channels last (even height and width; other kernels, strides
and layouts are safe). Networks with such a convolution keep the usual layout.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

SAFE_CHANNELS = 8


def may_be_last(model: nn.Module) -> bool:
    """Whether the network gains from channels last, and no layer of it would end the process."""
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    return bool(convolutions) and not any(map(_deadly, convolutions))


def _deadly(layer: nn.Conv2d) -> bool:
    return max(layer.kernel_size) == 1 and max(layer.stride) > 1 and layer.in_channels < SAFE_CHANNELS


def lay_out(model: nn.Module, last: bool) -> None:
    """Lay out all weights of convolutions: channels last, or as usual."""
    layout = torch.channels_last if last else torch.contiguous_format
    cast(Any, model).to(memory_format=layout)  # the stubs of torch lack this form
