"""Local search: walk to better neighbours until there is none, then begin elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from searchitect.errors import UsageError
from searchitect.records import Proposal, State, Trial, goals
from searchitect.seeds import Stream, stream
from searchitect.space import Architecture
from searchitect.strategies.base import Member, Setting, Strategy, first_feasible, fitness, started
from searchitect.strategies.climb import Climb, Step
from searchitect.strategies.pareto import Ranges, draw_weights
from searchitect.strategies.seen import Sameness, Seen, kicks, unseen


class LocalSearch(Strategy):
    """Tries the neighbours of the best so far in random order; moves; begins elsewhere at a local optimum.

    Source: White, Nolen and Savani 2021, "Exploring the Loss Landscape in Neural Architecture Search", Algorithm 1
    (the whole neighbourhood, then its best), and their variant that moves at the first improvement.
    Where we differ: (1) asynchronous: while all neighbours are out a new walk begins, late answers still move their
    own walk, and the walk with the best centre is served first; (2) a neighbour that is known, itself or by an
    equivalent, is not proposed: its result is used; (3) limits come first, as everywhere; with several goals each
    walk has random weights (augmented Chebyshev); (4) what is told without having been proposed joins the best walk;
    (5) numbers change by one step. Cost per ask: about 20 µs, a canonical key (see `Seen`), and 2 µs for each
    neighbour of a new centre.

    Options: `move` = "first" (to the first better neighbour) or "best" (to the best one, after all of them);
    `restart` = "random", or "perturb": `kick` mutations of the best trial (by the first goal); `distinct` = what is
    never proposed twice: "equivalent", "identical" or "off"; `inherit` = whether what has a parent begins with its
    weights (`nets.morph`). Where nothing new is left, the search is exhausted.
    """

    def __init__(
        self, setting: Setting, move: Literal["first", "best"] = "first",
        restart: Literal["random", "perturb"] = "random", kick: int = 3,
        distinct: Sameness | Literal["off"] = "equivalent", inherit: bool = False,
    ) -> None:  # fmt: skip
        if move not in ("first", "best") or restart not in ("random", "perturb") or kick < 1:
            raise UsageError(
                f"local search: move is 'first' or 'best', restart 'random' or 'perturb', kick at least 1; got "
                f"move={move!r}, restart={restart!r}, kick={kick!r}"
            )
        self.setting = setting
        self.first = move == "first"
        self.perturb = restart == "perturb"
        self.kick = kick
        self.inherit = inherit
        self.seen = None if distinct == "off" else Seen(setting.space, distinct)
        self.known: dict[object, Member] = {}
        self.climbs: list[Climb] = []
        self.home: dict[int, tuple[Climb, object]] = {}  # by the draw of what is out
        self.best: Member | None = None
        self.goals = len(goals(setting.objectives))
        self.ranges = Ranges(self.goals)
        self.draws = 0
        self.events = 0

    # -- proposals -----------------------------------------------------------------------------------

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        step = self._start() or self._neighbour() or self._restart()
        if self.seen is not None:
            self.seen.names.add(step.name)
        step.climb.out += 1
        self.home[self.draws] = step.climb, step.name
        proposal = Proposal(
            step.architecture, self.setting.fidelity, self.draws, step.parents, self.events, step.origin,
            self.inherit and bool(step.parents),
        )  # fmt: skip
        self.draws += 1
        self.events += 1
        return proposal

    def _start(self) -> Step | None:
        """All start architectures belong to one walk, which goes on from the best of them."""
        proposal = started(self.setting, self.draws, self.events)
        if proposal is None:
            return None
        climb = self.climbs[0] if self.climbs else self._begin()
        return Step(climb, proposal.architecture, self._name(proposal.architecture), "start")

    def _neighbour(self) -> Step | None:
        """A new neighbour from the best walk that has one. Walks that have ended leave."""
        if len(self.climbs) > 1:
            self.climbs.sort(key=self._standing)
        for climb in list(self.climbs):
            step = self._next(climb)
            if step is not None:
                return step
            if not climb.out:
                self.climbs.remove(climb)
        return None

    def _next(self, climb: Climb) -> Step | None:
        """The walk's next neighbour that is feasible and new; known ones may move the walk on the way."""
        feasible, seen = self.setting.feasible, self.seen
        while climb.centre is not None:
            if climb.left is None:
                climb.left = self._neighbours(climb.centre)
            while climb.left:
                architecture = climb.left.pop()
                if feasible is not None and not feasible(architecture):
                    continue
                name = self._name(architecture)
                if seen is None or name not in seen.names:
                    return Step(climb, architecture, name, "neighbour", (climb.centre.number,))
                if name in self.known:
                    self._consider(climb, self.known[name]._replace(architecture=architecture))
            if climb.left is not None and (climb.out or not self._best_neighbour(climb)):
                return None
        return None

    def _neighbours(self, centre: Member) -> list[Architecture]:
        source = stream(self.setting.seed, centre.number, "neighbours")
        found = list(self.setting.space.neighbours(centre.architecture, source))
        source.shuffle(found)
        return found

    def _restart(self) -> Step:
        setting, source = self.setting, stream(self.setting.seed, self.draws, "restart")
        origin, parents = "sample", tuple[int, ...]()
        draw: Callable[[Stream], Architecture] = setting.space.sample
        if self.perturb and self.best is not None and setting.space.decisions:
            origin, parents = "perturb", (self.best.number,)
            draw = kicks(setting.space, self.best.architecture, self.kick)
        if self.seen is None:
            architecture = first_feasible(setting, lambda _attempt: draw(source), source)
        else:
            architecture = unseen(setting, self.seen, source, draw)
        return Step(self._begin(), architecture, self._name(architecture), origin, parents)

    def _begin(self) -> Climb:
        source = stream(self.setting.seed, self.draws, "weights")
        self.climbs.append(Climb(draw_weights(source, self.goals) if self.goals > 1 else ()))
        return self.climbs[-1]

    def _name(self, architecture: Architecture) -> object:
        return None if self.seen is None else self.seen.name(architecture)

    # -- answers -------------------------------------------------------------------------------------

    def tell(self, trial: Trial) -> None:
        self.events += 1
        climb, name = self.home.pop(trial.proposal.draw, (None, None))
        if climb is not None:
            climb.out -= 1
        elif self.seen is not None:
            name = self.seen.name(trial.architecture)
            self.seen.names.add(name)
        value = fitness(trial, self.setting.objectives) if trial.state is State.DONE else None
        if value is None:
            return
        member = Member(trial.number, trial.architecture, value)
        self.ranges.note(value[1])
        if self.seen is not None:
            self.known[name] = member
        if self.best is None or value < self.best.fitness:
            self.best = member
        if climb is None:
            climb = min(self.climbs, key=self._standing) if self.climbs else self._begin()
        self._consider(climb, member)

    def _consider(self, climb: Climb, member: Member) -> None:
        """What a measured architecture means for the walk."""
        if climb.centre is None:
            climb.move(member)
        elif self.first:
            if self._value(climb, member) < self._value(climb, climb.centre):
                climb.move(member)
        elif climb.best is None or self._value(climb, member) < self._value(climb, climb.best):
            climb.best = member

    def _best_neighbour(self, climb: Climb) -> bool:
        """After the whole neighbourhood: move to its best member. False at a local optimum."""
        best, centre = climb.best, climb.centre
        if best is None or centre is None or self._value(climb, best) >= self._value(climb, centre):
            return False
        climb.move(best)
        return True

    def _value(self, climb: Climb, member: Member) -> tuple[float, float]:
        """(violation of the limits, one number for the goals); smaller is better."""
        violation, values = member.fitness
        return violation, self.ranges.weigh(values, climb.weights) if climb.weights else values[0]

    def _standing(self, climb: Climb) -> tuple[float, float]:
        return (math.inf, math.inf) if climb.centre is None else self._value(climb, climb.centre)
