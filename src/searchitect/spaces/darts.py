"""The cell space of DARTS: a normal and a reduction cell, seven operations, tied over all layers.

Each cell has two inputs and four inner nodes; a node sums two operations on two different earlier states.
Size: per cell C(2,2)·C(3,2)·C(4,2)·C(5,2) · 7^8 = 1,037,664,180, squared for the two cells.
Source: Liu, Simonyan and Yang 2019 (sections 2.1 and 3.1; `none` is search-only, as there).
Smaller by default than their 20 layers of 36 channels, so that it runs on a CPU.
Baseline: separable 3×3 convolutions on both inputs everywhere, the strongest single operation by hand.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Node, Space, lazy, one_of, subset

L, N = lazy(nn), lazy(nets)

NODES = (2, 3, 4, 5)  # inner nodes, numbered after the two inputs 0 and 1
OPERATIONS = (
    "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "skip_connect", "max_pool_3x3", "avg_pool_3x3",
)  # fmt: skip


def space(width: int = 8, cells: int = 5, stem: int = 3) -> Space:
    """Networks for images (channels, height, width).

    width: channels of the inner states, doubled by each of the two reduction cells (at ⅓ and ⅔ of the depth).
    cells: how many cells follow each other (8 in the published search, 20 in its final networks).
    stem:  the stem has stem · width channels.

    Raises UsageError for fewer than three cells, which would have no normal one.
    """
    if cells < 3:
        raise UsageError(f"cells={cells}: write at least 3, one normal and two reductions")
    normal, reduction = _genes("normal", reduce=False), _genes("reduce", reduce=True)
    layers: list[Node] = []
    first, after = stem * width, False
    for i in range(cells):
        halve = i in (cells // 3, 2 * cells // 3)
        width *= 2 if halve else 1
        layers.append(N.TwoInputCell(width, reduction if halve else normal, after))
        after = halve
    start = L.Sequential(L.LazyConv2d(first, 3, padding=1, bias=False), L.LazyBatchNorm2d())
    head = L.Sequential(L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS))
    return Space(N.TwoInputChain(start, layers, head), name="darts", baseline=_baseline())


def _genes(cell: str, *, reduce: bool) -> list[Node]:
    """The four inner nodes; each takes two of the states before it. The same objects in every cell: tied."""
    nodes: list[Node] = []
    for n in NODES:
        edges = {
            f"from{j}": N.Edge(j, _operation(f"{cell}.{n}.from{j}", 2 if reduce and j < 2 else 1)) for j in range(n)
        }
        nodes.append(subset(**edges, k=2, tie=f"{cell}.{n}"))
    return nodes


def _operation(name: str, stride: int) -> Any:
    options = {
        "sep_conv_3x3": N.Depthwise(3, stride, twice=True),
        "sep_conv_5x5": N.Depthwise(5, stride, twice=True),
        "dil_conv_3x3": N.Depthwise(3, stride, dilation=2),
        "dil_conv_5x5": N.Depthwise(5, stride, dilation=2),
        "skip_connect": N.Skip(stride),
        "max_pool_3x3": L.MaxPool2d(3, stride, 1),
        "avg_pool_3x3": L.AvgPool2d(3, stride, 1, count_include_pad=False),
    }
    return one_of(tie=name, search_only={"none": N.Zero(stride)}, **options)


def _baseline() -> dict[str, str]:
    chosen = {}
    for cell in ("normal", "reduce"):
        for n in NODES:
            if n > 2:  # two of two is no decision
                chosen[f"{cell}.{n}"] = "from0+from1"
            chosen |= {f"{cell}.{n}.from{j}": "sep_conv_3x3" for j in (0, 1)}
    return chosen
