"""Candidates: what comes into a pool, and what stays out."""

from searchitect.records import objectives
from searchitect.seeds import stream
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting
from searchitect.strategies.surrogate import features
from searchitect.strategies.surrogate.candidates import Pool
from searchitect.strategies.surrogate.features import Features
from searchitect.testing.strategy import toy_space


def flat(decisions=4, options=3):
    edges = [one_of(**{k: Layer(f"t.{k}", {}) for k in "abcde"[:options]}) for _ in range(decisions)]
    return Space(Layer("t.Net", {"edges": edges}))


def setting_of(space, **more):
    return Setting(space, objectives("max score"), 0, **more)


def apart(one, other):
    return sum(one.decisions[name] != other.decisions[name] for name in one.decisions)


def test_the_neighbours_of_a_candidate_come_in_once_and_as_many_as_wanted():
    space, closed = flat(), {}
    pool = Pool(Features(space), closed)
    centre = space.sample(stream(0, 0, "sample"))
    pool.extend([(centre, 7)])
    assert pool.surround(setting_of(space), stream(0, 1, "near"), 0, 5) == 5
    assert pool.surround(setting_of(space), stream(0, 2, "near"), 0, 100) == 3  # 4 decisions × 2 others are 8
    assert pool.surround(setting_of(space), stream(0, 3, "near"), 0, 100) == 0
    near = pool.items[1:]
    assert {apart(item.architecture, centre) for item in near} == {1}
    assert len({item.architecture for item in near}) == 8
    assert {item.parent for item in near} == {7}


def test_neighbours_that_are_closed_or_break_a_limit_stay_out():
    space = flat()
    centre = space.sample(stream(0, 0, "sample"))
    near = list(space.neighbours(centre))
    described = Features(space)
    pool = Pool(described, {described.of(near[0]).key: 0})
    pool.extend([(centre, -1)])
    looked_at = pool.surround(setting_of(space, feasible=lambda a: a != near[1]), stream(0, 1, "near"), 0, 100)
    assert looked_at == 8
    inside = [item.architecture for item in pool.items]
    assert near[0] not in inside
    assert near[1] not in inside
    assert set(inside) == {centre, *near[2:]}


def test_refreshing_brings_children_of_the_parents_and_strangers():
    space = flat(8, 5)
    parents = [(space.sample(stream(5, i, "sample")), i) for i in range(3)]
    pool = Pool(Features(space), {})
    pool.refresh(setting_of(space), stream(0, 1, "new"), parents, 40)
    assert len(pool.items) == 40
    strangers = [item for item in pool.items if item.parent == -1]
    assert len(strangers) == 10
    for item in pool.items[:30]:
        if item.parent != -1:
            assert min(apart(item.architecture, parent) for parent, _ in parents) < 8


def test_neighbours_of_conditional_architectures_with_numbers_are_taken_in():
    space = toy_space()
    pool = Pool(Features(space), {})
    pool.extend([(space.sample(stream(0, 0, "sample")), -1)])
    assert pool.surround(setting_of(space), stream(0, 1, "near"), 0, 100) > 3
    for item in pool.items:
        space.validate(item.architecture)


def test_graphs_are_shared_by_searches_but_descriptions_are_not(monkeypatch):
    """A description has the decisions of the equivalent that *this* search met first, or a replay would differ."""
    monkeypatch.setattr(features, "SHARED", 30)
    space = flat(3, 3)
    everything = list(space.enumerate())
    first, second = Features(space), Features(space)
    keys = [first.of(a).key for a in everything]
    assert keys == [space.key(a) for a in everything]
    calls = []
    monkeypatch.setattr(features, "canonical_graph", lambda *given: calls.append(given))
    assert [second.of(a).key for a in everything] == keys  # nothing is read twice
    assert not calls
    assert second.of(everything[0]) is not first.of(everything[0])


def test_more_graphs_than_are_remembered_are_read_again(monkeypatch):
    monkeypatch.setattr(features, "SHARED", 10)
    space = flat(3, 3)
    everything = list(space.enumerate())
    expected = [Features(space).of(a) for a in everything]
    again = [Features(space).of(a) for a in everything]
    assert [d.key for d in again] == [d.key for d in expected]
    assert all((a.vector == b.vector).all() for a, b in zip(again, expected, strict=True))
