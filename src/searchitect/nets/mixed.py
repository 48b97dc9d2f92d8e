"""Whole cells of a supernet in one go: every node is Σ over its edges Σ over operations of gate · operation(state).

The cells hold the very modules of the plain supernet, an edge being a list of operations, so that parameters, buffers
and their names are those of the plain one. Training passes run them together:

- of each state once: ReLU, poolings and their BatchNorm, the grids that make dilation disappear;
- all 1×1 convolutions into a node with their BatchNorm and gates as one sum of products (`folded`);
- gate times BatchNorm as BatchNorm with the gate as its scale; `none` not at all;
- depthwise convolutions with their fast backward pass (`depthwise`), everything in channels_last.

Known operations: `Zero`, identity, average and max pooling with or without BatchNorm, ReLU + convolution + BatchNorm
(`SameConv`), ReLU + depthwise + 1×1 + BatchNorm once or twice (`Depthwise`). Any other module runs as it is. The
result equals the plain one up to rounding; gates alone (`autograd.grad` of the weights (E, O)) cost no gradients
of kernels. Where the plain way is needed it is taken: evaluation mode, automatic mixed precision, inputs that are not
images, and `twice_differentiable`, for methods that differentiate the gradient (second-order DARTS).

Shapes: B batch, C channels, H W, E edges, O operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from searchitect.nets.mixing import Source, Step, node, plain_node

Active = Sequence[Sequence[int]] | None  # for each edge the operations that run; None: all of all
Edges = Sequence[Iterable[nn.Module]]


class MixedCell(nn.Module):
    """The cell of NAS-Bench-201 with all operations on every edge.

    edges: for each pair of nodes, in the order 0→1, 0→2, 1→2, 0→3, ..., its operations (a list or a ModuleDict).
    Node 0 is the input, the last node the output.
    """

    def __init__(self, edges: Edges) -> None:
        super().__init__()
        self.edges = _held(edges)
        self.nodes = _nodes(len(self.edges), 1)
        self.twice_differentiable = False

    def forward(self, x: torch.Tensor, weights: torch.Tensor | None, active: Active = None) -> torch.Tensor:
        """x (B, C, H, W), weights (E, O), or None where every gate is 1 → (B, C, H, W).

        active: the operations that run on each edge, for methods that sample; None runs all.
        """
        return run([x], self, weights, active)[-1]


class MixedTwoInputCell(nn.Module):
    """The cell of DARTS with all operations on every edge.

    older, newer: bring the outputs of the two cells before to the width of this one.
    edges: for each inner node in turn, one list of operations for every state before it (2, 3, 4, ...).
    """

    def __init__(self, older: nn.Module, newer: nn.Module, edges: Edges) -> None:
        super().__init__()
        self.older, self.newer = older, newer
        self.edges = _held(edges)
        self.nodes = _nodes(len(self.edges), 2)
        self.twice_differentiable = False

    def forward(
        self, older: torch.Tensor, newer: torch.Tensor, weights: torch.Tensor | None, active: Active = None
    ) -> torch.Tensor:
        """older (B, C0, H, W), newer (B, C1, H, W), weights (E, O) → (B, nodes·C, H', W'), the nodes side by side."""
        states = run([self.older(older), self.newer(newer)], self, weights, active)
        return torch.cat(states[2:], dim=1)


def _held(edges: Edges) -> nn.ModuleList:
    return nn.ModuleList(e if isinstance(e, nn.Module) else nn.ModuleList(e) for e in edges)


def _nodes(edges: int, inputs: int) -> int:
    """Nodes beyond the inputs. Raises ValueError when the edges fit no number of them."""
    nodes, count = 0, 0
    while count < edges:
        count += inputs + nodes
        nodes += 1
    if count != edges or not nodes:
        raise ValueError(f"{edges} edges: every node has one from each state before it, beginning with {inputs}")
    return nodes


def run(
    states: list[torch.Tensor], cell: MixedCell | MixedTwoInputCell, weights: torch.Tensor | None, active: Active
) -> list[torch.Tensor]:
    """The inputs and all nodes of a cell in order."""
    fast = cell.training and not cell.twice_differentiable and _suits(states[0])
    add = node if fast else plain_node
    operations = [_operations(edge) for edge in cell.edges]
    gates = None if weights is None else weights.flatten().unbind()
    sources = [Source(x) for x in states]
    edge = gate = 0
    for _ in range(cell.nodes):
        steps = []
        for source in sources:
            for k, operation in enumerate(operations[edge]):
                if active is None or k in active[edge]:
                    steps.append(Step(source, operation, None if gates is None else gates[gate + k]))
            gate += len(operations[edge])
            edge += 1
        sources.append(Source(add(steps) if steps else torch.zeros_like(sources[-1].x)))
    return [source.x for source in sources]


def _operations(edge: nn.Module) -> list[nn.Module]:
    return list(edge.values() if isinstance(edge, nn.ModuleDict) else edge.children())


def _suits(x: torch.Tensor) -> bool:
    """Whether the fast way can be taken at all: images, more than one value per channel, one precision."""
    if x.dim() != 4 or x.numel() == x.shape[1]:
        return False
    return not torch.is_autocast_enabled(x.device.type)
