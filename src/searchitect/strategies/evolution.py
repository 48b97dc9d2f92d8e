"""Regularized evolution: mutate the best of a small random sample, let the oldest die."""

from __future__ import annotations

from collections import deque

from searchitect.errors import UsageError
from searchitect.records import Proposal, State, Trial, dominates
from searchitect.seeds import Stream, stream
from searchitect.space import Architecture
from searchitect.strategies.base import Fitness, Member, Setting, Strategy, first_feasible, fitness, initial

REPAIRS = 10  # mutations at most, until a crossed child is neither of its parents


class RegularizedEvolution(Strategy):
    """Ageing evolution: each child is one mutation of a tournament's winner; the oldest member leaves.

    Source: Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search", Algorithm 1; the
    default population and sample are those of Dong and Yang 2020 for NAS-Bench-201.
    Where we differ: (1) the tournament draws without replacement; (2) asynchronous: the first `population`
    proposals are random whatever has been told, and later ones too while nobody has survived; (3) members
    join in the order told; failed trials never join; (4) limits come first: a smaller violation wins, then
    the goals (Deb 2000); (5) with several goals the winner is drawn among the sample's non-dominated members;
    (6) a mutation is one decision changed (never the same architecture), where the paper has three kinds;
    (7) the paper has no crossover. Cost per ask: O(sample), about 15 µs.

    Options: `population` = how many live, `sample` = how many fight in a tournament, `crossover` = share of the
    children that take each decision from one of two winners (and are mutated where they equal one of them), `inherit` =
    whether children begin with their parent's weights (`nets.morph`); a child is then never taken for an equivalent.
    """

    def __init__(
        self, setting: Setting, population: int = 10, sample: int = 3, crossover: float = 0.0,
        inherit: bool = False,
    ) -> None:  # fmt: skip
        if population < 1 or not 1 <= sample <= population:
            raise UsageError(f"evolution needs 1 <= sample <= population, got sample={sample}, population={population}")
        if not 0.0 <= crossover <= 1.0:
            raise UsageError(f"evolution needs a crossover from 0 to 1, got {crossover}")
        self.setting = setting
        self.population = population
        self.sample = sample
        self.crossover = crossover
        self.inherit = inherit
        self.living: deque[Member] = deque(maxlen=population)
        self.begin = max(population, len(setting.start))
        self.draws = 0
        self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        setting = self.setting
        if self.draws < self.begin or not self.living or not setting.space.decisions:
            proposal = initial(setting, self.draws, self.events)
        else:
            source = stream(setting.seed, self.draws, "mutate")
            crossed = self.crossover > 0.0 and source.unit() < self.crossover
            parents = [self._tournament(source) for _ in range(1 + crossed)]
            child = first_feasible(setting, lambda attempt: self._child(parents, source, attempt), source)
            numbers = tuple(dict.fromkeys(parent.number for parent in parents))
            origin = "cross" if crossed else "mutate"
            proposal = Proposal(child, setting.fidelity, self.draws, numbers, self.events, origin, self.inherit)
        self.draws += 1
        self.events += 1
        return proposal

    def _tournament(self, source: Stream) -> Member:
        fighters = source.sample(self.living, min(self.sample, len(self.living)))
        if len(fighters[0].fitness[1]) == 1:
            return min(fighters, key=_fitness_then_age)
        least = min(member.fitness[0] for member in fighters)
        kept = [member for member in fighters if member.fitness[0] == least]
        best = [m for m in kept if not any(dominates(o.fitness[1], m.fitness[1]) for o in kept)]
        return source.pick(best)

    def _child(self, parents: list[Member], source: Stream, attempt: int) -> Architecture:
        """One mutation, or one of two parents' mixture; where the neighbourhood is infeasible, up to nine mutations
        more."""
        space = self.setting.space
        mother, father = parents[0].architecture, parents[-1].architecture
        child = space.cross(mother, father, source) if len(parents) == 2 else space.mutate(mother, source)
        for _ in range(REPAIRS):
            if child not in (mother, father):
                break
            child = space.mutate(child, source)
        for _ in range(min(attempt // 20, 9)):
            child = space.mutate(child, source)
        return child

    def tell(self, trial: Trial) -> None:
        self.events += 1
        if trial.state is State.DONE and (value := fitness(trial, self.setting.objectives)) is not None:
            self.living.append(Member(trial.number, trial.proposal.architecture, value))


def _fitness_then_age(member: Member) -> tuple[Fitness, int]:
    return member.fitness, member.number
