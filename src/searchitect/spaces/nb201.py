"""The cell space of NAS-Bench-201: six edges, five operations, one cell for the whole network.

Size: 5^6 = 15,625.
Source: Dong and Yang 2020 (section 2 and figure 1). Operations, padding, order of ReLU, convolution and
BatchNorm, and the residual reduction blocks are theirs; widths 16, 32, 64 and five cells per stage.
Baseline: their ResNet cell (3×3 convolutions one after the other, with skips).
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.space import OUTPUTS, Node, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ("0-1", "0-2", "1-2", "0-3", "1-3", "2-3")  # from node, to node; the order of the tables
RESNET = dict(zip(EDGES, ("nor_conv_3x3", "none", "nor_conv_3x3", "skip_connect", "none", "skip_connect"), strict=True))


def space(cells: int = 5, width: int = 16, follow: bool = False) -> Space:
    """Networks for images (channels, height, width).

    cells: copies of the cell in each of the three stages (5 in the benchmark).
    width: channels of the first stage (16 in the benchmark), doubled twice.
    follow: whether convolutions in cells take their width from their input, as PC-DARTS needs it. The same networks,
            but another space for files: published tables are of the one without.
    """
    parts: list[Node] = [L.LazyConv2d(width, 3, padding=1, bias=False), L.LazyBatchNorm2d()]
    for stage in range(3):
        channels = width * 2**stage
        if stage:
            parts.append(_reduction(channels))
        parts.append(named(f"stage{stage}", repeat(_cell(None if follow else channels), cells)))
    parts += [L.LazyBatchNorm2d(), L.ReLU(), L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)]
    return Space(L.Sequential(*parts), name="nb201", baseline=dict(RESNET))


def _relu_conv_norm(width: int, kernel: int, stride: int = 1) -> Any:
    conv = L.LazyConv2d(width, kernel, stride, padding=kernel // 2, bias=False)
    return L.Sequential(L.ReLU(), conv, L.LazyBatchNorm2d())


def _cell(width: int | None) -> Any:
    """width: of its convolutions; None to take it from their input."""
    options = {
        "none": N.Zero(),
        "skip_connect": L.Identity(),
        "nor_conv_1x1": N.SameConv(1) if width is None else _relu_conv_norm(width, 1),
        "nor_conv_3x3": N.SameConv(3) if width is None else _relu_conv_norm(width, 3),
        "avg_pool_3x3": L.AvgPool2d(3, 1, 1, count_include_pad=False),
    }
    return N.Cell([one_of(tie=edge, **options) for edge in EDGES])


def _reduction(width: int) -> Any:
    """Half the size, twice the channels: two convolutions beside an average pooling (rounded up)."""
    body = L.Sequential(_relu_conv_norm(width, 3, stride=2), _relu_conv_norm(width, 3))
    short = L.Sequential(L.AvgPool2d(2, 2, ceil_mode=True), L.LazyConv2d(width, 1, bias=False))
    return N.Branches(body, short)
