"""Small transformers for images, sequences and text: depth, width, heads, MLP ratio, and attention or convolution.

Size: with D widths and 1 to `depth` blocks of 5 mixers (attention with 2 or 4 heads, or a convolution of 3,
5 or 9 tokens), three ratios and two activations, D · 3 · Σ_{d=1..depth} 30^d, the 3 for the dropout.
Source: ViT (Dosovitskiy et al. 2021) with pre-normalisation, searched as in AutoFormer (Chen et al. 2021),
with depthwise convolution along the tokens as the cheap rival of attention. For text, tokens have a vector of fixed
width, brought to the network's (Lan et al. 2020, section 3.1), and no layer has a bias, so that padding stays zero.
Baseline: two blocks of attention with four heads, ratio 2, GELU.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Node, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)


def space(
    kind: Literal["image", "sequence", "text"] = "image",
    patch: int = 4,
    dims: tuple[int, ...] = (32, 64),
    depth: int = 4,
    vocabulary: int = 0,
    length: int = 0,
) -> Space:
    """Networks for images (channels, height, width), sequences (channels, length) or numbers of tokens (length).

    patch:      pixels or steps that become one token; at most the smaller side. Not for text.
    dims:       channels of a token; multiples of 4.
    depth:      most blocks.
    vocabulary: how many tokens there are, and `length` how many a row has: for text, where both are needed.

    Raises UsageError for a kind, a patch or widths that cannot be.
    """
    if kind not in ("image", "sequence", "text"):
        raise UsageError(f"kind={kind!r}: write 'image', 'sequence' or 'text'")
    if patch < 1 or not dims or any(d < 4 or d % 4 for d in dims):
        raise UsageError(f"patch={patch}, dims={dims}: write a patch of at least 1 and widths that are multiples of 4")
    if (kind == "text") != (vocabulary > 0 and length > 0):
        raise UsageError(
            f"kind={kind!r}, vocabulary={vocabulary}, length={length}: text needs both numbers, nothing else has them"
        )
    dim, drop = one_of(*dims, tie="dim"), one_of(0.0, 0.1, 0.2, tie="dropout")
    bias = {} if kind != "text" else {"bias": False}

    def block(i: int) -> Any:
        ratio = one_of(1, 2, 4, tie=f"blocks.{i}.ratio")
        activation = one_of(L.GELU(), L.ReLU(), tie=f"blocks.{i}.activation")
        mixing = one_of(tie=f"blocks.{i}.mixer", **_mixers(kind, dim))
        mixer = L.Sequential(L.LayerNorm(dim, **bias), mixing, L.Dropout(drop))
        inward, outward = L.Linear(dim, dim * ratio, **bias), L.Linear(dim * ratio, dim, **bias)
        mlp = L.Sequential(L.LayerNorm(dim, **bias), inward, activation, outward, L.Dropout(drop))
        return L.Sequential(N.Residual(mixer), N.Residual(mlp))

    root = L.Sequential(
        *_start(kind, patch, dim, (vocabulary, length, max(dims))),
        named("blocks", repeat(block, 1, depth)),
        L.LayerNorm(dim, **bias),
        N.TokenMean() if kind == "text" else N.Mean(),
        L.LazyLinear(OUTPUTS),
    )
    return Space(root, name="transformer", baseline=_baseline(dims, depth))


def _mixers(kind: str, dim: Any) -> dict[str, Any]:
    if kind == "text":
        attention = {f"attention{heads}": N.TokenAttention(dim, heads) for heads in (2, 4)}
        return attention | {f"conv{kernel}": N.TokenConv(dim, kernel) for kernel in (3, 5, 9)}
    attention = {f"attention{heads}": N.SelfAttention(dim, heads) for heads in (2, 4)}
    return attention | {f"conv{kernel}": N.ConvMixing(kernel) for kernel in (3, 5, 9)}


def _start(kind: str, patch: int, dim: Any, embedding: tuple[int, int, int]) -> list[Node]:
    """From rows to tokens."""
    if kind == "text":
        return [N.TokenEmbedding(*embedding), L.Linear(embedding[2], dim, bias=False)]
    cut = L.LazyConv2d(dim, patch, patch) if kind == "image" else L.LazyConv1d(dim, patch, patch)
    return [cut, N.Tokens(), N.Position()]


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
