"""What the tests of nets share: independent counts of what a built network costs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from searchitect.space import Space, lazy

L = lazy(nn)


def one(layer) -> Space:
    """A space with a single point."""
    return Space(L.Sequential(layer))


def counted(module: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    """Parameters and FLOPs by torch's own counter (which sees attention only as plain products)."""
    module.eval()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(x)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops()


def held_numbers(module: nn.Module, x: torch.Tensor) -> float:
    """Numbers of 4 bytes that autograd holds for one training pass, parameters and buffers apart."""
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    held = {}

    def add(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    module.train()
    with torch.autograd.graph.saved_tensors_hooks(add, lambda tensor: tensor):
        result = module(x)
    assert result.requires_grad
    return sum(size for size, _ in held.values()) / 4
