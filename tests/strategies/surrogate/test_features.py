"""What a model sees: equal networks are equal, and distances are those that are promised."""

import importlib
import math
import zlib

import numpy as np
import pytest

from searchitect.seeds import stream
from searchitect.space import Layer, Space, integer, lazy, one_of, real, subset
from searchitect.strategies.surrogate.features import PLACES, Features, chains
from searchitect.strategies.surrogate.graphs import canonical_graph
from searchitect.testing.strategy import toy_space


def ready_made(name, **options):
    return importlib.import_module(f"searchitect.spaces.{name}").space(**options)


SPACES = {
    "nb201": lambda: ready_made("nb201", cells=1),
    "darts": lambda: ready_made("darts", cells=3),
    "mobilenet": lambda: ready_made("mobilenet"),
    "transformer": lambda: ready_made("transformer"),
    "tcn": lambda: ready_made("tcn"),
    "toy": toy_space,
}


@pytest.mark.parametrize("name", SPACES)
def test_equal_keys_have_equal_features(name):
    """By what is read from the graph, not only because the first description is kept."""
    space = SPACES[name]()
    features, by_key = Features(space), {}
    parents = [space.sample(stream(0, i, "sample")) for i in range(40)]
    children = [space.mutate(p, stream(1, i, "mutate")) for i, p in enumerate(parents) for _ in range(2)]
    for architecture in parents + children:
        graph = canonical_graph(space, architecture)
        assert graph.key == space.key(architecture)
        assert np.array_equal(by_key.setdefault(graph.key, chains(graph)), chains(graph))
        assert features.of(architecture).key == graph.key
    described = {features.of(a).key: features.of(a) for a in parents + children}
    assert all(features.of(a) is described[features.of(a).key] for a in parents + children)


def test_isomorphic_cells_of_nas_bench_201_coincide_and_others_do_not():
    space = SPACES["nb201"]()
    edges = [d.name for d in space.decisions]  # 0-1, 0-2, 1-2, 0-3, 1-3, 2-3

    def cell(*operations):
        return space.architecture(dict(zip(edges, operations, strict=True)))

    none, conv, skip = "none", "nor_conv_3x3", "skip_connect"
    first = cell(conv, none, none, none, conv, none)  # 0 → 1 → 3
    other = cell(none, conv, none, none, none, conv)  # 0 → 2 → 3
    third = cell(conv, none, skip, none, none, conv)  # 0 → 1 = 2 → 3
    single = cell(none, none, none, conv, none, none)
    features = Features(space)
    assert features.of(first) is features.of(other) is features.of(third)
    assert features.of(first) is not features.of(single)


def test_chains_count_paths_of_a_small_network():
    """x → a → b, x → b: chains of one: x, a, b, b; of two: xa, ab, xb; of three: xab."""
    L = lazy(importlib.import_module("torch.nn"))
    N = lazy(importlib.import_module("searchitect.nets"))
    one, two = L.Conv2d(4, 4, 1), L.Conv2d(4, 4, 3, padding=1)
    space = Space(N.Branches(L.Sequential(one, two), two, merge="sum"))
    graph = canonical_graph(space, space.sample(0))
    assert sorted(label.partition("(")[0] for label in graph.labels) == ["torch.nn.Conv2d"] * 3 + ["x"]
    assert len(graph.result) == 2
    counts = np.split(np.square(chains(graph)), np.cumsum(PLACES)[:-1])
    assert [float(part.sum()) for part in counts] == pytest.approx([4, 3, 1])
    assert float(counts[0].max()) == pytest.approx(2)  # the convolution that occurs twice


def walked(graph):
    """Chains of 1, 2 and 3 labels by walking every path, as Python numbers, hashed by the same formula."""
    label = [zlib.crc32(text.encode()) for text in graph.labels]
    found = [[], [], []]
    for last, inputs in enumerate(graph.inputs):
        found[0].append((label[last],))
        for middle in inputs:
            found[1].append((label[middle], label[last]))
            found[2] += [(label[first], label[middle], label[last]) for first in graph.inputs[middle]]
    vectors = []
    for places, paths in zip(PLACES, found, strict=True):
        counts = [0] * places
        for first, *rest in paths:
            for step in rest:
                first = (first * 0x9E3779B1 ^ step) % 2**32
            counts[(first ^ first >> 15) % places] += 1
        vectors += [math.sqrt(count) for count in counts]
    return vectors


