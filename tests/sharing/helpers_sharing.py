"""What the tests of weight sharing have in common: small spaces, and a task where one option is clearly right."""

from __future__ import annotations

from torch import nn

import searchitect.nets as nets
from searchitect.space import OUTPUTS, Space, lazy, one_of, real, repeat, subset

L, N = lazy(nn), lazy(nets)


class Total(nn.Module):
    """The sum of the outputs of a subset."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def forward(self, x):
        return sum(self.parts(x))


def head() -> list:
    return [L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)]


def cell_space() -> Space:
    """A cell of NAS-Bench-201 with two inner nodes: 64 architectures."""

    def option(name):
        conv = L.Sequential(L.ReLU(), L.LazyConv2d(4, 3, padding=1, bias=False), L.LazyBatchNorm2d())
        return one_of(none=N.Zero(), skip=L.Identity(), conv=conv, pool=L.AvgPool2d(3, 1, 1), name=name)

    return Space(L.Sequential(L.LazyConv2d(4, 1), N.Cell([option(e) for e in ("a", "b", "c")]), *head()))


def narrow_space() -> Space:
    """Widths differ, so that outputs cannot be added up."""
    return Space(L.Sequential(L.LazyConv2d(one_of(4, 8, name="width"), 3, padding=1), L.ReLU(), *head()))


def real_space() -> Space:
    return Space(L.Sequential(L.LazyConv2d(4, 3), L.Dropout(real(0.1, 0.5, name="drop")), *head()))


def partial_space() -> Space:
    """Options whose width follows their input, and a subset of edges."""

    def option(name):
        return one_of(conv=N.SameConv(3), separable=N.Depthwise(3), skip=N.Skip(), pool=L.AvgPool2d(3, 1, 1), name=name)

    edges = subset(a=option("a"), b=option("b"), c=option("c"), k=2, name="edges")
    return Space(L.Sequential(L.LazyConv2d(8, 3, padding=1), lazy(Total)(edges), *head()))


def mixed_space() -> Space:
    """A width, a repeat with choices in it and a nested choice: single paths only."""

    def block():
        return one_of(L.ReLU(), conv=L.Sequential(L.LazyConv2d(4, 3, padding=1), one_of(L.Tanh(), L.BatchNorm2d(4))))

    first = L.LazyConv2d(4, one_of(1, 3, name="kernel"), padding="same")
    return Space(L.Sequential(first, repeat(block, 1, 2), L.LazyConv2d(one_of(4, 8, name="width"), 1), *head()))


class Square(nn.Module):
    def forward(self, x):
        return x.pow(2)
