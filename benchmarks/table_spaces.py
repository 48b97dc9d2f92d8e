"""The spaces of the shipped tables, with the structure that their papers give them."""

from __future__ import annotations

from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.space import OUTPUTS, Layer, Space, lazy, one_of
from searchitect.spaces import nb201

L, N = lazy(nn), lazy(nets)
GRAPH_LINKS = ("0000", "0001", "0011", "0012", "0013", "0111", "0112", "0122", "0123")
GRAPH_OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
MACRO = ("identity", "mb3_k3", "mb6_k5")
TRANSNAS = ("none", "skip", "conv1x1", "conv3x3")
FCNET = {
    "activation_fn_1": ("relu", "tanh"), "activation_fn_2": ("relu", "tanh"), "batch_size": (8, 16, 32, 64),
    "dropout_1": (0.0, 0.3, 0.6), "dropout_2": (0.0, 0.3, 0.6), "init_lr": (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1),
    "lr_schedule": ("cosine", "const"), "n_units_1": (16, 32, 64, 128, 256, 512),
    "n_units_2": (16, 32, 64, 128, 256, 512),
}  # fmt: skip


def nb201_space() -> Space:
    """One cell per stage instead of five: the same decisions and the same equivalences, smaller plans."""
    return nb201.space(cells=1)


def macro_space() -> Space:
    """NAS-Bench-Macro: stages of 2, 3, 3 blocks and 64, 128, 256 channels; the first block of each halves the map."""
    parts: list[Any] = [L.LazyConv2d(32, 3, padding=1, bias=False), L.LazyBatchNorm2d(), L.ReLU6()]
    before, index = 32, 0
    for width, blocks in ((64, 2), (128, 3), (256, 3)):
        for block in range(blocks):
            stride = 1 if block else 2
            stay = (
                L.Sequential(L.LazyConv2d(width, 1, 2, bias=False), L.LazyBatchNorm2d())
                if stride == 2
                else L.Identity()
            )
            options = {"identity": stay, "mb3_k3": _bottleneck(before, width, 3, 3, stride),
                       "mb6_k5": _bottleneck(before, width, 6, 5, stride)}  # fmt: skip
            parts.append(one_of(tie=f"layer{index}", **options))
            before, index = width, index + 1
    parts += [L.LazyConv2d(1280, 1, bias=False), L.LazyBatchNorm2d(), L.ReLU6(), L.AdaptiveAvgPool2d(1), L.Flatten()]
    return Space(L.Sequential(*parts, L.LazyLinear(OUTPUTS)), name="macro")


def _bottleneck(before: int, width: int, expansion: int, kernel: int, stride: int) -> Any:
    inner = before * expansion
    deep = L.LazyConv2d(inner, kernel, stride, padding=kernel // 2, groups=inner, bias=False)
    return N.Residual(
        L.Sequential(
            L.LazyConv2d(inner, 1, bias=False), L.LazyBatchNorm2d(), L.ReLU6(), deep, L.LazyBatchNorm2d(), L.ReLU6(),
            L.LazyConv2d(width, 1, bias=False), L.LazyBatchNorm2d(),
        )
    )  # fmt: skip


def transnas_space() -> Space:
    """TransNAS-Bench-101 micro: one cell of six edges everywhere. The skeleton is 41414 with one cell per module."""
    parts: list[Any] = [L.LazyConv2d(64, 3, 2, padding=1, bias=False), L.LazyBatchNorm2d(), L.ReLU()]
    for width, stride in ((128, 2), (128, 1), (256, 2), (256, 1), (512, 2)):
        if stride == 2:
            parts += [L.LazyConv2d(width, 3, 2, padding=1, bias=False), L.LazyBatchNorm2d()]
        parts.append(_transnas_cell(width))
    return Space(L.Sequential(*parts, L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)), name="transnas")


def _transnas_cell(width: int) -> Any:
    def conv(kernel: int) -> Any:
        return L.Sequential(L.ReLU(), L.LazyConv2d(width, kernel, padding=kernel // 2, bias=False), L.LazyBatchNorm2d())

    options = {"none": N.Zero(), "skip": L.Identity(), "conv1x1": conv(1), "conv3x3": conv(3)}
    return N.Cell([one_of(tie=edge, **options) for edge in nb201.EDGES])


def graph_space() -> Space:
    """NAS-Bench-Graph: four nodes with one input each, so a tree; all leaves meet in the output.

    The operations are opaque; `skip` is the identity. Branches are summed here (concatenated there), since
    their order does not matter to the linear layer that follows.
    """
    options = {f"links_{links}": _tree(links, 0) for links in GRAPH_LINKS}
    return Space(L.Sequential(one_of(tie="links", **options), L.LazyLinear(OUTPUTS)), name="graph")


def _tree(links: str, node: int) -> Any:
    branches = []
    for child in (i + 1 for i, source in enumerate(links) if int(source) == node):
        operation = one_of(tie=f"op{child}", **{name: _graph_operation(name) for name in GRAPH_OPERATIONS})
        below = _tree(links, child)
        branches.append(operation if below is None else L.Sequential(operation, below))
    return None if not branches else branches[0] if len(branches) == 1 else N.Branches(*branches)


def _graph_operation(name: str) -> Any:
    return L.Identity() if name == "skip" else Layer(f"nas_bench_graph.{name}", {})


def fcnet_space() -> Space:
    """FC-Net: a network of two layers, and how it is trained. Numbers are ordered; units and rates are on log grids."""
    choice = {name: one_of(*labels, tie=name) for name, labels in FCNET.items() if not name.startswith("activation")}
    layers: list[Any] = []
    for i in (1, 2):
        activation = one_of(tie=f"activation_fn_{i}", relu=L.ReLU(), tanh=L.Tanh())
        layers += [L.LazyLinear(choice[f"n_units_{i}"]), activation, L.Dropout(choice[f"dropout_{i}"])]
    training = {name: choice[name] for name in ("batch_size", "init_lr", "lr_schedule")}
    return Space(
        Layer("fcnet.Trained", {"network": L.Sequential(*layers, L.LazyLinear(OUTPUTS)), **training}), name="fcnet"
    )
