"""Looking at a supernet without changing it: outputs of a path with inherited weights, and of the mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from searchitect.nets.inherit import reestimate
from searchitect.nets.supernets import Supernet
from searchitect.space import Architecture
from searchitect.torchseeds import seeded_torch
from searchitect.training import predict


@contextmanager
def unchanged(net: nn.Module) -> Iterator[None]:
    """Gives statistics and mode back as they were; draws inside are always the same."""
    kept = {name: buffer.clone() for name, buffer in net.named_buffers()}
    training = net.training
    try:
        with seeded_torch(0):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in net.named_buffers():
                buffer.copy_(kept[name])
        net.train(training)


def path_outputs(
    net: Supernet, architecture: Architecture, batches: Sequence[Tensor], x: Tensor, device: str, *, partial: bool
) -> Tensor:
    """Outputs of a path for rows x (B, ...), with BatchNorm statistics of its own from `batches`.

    partial: whether gates see a part of the channels. Such paths are no stand-alone networks, so the supernet is run.
    """
    if not partial:
        return predict(reestimate(net.path(architecture), batches), x, device=device)
    with unchanged(net):
        return predict(reestimate(_Path(net, architecture), batches), x, device=device)


def mixture_outputs(net: Supernet, shares: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Outputs of the mixture for rows x (B, ...), with the statistics of these rows."""
    with unchanged(net), torch.no_grad():
        net.train()
        found: Tensor = net.mix(x, shares)
        return found


class _Path(nn.Module):
    """A path of a supernet as a module of its own, sharing its weights."""

    def __init__(self, net: Supernet, architecture: Architecture) -> None:
        super().__init__()
        self.net, self.architecture = net, architecture

    def forward(self, x: Tensor) -> Any:
        return self.net(x, self.architecture)
