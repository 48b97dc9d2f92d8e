"""Five spaces of the literature, written with the space language; each can be shrunk for brute force.

Images are (3, 8, 8), sequences (12, 16): 12 tokens of 16 numbers.
"""

from __future__ import annotations

import torch.nn

from searchitect import nets
from searchitect.space import OUTPUTS, Space, lazy, named, one_of, real, repeat, subset

L = lazy(torch.nn)
M = lazy(nets)


def head():
    return L.Sequential(L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS))


# -- a plain convolutional network: depth, width, kernel, operation, skip ------------------------------------


def cnn(depth=3, kernels=(3, 5, 7), acts=("ReLU", "SiLU"), stem=(8, 16, 24), widths=((8, 16), (16, 32))):
    def conv(width):
        act = one_of(*(getattr(L, name)() for name in acts))
        return L.Sequential(L.LazyConv2d(width, one_of(*kernels), padding="same", bias=False), L.LazyBatchNorm2d(), act)

    def stage(width):
        return repeat(lambda: one_of(conv=conv(width), skip=L.Identity(), pool=L.MaxPool2d(3, 1, 1)), 1, depth)

    early, late = (stage(one_of(*options)) for options in widths)
    first = named("stem", conv(one_of(*stem)))
    return Space(
        L.Sequential(first, named("early", early), L.MaxPool2d(2), named("late", late), head()), name="plain CNN"
    )


def cnn_size(depth, kernels=3, acts=2, stem=3, widths=2):
    """Sequences of d operations: 2^d without a convolution, else each with one of the stage's widths."""
    per_stage = sum(widths * ((kernels * acts + 2) ** d - 2**d) + 2**d for d in range(1, depth + 1))
    return stem * kernels * acts * per_stage**2


# -- the NAS-Bench-201 cell, tied over three widths -----------------------------------------------------------


