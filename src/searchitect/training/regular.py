"""Two helps of long trainings of cell networks: paths left out, and an auxiliary classifier. Both are taken off after.

Drop path: the output of an operation is set to zero for a sample with probability p and divided by 1 - p otherwise;
p rises linearly from 0 to its value over the epochs. The auxiliary classifier sees the map after two thirds of the
cells; its loss counts by a weight. Source: Zoph et al. 2018 (ScheduledDropPath) and Liu et al. 2019, appendix A.2
(drop path 0.2, auxiliary weight 0.4, 600 epochs). Where we differ: the classifier pools any map to 2×2, not only 8×8.

The network itself is not changed: hooks stand in it while it is trained, and the classifier's weights are beside it.
Shapes: B batch, C channels, H W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from searchitect.torchseeds import seeded_torch

CHANNELS = (128, 768)  # of the auxiliary classifier, as published


class Places(NamedTuple):
    """Where in a network: operations whose outputs may be dropped, and the module after which the auxiliary classifier
    stands, or None."""

    paths: tuple[nn.Module, ...] = ()
    auxiliary: nn.Module | None = None


class Regular:
    """The two helps of one training.

    whole:  what is optimised and kept in checkpoints: the network, beside the auxiliary classifier if there is one.
    """

    def __init__(self, model: nn.Module, places: Places, drop_path: float, weight: float) -> None:
        self.places, self.drop_path, self.weight = places, drop_path, weight
        self.model, self.whole = model, model
        self.head: nn.Module | None = None
        self.p = 0.0
        self._map: Tensor | None = None

    def prepare(self, x: Tensor, outputs: int, seed: int) -> None:
        """Make the auxiliary classifier, whose width is known after one pass of rows x (B, ...)."""
        if not self.weight or self.places.auxiliary is None:
            return
        training = self.model.training
        with seeded_torch(seed), torch.no_grad(), self._hooked(paths=False):
            self.model.eval()(x)
            self.model.train(training)
            assert self._map is not None
            self.head = classifier(self._map.shape[1], outputs).to(x.device)
        self._map = None
        self.whole = nn.ModuleDict({"network": self.model, "auxiliary": self.head})

    @contextmanager
    def epoch(self, done: float) -> Iterator[None]:
        """Both are at work inside. done: share of all epochs that were trained before this one."""
        self.p = self.drop_path * done
        if self.head is not None:
            self.head.train()
        with self._hooked(paths=self.p > 0):
            yield

    def loss(self, of: Callable[[Tensor], Tensor]) -> Tensor | float:
        """What the auxiliary classifier adds to the loss of the batch that went through; `of`: the usual loss."""
        if self.head is None or self._map is None:
            return 0.0
        found, self._map = self.weight * of(self.head(self._map)), None
        return found

    @contextmanager
    def _hooked(self, *, paths: bool) -> Iterator[None]:
        handles = [module.register_forward_hook(self._drop) for module in self.places.paths] if paths else []
        if self.weight and self.places.auxiliary is not None:
            handles.append(self.places.auxiliary.register_forward_hook(self._keep))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _drop(self, _module: nn.Module, _inputs: Any, y: Tensor) -> Tensor:
        """Leave out whole samples of y (B, C, H, W)."""
        if not self.model.training:
            return y
        keep = torch.rand((len(y),) + (1,) * (y.dim() - 1), device=y.device) >= self.p
        return y * (keep.to(y.dtype) / (1 - self.p))

    def _keep(self, _module: nn.Module, _inputs: Any, y: Tensor) -> None:
        self._map = y


def classifier(channels: int, outputs: int) -> nn.Sequential:
    """The auxiliary classifier: (B, C, H, W) → (B, outputs)."""
    narrow, wide = CHANNELS
    return nn.Sequential(
        nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Conv2d(channels, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(),
        nn.Conv2d(narrow, wide, 2, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
        nn.Flatten(), nn.Linear(wide, outputs),
    )  # fmt: skip
