"""The contract of search spaces, as tests. Subclass, make the space, say what is known, inherit the tests.

class TestMine(SpaceContract):
    size = (15_625, 0)
    shape, outputs = (3, 32, 32), 10

    def make(self):
        return my_space()
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from searchitect.errors import SpaceError
from searchitect.seeds import stream
from searchitect.space import Architecture, Decision, Scalar, Space


class SpaceContract:
    """Subclass and implement `make`. Each test is one promise that every space keeps.

    size:    (architectures with each Float counted as one value, number of Floats), if it is known.
    shape:   one input without the batch; with it, sampled architectures are built and run.
    outputs: what OUTPUTS stands for.
    targets: the user's classes by path, for reading the space from JSON.
    """

    size: tuple[int, int] | None = None
    shape: tuple[int, ...] | None = None
    outputs = 10
    targets: Mapping[str, Any] = {}
    draws = 1_000
    builds = 5
    brute = 5_000  # spaces up to this size are enumerated

    def make(self) -> Space:
        """The space under test."""
        raise AttributeError("a contract test class implements make()")

    # -- helpers -------------------------------------------------------------------------------------

    @cached_property
    def space(self) -> Space:
        """The space, made once per test."""
        return self.make()

    def samples(self, n: int, purpose: str = "contract") -> list[Architecture]:
        """n architectures drawn by branch."""
        return [self.space.sample(stream(0, i, purpose)) for i in range(n)]

    def changed(self, a: Architecture, b: Architecture) -> list[str]:
        """Decisions that both have, with different values."""
        return [name for name, value in a.decisions.items() if b.decisions.get(name, value) != value]

    # -- size ----------------------------------------------------------------------------------------

    def test_size_is_the_known_one(self) -> None:
        size = self.space.size
        assert size.finite >= 1
        if self.size is not None:
            assert (size.finite, size.continuous) == self.size

    def test_enumeration_has_each_architecture_once(self) -> None:
        if self.space.size.continuous:
            refusal = ""
            try:
                next(self.space.enumerate())
            except SpaceError as error:
                refusal = str(error)
            assert "real number" in refusal
            return
        found = list(itertools.islice(self.space.enumerate(), self.brute))
        assert len(set(found)) == len(found) == min(self.space.size.finite, self.brute)
        for architecture in found[:: max(1, len(found) // 100)]:
            self.space.validate(architecture)

    # -- moves ---------------------------------------------------------------------------------------

    def test_samples_are_valid_and_cover_every_value(self) -> None:
        seen: dict[str, set[Scalar]] = {}
        for by in ("branch", "architecture"):
            for i in range(self.draws if by == "branch" else 20):
                architecture = self.space.sample(stream(0, i, "cover"), by=by)
                self.space.validate(architecture)
                for name, value in architecture.decisions.items():
                    seen.setdefault(name, set()).add(value)
        # a decision that 30 samples in 1,000 never meet, or of very many values, is not held against the space
        for decision in self.space.decisions:
            met = sum(decision.name in a.decisions for a in self.samples(200, "cover"))
            if decision.labels is not None and met > 40 and decision.n <= 10:
                assert len(seen[decision.name]) == decision.n, decision

    def test_mutation_changes_one_decision(self) -> None:
        if not self.space.decisions:
            return
        for i, architecture in enumerate(self.samples(self.draws)):
            child = self.space.validate(self.space.mutate(architecture, stream(0, i, "mutate")))
            assert child != architecture
            assert len(self.changed(architecture, child)) == 1

    def test_crossover_takes_from_its_parents(self) -> None:
        mothers, fathers = self.samples(self.draws // 2, "mothers"), self.samples(self.draws // 2, "fathers")
        for i, (a, b) in enumerate(zip(mothers, fathers, strict=True)):
            child = self.space.validate(self.space.cross(a, b, stream(0, i, "cross")))
            for name, value in child.decisions.items():
                parents = [p.decisions[name] for p in (a, b) if name in p.decisions]
                assert not parents or value in parents

    def test_neighbours_differ_in_one_decision(self) -> None:
        for architecture in self.samples(10):
            near = list(self.space.neighbours(architecture, stream(0, 0, "near")))
            assert len(set(near)) == len(near)
            for other in near:
                self.space.validate(other)
                assert len(self.changed(architecture, other)) == 1

    def test_trace_asks_each_active_decision_once(self) -> None:
        for architecture in self.samples(20):
            asked: list[str] = []

            def decide(
                decision: Decision, asked: list[str] = asked, chosen: dict[str, Scalar] = architecture.decisions
            ) -> Scalar:
                asked.append(decision.name)
                return chosen[decision.name]

            assert self.space.trace(decide) == architecture.decisions
            assert sorted(asked) == sorted(architecture.decisions)

    # -- files and keys ------------------------------------------------------------------------------

    def test_json_both_ways(self) -> None:
        text = self.space.to_json()
        again = Space.from_json(text, name=self.space.name, targets=self.targets)
        assert again.to_json() == text
        assert again.fingerprint == self.space.fingerprint
        assert again.ties == self.space.ties
        assert again.size == self.space.size
        for i, architecture in enumerate(self.samples(50)):
            written = architecture.to_json()
            read = Architecture.from_json(written)
            assert read == architecture
            assert read.to_json() == written
            assert again.key(again.validate(read)) == self.space.key(architecture)
            if self.space.decisions:  # what was read moves as what was written
                assert again.mutate(read, stream(0, i, "m")) == self.space.mutate(architecture, stream(0, i, "m"))
                near = zip(again.neighbours(read, 1), self.space.neighbours(architecture, 1), strict=True)
                assert all(a == b for a, b in itertools.islice(near, 10))

    def test_copies_are_the_same_space(self) -> None:
        again = copy.deepcopy(self.space)
        assert again.fingerprint == self.space.fingerprint
        assert again.sample(3) == self.space.sample(3)

    def test_keys_are_stable_and_tell_samples_apart(self) -> None:
        found, again = self.samples(50), self.make()
        keys = [self.space.key(a) for a in found]
        assert keys == [again.key(a) for a in reversed(found)][::-1]
        assert len(set(keys)) > 1 or len(set(found)) < 3

    def test_encoding_has_a_fixed_length_and_tells_samples_apart(self) -> None:
        seen: dict[tuple[float, ...], Architecture] = {}
        features = self.space.features
        assert len(set(features)) == len(features)
        for architecture in self.samples(self.draws):
            vector = self.space.encode(architecture)
            assert len(vector) == len(features)
            assert all(math.isfinite(v) and 0.0 <= v <= 1.0 for v in vector)
            assert seen.setdefault(tuple(vector), architecture) == architecture

    def test_drawings_keep_their_width(self) -> None:
        for drawing in (self.space.draw(), *(self.space.draw(a) for a in self.samples(5))):
            lines = drawing.split("\n")
            assert max(map(len, lines)) <= 80
            assert all(line == line.rstrip() and line for line in lines)
            assert "0x" not in drawing  # no address of an object

    # -- building ------------------------------------------------------------------------------------

    def test_samples_build_and_run(self) -> None:
        if self.shape is None:
            return
        import torch

        from searchitect.nets import Costs, build

        costs = Costs(self.space, self.shape, self.outputs)
        drawn = (self.space.sample(stream(0, i, "contract")) for i in itertools.count())
        for i, architecture in enumerate(itertools.islice(filter(self.space.allows, drawn), self.builds)):
            module = build(self.space, architecture, self.shape, outputs=self.outputs, seed=i).eval()
            with torch.no_grad():
                assert module(torch.zeros(2, *self.shape)).shape == (2, self.outputs)
            assert costs.of(architecture).params == sum(p.numel() for p in module.parameters())
