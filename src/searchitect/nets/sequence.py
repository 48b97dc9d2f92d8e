"""Blocks for token sequences. Each imports only torch and stands alone.

Shapes: B batch, L tokens, C channels.
"""

from __future__ import annotations

import torch
from torch import nn


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to each other (Vaswani et al. 2017, section 3.2): (B, L, C) → (B, L, C).

    dim: C. heads: how many; must divide dim, else ValueError.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads={heads} does not divide dim={dim}")
        self.heads = heads
        self.inward = nn.Linear(dim, 3 * dim)
        self.outward = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        mixed = self.inward(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, L, C / heads)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        y: torch.Tensor = self.outward(seen.transpose(1, 2).reshape(batch, tokens, width))
        return y

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


class ConvMixing(nn.Module):
    """A depthwise convolution along the tokens, the cheap rival of attention: (B, L, C) → (B, L, C).

    kernel: odd number of tokens seen. C is taken from the first input.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel}: only odd kernels keep the length")
        self.kernel = kernel
        self.conv: nn.Conv1d | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.conv is None:
            width = x.shape[2]
            conv = nn.Conv1d(width, width, self.kernel, padding=self.kernel // 2, groups=width)
            self.conv = conv.to(x.device, x.dtype).train(self.training)
        y: torch.Tensor = self.conv(x.transpose(1, 2))
        return y.transpose(1, 2)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}"


class Tokens(nn.Module):
    """A map as a sequence of tokens: (B, C, H, W) or (B, C, T) → (B, H·W or T, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).transpose(1, 2)


class Position(nn.Module):
    """A learned vector added to each place: (B, L, C) → (B, L, C). L and C are taken from the first input.

    Starts with standard deviation 0.3: with the usual 0.02 the places are learned too late in short trainings.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table: nn.Parameter | None
        self.register_parameter("table", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            start = torch.empty(x.shape[1:], device=x.device, dtype=x.dtype)
            self.table = nn.Parameter(nn.init.trunc_normal_(start, std=0.3))
        return x + self.table


class ColumnTokens(nn.Module):
    """Each column x of a row as the vector x · w + b, with w and b of its own (Gorishniy et al. 2021, section 3.3):
    (B, L) → (B, L, C). L, the number of columns, is taken from the first input.

    dim: C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight is None or self.bias is None:
            spread = self.dim**-0.5  # as published: uniform, by the width of a token
            start = torch.empty(2, x.shape[1], self.dim, device=x.device, dtype=x.dtype).uniform_(-spread, spread)
            self.weight, self.bias = nn.Parameter(start[0].clone()), nn.Parameter(start[1].clone())
        return x.unsqueeze(2) * self.weight + self.bias

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
