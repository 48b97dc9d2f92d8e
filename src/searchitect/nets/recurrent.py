"""A recurrent cell whose wiring is an argument. Imports only torch and stands alone.

Shapes: B batch, C channels of the input and of the state, T steps.
"""

from __future__ import annotations

import torch
from torch import nn


class RecurrentCell(nn.Module):
    """The cell of ENAS (Pham et al. 2018) over a sequence: (B, C, T) → (B, 2C), the last state beside the mean of all.

    Node 0 sees input and last state: c · f([x, h] W) + (1 - c) · h, c = sigmoid([x, h] V). Node j sees the node i that
    it follows: c · f(h_i W) + (1 - c) · h_i. The new state is the mean of the nodes that none follows.

    width:       C. activations: of each node "tanh", "relu", "sigmoid" or "identity".
    sources:     for each node but the first, the earlier node that it follows. Raises ValueError for others.
    """

    def __init__(self, width: int, activations: list[str], sources: list[int]) -> None:
        super().__init__()
        known = ("tanh", "relu", "sigmoid", "identity")
        if len(sources) != len(activations) - 1 or any(name not in known for name in activations):
            raise ValueError(f"activations={activations!r}, sources={sources!r}: one of {', '.join(known)} for each "
                             "node, and a source for each but the first")  # fmt: skip
        if any(not 0 <= source <= i for i, source in enumerate(sources)):
            raise ValueError(f"sources={sources!r}: a node follows an earlier one")
        self.activations, self.sources = list(activations), list(sources)
        self.first = nn.Linear(2 * width, 2 * width)
        self.later = nn.ModuleList(nn.Linear(width, 2 * width) for _ in sources)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros_like(x[:, :, 0])
        total = torch.zeros_like(state)
        for step in x.unbind(2):
            state = self._step(step, state)
            total = total + state
        return torch.cat([state, total / x.shape[2]], dim=1)

    def _step(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """One step: input (B, C) and state (B, C) → the new state."""
        nodes = [self._node(self.first(torch.cat([x, state], dim=1)), state, self.activations[0])]
        for layer, source, name in zip(self.later, self.sources, self.activations[1:], strict=True):
            nodes.append(self._node(layer(nodes[source]), nodes[source], name))
        loose = [node for i, node in enumerate(nodes) if i not in self.sources]
        return torch.stack(loose).mean(0)

    def _node(self, mixed: torch.Tensor, before: torch.Tensor, name: str) -> torch.Tensor:
        value, gate = mixed.chunk(2, dim=1)
        if name != "identity":
            value = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}[name](value)
        share = torch.sigmoid(gate)
        return share * value + (1 - share) * before

    def extra_repr(self) -> str:
        return f"{', '.join(self.activations)}; {self.sources}"
