"""What lies outside of the cells of a supernet, in a form that is cheap to differentiate twice.

The stem, the blocks between stages and the last BatchNorm are left to the library in a first-order step, where it is
fast. Its second derivatives are not: that of BatchNorm takes 30 times a backward pass, that of a convolution eight
times. Within `cheap_twice` the same layers, with the same weights, use `convolutions` and `normed` instead; the numbers
are those of the layers up to rounding.

Shapes: B batch, C channels, D channels out, H W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from searchitect.nets.gates import Whole
from searchitect.nets.mixing import convolved, differentiated_twice, usual, watched
from searchitect.nets.normed import gated_norm
from searchitect.nets.supernets import Supernet

LEAST = 1 << 16  # numbers in an input from which on it pays, as for cells (`mixed.MIXTURE`)


@contextmanager
def cheap_twice(net: Supernet) -> Iterator[None]:
    """Within, a mixture of the supernet is made to be differentiated twice, in its fast cells (`mixed.speed_up`) and
    outside of them. A supernet without fast cells stays as it is.

    Layers with a hook or a forward pass of their own stay as they are, too, and so do those in evaluation mode, in
    automatic mixed precision, and those whose input is small.
    """
    changed = (
        [layer for layer in _layers(net.root) if type(layer) in _FORWARD and not watched(layer)] if net.fast else []
    )
    for layer in changed:
        layer.forward = partial(_FORWARD[type(layer)], layer)
    try:
        with differentiated_twice():
            yield
    finally:
        for layer in changed:
            del layer.forward


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """The module and all in it, but for what is in cells."""
    if isinstance(module, Whole):
        return
    yield module
    for child in module.children():
        yield from _layers(child)


def _convolution(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) → (B, D, H', W')."""
    if not (_suits(conv, x) and usual(conv)):
        return nn.Conv2d.forward(conv, x)
    return convolved(conv, x.contiguous(memory_format=torch.channels_last))


def _norm(norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) → the same."""
    if not _suits(norm, x):
        return nn.BatchNorm2d.forward(norm, x)
    return gated_norm(None, norm, x.contiguous(memory_format=torch.channels_last))


_FORWARD: dict[type[nn.Module], Callable[..., torch.Tensor]] = {nn.Conv2d: _convolution, nn.BatchNorm2d: _norm}


def _suits(layer: nn.Module, x: torch.Tensor) -> bool:
    known = layer.training and x.dim() == 4 and x.numel() >= LEAST
    return known and not torch.is_autocast_enabled(x.device.type)
