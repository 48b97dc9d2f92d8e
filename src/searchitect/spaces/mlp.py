"""Multi-layer perceptrons for tables: width, depth, activation, normalisation, dropout, residual layers.

Size: with W widths and at most `depth` layers, W · 4 · 3 · 4 · Σ_{d=0..depth-1} 3^d (width, activation,
normalisation, dropout, then each further layer plain, residual, or residual through a bottleneck).
Source: what tuned perceptrons need to rival trees on tables (Kadra et al. 2021; Gorishniy et al. 2021).
Baseline: two hidden layers of 128, ReLU, nothing else.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.space import OUTPUTS, Node, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)


def space(widths: tuple[int, ...] = (32, 64, 128, 256), depth: int = 4) -> Space:
    """Networks for rows (features,).

    widths: units that all hidden layers may have.
    depth:  most hidden layers; at least one is always there.
    """
    width = one_of(*widths, tie="width")
    activation = one_of(L.ReLU(), L.SiLU(), L.GELU(), L.Tanh(), tie="activation")
    norm = one_of(none=L.Identity(), batch=L.LazyBatchNorm1d(), layer=L.LayerNorm(width), tie="norm")
    dropout = L.Dropout(one_of(0.0, 0.1, 0.25, 0.5, tie="dropout"))

    def dense() -> Any:
        return L.Sequential(L.LazyLinear(width), norm, activation, dropout)

    def further() -> Any:
        narrow = L.Sequential(L.LazyLinear(width // 2), activation, L.LazyLinear(width), norm, dropout)
        return one_of(plain=dense(), residual=N.Residual(dense()), bottleneck=N.Residual(narrow))

    parts: list[Node] = [dense()]
    if depth > 1:
        parts.append(named("layers", repeat(further, 0, depth - 1)))
    parts.append(L.LazyLinear(OUTPUTS))
    return Space(L.Sequential(*parts), name="mlp", baseline=_baseline(widths, depth))


def _baseline(widths: tuple[int, ...], depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"activation": "ReLU", "norm": "none", "dropout": 0.0}
    if len(widths) > 1:
        chosen["width"] = min(widths, key=lambda w: abs(w - 128))
    if depth > 1:
        chosen |= {"layers": 1, "layers.0": "plain"}
    return chosen
