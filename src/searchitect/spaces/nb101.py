"""The cell space of NAS-Bench-101: a graph of at most seven vertices and nine edges, operations at its vertices.

Size: with V vertices 2^(V(V-1)/2) matrices times 3^(V-2) labels, 509,607,936 for the seven of the benchmark. Of these
423,624 are different cells: what lies on no path from input to output is cut away, and isomorphic ones are one network.
Source: Ying et al. 2019, "NAS-Bench-101: Towards Reproducible Neural Architecture Search", section 2, and their code
for the channels. Three stages of three cells, operations, projections of the input and the channels of the vertices are
theirs; `width=128` gives their networks with their numbers of parameters. Where we differ: 16 channels by default, so
that it runs on a CPU; averages of BatchNorm move as torch's do.
Cells without a path and cells of more than nine edges are no members: the space declares that as a limit.
Baseline: their ResNet-like cell, two 3×3 convolutions beside the projected input.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Node, Space, lazy, limit, named, one_of, repeat
from searchitect.space.vertices import VERTEX_OPERATIONS, arranged, published_cell

L, N = lazy(nn), lazy(nets)

STAGES = 3
# Their cells, as edges and the operations of the vertices 1, 2, ...
RESNET = ("0-1 1-2 2-out 0-out", "conv_3x3 conv_3x3")
INCEPTION = ("0-1 0-2 0-3 0-5 1-out 2-out 3-4 4-out 5-out", "conv_1x1 conv_3x3 conv_3x3 conv_3x3 max_pool_3x3")


def space(vertices: int = 7, cells: int = 3, width: int = 16) -> Space:
    """Networks for images (channels, height, width).

    vertices: most vertices of a cell, input and output included (7 in the benchmark).
    cells:    copies of the cell in each of the three stages (3 in the benchmark).
    width:    channels of stem and first stage (128 in the benchmark), doubled twice.

    Raises UsageError for numbers that cannot be.
    """
    if not 4 <= vertices <= 7 or cells < 1 or width < 5:
        raise UsageError(
            f"vertices={vertices}, cells={cells}, width={width}: write 4 to 7 vertices, a cell and 5 channels at least"
        )
    edges = [one_of(0, 1, tie=f"{i}-{j}") for j in range(1, vertices) for i in range(j)]
    operations = [one_of(*VERTEX_OPERATIONS, tie=f"operation{i}") for i in range(1, vertices - 1)]
    parts: list[Node] = [L.LazyConv2d(width, 3, padding=1, bias=False), L.LazyBatchNorm2d(), L.ReLU()]
    for stage in range(STAGES):
        if stage:
            parts.append(L.MaxPool2d(2, 2, ceil_mode=True))
        parts.append(named(f"stage{stage}", repeat(_cell(width * 2**stage, edges, operations), cells)))
    parts += [L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)]
    return Space(
        L.Sequential(*parts), name="nb101", baseline=decisions(*RESNET, vertices), limits=[limit(published_cell)]
    )


def _cell(width: int, edges: list[Any], operations: list[Any]) -> Any:
    return N.VertexCell(lazy(arranged)(width, edges, operations))


def decisions(edges: str, operations: str, vertices: int = 7) -> dict[str, Any]:
    """The decisions for a cell written as in `RESNET`; vertices without an edge get the first operation."""
    there = set(edges.replace("out", str(vertices - 1)).split())
    names = operations.split()
    chosen: dict[str, Any] = {f"{i}-{j}": int(f"{i}-{j}" in there) for j in range(1, vertices) for i in range(j)}
    for i in range(1, vertices - 1):
        chosen[f"operation{i}"] = names[i - 1] if i <= len(names) else VERTEX_OPERATIONS[0]
    return chosen
