"""Small decoders that tell the next token: depth, width, mixing by attention or by convolution, MLP ratio.

Size: with W widths and 1 to `depth` blocks of 5 mixers (attention with 2 or 4 heads, or a causal convolution of 4, 8
or 16 places), three ratios and two activations, W · 3 · Σ_{d=1..depth} 30^d, the 3 for the dropout.
Source: GPT-2 (Radford et al. 2019) with pre-normalisation and, as in PaLM (Chowdhery et al. 2022), without biases;
causal convolutions as in the hybrid networks of Poli et al. 2024. Each place sees itself and earlier ones only.
Where we differ: the last layer does not share its weights with the vectors of the tokens, whose width is fixed.
Baseline: two blocks of attention with four heads, ratio 4, GELU.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)


def space(vocabulary: int = 256, length: int = 64, dims: tuple[int, ...] = (32, 64, 96), depth: int = 4) -> Space:
    """Networks for windows of a stream of tokens (length), with one score for each token that may come next.

    vocabulary: how many tokens there are. length: places of a window.
    dims:       channels of a token; multiples of 4. depth: most blocks.

    Raises UsageError for numbers that cannot be.
    """
    if min(vocabulary, length, depth) < 1 or not dims or any(d < 4 or d % 4 for d in dims):
        raise UsageError(
            f"vocabulary={vocabulary}, length={length}, depth={depth}, dims={dims}: write numbers of at least 1, and "
            "widths that are multiples of 4"
        )
    dim, drop = one_of(*dims, tie="dim"), one_of(0.0, 0.1, 0.2, tie="dropout")

    def block(i: int) -> Any:
        attention = {f"attention{heads}": N.TokenAttention(dim, heads, causal=True) for heads in (2, 4)}
        mixing = {f"conv{kernel}": N.TokenConv(dim, kernel, causal=True) for kernel in (4, 8, 16)}
        ratio = one_of(1, 2, 4, tie=f"blocks.{i}.ratio")
        activation = one_of(L.GELU(), L.ReLU(), tie=f"blocks.{i}.activation")
        mixer = one_of(tie=f"blocks.{i}.mixer", **attention, **mixing)
        inward, outward = L.Linear(dim, dim * ratio, bias=False), L.Linear(dim * ratio, dim, bias=False)
        return L.Sequential(
            N.Residual(L.Sequential(L.LayerNorm(dim, bias=False), mixer, L.Dropout(drop))),
            N.Residual(L.Sequential(L.LayerNorm(dim, bias=False), inward, activation, outward, L.Dropout(drop))),
        )

    root = L.Sequential(
        N.TokenEmbedding(vocabulary, length, max(dims)),
        L.Linear(max(dims), dim, bias=False),
        named("blocks", repeat(block, 1, depth)),
        N.NextToken(L.Sequential(L.LayerNorm(dim, bias=False), L.LazyLinear(OUTPUTS))),
    )
    return Space(root, name="gpt", baseline=_baseline(dims, depth))


def _baseline(dims: tuple[int, ...], depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"dropout": 0.0}
    if len(dims) > 1:
        chosen["dim"] = sorted(dims)[len(dims) // 2]
    if depth > 1:
        chosen["blocks"] = min(2, depth)
    for i in range(min(2, depth)):
        chosen |= {f"blocks.{i}.mixer": "attention4", f"blocks.{i}.ratio": 4, f"blocks.{i}.activation": "GELU"}
    return chosen
