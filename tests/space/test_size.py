"""The exact size and uniform sampling, against brute force on random small spaces with ties and conditions."""

import itertools

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from searchitect.errors import SpaceError
from searchitect.seeds import stream
from searchitect.space import Layer, Space, integer, named, one_of, real, repeat, subset

LIMIT = 3_000


def layer(*parts):
    return Layer("toy.Layer", {"*": tuple(parts)})


@st.composite
def trees(draw):
    """A random tree of all kinds of node; earlier nodes come back (ties by object), and so do ties by name."""
    pool = []

    def tied(kind):
        # the same skeleton each time, with new objects and another plain argument
        inner = one_of(layer(draw(st.integers(0, 9))), layer(one_of(1, 2)), tie=f"tie{kind}")
        return inner if kind == 0 else one_of(a=layer(1), b=layer(integer(1, 3)), tie=f"tie{kind}")

    def node(depth):
        if pool and draw(st.integers(0, 3)) == 0:
            return pool[draw(st.integers(0, len(pool) - 1))]
        kinds = ["number", "float", "tie"] if depth == 0 else ["choice", "choice", "subset", "repeat", "layer", "tie"]
        kind = draw(st.sampled_from(kinds))
        below = [node(depth - 1) for _ in range(draw(st.integers(1, 3)))] if depth else []
        made = {
            "number": lambda: layer(integer(1, draw(st.integers(1, 3)))),
            "float": lambda: layer(real(0.0, 1.0)),
            "tie": lambda: layer(tied(draw(st.integers(0, 1)))),
            "choice": lambda: one_of(**{f"o{i}": part for i, part in enumerate([*below, layer()])}),
            "subset": lambda: subset(
                **{f"o{i}": part for i, part in enumerate(below)}, k=draw(st.integers(1, len(below)))
            ),
            "repeat": lambda: repeat(below[0], draw(st.integers(0, 1)), 2),
            "layer": lambda: layer(*below),
        }[kind]()
        pool.append(made)
        return made

    return layer(*[node(draw(st.integers(0, 3))) for _ in range(draw(st.integers(1, 3)))])


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(trees())
def test_size_equals_brute_force(brute_force, root):
    count = sum(1 for _ in itertools.islice(brute_force(root), LIMIT + 1))
    assume(count <= LIMIT)
    space = Space(root)
    assert space.size.finite == count
    again = Space.from_json(space.to_json())
    assert (again.size, again.fingerprint, again.ties) == (space.size, space.fingerprint, space.ties)
    if not space.size.continuous:
        found = list(space.enumerate())
        assert len(found) == len(set(found)) == count
    for i in range(5):
        space.validate(space.sample(stream(i, 0, "branch")))
        space.validate(space.sample(stream(i, 0, "architecture"), by="architecture"))


def tied_space():
    """A width that two branches share, a number that one of them has alone, a nested choice."""
    width = one_of(1, 2, 3, name="width")
    first = one_of(wide=layer(width), both=layer(width, one_of(1, 2)), none=layer(), name="first")
    second = one_of(wide=layer(width), none=layer(), deep=one_of(x=layer(), y=layer(integer(1, 4))), name="second")
    return Space(layer(first, second, repeat(lambda: named("part", one_of(a=layer(), b=layer())), 0, 2)))


def tree_space():
    return Space(layer(repeat(lambda: one_of(a=layer(one_of(1, 2, 3)), b=layer()), 1, 2), one_of(1, 2)))


@pytest.mark.parametrize("make", [tied_space, tree_space])
def test_sampling_by_architecture_is_uniform(make):
    space = make()
    everything = dict.fromkeys(space.enumerate(), 0)
    assert len(everything) == space.size.finite
    draws = 40 * len(everything)
    for i in range(draws):
        everything[space.sample(stream(7, i, "uniform"), by="architecture")] += 1
    statistic = sum((n - 40) ** 2 / 40 for n in everything.values())
    assert statistic < chi2.ppf(1 - 1e-6, len(everything) - 1)


def test_sampling_by_branch_is_not_uniform_over_architectures():
    space = tree_space()  # depth 1 has 4 × 2 architectures, depth 2 has 16 × 2: the branch is drawn first
    short = sum(space.sample(stream(3, i, "branch")).decisions["0"] == 1 for i in range(2_000))
    assert 900 < short < 1_100
    short = sum(space.sample(stream(3, i, "arch"), by="architecture").decisions["0"] == 1 for i in range(2_000))
    assert 300 < short < 500  # 8 of 40


def test_many_ties_are_counted_quickly():
    parts = [one_of(1, 2, 3, name=f"n{i}") for i in range(40)]
    blocks = [one_of(a=layer(parts[i], parts[i + 1]), b=layer()) for i in range(39)]
    # a chain: n_i is active if block i or block i - 1 is "a"
    counts = {"b": 1, "a": 9}
    for _ in range(38):
        counts = {"b": counts["a"] + counts["b"], "a": counts["a"] * 3 + counts["b"] * 9}
    assert Space(layer(*blocks)).size.finite == sum(counts.values())


def test_size_in_words():
    assert str(Space(layer(one_of(1, 2), real(0, 1), real(0, 1))).size) == "2 × 2 continuous"
    assert str(Space(layer(*[one_of(*range(10)) for _ in range(20)])).size) == "1.00e+20"
    assert str(Space(layer(*[one_of(*range(10)) for _ in range(301)])).size) == "more than 1e300"
    assert int(Space(layer()).size) == 1


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(trees())
def test_numbers_below_the_size_name_each_architecture_once(root):
    space = Space(root)
    assume(not space.size.continuous and space.size.finite <= 1_000)
    found = {space.at(index) for index in range(space.size.finite)}
    assert found == set(space.enumerate())
    with pytest.raises(SpaceError, match="numbers 0 to"):
        space.at(space.size.finite)


def test_a_number_in_a_large_space_is_found_without_the_others():
    def block():
        return named("part", one_of(a=layer(integer(1, 5), integer(1, 9)), b=layer(integer(1, 5)), c=layer()))

    space = Space(layer(repeat(block, 1, 40), integer(1, 7)))
    size = space.size.finite
    assert size > 10**40
    found = {space.validate(space.at(size * i // 50)) for i in range(50)}
    assert len(found) == 50
    with pytest.raises(SpaceError, match="is a real number"):
        Space(layer(real(0.0, 1.0))).at(0)
