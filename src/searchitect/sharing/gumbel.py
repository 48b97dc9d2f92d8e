"""Samples of categories that gradients pass through, from Gumbel noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from searchitect.torchseeds import seeded_torch


def noise(alphas: Mapping[str, Tensor], draw: int) -> dict[str, Tensor]:
    """Standard Gumbel numbers in the shape of each vector: -log(-log u), u uniform; the same for the same draw."""
    with seeded_torch(draw):
        return {name: -(-torch.rand_like(alpha).clamp_min(1e-20).log()).log() for name, alpha in alphas.items()}


def soft(alphas: Mapping[str, Tensor], gumbel: Mapping[str, Tensor], temperature: float) -> dict[str, Tensor]:
    """softmax((log p + g) / τ) with p = softmax(α): Maddison et al. 2017; Jang et al. 2017, equation 2."""
    return {name: ((alpha.log_softmax(0) + gumbel[name]) / temperature).softmax(0) for name, alpha in alphas.items()}


def hard(shares: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One for the largest share and exactly zero for the others, with the gradient of the soft shares for the largest.

    In value it is one-hot, so that only the chosen option is run; the one's gradient is that of the soft share.
    """
    found = {}
    for name, share in shares.items():
        chosen = torch.zeros_like(share)
        chosen[share.detach().argmax()] = 1.0
        found[name] = chosen * (1.0 + (share - share.detach()))  # the difference is exactly zero
    return found


def temperature(progress: float, first: float, last: float) -> float:
    """From `first` to `last`, linearly in the progress of the search."""
    return first + (last - first) * min(max(progress, 0.0), 1.0)
