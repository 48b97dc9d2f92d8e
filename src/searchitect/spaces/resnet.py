"""Residual networks for images: width, blocks a stage, and for each block basic or bottleneck, with a gate or without.

Size: with W widths, three stages of 1 to `depth` blocks and four kinds of block, W · (Σ_{d=1..depth} 4^d)³.
Source: He et al. 2016 (basic and bottleneck blocks; three stages as for CIFAR-10, section 4.2), squeeze-and-excitation
from Hu et al. 2018. Where we differ: a bottleneck is a quarter as wide inside and as wide as a basic block outside.
Baseline: two basic blocks a stage, the middle width.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)
STAGES = 3


def space(widths: tuple[int, ...] = (8, 16, 24, 32), depth: int = 3) -> Space:
    """Networks for images (channels, height, width).

    widths: channels of the first stage, each next has twice as many; multiples of 4. depth: most blocks of a stage.

    Raises UsageError for numbers that cannot be.
    """
    if depth < 1 or not widths or any(w < 4 or w % 4 for w in widths):
        raise UsageError(f"widths={widths}, depth={depth}: write multiples of 4, and at least one block")
    width = one_of(*widths, tie="width")

    def stage(s: int) -> Any:
        def block(i: int) -> Any:
            return _block(width * 2**s, 2 if s > 0 and i == 0 else 1, change=i == 0)

        return named(f"stage{s}", repeat(block, 1, depth))

    stem = L.Sequential(_conv(width, 3), L.ReLU())
    root = L.Sequential(
        stem, *(stage(s) for s in range(STAGES)), L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)
    )
    return Space(root, name="resnet", baseline=_baseline(widths, depth))


def _conv(width: Any, kernel: int, stride: int = 1) -> Any:
    layer = L.LazyConv2d(width, kernel, stride, padding=kernel // 2, bias=False)
    return L.Sequential(layer, L.LazyBatchNorm2d())


def _block(width: Any, stride: int, *, change: bool) -> Any:
    """ReLU(x + body(x)); where width or stride may change, x goes through a 1×1 convolution of its own."""
    inner = width // 4

    def body(gate: bool, deep: bool) -> Any:
        if deep:
            layers = [_conv(inner, 1), L.ReLU(), _conv(inner, 3, stride), L.ReLU(), _conv(width, 1)]
        else:
            layers = [_conv(width, 3, stride), L.ReLU(), _conv(width, 3)]
        return L.Sequential(*layers, *([N.SqueezeExcite(4)] if gate else []))

    kinds = [(gate, deep) for deep in (False, True) for gate in (False, True)]
    bodies = {f"{'bottleneck' if d else 'basic'}{'_se' if g else ''}": body(g, d) for g, d in kinds}
    chosen = one_of(**bodies)
    joined = N.Branches(chosen, _conv(width, 1, stride)) if change else N.Residual(chosen)
    return L.Sequential(joined, L.ReLU())


def _baseline(widths: tuple[int, ...], depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"width": sorted(widths)[len(widths) // 2]} if len(widths) > 1 else {}
    for s in range(STAGES):
        if depth > 1:
            chosen[f"stage{s}"] = 2
        for i in range(min(2, depth)):
            chosen[f"stage{s}.{i}.{'0.0' if i == 0 else '0.body'}"] = "basic"
    return chosen
