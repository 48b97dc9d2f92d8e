"""Transformers for tables, where each column is a token: width, depth, and for each block heads, ratio, activation.

Size: with W widths and 1 to `depth` blocks of two numbers of heads, three ratios and two activations,
W · 3 · Σ_{d=1..depth} 12^d, the 3 for the dropout. Source: FT-Transformer (Gorishniy et al. 2021, section 3.3): a
column x becomes the vector x · w + b, with w and b of its own. Where we differ: the mean of the tokens in place of a
token for the class, and plain activations where the paper has ReGLU. A step costs the square of the columns.
Baseline: two blocks with four heads, ratio 2, ReLU, the middle width.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)


def space(dims: tuple[int, ...] = (16, 32, 48), depth: int = 3) -> Space:
    """Networks for tables (features,).

    dims: channels of a token; multiples of 4. depth: most blocks. Raises UsageError for numbers that cannot be.
    """
    if depth < 1 or not dims or any(d < 4 or d % 4 for d in dims):
        raise UsageError(f"dims={dims}, depth={depth}: write widths that are multiples of 4, and at least one block")
    dim, drop = one_of(*dims, tie="dim"), one_of(0.0, 0.1, 0.2, tie="dropout")

    def block(i: int) -> Any:
        heads = one_of(2, 4, tie=f"blocks.{i}.heads")
        ratio = one_of(1, 2, 4, tie=f"blocks.{i}.ratio")
        activation = one_of(L.ReLU(), L.GELU(), tie=f"blocks.{i}.activation")
        attention = L.Sequential(L.LayerNorm(dim), N.SelfAttention(dim, heads), L.Dropout(drop))
        inward, outward = L.Linear(dim, dim * ratio), L.Linear(dim * ratio, dim)
        mlp = L.Sequential(L.LayerNorm(dim), inward, activation, L.Dropout(drop), outward)
        return L.Sequential(N.Residual(attention), N.Residual(mlp))

    root = L.Sequential(
        N.ColumnTokens(dim),
        named("blocks", repeat(block, 1, depth)),
        L.LayerNorm(dim),
        L.ReLU(),
        N.Mean(),
        L.LazyLinear(OUTPUTS),
    )
    return Space(root, name="ft_transformer", baseline=_baseline(dims, depth))


def _baseline(dims: tuple[int, ...], depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"dropout": 0.1}
    if len(dims) > 1:
        chosen["dim"] = sorted(dims)[len(dims) // 2]
    if depth > 1:
        chosen["blocks"] = min(2, depth)
    for i in range(min(2, depth)):
        chosen |= {f"blocks.{i}.heads": 4, f"blocks.{i}.ratio": 2, f"blocks.{i}.activation": "ReLU"}
    return chosen
