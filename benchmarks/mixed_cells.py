"""The plain supernets' cells (`plain_supernet.py`) run by the fast code of `searchitect.nets.mixing`.

They hold the very modules of the plain cells, so that parameters, buffers and their names are the same.
Shapes: B batch, C channels, H W, E edges, O operations.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from plain_supernet import Active, PlainCell, PlainTwoInputCell
from torch import nn

from searchitect.nets import Zero
from searchitect.nets.mixing import Source, Step, node


def fast(net: nn.Module) -> nn.Module:
    """A copy of a plain supernet with fast cells."""
    net = copy.deepcopy(net).to(memory_format=torch.channels_last)
    for i, cell in enumerate(net.cells):
        for edge in getattr(cell, "edges", ()):
            edge["none"] = Zero(edge["none"].stride)
        if isinstance(cell, PlainCell):
            net.cells[i] = MixedCell(cell.edges)
        elif isinstance(cell, PlainTwoInputCell):
            net.cells[i] = MixedTwoInputCell(cell.older, cell.newer, cell.edges)
    return net


class MixedCell(nn.Module):
    """The cell of NAS-Bench-201 with all operations on every edge."""

    def __init__(self, edges: Sequence[nn.ModuleDict]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)

    def forward(self, x: torch.Tensor, weights: torch.Tensor, active: Active = None) -> torch.Tensor:
        """x (B, C, H, W), weights (E, O) → (B, C, H, W)."""
        return _states([x], self.edges, weights, active)[-1]


class MixedTwoInputCell(nn.Module):
    """The cell of DARTS with all operations on every edge."""

    def __init__(self, older: nn.Module, newer: nn.Module, edges: Sequence[nn.ModuleDict]) -> None:
        super().__init__()
        self.older, self.newer = older, newer
        self.edges = nn.ModuleList(edges)

    def forward(
        self, older: torch.Tensor, newer: torch.Tensor, weights: torch.Tensor, active: Active = None
    ) -> torch.Tensor:
        """older (B, C0, H, W), newer (B, C1, H, W), weights (E, O) → (B, nodes·C, H', W')."""
        states = _states([self.older(older), self.newer(newer)], self.edges, weights, active)
        return torch.cat(states[2:], dim=1)


def _states(
    inputs: list[torch.Tensor], edges: nn.ModuleList, weights: torch.Tensor, active: Active
) -> list[torch.Tensor]:
    """The inputs and all nodes of a cell in order."""
    sources, gates, e = [Source(x) for x in inputs], [row.unbind() for row in weights.unbind()], 0
    while e < len(edges):
        steps = []
        for source in sources:
            operations = list(edges[e].values())
            wanted = range(len(operations)) if active is None else active[e]
            steps += [Step(source, operations[k], gates[e][k]) for k in wanted]
            e += 1
        sources.append(Source(node(steps)))
    return [source.x for source in sources]
