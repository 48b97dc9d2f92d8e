"""Supernets the plain way, one module after the other for each edge: what `nets.mixed` must equal and beat.

DARTS: the search network of Liu, Simonyan and Yang 2019 (section 3.1 and its published code): eight operations on
each of 14 edges, BatchNorm without scale and shift after every convolution and pooling, inputs brought to the width
by ReLU, 1×1 convolution, BatchNorm, a stem of three times the width, reductions at 1/3 and 2/3 of the depth.
NAS-Bench-201: Dong and Yang 2020 (section 2): five operations on each of six edges, three stages joined by residual
blocks. GDAS (Dong and Yang 2019, equation 5) runs the sampled operation of each edge and scales it by its gate; their
code also adds the gates of the others as plain numbers, which are zero: we follow the paper.
A cell's `states` are what the fast code replaces; nothing else here is shared with it except `torch.nn`.
Shapes: B batch, C channels, E edges, O operations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

DARTS_OPERATIONS = (
    "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3",
    "dil_conv_5x5",
)  # fmt: skip
NB201_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
Active = Sequence[Sequence[int]] | None  # for each edge the operations that run; None: all of them


class Nothing(nn.Module):
    """`none`: the input times zero, with stride. (B, C, H, W) → (B, C, H/stride, W/stride)."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class Halve(nn.Module):
    """ReLU, two 1×1 convolutions with stride 2 of which the second sees the input moved by one, BatchNorm."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, width - width // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(before, width // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(width, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1))


def relu_conv_norm(before: int, width: int, kernel: int, stride: int = 1, affine: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(width, affine=affine))


def depthwise(width: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    pad = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(width, width, kernel, stride, pad, dilation, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width, affine=False),
    ]


def darts_edge(width: int, stride: int) -> nn.ModuleDict:
    """The eight operations between two states of a DARTS cell."""
    edge = nn.ModuleDict()
    edge["none"] = Nothing(stride)
    edge["max_pool_3x3"] = nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(width, affine=False))
    average = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    edge["avg_pool_3x3"] = nn.Sequential(average, nn.BatchNorm2d(width, affine=False))
    edge["skip_connect"] = nn.Identity() if stride == 1 else Halve(width, width)
    for kernel in (3, 5):
        edge[f"sep_conv_{kernel}x{kernel}"] = nn.Sequential(
            *depthwise(width, kernel, stride), *depthwise(width, kernel, 1)
        )
    for kernel in (3, 5):
        edge[f"dil_conv_{kernel}x{kernel}"] = nn.Sequential(*depthwise(width, kernel, stride, 2))
    return edge


def nb201_edge(width: int) -> nn.ModuleDict:
    """The five operations between two states of a NAS-Bench-201 cell."""
    edge = nn.ModuleDict()
    edge["none"] = Nothing(1)
    edge["skip_connect"] = nn.Identity()
    edge["nor_conv_1x1"] = relu_conv_norm(width, width, 1)
    edge["nor_conv_3x3"] = relu_conv_norm(width, width, 3)
    edge["avg_pool_3x3"] = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return edge


def mixed(edge: nn.ModuleDict, x: torch.Tensor, weights: torch.Tensor, active: Sequence[int] | None) -> torch.Tensor:
    """Σ weight · operation(x), over all operations or the active ones alone. weights (O)."""
    operations = list(edge.values())
    if active is not None:
        return sum(weights[k] * operations[k](x) for k in active)
    return sum(weight * operation(x) for weight, operation in zip(weights, operations, strict=True))


def plain_states(
    inputs: list[torch.Tensor], edges: Sequence[nn.ModuleDict], weights: torch.Tensor, active: Active
) -> list[torch.Tensor]:
    """The inputs and all nodes of a cell in order, each the sum of all edges from those before it."""
    states, e = list(inputs), 0
    while e < len(edges):
        terms = []
        for state in states:
            terms.append(mixed(edges[e], state, weights[e], None if active is None else active[e]))
            e += 1
        states.append(sum(terms))
    return states


class Cell(nn.Module):
    """The cell of NAS-Bench-201: edges in the order 0→1, 0→2, 1→2, 0→3, ...; the last node is the output."""

    def __init__(self, edges: Sequence[nn.ModuleDict]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)
        self.states = plain_states

    def forward(self, x: torch.Tensor, weights: torch.Tensor, active: Active = None) -> torch.Tensor:
        """x (B, C, H, W), weights (E, O) → (B, C, H, W)."""
        return self.states([x], self.edges, weights, active)[-1]


class TwoInputCell(nn.Module):
    """The cell of DARTS: two inputs, four nodes that each see all earlier states, the nodes side by side."""

    def __init__(self, older: nn.Module, newer: nn.Module, edges: Sequence[nn.ModuleDict]) -> None:
        super().__init__()
        self.older, self.newer = older, newer
        self.edges = nn.ModuleList(edges)
        self.states = plain_states

    def forward(
        self, older: torch.Tensor, newer: torch.Tensor, weights: torch.Tensor, active: Active = None
    ) -> torch.Tensor:
        """older (B, C0, H, W), newer (B, C1, H, W), weights (E, O) → (B, nodes·C, H', W')."""
        states = self.states([self.older(older), self.newer(newer)], self.edges, weights, active)
        return torch.cat(states[2:], dim=1)


class Darts(nn.Module):
    """`layers` cells of `width` channels and more; weights: (normal (14, 8), reduction (14, 8))."""

    def __init__(self, width: int, layers: int, classes: int = 10) -> None:
        super().__init__()
        before, last = 3 * width, 3 * width
        self.stem = nn.Sequential(nn.Conv2d(3, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        self.reductions = []
        halved = False
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            width = width * 2 if reduction else width
            older = Halve(before, width) if halved else relu_conv_norm(before, width, 1)
            edges = [darts_edge(width, 2 if reduction and j < 2 else 1) for n in range(4) for j in range(2 + n)]
            self.cells.append(TwoInputCell(older, relu_conv_norm(last, width, 1), edges))
            self.reductions.append(reduction)
            before, last, halved = last, 4 * width, reduction
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))

    def forward(
        self, x: torch.Tensor, weights: Sequence[torch.Tensor], active: Sequence[Active] = (None, None)
    ) -> torch.Tensor:
        older = newer = self.stem(x)
        for cell, reduction in zip(self.cells, self.reductions, strict=True):
            older, newer = newer, cell(older, newer, weights[reduction], active[reduction])
        return self.head(newer)


class Residual(nn.Module):
    """NAS-Bench-201's block between two stages: half the size, twice the channels, affine BatchNorm."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            relu_conv_norm(before, width, 3, 2, affine=True), relu_conv_norm(width, width, 3, affine=True)
        )
        self.short = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(before, width, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.short(x) + self.body(x)


class Nb201(nn.Module):
    """Three stages of `layers` cells, `width` channels in the first; weights: ((6, 5),) one for all cells."""

    def __init__(self, width: int, layers: int, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.cells = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.cells.append(Residual(width, 2 * width))
                width *= 2
            self.cells.extend(Cell([nb201_edge(width) for _ in range(6)]) for _ in range(layers))
        last = [nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
        self.head = nn.Sequential(*last)

    def forward(
        self, x: torch.Tensor, weights: Sequence[torch.Tensor], active: Sequence[Active] = (None,)
    ) -> torch.Tensor:
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x) if isinstance(cell, Residual) else cell(x, weights[0], active[0])
        return self.head(x)
