"""The five spaces keep the contract of spaces, have their known sizes and the same moves in every process."""

import os
import pathlib
import subprocess
import sys

import five
import pytest

from searchitect.space import Space
from searchitect.testing.space import SpaceContract


class Five(SpaceContract):
    name = ""

    def make(self):
        return five.MAKERS[self.name]()


def row(name, builds):
    fields = {"name": name, "size": five.SIZES[name], "shape": five.SHAPES[name], "builds": builds}
    return type(f"Test{name}", (Five,), fields)


TestCnn = row("cnn", 5)
TestNb201 = row("nb201", 3)
TestDarts = row("darts", 2)
TestMobilenet = row("mobilenet", 3)
TestTransformer = row("transformer", 5)


class TestShrunk:
    """Small versions of the five, where counting by hand and by brute force are possible."""

    @pytest.mark.parametrize("name", five.SMALL)
    def test_size_is_what_the_formula_and_brute_force_say(self, name, brute_force):
        make, expected = five.SMALL[name]
        space = make()
        assert space.size.finite == expected
        # the cell alone: brute force walks the whole tree for each architecture
        root = space.root.args["*"][2] if name == "nb201" else space.root
        assert sum(1 for _ in brute_force(root)) == expected
        if not space.size.continuous:
            assert len(set(space.enumerate())) == expected


def test_nb201_has_24_neighbours():
    space = five.nb201()
    for seed in range(20):
        assert len(set(space.neighbours(space.sample(seed)))) == 24


def test_nb201_ties_one_decision_over_all_cells():
    space = five.nb201(cells=2)
    assert space.size.finite == 15_625
    assert len(space.decisions) == 6
    assert set(space.ties) == {d.name for d in space.decisions}


def test_darts_cell_has_the_published_size():
    space = five.darts(layers="N")
    assert int(space.size) == 1_037_664_180


def test_ties_are_still_ties_after_reading():
    space = five.darts()
    again = Space.from_json(space.to_json())
    choice = space.sample(1)
    assert (
        again.plan(choice).args["cells"][0].args["nodes"][1].args["*"][0].args["source"]
        == (again.plan(choice).args["cells"][2].args["nodes"][1].args["*"][0].args["source"])
    )
    assert len(again.decisions) == len(space.decisions)


SCRIPT = """
import five
for name, make in five.MAKERS.items():
    space = make()
    print(name, space.fingerprint, space.size)
    for seed in range(20):
        a = space.sample(seed)
        print(a.to_json(), space.mutate(a, seed).to_json(), space.key(a))
        print([n.to_json() for n in space.neighbours(a, seed)][:3], sum(space.encode(a)))
"""


@pytest.mark.slow
def test_hash_seed_changes_nothing():
    printed = []
    for hash_seed in ("0", "1"):
        here = str(pathlib.Path(__file__).parent)
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": here}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True, timeout=120
        )
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 5 * 41