def nb201(cells=1, width=8):
    def rcb(channels, kernel):
        conv = L.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        return L.Sequential(L.ReLU(), conv, L.BatchNorm2d(channels))

    def edge(i, j, channels):
        return one_of(
            none=M.Zero(), skip=L.Identity(), conv1=rcb(channels, 1), conv3=rcb(channels, 3),
            pool=L.AvgPool2d(3, 1, 1, count_include_pad=False), tie=f"{i}-{j}",
        )  # fmt: skip

    def cell(channels):
        return M.Cell([edge(i, j, channels) for j in range(1, 4) for i in range(j)])

    def smaller(channels):
        return M.Residual(
            L.Sequential(L.ReLU(), L.Conv2d(channels // 2, channels, 3, 2, 1, bias=False), L.BatchNorm2d(channels))
        )

    parts = [L.LazyConv2d(width, 3, padding=1, bias=False), L.BatchNorm2d(width)]
    for channels in (width, 2 * width, 4 * width):
        parts += [smaller(channels)] if channels > width else []
        parts += [cell(channels) for _ in range(cells)]
    return Space(L.Sequential(*parts, L.BatchNorm2d(4 * width), L.ReLU(), head()), name="NAS-Bench-201")


# -- DARTS: normal and reduce cells, each node takes two of its earlier nodes, tied over all layers -----------


def darts(nodes=4, ops=("max3", "avg3", "skip", "sep3", "sep5", "dil3", "dil5"), width=4, layers="NRNRN"):
    def op(stride):
        all_ops = {
            "none": lambda: M.Zero(stride),
            "max3": lambda: L.MaxPool2d(3, stride, 1),
            "avg3": lambda: L.AvgPool2d(3, stride, 1, count_include_pad=False),
            "skip": lambda: M.Skip(stride),
            "sep3": lambda: M.Depthwise(3, stride, twice=True),
            "sep5": lambda: M.Depthwise(5, stride, twice=True),
            "dil3": lambda: M.Depthwise(3, stride, 2),
            "dil5": lambda: M.Depthwise(5, stride, 2),
        }
        return one_of(**{name: all_ops[name]() for name in ops})

    def genes(cell, reduce):
        def node(n):
            edges = {f"from{j}": M.Edge(j, op(2 if reduce and j < 2 else 1)) for j in range(n)}
            return subset(**edges, k=2, name=f"{cell}.{n}")

        return [node(n) for n in range(2, 2 + nodes)]

    kinds = {"N": genes("normal", False), "R": genes("reduce", True)}
    cells, channels = [], width
    for i, kind in enumerate(layers):
        channels *= 2 if kind == "R" else 1
        cells.append(M.TwoInputCell(channels, kinds[kind], i > 0 and layers[i - 1] == "R"))
    stem = L.Sequential(L.LazyConv2d(3 * width, 3, padding=1, bias=False), L.LazyBatchNorm2d())
    return Space(M.TwoInputChain(stem, cells, head()), name="DARTS")


# -- MobileNet-like stages: width, depth, expansion, kernel, squeeze-excite -----------------------------------


def mobilenet(depth=3, stages=3):
    def block(width_in, width_out, stride):
        kernel, hidden = one_of(3, 5, name="kernel"), width_in * one_of(2, 4, name="expansion")
        body = L.Sequential(
            L.LazyConv2d(hidden, 1, bias=False), L.LazyBatchNorm2d(), L.ReLU6(),
            L.LazyConv2d(hidden, kernel, stride, padding=kernel // 2, groups=hidden, bias=False),
            L.LazyBatchNorm2d(), L.ReLU6(), named("attention", one_of(none=L.Identity(), excite=M.SqueezeExcite())),
            L.LazyConv2d(width_out, 1, bias=False), L.LazyBatchNorm2d(),
        )  # fmt: skip
        return M.Residual(body)

    options = [(8, 12), (16, 24), (32, 48)][:stages]
    widths = [8] + [one_of(*both, name=f"width{i}", tie=f"width{i}") for i, both in enumerate(options)]

    def stage(i):
        def make(j):
            return block(widths[i + (j > 0)], widths[i + 1], 2 if j == 0 else 1)

        return named(f"stage{i}", repeat(make, 1, depth))

    stem = L.Sequential(L.LazyConv2d(8, 3, padding=1, bias=False), L.LazyBatchNorm2d(), L.ReLU6())
    return Space(L.Sequential(stem, *map(stage, range(stages)), head()), name="MobileNet-like")


def mobilenet_size(depth, stages):
    """Two widths and, for each depth d, 8 kinds of block d times, in every stage."""
    return 2**stages * sum(8**d for d in range(1, depth + 1)) ** stages


# -- a small transformer: width, depth, attention or mixing, MLP ratio, dropout -------------------------------


def transformer(depth=4):
    dim = one_of(16, 32, name="dim")

    def block():
        hidden = dim * one_of(1, 2, 4, name="ratio")
        mixing = one_of(attention=M.SelfAttention(dim, one_of(2, 4)), convolution=M.ConvMixing(one_of(3, 5)))
        feed = L.Sequential(
            L.LayerNorm(dim), L.Linear(dim, hidden), one_of(L.GELU(), L.ReLU()),
            L.Dropout(real(0.0, 0.3, name="dropout")), L.Linear(hidden, dim),
        )  # fmt: skip
        return L.Sequential(M.Residual(L.Sequential(L.LayerNorm(dim), named("mixing", mixing))), M.Residual(feed))

    return Space(
        L.Sequential(L.LazyLinear(dim), M.Position(), named("blocks", repeat(block, 1, depth)), M.Mean(),
                     L.LayerNorm(dim), L.Linear(dim, OUTPUTS)),
        name="transformer",
    )  # fmt: skip


def transformer_size(depth):
    """Two widths, and for each depth d: 4 mixings, 3 ratios and 2 activations d times."""
    return 2 * sum(24**d for d in range(1, depth + 1))


IMAGE, SEQUENCE = (3, 8, 8), (12, 16)
MAKERS = {"cnn": cnn, "nb201": nb201, "darts": darts, "mobilenet": mobilenet, "transformer": transformer}
SIZES = {
    "cnn": (cnn_size(3), 0),
    "nb201": (15_625, 0),
    "darts": (1_037_664_180**2, 0),
    "mobilenet": (mobilenet_size(3, 3), 0),
    "transformer": (transformer_size(4), 4),
}
SMALL = {  # shrunken versions for brute force, with their sizes
    "cnn": (lambda: cnn(depth=1), cnn_size(1)),
    "nb201": (nb201, 5**6),
    "darts": (lambda: darts(nodes=2, ops=("skip", "sep3"), layers="NR"), (2**2 * 3 * 2**2) ** 2),
    "mobilenet": (lambda: mobilenet(depth=2, stages=1), mobilenet_size(2, 1)),
    "transformer": (lambda: transformer(depth=2), transformer_size(2)),
}
SHAPES = {name: SEQUENCE if name == "transformer" else IMAGE for name in MAKERS}
