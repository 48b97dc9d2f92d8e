"""NSGA-II: evolution for several goals with limits."""

from __future__ import annotations

from typing import Literal

from searchitect.errors import SpaceError, UsageError
from searchitect.records import Proposal, State, Trial
from searchitect.seeds import Stream, stream
from searchitect.space import Architecture
from searchitect.strategies.base import Member, Setting, Strategy, fitness, initial, started
from searchitect.strategies.pareto import better, standing
from searchitect.strategies.seen import Sameness, Seen, unseen

POINTS = {"uniform": 0, "one-point": 1, "two-point": 2}
TRIES = 5  # children of one pair of parents before each is mutated once more


class NSGA2(Strategy):
    """Fronts and crowding decide who lives; binary tournaments, crossover and mutation make children.

    Source: Deb, Pratap, Agarwal and Meyarivan 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II":
    sorting (III A), crowding (III B), main loop (III C), limits by constrained domination (VI, definition 1).
    Where we differ: (1) asynchronous: survivors are chosen whenever `children` answers have come, from them and the
    parents; whoever is asked in between draws from the parents that live, so no worker waits; (2) what has been
    proposed or told is not proposed again while anything new is found; (3) a child is mutated in one decision when
    it was not crossed or equals a parent, else with the probability `mutation`, and further while it is not new;
    (4) start architectures are part of the first population.
    Cost per ask and tell: about 100 µs with two goals, 150 µs with three.

    Options: `population` = how many survive, `children` = answers between two selections (1: steady state),
    `crossover` = "uniform", "one-point" or "two-point", `cross` = share of the children with two parents,
    `mutation`, `distinct` = "identical", "equivalent" (equal functions may differ in cost) or "off".
    """

    def __init__(
        self, setting: Setting, population: int = 20, children: int = 1,
        crossover: Literal["uniform", "one-point", "two-point"] = "uniform", cross: float = 0.9, mutation: float = 0.2,
        distinct: Sameness | Literal["off"] = "identical",
    ) -> None:  # fmt: skip
        if population < 2 or children < 1:
            raise UsageError(f"nsga2 needs population >= 2, children >= 1, got {population} and {children}")
        if crossover not in POINTS:
            raise UsageError(f"nsga2: crossover must be one of {', '.join(POINTS)}, got {crossover!r}")
        if not (0.0 <= cross <= 1.0 and 0.0 <= mutation <= 1.0):
            raise UsageError(f"nsga2: cross and mutation are shares from 0 to 1, got {cross} and {mutation}")
        self.setting = setting
        self.population, self.children = population, children
        self.points, self.cross, self.mutation = POINTS[crossover], cross, mutation
        self.seen = None if distinct == "off" else Seen(setting.space, distinct)
        self.begin = max(population, len(setting.start))
        self.parents: list[Member] = []
        self.places: list[tuple[int, float, int]] = []  # (front, minus crowding, position) of each parent
        self.fresh: list[Member] = []
        self.draws = 0
        self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        setting = self.setting
        if self.draws < self.begin or not self.parents or not setting.space.decisions:
            proposal = self._random()
        else:
            source = stream(setting.seed, self.draws, "child")
            parents = [self._tournament(source)]
            if source.unit() < self.cross:
                parents.append(self._tournament(source))
            child = self._child(parents, source)
            numbers = tuple(dict.fromkeys(parent.number for parent in parents))
            origin = "cross" if len(numbers) == 2 else "mutate"
            proposal = Proposal(child, setting.fidelity, self.draws, numbers, self.events, origin)
        if self.seen is not None:
            self.seen.add(proposal.architecture)
        self.draws += 1
        self.events += 1
        return proposal

    def _random(self) -> Proposal:
        """A random architecture, new if there is one left."""
        setting, seen = self.setting, self.seen
        if seen is None or started(setting, self.draws, self.events) is not None:
            return initial(setting, self.draws, self.events)
        source = stream(setting.seed, self.draws, "sample")
        try:
            architecture = unseen(setting, seen, source)
        except SpaceError:
            return initial(setting, self.draws, self.events)
        return Proposal(architecture, setting.fidelity, self.draws, (), self.events, "sample")

    def _tournament(self, source: Stream) -> Member:
        """The better of two that are drawn (with replacement)."""
        one, two = source.below(len(self.parents)), source.below(len(self.parents))
        return self.parents[min(one, two, key=self.places.__getitem__)]

    def _child(self, parents: list[Member], source: Stream) -> Architecture:
        """A feasible child that is new; where the neighbourhood has none, more and more mutated, at last random."""
        setting, seen = self.setting, self.seen
        for attempt in range(10 * TRIES):
            child = self._make(parents, source)
            for _ in range(attempt // TRIES):
                child = setting.space.mutate(child, source)
            if (setting.feasible is None or setting.feasible(child)) and (seen is None or child not in seen):
                return child
        return self._random().architecture

    def _make(self, parents: list[Member], source: Stream) -> Architecture:
        space, first, last = self.setting.space, parents[0].architecture, parents[-1].architecture
        if len(parents) == 1:
            return space.mutate(first, source)
        child = space.cross(first, last, source, points=self.points)
        if child in (first, last) or source.unit() < self.mutation:
            child = space.mutate(child, source)
        return child

    def tell(self, trial: Trial) -> None:
        self.events += 1
        if self.seen is not None and trial.proposal.draw < 0:
            self.seen.add(trial.architecture)
        if trial.state is State.DONE and (value := fitness(trial, self.setting.objectives)) is not None:
            self.fresh.append(Member(trial.number, trial.architecture, value))
            if len(self.fresh) >= self.children:
                self._select()

    def _select(self) -> None:
        """The best of parents and children live on."""
        if len(self.fresh) == 1 and len(self.parents) == self.population:
            last, new = self.places[-1][0], self.fresh[0].fitness
            if any(m[0] == last and better(p.fitness, new) for p, m in zip(self.parents, self.places, strict=True)):
                self.fresh = []  # a front of its own behind the last one: nothing else would change
                return
        pool = self.parents + self.fresh
        order = sorted(standing([member.fitness for member in pool]))[: self.population]
        self.parents = [pool[i] for _, _, i in order]
        self.places = [(front, distance, place) for place, (front, distance, _) in enumerate(order)]
        self.fresh = []
