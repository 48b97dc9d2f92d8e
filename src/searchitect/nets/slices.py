"""Slices: a narrow layer's weights as views of a wide one's.

Every dimension of a weight is cut to its first n entries, with two exceptions: the window of a convolution
keeps its middle (Cai et al. 2020, Once-for-All, figure 3), and the three parts of attention's inward
projection are cut each. Where we differ from Once-for-All: a small window is the plain middle of the large one,
without its learned transformation matrix, and channels are never sorted by importance.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from searchitect.nets.sequence import SelfAttention
from searchitect.nets.text import TokenAttention

# Layers whose sizes may be decided: everything they hold can be cut to what one architecture needs.
SLICED = {
    f"torch.nn.{name}"
    for name in """Conv1d Conv2d Conv3d LazyConv1d LazyConv2d LazyConv3d Linear LazyLinear BatchNorm1d BatchNorm2d
    BatchNorm3d LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LayerNorm GroupNorm PReLU Embedding""".split()
} | {
    f"searchitect.nets.{name}"
    for name in """SameConv Depthwise Skip SqueezeExcite SelfAttention ConvMixing Position TokenAttention
    TokenConv ColumnTokens""".split()
}

Shape = tuple[int, ...]
Cut = Callable[[torch.Tensor], torch.Tensor]
Kind = str  # "window", "thirds" or "first"


def kind_of(module: nn.Module, name: str) -> Kind:
    """How the tensor `name` (a dotted path inside `module`) is cut."""
    owner_name, _, leaf = name.rpartition(".")
    if isinstance(module.get_submodule(owner_name), _ConvNd) and leaf == "weight":
        return "window"
    if isinstance(module, (SelfAttention, TokenAttention)) and owner_name == "inward":
        return "thirds"
    return "first"


def cut(kind: Kind, full: Shape, needed: Shape) -> Cut | None:
    """The function that takes a tensor of shape `full` to its part of shape `needed`; None when it is all of it.

    Raises ValueError when the part is larger than the whole.
    """
    if len(full) != len(needed) or any(n > whole for n, whole in zip(needed, full, strict=True)):
        raise ValueError(f"a tensor of shape {needed} is no part of one of shape {full}")
    if full == needed:
        return None
    if kind == "thirds":
        third, part, inner = full[0] // 3, needed[0] // 3, _middle("first", full[1:], needed[1:], 1)
        where = (slice(None), slice(0, part), *inner)
        return lambda whole: whole.reshape(3, third, *full[1:])[where].flatten(0, 1)
    index = _middle(kind, full, needed, 0)
    return lambda whole: whole[index]


def _middle(kind: Kind, full: Shape, needed: Shape, first: int) -> tuple[slice, ...]:
    starts = [
        (whole - part) // 2 if kind == "window" and dim + first > 1 else 0
        for dim, (whole, part) in enumerate(zip(full, needed, strict=True))
    ]
    return tuple(slice(start, start + part) for start, part in zip(starts, needed, strict=True))


def largest(shapes: list[Shape]) -> Shape:
    """The smallest shape that all of these are parts of. Raises ValueError for different numbers of dimensions."""
    return tuple(max(sizes) for sizes in zip(*shapes, strict=True))


def started(shape: Shape, seen: list[torch.Tensor]) -> torch.Tensor:
    """Start values of a wide tensor: those of a layer that was that wide, else as many draws of the same spread."""
    for tensor in seen:
        if tuple(tensor.shape) == shape:
            return tensor.detach().clone()
    widest = max(seen, key=torch.numel).detach()
    if not widest.is_floating_point():
        return widest.new_zeros(shape)
    spread = float(widest.std()) if widest.numel() > 1 else 0.0
    return (
        widest.new_empty(shape).normal_(float(widest.mean()), spread)
        if spread
        else widest.new_full(shape, float(widest.mean()))
    )
