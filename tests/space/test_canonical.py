"""Canonical keys: known counts, what merges and what must not, and equal outputs for equal keys."""

import itertools
import zlib

import equal_keys
import five
import pytest
import torch.nn

from searchitect import nets
from searchitect.seeds import stream
from searchitect.space import OUTPUTS, Space, lazy, one_of, repeat, subset, symbols

L = lazy(torch.nn)
M = lazy(nets)


@pytest.mark.slow
def test_nb201_has_the_known_numbers_of_classes():
    space = five.nb201()
    everything = list(space.enumerate())
    assert len({space.key(a) for a in everything}) == 5_485
    assert len({space.key(a, zero_preserving=True) for a in everything}) == 5_260


def key(module, **options):
    space = Space(L.Sequential(module))
    return space.key(space.sample(0), **options)


def conv(width=8, **more):
    return L.LazyConv2d(width, 3, padding=1, bias=False, **more)


def bn():
    return L.LazyBatchNorm2d()


SAME = {
    "identity": (L.Sequential(L.Identity(), conv(), L.Identity()), conv()),
    "nesting": (L.Sequential(L.Sequential(conv()), L.Sequential(bn())), L.Sequential(conv(), bn())),
    "dropout of zero": (L.Sequential(conv(), L.Dropout(0.0)), conv()),
    "skip": (L.Sequential(M.Skip(1), conv()), conv()),
    "order of a sum": (M.Branches(conv(4), L.ReLU()), M.Branches(L.ReLU(), conv(4))),
    "nested sum": (M.Branches(M.Branches(conv(4), bn()), L.ReLU()), M.Branches(conv(4), M.Branches(L.ReLU(), bn()))),
    "zero term": (M.Branches(conv(4), M.Zero()), M.Branches(conv(4))),
    "zero through layers": (M.Branches(conv(4), L.Sequential(M.Zero(), conv(4), L.ReLU())), M.Branches(conv(4))),
    "in place": (L.Sequential(conv(), L.ReLU(inplace=True)), L.Sequential(conv(), L.ReLU())),
    "dead branch": (
        M.Cell([conv(4), M.Zero(), M.Zero()]),
        M.Cell([M.Zero(), M.Zero(), M.Zero()]),
    ),
    "one pool used twice": (
        M.Branches(L.Sequential(L.MaxPool2d(3, 1, 1), conv(4)), L.Sequential(L.MaxPool2d(3, 1, 1), bn())),
        M.Cell([L.MaxPool2d(3, 1, 1), M.Zero(), M.Branches(conv(4), bn())]),
    ),
    "residual of zero": (M.Residual(M.Zero()), L.Identity()),
    "residual of a zero of its shape": (M.Residual(L.Sequential(M.Zero(), L.AvgPool2d(3, 1, 1))), L.Identity()),
}

