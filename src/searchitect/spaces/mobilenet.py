"""MobileNet-like networks for images: inverted bottlenecks whose expansion, kernel, width and depth are chosen.

Size: with `stages` stages of three widths and 1 to `depth` blocks of twelve variants (expansion, kernel,
squeeze-excite), 2 · Π (3 · Σ_{d=1..depth} 12^d), the 2 for the activation.
Source: MobileNetV2 (Sandler et al. 2018), V3 (Howard et al. 2019) and the layer-wise spaces of MnasNet
(Tan et al. 2019) and ProxylessNAS (Cai et al. 2019), scaled down to small images.
Baseline: MobileNetV2's block everywhere: expansion 4, kernel 3, no squeeze-excite, two blocks per stage.
"""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.space import OUTPUTS, Node, Space, lazy, named, one_of, repeat

L, N = lazy(nn), lazy(nets)

EXPANSIONS, KERNELS = (2, 4, 6), (3, 5)
BLOCK = {"expansion": 4, "kernel": 3, "gate": "none"}


def space(width: int = 8, stages: int = 3, depth: int = 3, stem_stride: int = 1) -> Space:
    """Networks for images (channels, height, width); the first block of each stage halves the map.

    width:  channels of the stem; stage i has about width · 2^(i+1), one of three.
    depth:  most blocks in a stage.
    """
    activation = one_of(L.ReLU6(), L.Hardswish(), tie="activation")
    parts: list[Node] = [L.LazyConv2d(width, 3, stem_stride, padding=1, bias=False), L.LazyBatchNorm2d(), activation]
    before: Any = width
    for i in range(stages):
        channels = one_of(*_widths(width, i), tie=f"stage{i}.width")
        parts.append(named(f"stage{i}", repeat(_Blocks(f"stage{i}", before, channels, activation), 1, depth)))
        before = channels
    head = L.Sequential(L.LazyConv2d(width * 2 ** (stages + 1), 1, bias=False), L.LazyBatchNorm2d(), activation)
    parts += [head, L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)]
    return Space(L.Sequential(*parts), name="mobilenet", baseline=_baseline(width, stages, depth))


def _widths(width: int, stage: int) -> list[int]:
    middle = width * 2 ** (stage + 1)
    return [middle * 3 // 4, middle, middle * 3 // 2]


class _Blocks:
    """Writes the blocks of one stage: the first changes width and size, the others are residual."""

    def __init__(self, name: str, before: Any, width: Any, activation: Node) -> None:
        self.name, self.before, self.width, self.activation = name, before, width, activation

    def __call__(self, index: int) -> Any:
        """An inverted bottleneck: widen by 1×1, depthwise, gate, narrow by 1×1."""
        stride, inner = (1, self.width) if index else (2, self.before)
        name = f"{self.name}.{index}"
        hidden = inner * one_of(*EXPANSIONS, tie=f"{name}.expansion")
        kernel = one_of(*KERNELS, tie=f"{name}.kernel")
        deep = L.LazyConv2d(hidden, kernel, stride, padding=kernel // 2, groups=hidden, bias=False)
        return N.Residual(
            L.Sequential(
                L.LazyConv2d(hidden, 1, bias=False), L.LazyBatchNorm2d(), self.activation,
                deep, L.LazyBatchNorm2d(), self.activation,
                one_of(none=L.Identity(), squeeze=N.SqueezeExcite(4), tie=f"{name}.gate"),
                L.LazyConv2d(self.width, 1, bias=False), L.LazyBatchNorm2d(),
            )
        )  # fmt: skip


def _baseline(width: int, stages: int, depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"activation": "ReLU6"}
    for i in range(stages):
        chosen[f"stage{i}.width"] = width * 2 ** (i + 1)
        if depth > 1:
            chosen[f"stage{i}"] = 2
        for j in range(min(2, depth)):
            chosen |= {f"stage{i}.{j}.{name}": value for name, value in BLOCK.items()}
    return chosen
