"""Convolutional networks for images: stages of growing width whose depth, operations and shortcuts are chosen.

Size: with `stages` stages of widths W and at most `depth` further blocks of six operations each,
3 · 2 · 4 · 2 · 2 (activation, pooling, dropout, head, stem kernel; twice that when the stem halves the map)
times (W · 2 · 2 · Σ_{d=0..depth} 6^d) per stage.
Source: the common ground of VGG (Simonyan and Zisserman 2015), ResNet (He et al. 2016), depthwise separable
convolutions (Howard et al. 2017) and squeeze-and-excitation (Hu et al. 2018).
Baseline: a small VGG with BatchNorm: one 3×3 convolution more in each stage, ReLU, max pooling.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.space import OUTPUTS, Node, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)

HALVED, QUARTERED = 20, 96  # pixels a side from which the stem halves and quarters the map


def space(size: int = 28, width: int = 16, stages: int | None = None, depth: int = 2) -> Space:
    """Networks for images (channels, height, width), any number of channels.

    size:   the smaller of height and width, in pixels; from 20 on, the stem halves the map, from 96 on it
            quarters it.
    width:  channels of a middling first stage; each further stage doubles it.
    stages: how often the map is halved, plus one; default: until 3 or 4 pixels are left.
    depth:  at most this many blocks in a stage after its first convolution.
    """
    count = _stages(size) if stages is None else stages
    activation = one_of(L.ReLU(), L.SiLU(), L.Hardswish(), tie="activation")
    pool = one_of(max=L.MaxPool2d(2, ceil_mode=True), avg=L.AvgPool2d(2, ceil_mode=True), tie="pool")
    parts: list[Node] = [named("stem", _stem(size, width, activation, pool))]
    for i in range(count):
        if i:
            parts.append(pool)
        parts.append(named(f"stage{i}", _stage(f"stage{i}", width * 2**i, depth, activation)))
    head = L.Sequential(
        L.AdaptiveAvgPool2d(one_of(1, 2, tie="head.pixels")),
        L.Flatten(),
        L.Dropout(one_of(0.0, 0.1, 0.2, 0.4, tie="head.dropout")),
        L.LazyLinear(OUTPUTS),
    )
    parts.append(named("head", head))
    return Space(L.Sequential(*parts), name="cnn", baseline=_baseline(size, width, count, depth))


def _stages(size: int) -> int:
    left = size if size < HALVED else size // 2 if size < QUARTERED else size // 4
    return min(5, max(2, 1 + int(math.log2(left / 3))))


def _conv(width: Any, kernel: Any, activation: Node, stride: int = 1, groups: Any = 1) -> Any:
    return L.Sequential(
        L.LazyConv2d(width, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        L.LazyBatchNorm2d(),
        activation,
    )


def _stem(size: int, width: int, activation: Node, pool: Node) -> Any:
    kernel = one_of(3, 5, tie="stem.kernel")
    plain, strided = _conv(width, kernel, activation), _conv(width, kernel, activation, stride=2)
    if size < HALVED:
        return plain
    if size < QUARTERED:
        return one_of(pooled=L.Sequential(plain, pool), strided=strided)
    return L.Sequential(strided, pool)


def _stage(name: str, width: int, depth: int, activation: Node) -> Any:
    channels = one_of(*widths(width), tie=f"{name}.width")

    def deep(kernel: int) -> Any:
        return L.Sequential(_conv(channels, kernel, activation, groups=channels), _conv(channels, 1, activation))

    def block() -> Any:
        return one_of(
            conv3=_conv(channels, 3, activation),
            res3=N.Residual(_conv(channels, 3, activation)),
            res5=N.Residual(_conv(channels, 5, activation)),
            sep3=N.Residual(deep(3)),
            sep5=N.Residual(deep(5)),
            double3=N.Residual(L.Sequential(_conv(channels, 3, activation), _conv(channels, 3, activation))),
        )

    first = _conv(channels, one_of(3, 5, tie=f"{name}.kernel"), activation)
    gate = one_of(none=L.Identity(), squeeze=N.SqueezeExcite(4), name="gate")
    blocks = [named("blocks", repeat(block, 0, depth))] if depth else []
    return L.Sequential(first, *blocks, gate)


def widths(middle: int) -> list[int]:
    """The widths that a stage may have: ¾, 1, 1½ and 2 times the middle one."""
    return sorted({_even(middle * share) for share in (0.75, 1, 1.5, 2)})


def _even(width: float) -> int:
    """The nearest width that is easy on the machine: a multiple of 4, of 2 below 16."""
    step = 2 if width < 16 else 4
    return max(4, round(width / step) * step)


def _baseline(size: int, width: int, stages: int, depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"activation": "ReLU", "head.pixels": 2, "head.dropout": 0.0, "stem.kernel": 3}
    if HALVED <= size < QUARTERED:
        chosen["stem"] = "pooled"
    if stages > 1 or size >= HALVED:
        chosen["pool"] = "max"
    for i in range(stages):
        stage = {"width": _even(width * 2**i), "kernel": 3, "gate": "none"}
        if depth:
            stage |= {"blocks": 1, "blocks.0": "conv3"}
        chosen |= {f"stage{i}.{name}": value for name, value in stage.items()}
    return chosen
