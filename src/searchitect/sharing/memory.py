"""Less memory for more time: options that keep nothing for the backward pass and run again there."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from searchitect.nets.gates import ChoiceGate, DepthGate, Gate, SubsetGate
from searchitect.nets.sized import SizedLayer
from searchitect.nets.supernets import Supernet


def keep_less(net: Supernet) -> int:
    """Checkpoint every option that is a plain module with weights, and say how many there are.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". An option's output and gradients are the
    same; its running statistics move twice in a training step, which changes nothing here: they are not used in
    training and estimated anew before a path is judged. Options with gates or sized layers inside are left as they are,
    since what those do is known in the forward pass only.
    """
    options = [option for gate in net.gates for option in _options(gate) if _plain(option)]
    for option in options:
        option.forward = _Again(option.forward)
    return len(options)


class _Again:
    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, *inputs: Any) -> Any:
        return checkpoint(self.forward, *inputs, use_reentrant=False)


def _options(gate: Gate) -> list[nn.Module]:
    if isinstance(gate, ChoiceGate):
        return list(gate.candidates)
    return (
        list(gate.copies) if isinstance(gate, DepthGate) else list(gate.members) if isinstance(gate, SubsetGate) else []
    )


def _plain(option: nn.Module) -> bool:
    parts = list(option.modules())
    return any(p is not None for p in option.parameters()) and not any(isinstance(p, (Gate, SizedLayer)) for p in parts)
