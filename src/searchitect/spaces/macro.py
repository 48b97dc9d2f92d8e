"""The macro space of ENAS: a chain of layers, each with one of six operations and skips from any earlier layers.

Layer j is operation j of layer j - 1 plus the sum of the layers 0 to j - 2 that it has skips from (0 is the stem).
Size: 6^L · 2^(L(L-1)/2) for L layers, 1.6·10^29 for the twelve of the paper.
Source: Pham et al. 2018, "Efficient Neural Architecture Search via Parameter Sharing", section 2.3 and figure 3.
Skips are summed, as in their code; their text puts them side by side. Where we differ: ReLU stands before a
convolution, so that sums of layers need no BatchNorm of their own; pooling has no 1×1 convolution before it; a skip
over a halving of the map is an average pooling, without weights. Six layers by default, so that it runs on a CPU.
Baseline: 3×3 convolutions in pairs with a skip around each pair, a small ResNet.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Node, Space, lazy, one_of

L, N = lazy(nn), lazy(nets)

OPERATIONS = ("conv_3x3", "conv_5x5", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")


def space(layers: int = 6, width: int = 24, halvings: int = 2) -> Space:
    """Networks for images (channels, height, width), all of them of one width.

    layers:   how many follow the stem (12 in the paper).
    width:    channels of the stem and of every layer (36 in their search).
    halvings: layers that halve the map, at equal distances (2 in the paper).

    Raises UsageError for fewer than one layer, or with more halvings than layers.
    """
    if layers < 1 or not 0 <= halvings <= layers:
        raise UsageError(f"layers={layers}, halvings={halvings}: write at least 1 layer, and 0 to as many halvings")
    strides = {(i + 1) * layers // (halvings + 1) for i in range(halvings)}  # layers counted from 0
    sides = [1]  # the side of the map before any halving, over that of node j
    edges: list[Node] = []
    for j in range(1, layers + 1):
        stride = 2 if j - 1 in strides else 1
        sides.append(sides[-1] * stride)
        edges += [_skip(f"layer{j}.from{i}", sides[j] // sides[i]) for i in range(j - 1)]
        edges.append(_operation(f"layer{j}", stride))
    stem = [L.LazyConv2d(width, 3, padding=1, bias=False), L.LazyBatchNorm2d()]
    head = [L.LazyBatchNorm2d(), L.ReLU(), L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)]
    return Space(L.Sequential(*stem, N.Cell(edges), *head), name="macro", baseline=_baseline(layers))


def _operation(name: str, stride: int) -> Any:
    return one_of(
        tie=name,
        conv_3x3=N.SameConv(3, stride),
        conv_5x5=N.SameConv(5, stride),
        sep_conv_3x3=N.Depthwise(3, stride),
        sep_conv_5x5=N.Depthwise(5, stride),
        avg_pool_3x3=L.AvgPool2d(3, stride, 1, count_include_pad=False),
        max_pool_3x3=L.MaxPool2d(3, stride, 1),
    )


def _skip(name: str, times: int) -> Any:
    """Nothing, or an earlier layer as it is; where its map is larger, its means over squares of `times` pixels."""
    passed = L.Identity() if times == 1 else L.AvgPool2d(times, ceil_mode=True)
    return one_of(none=N.Zero(times), skip=passed, tie=name)


def _baseline(layers: int) -> dict[str, str]:
    chosen = {f"layer{j}": "conv_3x3" for j in range(1, layers + 1)}
    around = {(j, j - 2) for j in range(2, layers + 1, 2)}
    skips = ((j, i) for j in range(1, layers + 1) for i in range(j - 1))
    return chosen | {f"layer{j}.from{i}": "skip" if (j, i) in around else "none" for j, i in skips}
