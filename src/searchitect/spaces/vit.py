"""Vision transformers: width of the tokens, depth, and for each block heads and MLP ratio.

Size: with W widths and 1 to `depth` blocks of three numbers of heads and three ratios, W · 3 · Σ_{d=1..depth} 9^d, the
3 for the dropout. Source: AutoFormer (Chen et al. 2021), whose blocks of all sizes share one set of weights in a
supernet; the network is ViT (Dosovitskiy et al. 2021) with pre-normalisation.
Where we differ: the mean of the tokens in the place of a token for the class, and networks for a CPU's budget.
Baseline: three blocks with three heads, ratio 2, the middle width.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)
HEADS, RATIOS = (2, 3, 4), (1, 2, 4)


def space(patch: int = 4, dims: tuple[int, ...] = (24, 48, 72), depth: int = 6) -> Space:
    """Networks for images (channels, height, width).

    patch: pixels that become one token; at most the smaller side. dims: channels of a token, multiples of 12.
    depth: most blocks. Raises UsageError for numbers that cannot be.
    """
    if min(patch, depth) < 1 or not dims or any(d < 12 or d % 12 for d in dims):
        raise UsageError(f"patch={patch}, dims={dims}, depth={depth}: write multiples of 12 as widths, 1 or more else")
    dim, drop = one_of(*dims, tie="dim"), one_of(0.0, 0.1, 0.2, tie="dropout")

    def block(i: int) -> Any:
        heads = one_of(*HEADS, tie=f"blocks.{i}.heads")
        ratio = one_of(*RATIOS, tie=f"blocks.{i}.ratio")
        attention = L.Sequential(L.LayerNorm(dim), N.SelfAttention(dim, heads), L.Dropout(drop))
        inward, outward = L.Linear(dim, dim * ratio), L.Linear(dim * ratio, dim)
        mlp = L.Sequential(L.LayerNorm(dim), inward, L.GELU(), outward, L.Dropout(drop))
        return L.Sequential(N.Residual(attention), N.Residual(mlp))

    root = L.Sequential(
        L.LazyConv2d(dim, patch, patch),
        N.Tokens(),
        N.Position(),
        named("blocks", repeat(block, 1, depth)),
        L.LayerNorm(dim),
        N.Mean(),
        L.LazyLinear(OUTPUTS),
    )
    return Space(root, name="vit", baseline=_baseline(dims, depth))


def _baseline(dims: tuple[int, ...], depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"dropout": 0.0}
    if len(dims) > 1:
        chosen["dim"] = sorted(dims)[len(dims) // 2]
    if depth > 1:
        chosen["blocks"] = min(3, depth)
    for i in range(min(3, depth)):
        chosen |= {f"blocks.{i}.heads": 3, f"blocks.{i}.ratio": 2}
    return chosen
