"""Temporal convolutional networks for sequences: residual blocks whose dilation doubles from level to level.

Size: with W widths and at most `levels` levels, W · 3 · 3 · 3 · 2 · 2 · Σ_{d=1..levels} 4^d (width, kernel,
activation, dropout, stem kernel, final pooling, then one of four operations per level).
Source: Bai, Kolter and Koltun 2018 (without causal padding: whole sequences are classified or regressed).
Baseline: three levels of plain residual convolutions with kernel 3, ReLU, mean over time.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.space import OUTPUTS, Node, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)


def space(length: int = 128, widths: tuple[int, ...] = (16, 32, 48, 64), levels: int | None = None) -> Space:
    """Networks for sequences (channels, length).

    length: steps in a sequence; beyond 256 the stem pools down to at most 256.
    widths: channels that all levels may have.
    levels: most levels; default: until the dilation reaches a quarter of the length, 2 to 6.
    """
    pooling = math.ceil(length / 256)
    left = math.ceil(length / pooling)
    most = min(6, max(2, int(math.log2(max(4, left))) - 1)) if levels is None else levels
    width, kernel = one_of(*widths, tie="width"), one_of(3, 5, 7, tie="kernel")
    activation = one_of(L.ReLU(), L.SiLU(), L.GELU(), tie="activation")
    dropout = L.Dropout(one_of(0.0, 0.1, 0.25, tie="dropout"))

    def conv(size: Any, dilation: int = 1, groups: Any = 1) -> Any:
        layer = L.LazyConv1d(width, size, padding="same", dilation=dilation, groups=groups, bias=False)
        return L.Sequential(layer, L.LazyBatchNorm1d(), activation)

    def level(i: int) -> Any:
        dilation = 2**i
        return one_of(
            conv=N.Residual(L.Sequential(conv(kernel, dilation), dropout)),
            double=N.Residual(L.Sequential(conv(kernel, dilation), dropout, conv(kernel, dilation))),
            separable=N.Residual(L.Sequential(conv(kernel, dilation, groups=width), conv(1), dropout)),
            squeeze=N.Residual(L.Sequential(conv(kernel, dilation), dropout, N.SqueezeExcite(4))),
        )

    stem: list[Node] = [conv(one_of(3, 7, tie="stem.kernel"))]
    if pooling > 1:
        stem.append(L.MaxPool1d(pooling, ceil_mode=True))
    final = one_of(mean=L.AdaptiveAvgPool1d(1), max=L.AdaptiveMaxPool1d(1), tie="final")
    root = L.Sequential(*stem, named("levels", repeat(level, 1, most)), final, L.Flatten(), L.LazyLinear(OUTPUTS))
    return Space(root, name="tcn", baseline=_baseline(widths, most))


def _baseline(widths: tuple[int, ...], most: int) -> dict[str, Any]:
    depth = min(3, most)
    chosen: dict[str, Any] = {"kernel": 3, "activation": "ReLU", "dropout": 0.0, "stem.kernel": 3, "final": "mean"}
    if len(widths) > 1:
        chosen["width"] = min(widths, key=lambda w: abs(w - 32))
    if most > 1:
        chosen["levels"] = depth
    return chosen | {f"levels.{i}": "conv" for i in range(depth)}
