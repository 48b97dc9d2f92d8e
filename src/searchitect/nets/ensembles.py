"""Several trained networks as one. Imports only torch and stands alone.

Shapes: B batch, C classes or numbers.
"""

from __future__ import annotations

import math

import torch
from torch import nn


class Ensemble(nn.Module):
    """The mean of what its members say: of their probabilities, or of their numbers.

    members: networks that take the same input and give (B, C). classes: whether their outputs are scores of classes;
    then the output is the logarithm of the mean probability, so that its softmax is that mean.
    """

    def __init__(self, *members: nn.Module, classes: bool = True) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one network")
        self.members = nn.ModuleList(members)
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = torch.stack([member(x) for member in self.members])
        if not self.classes:
            return outputs.mean(0)
        return outputs.log_softmax(-1).logsumexp(0) - math.log(len(self.members))
