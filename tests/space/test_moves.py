"""Moves where the contract of spaces does not look: randomness, numbers, foreign architectures."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from searchitect.errors import ArchitectureError, SpaceError, UsageError
from searchitect.seeds import stream
from searchitect.space import Architecture, Layer, Space, integer, one_of, real


def layer(*parts):
    return Layer("toy.Layer", {"*": tuple(parts)})


def test_an_int_seed_reaches_every_decision_of_a_large_space():
    space = Space(layer(*[one_of(*range(4)) for _ in range(100)]))
    counts = [Counter(space.sample(seed).decisions[d.name] for seed in range(400)) for d in space.decisions]
    for count in counts:
        statistic = sum((count[v] - 100) ** 2 / 100 for v in range(4))
        assert statistic < chi2.ppf(1 - 1e-6, 3)


def test_seeds_and_streams_repeat_and_other_things_are_refused():
    space = Space(layer(*[one_of(*range(9)) for _ in range(9)]))
    assert space.sample(5) == space.sample(5) != space.sample(6)
    assert space.sample(stream(0, 1, "x")) == space.sample(stream(0, 1, "x")) != space.sample(stream(0, 2, "x"))
    with pytest.raises(UsageError, match=r"draws='seven'.*stream"):
        space.sample("seven")
    with pytest.raises(UsageError, match="'branch' or 'architecture'"):
        space.sample(0, by="depth")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 50), st.integers(0, 5_000), st.integers(1, 7), st.booleans(), st.integers(0, 10**9))
def test_a_number_moves_inside_its_bounds(low, extent, step, log, seed):
    space = Space(
        layer(integer(low, low + extent, step, log=log, name="n"), real(low, low + 1 + extent, log=log, name="x"))
    )
    a = space.sample(seed)
    for i in range(10):
        child = space.validate(space.mutate(a, seed + i))
        assert child != a
    for near in space.neighbours(a, seed):
        space.validate(near)
        if "n" in a.decisions:
            assert abs(near.decisions["n"] - a.decisions["n"]) in (0, step)


def test_log_numbers_are_drawn_and_mutated_on_a_log_scale():
    space = Space(layer(integer(1, 1_000, log=True, name="n"), real(1e-4, 1.0, log=True, name="x")))
    found = [space.sample(stream(0, i, "log")) for i in range(1_000)]
    assert 400 < sum(a.decisions["n"] < 32 for a in found) < 600
    assert 400 < sum(a.decisions["x"] < 1e-2 for a in found) < 600
    children = [space.mutate(a, stream(1, i, "log")) for i, a in enumerate(found)]
    moved = [c.decisions["n"] for a, c in zip(found, children, strict=True) if a.decisions["n"] != c.decisions["n"]]
    assert 0.35 < sum(n < 32 for n in moved) / len(moved) < 0.65


def test_float_neighbours_are_one_step_up_and_down_and_stop_at_the_bounds():
    space = Space(layer(real(0.0, 2.0, name="x")))
    middle, edge = (space.architecture({"x": value}) for value in (1.0, 2.0))
    assert [a.decisions["x"] for a in space.neighbours(middle)] == [0.8, 1.2]
    assert [a.decisions["x"] for a in space.neighbours(edge)] == [1.8]


def test_ordered_values_step_in_their_order():
    space = Space(layer(one_of(8, 2, 4, name="n"), one_of("a", "b", "c", name="s")))
    near = list(space.neighbours(space.architecture({"n": 2, "s": "b"})))
    assert [(a.decisions["n"], a.decisions["s"]) for a in near] == [(4, "b"), (2, "a"), (2, "c")]


def test_a_point_is_sampled_enumerated_and_not_mutated():
    space = Space(layer(one_of(layer()), integer(3, 3)))
    assert space.size.finite == 1
    only = space.sample(0)
    assert list(space.enumerate()) == [only]
    assert list(space.neighbours(only)) == []
    assert space.cross(only, only, 0) == only
    with pytest.raises(SpaceError, match="one architecture only"):
        space.mutate(only, 0)


def test_architecture_is_written_as_the_space_writes_it():
    space = Space(layer(one_of(1, 2, name="a"), one_of(x=layer(real(0, 1, name="f")), y=layer(), name="b")))
    inner = next(d.name for d in space.decisions if d.kind == "float")
    given_loosely = space.architecture({"b": "x", inner: 1, "a": 2.0})
    exact = space.architecture({"a": 2, "b": "x", inner: 1.0})
    assert given_loosely.to_json() == exact.to_json()


@pytest.mark.parametrize(
    ("decisions", "words"),
    [
        ({"b": "y"}, "'a' is missing; allowed is 1, 2"),
        ({"a": 3, "b": "y"}, "'a' cannot be 3: allowed is 1, 2"),
        ({"a": True, "b": "y"}, "'a' cannot be True"),
        ({"a": "1", "b": "y"}, "'a' cannot be '1'"),
        ({"a": [1], "b": "y"}, r"'a' cannot be \[1\]"),
        ({"a": 1, "b": "y", "b.x.0": 1}, "'b.x.0' is not active here"),
        ({"a": 1, "b": "y", "c": 1}, "'c' does not exist"),
        ({"a": 1, "b": "x", "b.x.0": float("nan")}, "a number from 0 to 1"),
    ],
)
def test_wrong_decisions_are_named(decisions, words):
    space = Space(layer(one_of(1, 2, name="a"), one_of(x=layer(real(0, 1)), y=layer(), name="b")))
    with pytest.raises(ArchitectureError, match=words):
        space.architecture(decisions)
    with pytest.raises(ArchitectureError):
        space.validate(Architecture(space.fingerprint, decisions))


def test_architectures_of_another_space_are_refused_by_every_method():
    space, other = Space(layer(one_of(1, 2, name="a"))), Space(layer(one_of(1, 2, 3, name="a")))
    own, foreign = space.sample(0), other.sample(0)
    for call in (
        lambda: space.validate(foreign), lambda: space.mutate(foreign, 0), lambda: space.cross(own, foreign, 0),
        lambda: list(space.neighbours(foreign)), lambda: space.encode(foreign),
    ):  # fmt: skip
        with pytest.raises(ArchitectureError, match="belongs to space"):
            call()
    with pytest.raises(ArchitectureError, match="'a' is missing"):
        space.plan(Architecture(space.fingerprint, {}))


def test_encoding_scales_numbers_and_marks_what_is_active():
    space = Space(layer(one_of(10, 20, 40, name="n"), one_of(x=layer(integer(1, 5)), y=layer(), name="b")))
    assert space.features == ["n active", "n", "b.x.0 active", "b.x.0", "b active", "b=x", "b=y"]
    assert space.encode(space.architecture({"n": 20, "b": "y"})) == [1.0, 1 / 3, 0.0, 0.0, 1.0, 0.0, 1.0]
    assert space.encode(space.architecture({"n": 40, "b": "x", "b.x.0": 3})) == [1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("points", [0, 1, 2, 3])
def test_crossover_at_points_takes_whole_parts_in_turn(points):
    space = Space(Layer("toy.Net", {f"x{i:02}": one_of("a", "b") for i in range(12)}))
    mother = space.architecture({d.name: "a" for d in space.decisions})
    father = space.architecture({d.name: "b" for d in space.decisions})
    rows = ["".join(space.cross(mother, father, n, points=points).decisions.values()) for n in range(600)]
    most = max(sum(x != y for x, y in itertools.pairwise(row)) for row in rows)
    assert most == points if points else most > 6
    for place in range(12):  # no place prefers a parent (4 sigma)
        assert abs(sum(row[place] == "a" for row in rows) - 300) < 4 * 150**0.5
