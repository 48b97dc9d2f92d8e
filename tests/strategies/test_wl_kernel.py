"""Weisfeiler-Lehman counts against hand counts and brute force; graphs and arguments against their definitions."""

import itertools

import numpy as np
import pytest

from searchitect.bench import load_table
from searchitect.space import Layer, Space, integer, one_of, real
from searchitect.strategies.plan_graph import Names, PlanGraph, arguments, plan_graph, spread
from searchitect.strategies.wl_kernel import Levels, distances, products, relabel, squares


def graph(*nodes):
    """A graph from (operation, inputs) pairs; sums have unordered inputs."""
    ops, inputs = [op for op, _ in nodes], [tuple(i) for _, i in nodes]
    return PlanGraph(ops, inputs, [op == "+" for op in ops], [None] * len(ops), "")


CHAIN = graph(("x", ()), ("conv", (0,)), ("pool", (1,)))
DIAMOND = graph(("x", ()), ("conv", (0,)), ("pool", (0,)), ("+", (1, 2)))
TURNED = graph(("x", ()), ("pool", (0,)), ("conv", (0,)), ("+", (1, 2)))


def test_counts_by_hand():
    """Round 1 of the diamond: x; conv of x; pool of x; a sum of conv and pool. Each once."""
    names = Names()
    zero, one = relabel(DIAMOND, names, 1)
    assert {name: zero[names[name]] for name in [(0, "x"), (0, "conv"), (0, "pool"), (0, "+")]} == {
        (0, "x"): 1, (0, "conv"): 1, (0, "pool"): 1, (0, "+"): 1,
    }  # fmt: skip
    x, conv, pool, total = (names[0, op] for op in ("x", "conv", "pool", "+"))
    patterns = {(1, x, ()), (1, conv, (x,)), (1, pool, (x,)), (1, total, tuple(sorted((conv, pool))))}
    assert one == {names[p]: 1.0 for p in patterns}


def test_the_kernel_of_two_graphs_by_hand():
    """Round 0: x, conv and pool in common. Round 1: x and conv(x) only, as the pools stand on different things."""
    levels = Levels(2)
    chain, diamond = levels(CHAIN), levels(DIAMOND)
    dots = products([chain], [diamond], len(levels.names))[:, 0, 0]
    assert dots.tolist() == [3.0, 3.0, 2.0, 2.0]  # arguments of unknown modules are the operations themselves


def subtree(g, node, height):
    """The pattern of a node as nested tuples: the definition, without numbers for labels."""
    if height == 0:
        return g.ops[node]
    below = [subtree(g, i, height - 1) for i in g.inputs[node]]
    return (subtree(g, node, height - 1), tuple(sorted(below, key=repr) if g.unordered[node] else below))


@pytest.mark.parametrize("table", ["nb201-cifar10", "graph-cora"])
def test_the_kernel_against_brute_force_over_pairs_of_nodes(table):
    """⟨φ(a), φ(b)⟩ is the number of pairs of nodes with equal subtree patterns (Shervashidze et al. 2011)."""
    space = load_table(table).space
    graphs = [plan_graph(space, space.sample(seed)) for seed in range(5)]
    levels = Levels(3)
    items = [levels(g) for g in graphs]
    dots = products(items, items, len(levels.names))
    for (i, a), (j, b) in itertools.product(enumerate(graphs), repeat=2):
        for height in range(4):
            of_b = [subtree(b, m, height) for m in range(len(b.ops))]
            pairs = sum(of_b.count(subtree(a, n, height)) for n in range(len(a.ops)))
            assert dots[height + 1, i, j] == pairs
    assert np.allclose(np.diagonal(dots, axis1=1, axis2=2), squares(items))


def test_the_order_of_nodes_and_of_sums_does_not_matter_but_that_of_other_inputs_does():
    levels = Levels(3)
    assert all(np.array_equal(np.sort(a.places), np.sort(b.places))
               for a, b in zip(levels(DIAMOND), levels(TURNED), strict=True))  # fmt: skip
    one = graph(("x", ()), ("conv", (0,)), ("pool", (0,)), ("concat", (1, 2)))
    two = graph(("x", ()), ("conv", (0,)), ("pool", (0,)), ("concat", (2, 1)))
    assert relabel(one, levels.names, 1)[1] != relabel(two, levels.names, 1)[1]