@pytest.mark.parametrize("name", SPACES)
def test_chains_are_those_of_every_path(name, monkeypatch):
    space = SPACES[name]()
    for i in range(5):
        graph = canonical_graph(space, space.sample(stream(3, i, "sample")))
        assert chains(graph) == pytest.approx(walked(graph), rel=1e-6)
        monkeypatch.setattr("searchitect.strategies.surrogate.features.CHUNK", 7)  # in many parts
        assert chains(graph) == pytest.approx(walked(graph), rel=1e-6)


def test_activations_and_norms_are_passed_through():
    L = lazy(importlib.import_module("torch.nn"))
    plain = Space(L.Sequential(L.Conv2d(3, 4, 1), L.Conv2d(4, 4, 1)))
    dressed = Space(L.Sequential(L.Conv2d(3, 4, 1), L.BatchNorm2d(4), L.ReLU(), L.Conv2d(4, 4, 1), L.Sigmoid()))
    seen = [chains(canonical_graph(s, s.sample(0))) for s in (plain, dressed)]
    assert np.array_equal(*seen)
    assert len(seen[0]) == sum(PLACES)


def test_modules_inside_an_unknown_class_are_seen():
    space = toy_space()
    graph = canonical_graph(space, space.sample(1))
    assert "x" in graph.labels
    assert any(label.startswith("toy.Head") for label in graph.labels)


def squared(space, one, other):
    features = Features(space)
    a, b = (features.of(space.architecture(d)).vector for d in (one, other))
    return float(np.square(a - b)[features.parts < len(space.decisions)].sum())


def test_each_kind_of_decision_adds_its_distance():
    space = Space(
        Layer(
            "t.Net",
            {
                "kind": one_of("a", "b", "c"),
                "width": one_of(8, 16, 64, name="width"),
                "depth": integer(1, 9),
                "rate": real(1e-4, 1e-1, log=True),
                "parts": subset(p=Layer("t.P", {}), q=Layer("t.Q", {}), r=Layer("t.R", {}), k=2),
            },
        )
    )
    base = {"kind": "a", "width": 8, "depth": 1, "rate": 1e-4, "parts": "p+q"}
    assert squared(space, base, base) == 0
    assert squared(space, base, base | {"kind": "c"}) == pytest.approx(1)
    assert squared(space, base, base | {"width": 16}) == pytest.approx(0.5)  # one rank of two
    assert squared(space, base, base | {"width": 64}) == pytest.approx(1)
    assert squared(space, base, base | {"depth": 5}) == pytest.approx(0.5)
    assert squared(space, base, base | {"rate": 1e-1}) == pytest.approx(1)
    assert squared(space, base, base | {"rate": 10**-2.5}) == pytest.approx(0.5, abs=0.02)
    assert squared(space, base, base | {"parts": "p+r"}) == pytest.approx(0.5)
    both = base | {"kind": "b", "depth": 5}
    assert squared(space, base, both) == pytest.approx(1.5)  # decisions add up


def test_inactive_is_a_value():
    space = Space(one_of(a=Layer("t.A", {"k": one_of(1, 3)}), b=Layer("t.B", {"k": one_of(1, 3)})))
    one, other = space.architecture({"choice": "a", "a.k": 1}), space.architecture({"choice": "b", "b.k": 1})
    assert squared(space, one.decisions, other.decisions) == pytest.approx(3)


def test_forgetting_keeps_what_is_kept():
    space = SPACES["nb201"]()
    features = Features(space)
    some = [space.sample(i) for i in range(6)]
    first = [features.of(a) for a in some]
    features.forget(lambda a: a in some[:2])
    assert features.of(some[0]) is first[0]
    assert features.of(some[5]) is not first[5]
