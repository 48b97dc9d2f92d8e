"""What the tests of weight sharing have in common: small spaces, and a task where one option is clearly right."""

from __future__ import annotations

import torch
from torch import nn

import searchitect.nets as nets
from searchitect.nets import supernet
from searchitect.sharing.method import Batch, Setup
from searchitect.space import OUTPUTS, Space, lazy, one_of, real, repeat, subset
from searchitect.training import TrainData

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


class Scaled(nn.Module):
    """The input times a number that is learned."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * x


def toy_space() -> Space:
    """Two gates between linear layers, without BatchNorm."""
    first = one_of(L.Tanh(), L.Identity(), L.Linear(4, 4), name="first")
    second = one_of(lazy(Square)(), L.Sigmoid(), name="second")
    return Space(L.Sequential(L.LazyLinear(4), first, L.Linear(4, 4), second, L.LazyLinear(OUTPUTS)))


def one_gate(*options) -> Space:
    """A single gate, and nothing else."""
    return Space(L.Sequential(one_of(*options, name="gate")))


def setup_of(space, shape, loss, *, seed=0, momentum=0.9, decay=3e-4, penalty=None, dtype=torch.float64) -> Setup:
    """What a method works on, in double precision."""
    net = supernet(space, shape, outputs=3, seed=seed).to(dtype)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum, weight_decay=decay)
    return Setup(net, loss, optimizer, penalty, seed, 100)


def batch(shape, rows=6, seed=0, classes=3, dtype=torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        torch.randn(rows, *shape, generator=generator, dtype=torch.float64).to(dtype),
        torch.randint(classes, (rows,), generator=generator),
    )


def recorded(method) -> list:
    """The gradients of each architecture step from now on."""
    found, step = [], method.logits.step

    def record(gradients):
        found.append([None if g is None else g.clone() for g in gradients])
        step(gradients)

    method.logits.step = record
    return found


def squares(rows=320, seed=0, shape=(4, 3, 3)) -> TrainData:
    """Rows of small and of large numbers: clear behind a `Square`, and not to be seen by a linear layer without it."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % 2
    x = torch.randn(rows, *shape, generator=generator) * (0.5 + y).reshape(-1, 1, 1, 1)
    cut = rows * 3 // 4
    return TrainData(x[:cut], y[:cut], x[cut:], y[cut:], "classification", 2)


def right_space(*, tail=True) -> Space:
    """A square shows what the classes of `squares` differ in; no other option does.

    tail: whether each option has a linear layer of its own, or all of them one together. A gradient through a hard
    draw (GDAS) sees only whether more or less of the chosen option is wanted, which a layer behind makes up for.
    """
    if not tail:
        shape = one_of(identity=L.Identity(), square=lazy(Square)(), bounded=L.Hardtanh(), name="shape")
        return Space(L.Sequential(shape, L.Flatten(), L.LazyLinear(OUTPUTS)))

    def ending(*layers):
        return L.Sequential(*layers, L.LazyLinear(OUTPUTS))

    shape = one_of(identity=ending(), square=ending(lazy(Square)()), bounded=ending(L.Hardtanh()), name="shape")
    return Space(L.Sequential(L.Flatten(), shape))
