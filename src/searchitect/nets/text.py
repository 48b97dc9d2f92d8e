"""Blocks for tokens of which some are padding. Each imports only torch and stands alone.

A padded place is a vector of exact zeros. Layers without bias keep it one, and what reads across places leaves
vectors of zeros out: so the mask travels with the tokens, and any of these blocks can stand behind any other.
Numbers of tokens come as floats, as all rows do here; float32 holds them exactly up to 16,777,216.

Shapes: B batch, L places, C channels.
"""

from __future__ import annotations

import torch
from torch import nn


class TokenEmbedding(nn.Module):
    """A learned vector for each token, and one for its place: (B, L) → (B, L, C). L is fixed.

    vocabulary: tokens are numbered from 1 to it; 0 is padding, and so is what lies outside.
    length: L. dim: C.
    """

    def __init__(self, vocabulary: int, length: int, dim: int) -> None:
        super().__init__()
        if min(vocabulary, length, dim) < 1:
            raise ValueError(f"vocabulary={vocabulary}, length={length}, dim={dim}: each must be at least 1")
        self.vocabulary = vocabulary
        self.tokens = nn.Embedding(vocabulary + 1, dim)
        self.places = nn.Parameter(torch.empty(length, dim))
        nn.init.normal_(self.tokens.weight, std=0.5)
        nn.init.normal_(self.places, std=0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        number = x.round().long()
        known = (number > 0) & (number <= self.vocabulary)
        y: torch.Tensor = self.tokens(torch.where(known, number, 0)) + self.places
        return y * known.unsqueeze(2).to(y.dtype)


class TokenAttention(nn.Module):
    """Multi-head attention without biases (Vaswani et al. 2017, section 3.2): (B, L, C) → (B, L, C).

    dim: C. heads: how many; must divide dim, else ValueError.
    causal: each place sees itself and earlier ones. Else all places that are not padding; padding stays zero.
    """

    def __init__(self, dim: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads={heads} does not divide dim={dim}")
        self.heads, self.causal = heads, causal
        self.inward = nn.Linear(dim, 3 * dim, bias=False)
        self.outward = nn.Linear(dim, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, places, width = x.shape
        mixed = self.inward(x).reshape(batch, places, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, L, C / heads)
        attend = nn.functional.scaled_dot_product_attention
        here = (x != 0).any(2)  # (B, L)
        if self.causal:
            seen = attend(query, key, value, is_causal=True)
        else:  # padding sees itself: a softmax over nothing is not a number
            itself = torch.eye(places, dtype=torch.bool, device=x.device)
            seen = attend(query, key, value, attn_mask=here[:, None, None, :] | itself)
        y: torch.Tensor = self.outward(seen.transpose(1, 2).reshape(batch, places, width))
        return y * here.unsqueeze(2).to(y.dtype)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, causal={self.causal}"


class TokenConv(nn.Module):
    """A depthwise convolution along the places, without bias: (B, L, C) → (B, L, C). Padding stays zero.

    dim: C. kernel: places seen; odd, unless `causal`, where these are the place itself and the ones before it.
    """

    def __init__(self, dim: int, kernel: int, causal: bool = False) -> None:
        super().__init__()
        if kernel < 1 or (kernel % 2 == 0 and not causal):
            raise ValueError(f"kernel={kernel}: only odd kernels keep the length")
        self.kernel, self.causal = kernel, causal
        self.conv = nn.Conv1d(dim, dim, kernel, groups=dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around = (self.kernel - 1, 0) if self.causal else (self.kernel // 2, self.kernel // 2)
        y: torch.Tensor = self.conv(nn.functional.pad(x.transpose(1, 2), around)).transpose(1, 2)
        return y * (x != 0).any(2, keepdim=True).to(y.dtype)

    def extra_repr(self) -> str:
        return f"causal={self.causal}"


class TokenMean(nn.Module):
    """The mean over places that are not padding: (B, L, C) → (B, C); zeros where all are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = (x != 0).any(2).sum(1, keepdim=True).clamp(min=1)
        return x.sum(1) / count.to(x.dtype)


class NextToken(nn.Module):
    """Scores for the token after the last place: (B, L, C) → (B, outputs).

    head: from (..., C) to (..., outputs). A training on windows of a stream uses it at every place (`each_place`).
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(x[:, -1])
        return y

    def each_place(self, x: torch.Tensor) -> torch.Tensor:
        """Scores for the token after each place: (B, L, C) → (B, L, outputs)."""
        y: torch.Tensor = self.head(x)
        return y