OTHER = {
    "weighted twice is not double": (
        M.Branches(conv(4), conv(4)),
        L.Sequential(conv(4), M.Branches(L.Identity(), L.Identity())),
    ),
    "free twice is double": (M.Branches(L.ReLU(), L.ReLU()), L.ReLU()),
    "width": (conv(8), conv(4)),
    "order of layers": (L.Sequential(conv(), bn()), L.Sequential(bn(), conv())),
    "order of a concatenation": (
        M.Branches(conv(4), L.ReLU(), merge="concat"),
        M.Branches(L.ReLU(), conv(4), merge="concat"),
    ),
    "one value used twice or two": (
        M.Cell([conv(4), M.Zero(), M.Branches(L.ReLU(), L.Tanh())]),
        M.Branches(L.Sequential(conv(4), L.ReLU()), L.Sequential(conv(4), L.Tanh())),
    ),
    "dropout": (L.Sequential(conv(), L.Dropout(0.1)), L.Sequential(conv(), L.Dropout(0.2))),
    "normalised zero is learned": (M.Branches(conv(4), L.Sequential(M.Zero(), bn())), conv(4)),
    "sigmoid of zero is a half": (M.Branches(conv(4), L.Sequential(M.Zero(), L.Sigmoid())), conv(4)),
    "clipped zero": (M.Branches(conv(4), L.Sequential(M.Zero(), L.Hardtanh(0.1, 1.0))), conv(4)),
    "alpha dropout of zero": (M.Branches(conv(4), L.Sequential(M.Zero(), L.AlphaDropout(0.5))), conv(4)),
    "bias of zero": (
        M.Branches(conv(4), L.Sequential(M.Zero(), L.LazyConv2d(4, 3, padding=1))),
        conv(4),
    ),
    "size of a lone zero": (
        L.Sequential(M.Zero(1), L.LazyConv2d(4, 3, padding=1), conv(4)),
        L.Sequential(M.Zero(2), L.LazyConv2d(4, 3, padding=1), conv(4)),
    ),
    "width of a zero in a concatenation": (
        M.Branches(L.Sequential(conv(8), M.Zero()), conv(4), merge="concat"),
        M.Branches(L.Sequential(conv(16), M.Zero()), conv(4), merge="concat"),
    ),
    "residual that may change the shape": (M.Residual(conv(4)), M.Branches(L.Identity(), conv(4))),
    "residual of a smaller zero": (M.Residual(M.Zero(2)), L.Identity()),
    "changes a shared value in place": (
        M.Branches(L.ReLU(inplace=True), conv(4)),
        M.Branches(conv(4), L.ReLU(inplace=True)),
    ),
    "changes a view in place": (
        M.Branches(L.Sequential(L.Flatten(), L.ReLU(inplace=True)), L.Flatten()),
        M.Branches(L.Flatten(), L.Sequential(L.Flatten(), L.ReLU(inplace=True))),
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_equal_functions_have_one_key(case):
    first, second = SAME[case]
    assert key(first) == key(second)


@pytest.mark.parametrize("case", OTHER)
def test_other_functions_have_other_keys(case):
    first, second = OTHER[case]
    assert key(first) != key(second)


def test_zero_preserving_counts_normalised_zeros_as_zeros():
    first, second = OTHER["normalised zero is learned"]
    assert key(first, zero_preserving=True) == key(second, zero_preserving=True)


class Opaque(torch.nn.Module):
    """Unknown to the key: it could do anything."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x)


def test_classes_of_the_users_are_opaque():
    wrap = lazy(Opaque)
    assert key(wrap(conv())) == key(wrap(conv()))
    assert key(wrap(conv())) != key(conv())
    assert key(wrap(L.Sequential(conv()))) != key(wrap(conv()))
    assert key(M.Branches(wrap(L.ReLU()), wrap(L.ReLU()))) != key(L.Sequential(wrap(L.ReLU()), L.ReLU()))


WRONG_USE = {
    "a cell with four edges": M.Cell([conv(), conv(), conv(), conv()]),
    "an edge from nowhere": subset(a=M.Edge(7, conv()), b=M.Edge(0, conv()), k=2),
    "an edge without states": M.Edge(0, conv()),
    "a list into a layer": L.Sequential(subset(a=conv(), b=conv(), k=2), L.ReLU()),
    "lists of lists": subset(a=subset(c=conv(), d=conv(), k=2), b=conv(), k=2),
    "a mapping of layers": L.Sequential({"first": conv()}),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_what_cannot_be_built_still_has_a_key(case):
    """It is the build that says what is wrong, with its place."""
    assert len(key(WRONG_USE[case])) == 32


def test_a_very_long_network_has_a_key():
    long = Space(L.Sequential(repeat(lambda: L.Sequential(conv(), M.Zero()), 3_000), L.ReLU()))
    assert len(long.key(long.sample(0))) == 32


def test_symmetric_sums_have_one_text():
    """Twins, alike below and told apart only by their users, are written in one order however they were made."""
    inner, outer = [conv(4), conv(4)], [L.ReLU(), L.Tanh()]
    keys = set()
    for first, second in itertools.product(itertools.permutations(inner), itertools.permutations(outer)):
        edges = [first[0], first[1], M.Zero(), M.Zero(), second[0], second[1]]
        keys.add(key(M.Cell(edges)))
    assert len(keys) == 1


def tangle():
    """Every rule of the key in one small space: sums, concatenations, subsets, cells, zeros, skips, dropout."""

    def op():
        return one_of(
            zero=M.Zero(), skip=M.Skip(1), relu=L.ReLU(), conv=L.Conv2d(4, 4, 3, padding=1, bias=False),
            norm=L.BatchNorm2d(4), biased=L.Conv2d(4, 4, 1), drop=L.Sequential(L.Dropout(0.0), L.Dropout(0.3)),
        )  # fmt: skip

    both = L.Sequential(M.Residual(op()), M.Branches(op(), op(), merge=one_of("sum", "concat")))
    cell = M.Cell([op() for _ in range(3)])
    return Space(L.Sequential(L.LazyConv2d(4, 3, padding=1), cell, both, five.head()), name="tangle")


def small_cnn():
    return five.cnn(depth=3, kernels=(3,), acts=("ReLU",), stem=(4,), widths=((4,), (6,)))


def small_darts():
    return five.darts(nodes=2, ops=("none", "max3", "skip", "sep3"), layers="NRN")


def pairs(space, wanted, seed):
    """Pairs of different architectures with equal keys, found among samples and their neighbours."""
    first, found = {}, []
    for i in range(20_000):
        start = space.sample(stream(seed, i, "pairs"), by="architecture")
        for a in [start, *itertools.islice(space.neighbours(start, i), 30)]:
            other = first.setdefault(space.key(a), a)
            if other != a:
                found.append((other, a))
        if len(found) >= wanted:
            break
    assert len(found) >= wanted
    return found[:wanted]


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: five.nb201(width=4), small_cnn, small_darts, tangle],
                         ids=["nb201", "cnn", "darts", "tangle"])  # fmt: skip
def test_equal_keys_give_equal_outputs_with_mapped_weights(make):
    space = make()
    for i, (a, b) in enumerate(pairs(space, 200, seed=5)):
        assert equal_keys.largest_difference(space, a, b, five.IMAGE, seed=i) < 1e-5, (a.decisions, b.decisions)


def test_unequal_keys_are_not_helped_by_mapping():
    """The check above can fail: networks that differ in one operation differ in their outputs."""
    space = Space(L.Sequential(L.LazyConv2d(4, 3), one_of(L.ReLU(), L.Tanh()), five.head()))
    a, b = space.enumerate()
    assert space.key(a) != space.key(b)
    assert equal_keys.largest_difference(space, a, b, five.IMAGE, seed=0) > 1e-3


def test_subsets_of_equal_members_merge():
    members = subset(a=M.Edge(0, L.ReLU()), b=M.Edge(0, L.ReLU()), c=M.Edge(1, L.ReLU()), k=2)
    cell = M.TwoInputCell(4, [members])
    space = Space(M.TwoInputChain(conv(), [cell], L.Sequential(L.Flatten(), L.LazyLinear(OUTPUTS))))
    keys = {a.decisions["cells.0.nodes.0"]: space.key(a) for a in space.enumerate()}
    assert keys["a+c"] == keys["b+c"] != keys["a+b"]


def test_keys_stay_what_they_were():
    """A study on disk is resumed by its keys, so they may change with the format of the store only."""
    space = five.nb201()
    keys = {space.key(space.sample(stream(0, i, "sample"))) for i in range(50)}
    assert min(keys) == "07632761c27df831df6590a30cd2a7b1"
    assert len(keys) == 48


def test_the_order_of_an_operation_is_the_checksum_of_its_text():
    below = symbols.Value("conv", (symbols.INPUT,))
    made = symbols.Value("+", (below, symbols.INPUT), unordered=True)
    assert below.order == zlib.crc32(f"conv[{symbols.INPUT.order}]".encode())
    assert made.order == zlib.crc32(f"+{sorted([below.order, symbols.INPUT.order])}".encode())
