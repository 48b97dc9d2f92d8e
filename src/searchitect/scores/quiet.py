"""A module lent for scoring: everything that is changed on the way is put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    found = tensors(model.modules())
    return [p for p in found if isinstance(p, nn.Parameter) and p.dim() >= 2 and p.requires_grad]


def tensors(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Parameters and buffers that belong to these modules themselves, each once. (One walk over the modules of a small
    network takes as long as a convolution; `parameters()` and `buffers()` are two.)"""
    own = (t for m in modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None)
    return list({id(t): t for t in own}.values())


@contextmanager
def lent(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Inside, BatchNorm uses the batch (`training`) without noting its statistics, and dropout lets everything pass."""
    modules = list(model.modules())
    flags = [m.training for m in modules]
    tracked = [m for m in modules if training and isinstance(m, _NormBase) and m.track_running_stats]
    try:
        for module in modules:
            drops = isinstance(module, _DropoutNd) or type(module).__name__ == "DropPath"
            module.__dict__["training"] = training and not drops
        for module in tracked:
            module.track_running_stats = False
        yield
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.__dict__["training"] = flag
        for module in tracked:
            module.track_running_stats = True


@contextmanager
def stored(found: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the data of these tensors may be replaced; afterwards they are the former ones again."""
    kept = [t.data for t in found]
    try:
        yield
    finally:
        for tensor, data in zip(found, kept, strict=True):
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
