"""A part of a space: exactly the architectures that have the held values, with the same networks."""

import pickle

import pytest

from searchitect.errors import ArchitectureError
from searchitect.seeds import stream
from searchitect.testing.strategy import toy_space

SPACE = toy_space(finite=True)


def parts():
    """What an architecture of the whole may hold, a level each."""
    for seed in range(6):
        decisions = SPACE.sample(seed).decisions
        for kept in ("kernel", "part", "width", "times", "blocks"):
            yield {n: v for n, v in decisions.items() if not n.endswith(kept)}


def test_a_part_holds_what_the_whole_has_with_these_values():
    """By enumeration: the whole's architectures in which every held decision that is active has its value."""
    every = list(SPACE.enumerate())
    for held in list(parts())[:12]:
        part = SPACE.hold(held)
        expected = {a for a in every if all(a.decisions.get(n, v) == v for n, v in held.items())}
        found = [part.whole(a) for a in part.enumerate()]
        assert set(found) == expected
        assert part.size.finite == len(found) == len(expected)
        assert not {d.name for d in part.decisions} & set(held)


def test_moves_stay_in_the_part_and_plans_are_those_of_the_whole():
    for number, held in enumerate(parts()):
        part = SPACE.hold(held)
        if not part.decisions:
            continue
        draws = stream(0, number, "moves")
        one, other = part.sample(draws), part.sample(draws, by="architecture")
        near = list(part.neighbours(one, draws))
        for architecture in (part.mutate(one, draws), part.cross(one, other, draws), *near):
            whole = part.whole(part.validate(architecture))
            assert all(whole.decisions.get(n, v) == v for n, v in held.items())
            assert part.key(architecture) == SPACE.key(whole)
        assert len(part.encode(one)) == len(part.features)


def test_names_keep_their_order_and_parts_have_fingerprints_of_their_own():
    held = {"width": 8} if "width" in SPACE.by_name else dict(list(SPACE.sample(0).decisions.items())[:1])
    part, order = SPACE.hold(held), [d.name for d in SPACE.decisions]
    names = [d.name for d in part.decisions]
    assert names == [n for n in order if n in names]
    other = SPACE.hold({n: SPACE.by_name[n].labels[-1] for n in held})
    assert len({SPACE.fingerprint, part.fingerprint, other.fingerprint}) == 3
    assert part.fingerprint == SPACE.hold(held).fingerprint
    again = pickle.loads(pickle.dumps(part))
    assert again.whole(again.sample(3)) == part.whole(part.sample(3))
    assert SPACE.whole(SPACE.sample(1)) == SPACE.sample(1)


def test_wrong_decisions_and_values_are_named():
    name = SPACE.decisions[0].name
    with pytest.raises(ArchitectureError, match="'nothing' does not exist"):
        SPACE.hold({"nothing": 1})
    with pytest.raises(ArchitectureError, match="cannot be 'no value'"):
        SPACE.hold({name: "no value"})
    part = SPACE.hold({name: SPACE.decisions[0].labels[0]})
    with pytest.raises(ArchitectureError, match="belongs to space"):
        part.whole(SPACE.sample(0))
