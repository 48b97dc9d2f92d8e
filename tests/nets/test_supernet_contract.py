import pytest
import torch
from helpers_nets import L
from torch import nn

import searchitect.nets as nets
from searchitect.space import OUTPUTS, Space, integer, lazy, named, one_of, real, repeat, subset
from searchitect.spaces import load_space
from searchitect.testing.supernet import SupernetContract

N = lazy(nets)


class TestNb201(SupernetContract):
    def make(self):
        return load_space("nb201", cells=1, width=4)


@pytest.mark.slow
class TestDarts(SupernetContract):
    paths = 2

    def make(self):
        return load_space("darts", cells=3, width=4)


class TestMacro(SupernetContract):
    def make(self):
        return load_space("macro", layers=3, width=4)


@pytest.mark.slow
class TestCnn(SupernetContract):
    shape = (1, 20, 20)
    refused = "stage0.width"

    def make(self):
        return load_space("cnn", size=20, width=4, stages=2, depth=2)


class TestMlp(SupernetContract):
    shape = (7,)
    refused = "width"

    def make(self):
        return load_space("mlp", widths=(4, 8, 12))


class TestText(SupernetContract):
    shape = (6,)
    refused = "dim"

    def make(self):
        return load_space("transformer", kind="text", vocabulary=3, length=6, dims=(4, 8), depth=2)


class TestGpt(SupernetContract):
    shape = (6,)
    refused = "dim"

    def make(self):
        return load_space("gpt", vocabulary=3, length=6, dims=(4, 8), depth=2)


class TestVit(SupernetContract):
    refused = "dim"
    paths = 2

    def make(self):
        return load_space("vit", dims=(12, 24), depth=2)


class TestFtTransformer(SupernetContract):
    shape = (4,)
    refused = "dim"
    paths = 2

    def make(self):
        return load_space("ft_transformer", dims=(4, 8), depth=2)


@pytest.mark.slow
class TestResnet(SupernetContract):
    refused = "width"
    paths = 2

    def make(self):
        return load_space("resnet", widths=(4, 8), depth=1)


class TestTcn(SupernetContract):
    shape = (2, 16)
    refused = "width"

    def make(self):
        return load_space("tcn", length=16, widths=(4, 8, 12), levels=3)


@pytest.mark.slow
class TestMobilenet(SupernetContract):
    refused = "stage0.0.expansion"

    def make(self):
        return load_space("mobilenet", width=4, stages=2, depth=2)


class TestTransformer(SupernetContract):
    refused = "dim"

    def make(self):
        return load_space("transformer", dims=(8, 16), depth=3)


class Scaled(nn.Module):
    """A user's block with weights of its own: one instance for each value."""

    def __init__(self, part: nn.Module, factor: float, power: int = 1) -> None:
        super().__init__()
        self.part, self.factor, self.power = part, factor, power
        self.bias = nn.Parameter(torch.full((1,), float(power)))

    def forward(self, x):
        return self.factor * self.part(x) ** self.power + self.bias


class TestEverythingAtOnce(SupernetContract):
    """A user's class with two values and a gate inside, a computed width, a real number, None beside a module."""

    shape = (5,)
    refused = "drop"

    def make(self):
        width = integer(3, 9, 2, tie="width")
        mine = lazy(Scaled)(
            one_of(plain=L.Identity(), wide=L.Sequential(L.LazyLinear(width * 2), L.ReLU(), L.LazyLinear(width))),
            one_of(1.0, 0.5, tie="factor"),
            one_of(1, 3, tie="power"),
        )
        ratio = one_of(1, 2, tie="ratio")
        maybe = one_of(None, L.Tanh(), L.LazyLinear(4), tie="maybe")
        return Space(
            L.Sequential(
                L.LazyLinear(width), L.LazyBatchNorm1d(), named("mine", mine), L.Dropout(real(0.0, 0.5, tie="drop")),
                named("optional", lazy(Optional)(maybe)),
                named("deep", repeat(lambda: L.Sequential(L.LazyLinear(width // ratio), L.ReLU()), 0, 2)),
                L.LazyLinear(OUTPUTS),
            )
        )  # fmt: skip


class Optional(nn.Module):
    """Takes a module or None."""

    def __init__(self, part: nn.Module | None) -> None:
        super().__init__()
        self.part = part

    def forward(self, x):
        return x if self.part is None else self.part(x)


class TestUnevenGates(SupernetContract):
    """No value decision at all, but options of different widths: what follows is sliced."""

    refused = "first"

    def make(self):
        def conv(width, kernel):
            return L.Sequential(L.LazyConv2d(width, kernel, padding="same"), L.LazyBatchNorm2d(), L.ReLU())

        first = one_of(narrow=conv(2, 3), wide=conv(6, 1), tie="first")
        second = one_of(L.Identity(), N.SqueezeExcite(2), N.Depthwise(3), N.SameConv(3), tie="second")
        last = L.Sequential(L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS))
        return Space(L.Sequential(first, second, N.Skip(2), last))


class TestSubsetsAndKernels(SupernetContract):
    """A subset with weighed members, kernels as sizes: everything can be weighed."""

    def make(self):
        kernel = one_of(1, 3, 5, tie="kernel")
        conv = L.LazyConv2d(4, kernel, padding=kernel // 2)
        some = subset(a=N.Depthwise(3), b=L.Sequential(L.ReLU(), L.LazyConv2d(4, 1)), c=L.Identity(), k=2, tie="some")
        return Space(L.Sequential(conv, lazy(Total)(some), L.AdaptiveMaxPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)))


class Total(nn.Module):
    """The sum of what a subset gives."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x):
        return sum(self.part(x))


class TestOnePoint(SupernetContract):
    """A space in which nothing is chosen."""

    shape = (4,)
    paths = 1

    def make(self):
        return Space(L.Sequential(L.Linear(4, 3), L.ReLU(), L.Linear(3, OUTPUTS)))
