"""A module lent for scoring: everything that is changed on the way is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Softplus, nn.Tanh,
)  # fmt: skip
Weighted = (_ConvNd, nn.Linear)


def weights(model: nn.Module) -> list[nn.Parameter]:
    """The trainable parameters with two or more dimensions, each once: filters, matrices and embeddings. Biases and
    the scales of normalisations are no weights, here and in the papers."""
    return [p for p in model.parameters() if p.dim() >= 2 and p.requires_grad]


@contextmanager
def lent(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Inside, BatchNorm uses the batch (`training`) without noting its statistics, and dropout lets everything pass."""
    flags = [(m, m.training) for m in model.modules()]
    tracked = [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    try:
        model.train(training)
        for module in model.modules():
            if isinstance(module, _DropoutNd) or type(module).__name__ == "DropPath":
                module.training = False
        if training:
            for module in tracked:
                module.track_running_stats = False
        yield
    finally:
        for module, flag in flags:
            module.training = flag
        for module in tracked:
            module.track_running_stats = True


@contextmanager
def stored(model: nn.Module) -> Iterator[None]:
    """Inside, the data of parameters and buffers may be replaced; afterwards they are the former tensors again."""
    kept = [(t, t.data) for t in (*model.parameters(), *model.buffers())]
    try:
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data


@contextmanager
def hooked(handles: list[torch.utils.hooks.RemovableHandle]) -> Iterator[None]:
    """Removes the hooks at the end."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first(output: object) -> Tensor:
    """The outputs of a network (B, ...): a tensor, or the first of several."""
    found = output[0] if isinstance(output, (list, tuple)) else output
    assert isinstance(found, Tensor)
    return found
