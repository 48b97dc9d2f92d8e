"""Cells: small graphs whose edges are arguments. Each class imports only torch and stands alone.

Shapes: B batch, C channels, H W; a *state* is one node's tensor, a list of states its history.
"""

from __future__ import annotations

import torch
from torch import nn


class Members(nn.Module):
    """The same input to each module; returns the list of their outputs. What a `subset` is built as."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> list[torch.Tensor]:
        return [member(x) for member in self.members]


class Edge(nn.Module):
    """An operation on one of several states: `op(states[source])`."""

    def __init__(self, source: int, op: nn.Module) -> None:
        super().__init__()
        self.source = source
        self.op = op

    def forward(self, states: list[torch.Tensor]) -> torch.Tensor:
        y: torch.Tensor = self.op(states[self.source])
        return y

    def extra_repr(self) -> str:
        return f"source={self.source}"


class Cell(nn.Module):
    """A directed graph in which every node sums its incoming edges, as in NAS-Bench-201.

    edges: one module for each pair of nodes in the order 0→1, 0→2, 1→2, 0→3, 1→3, 2→3, ...
    Node 0 is the input, the last node is the output. (B, C, H, W) → the shape the edges give.
    Raises ValueError when the number of edges fits no number of nodes (1, 3, 6, 10, ...).
    """

    def __init__(self, edges: list[nn.Module]) -> None:
        super().__init__()
        nodes = 1
        while nodes * (nodes - 1) // 2 < len(edges):
            nodes += 1
        if nodes < 2 or nodes * (nodes - 1) // 2 != len(edges):
            raise ValueError(f"{len(edges)} edges: a cell of n nodes has n(n-1)/2 of them (1, 3, 6, 10, ...)")
        self.nodes = nodes
        self.edges = nn.ModuleList(edges)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, first = [x], 0
        for node in range(1, self.nodes):
            incoming: list[torch.Tensor] = [self.edges[first + i](states[i]) for i in range(node)]
            first += node
            total = incoming[0]
            for term in incoming[1:]:
                total = total + term
            states.append(total)
        return states[-1]


class TwoInputCell(nn.Module):
    """A cell that sees the outputs of the two cells before it, as in DARTS.

    width: channels of every state. nodes: one module per inner node; it receives the list of states so far
    and returns a list of outputs (a `subset` of `Edge`s), whose sum is the new state. Both inputs are first
    brought to `width` by ReLU, 1×1 convolution, BatchNorm; `after_reduction` says that the cell before
    halved the map, so that the older input must be halved too.
    (B, C0, H, W), (B, C1, H, W) → (B, len(nodes)·width, H', W'), the inner states side by side.
    """

    def __init__(self, width: int, nodes: list[nn.Module], after_reduction: bool = False) -> None:
        super().__init__()
        self.after_reduction = after_reduction
        widths = [width - width // 2, width // 2] if after_reduction else [width]
        stride = 2 if after_reduction else 1
        self.older = nn.ModuleList(nn.LazyConv2d(w, 1, stride=stride, bias=False) for w in widths if w)
        self.older_norm = nn.BatchNorm2d(width)
        self.newer = nn.Sequential(nn.ReLU(), nn.LazyConv2d(width, 1, bias=False), nn.BatchNorm2d(width))
        self.nodes = nn.ModuleList(nodes)

    def forward(self, older: torch.Tensor, newer: torch.Tensor) -> torch.Tensor:
        states = self.inputs(older, newer)
        for node in self.nodes:
            outputs: list[torch.Tensor] = node(states)
            total = outputs[0]
            for term in outputs[1:]:
                total = total + term
            states.append(total)
        return torch.cat(states[2:], dim=1)

    def inputs(self, older: torch.Tensor, newer: torch.Tensor) -> list[torch.Tensor]:
        """The two first states, each (B, width, H', W')."""
        older = torch.relu(older)
        parts = [self.older[0](older)]
        if len(self.older) == 2:  # the second half sees the input shifted by one pixel
            parts.append(self.older[1](nn.functional.pad(older[:, :, 1:, 1:], (0, 1, 0, 1))))
        return [self.older_norm(torch.cat(parts, dim=1)), self.newer(newer)]

    def extra_repr(self) -> str:
        return f"after_reduction={self.after_reduction}"


class TwoInputChain(nn.Module):
    """A stem, cells that each receive the two latest outputs, and a head: (B, C, H, W) → what the head gives.

    The stem's output stands for both inputs of the first cell.
    """

    def __init__(self, stem: nn.Module, cells: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.cells = nn.ModuleList(cells)
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        older = newer = self.stem(x)
        for cell in self.cells:
            older, newer = newer, cell(older, newer)
        y: torch.Tensor = self.head(newer)
        return y
