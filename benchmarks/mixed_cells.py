"""The plain supernets (`plain_supernet.py`) with cells that are run by the fast code of `searchitect.nets.mixing`.

They are the very modules of the plain ones, so that parameters, buffers and their names are the same.
Shapes: E edges, O operations.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from plain_supernet import Active
from torch import nn

from searchitect.nets import Zero
from searchitect.nets.mixing import Source, Step, node


def fast(net: nn.Module) -> nn.Module:
    """A copy of a plain supernet, or of one of its cells, with fast cells."""
    net = copy.deepcopy(net).to(memory_format=torch.channels_last)
    for cell in [module for module in net.modules() if hasattr(module, "states")]:
        cell.states = fast_states
        for edge in cell.edges:
            if "none" in edge:
                edge["none"] = Zero(edge["none"].stride)
    return net


def fast_states(
    inputs: list[torch.Tensor], edges: Sequence[nn.ModuleDict], weights: torch.Tensor, active: Active
) -> list[torch.Tensor]:
    """What `plain_states` gives. weights (E, O)."""
    learning = weights.requires_grad and len(inputs) == 1  # as `nets.mixed` has it
    sources, gates, e = [Source(x, sparing=learning) for x in inputs], [row.unbind() for row in weights.unbind()], 0
    while e < len(edges):
        steps = []
        for source in sources:
            operations = list(edges[e].values())
            wanted = range(len(operations)) if active is None else active[e]
            steps += [Step(source, operations[k], gates[e][k]) for k in wanted]
            e += 1
        sources.append(Source(node(steps), sparing=learning))
    return [source.x for source in sources]
