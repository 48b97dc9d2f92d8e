"""Small transformers for images and sequences: depth, width, heads, MLP ratio, and attention or convolution.

Size: with D widths and 1 to `depth` blocks of 5 mixers (attention with 2 or 4 heads, or a convolution of 3,
5 or 9 tokens), three ratios and two activations, D · 3 · Σ_{d=1..depth} 30^d, the 3 for the dropout.
Source: ViT (Dosovitskiy et al. 2021) with pre-normalisation, searched as in AutoFormer (Chen et al. 2021),
with depthwise convolution along the tokens as the cheap rival of attention.
Baseline: two blocks of attention with four heads, ratio 2, GELU.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)


def space(
    kind: Literal["image", "sequence"] = "image", patch: int = 4, dims: tuple[int, ...] = (32, 64), depth: int = 4
) -> Space:
    """Networks for images (channels, height, width) or sequences (channels, length).

    patch: pixels or steps that become one token; at most the smaller side.
    dims:  channels of a token; multiples of 4.
    depth: most blocks.

    Raises UsageError for a kind, a patch or widths that cannot be.
    """
    if kind not in ("image", "sequence"):
        raise UsageError(f"kind={kind!r}: write 'image' or 'sequence'")
    if patch < 1 or not dims or any(d < 4 or d % 4 for d in dims):
        raise UsageError(f"patch={patch}, dims={dims}: write a patch of at least 1 and widths that are multiples of 4")
    dim, drop = one_of(*dims, tie="dim"), one_of(0.0, 0.1, 0.2, tie="dropout")

    def block(i: int) -> Any:
        attention = {f"attention{heads}": N.SelfAttention(dim, heads) for heads in (2, 4)}
        mixing = {f"conv{kernel}": N.ConvMixing(kernel) for kernel in (3, 5, 9)}
        ratio = one_of(1, 2, 4, tie=f"blocks.{i}.ratio")
        activation = one_of(L.GELU(), L.ReLU(), tie=f"blocks.{i}.activation")
        mixer = L.Sequential(L.LayerNorm(dim), one_of(tie=f"blocks.{i}.mixer", **attention, **mixing), L.Dropout(drop))
        mlp = L.Sequential(
            L.LayerNorm(dim), L.Linear(dim, dim * ratio), activation, L.Linear(dim * ratio, dim), L.Dropout(drop)
        )
        return L.Sequential(N.Residual(mixer), N.Residual(mlp))

    cut = L.LazyConv2d(dim, patch, patch) if kind == "image" else L.LazyConv1d(dim, patch, patch)
    root = L.Sequential(
        cut,
        N.Tokens(),
        N.Position(),
        named("blocks", repeat(block, 1, depth)),
        L.LayerNorm(dim),
        N.Mean(),
        L.LazyLinear(OUTPUTS),
    )
    return Space(root, name="transformer", baseline=_baseline(dims, depth))


def _baseline(dims: tuple[int, ...], depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"dropout": 0.0}
    if len(dims) > 1:
        chosen["dim"] = dims[0]
    if depth > 1:
        chosen["blocks"] = 2
    for i in range(min(2, depth)):
        chosen |= {
            f"blocks.{i}.{name}": value
            for name, value in (("mixer", "attention4"), ("ratio", 2), ("activation", "GELU"))
        }
    return chosen
