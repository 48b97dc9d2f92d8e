"""Windows of a stream of tokens are learned at every place, not only at the last: L tokens a row instead of one.

A network for streams has a module with `each_place` (see `nets.NextToken`), which makes scores for every place from
what it is given. Its input is caught by a hook while the network is trained; the network itself stays as it is, and is
measured as it is used: by the one token that follows a window, all of which it has seen.

Shapes: B batch, L places, C outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOTHING = -100  # a place whose next token is not known


class EveryPlace:
    """The loss at every place of a window, for one training. `on`: whether rows are windows of a stream; a network
    without a module for every place learns the last one."""

    def __init__(self, model: nn.Module, on: bool) -> None:
        found = [module for module in model.modules() if hasattr(module, "each_place")] if on else []
        self.model = model
        self.module: Any = found[0] if found else None
        self._x: Tensor | None = None
        self._kept: Tensor | None = None

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """At work inside."""
        if self.module is None:
            yield
            return
        hooks = (self.model.register_forward_pre_hook(self._rows), self.module.register_forward_pre_hook(self._keep))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._x = self._kept = None

    def loss(self, y: Tensor, smoothing: float, weights: Tensor | None) -> Tensor | None:
        """Cross-entropy of the rows that went through last, y (B,) the token after each; None where there are none."""
        if self._x is None or self._kept is None:
            return None
        scores: Tensor = self.module.each_place(self._kept)
        aims = targets(self._x, y, scores.shape[2])
        self._x = self._kept = None
        each = F.cross_entropy(scores.transpose(1, 2), aims, ignore_index=NOTHING, label_smoothing=smoothing,
                               reduction="none")  # fmt: skip
        known = (aims != NOTHING).to(each.dtype)
        if weights is not None:
            each = each * weights[:, None]
        return each.sum() / known.sum()

    def _rows(self, _module: nn.Module, inputs: Any) -> None:
        self._x = inputs[0] if torch.is_grad_enabled() else None

    def _keep(self, _module: nn.Module, inputs: Any) -> None:
        self._kept = inputs[0] if torch.is_grad_enabled() else None


def targets(x: Tensor, y: Tensor, outputs: int) -> Tensor:
    """The class that follows each place of x (B, L), numbers of tokens from 1 on: (B, L), NOTHING where unknown."""
    after = torch.cat([x[:, 1:].round().long() - 1, y[:, None]], dim=1)
    return torch.where((after >= 0) & (after < outputs), after, NOTHING)