@pytest.mark.parametrize("table", ["nb201-cifar10", "transnas-object", "macro-cifar10"])
def test_equal_keys_have_equal_counts_and_the_key_is_that_of_the_space(table):
    space = load_table(table).space
    levels, by_key, met = Levels(3), {}, 0
    for seed in range(400):
        architecture = space.sample(seed)
        found = plan_graph(space, architecture)
        assert found.key == space.key(architecture)
        counts = [dict(zip(v.places.tolist(), v.counts.tolist(), strict=True)) for v in levels(found)]
        met += found.key in by_key
        assert by_key.setdefault(found.key, counts) == counts
    assert met > 3


def test_inputs_come_before_their_nodes_and_all_nodes_are_used():
    space = load_table("nb201-cifar10").space
    for seed in range(30):
        g = plan_graph(space, space.sample(seed))
        assert all(i < node for node, inputs in enumerate(g.inputs) for i in inputs)
        assert {i for inputs in g.inputs for i in inputs} == set(range(len(g.ops) - 1))


def test_kernel_matrices_are_positive_semidefinite():
    space = load_table("nb201-cifar10").space
    levels = Levels(4)
    items = [levels(plan_graph(space, space.sample(seed))) for seed in range(60)]
    own, dots = squares(items), products(items, items, len(levels.names))
    for level, squared in zip(dots, distances(dots, own, own), strict=True):
        assert np.linalg.eigvalsh(level).min() > -1e-8 * level.max()
        assert np.linalg.eigvalsh(np.exp(-squared / 20.0)).min() > -1e-9


def test_numbers_share_knots_when_they_are_near():
    def near(a, b):
        one, two = dict(spread(a)), dict(spread(b))
        return sum(weight * two.get(name, 0.0) for name, weight in one.items())

    for number in (0.003, 1.0, 16.0, 300.0, -7.0):
        assert sum(weight for _, weight in spread(number)) == pytest.approx(2.0)
    assert near(64, 64) > near(64, 90) > near(64, 128) > near(64, 512) >= 0.0
    assert near(0.3, -0.3) == 0.0
    assert dict(spread(0.0)) == {"0.0": 2.0}


def test_arguments_by_hand():
    """Two layers of width 16 and one dropout: targets and values are counted, wherever they stand."""
    layers = [Layer("toy.Linear", {"width": one_of(16, 32), "bias": True}) for _ in range(2)]
    space = Space(Layer("torch.nn.Sequential", {"*": (*layers, Layer("toy.Drop", {"p": real(0.0, 0.5)}))}))
    names = [d.name for d in space.decisions]
    architecture = space.architecture(dict(zip(names, (16, 16, 0.25), strict=True)))
    columns = Names()
    counts = arguments(plan_graph(space, architecture), columns, {})
    seen = {name[1]: counts[i] for name, i in columns.items() if counts.get(i)}
    assert seen["toy.Linear"] == 2
    assert seen["toy.Linear.bias:True"] == 2
    assert seen["toy.Linear.width:4/1"] == 2  # 16 is a knot of the octaves, and a third of the way on those of three
    assert seen["toy.Linear.width:1/3"] == pytest.approx(4 / 3)
    assert seen["toy.Linear.width:2/3"] == pytest.approx(2 / 3)
    assert seen["toy.Drop.p:-2/1"] == 1


def test_a_module_that_is_not_looked_into_shows_the_arguments_of_its_parts():
    inner = Layer("toy.Inner", {"size": integer(2, 9)})
    space = Space(Layer("toy.Outer", {"parts": [inner, Layer("toy.Other", {})]}))
    columns = Names()
    arguments(plan_graph(space, space.sample(0)), columns, {})
    labels = [name for _, name in columns]
    assert any("toy.Outer.parts:0:toy.Inner.size:" in label for label in labels)
    assert any(label.endswith("parts:1:toy.Other") for label in labels)
