"""Synchronous brackets, as successive halving and Hyperband run them: a rung ends before the next one begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from searchitect.errors import SpaceError
from searchitect.records import Fidelity, Proposal, Trial
from searchitect.space import Architecture
from searchitect.strategies.base import Setting
from searchitect.strategies.rung_ranks import RungRanks
from searchitect.strategies.rungs import Inner, Options, Result, best_first, holder, promotion, result_of


class Bracket:
    """One bracket: `sizes[i]` trials at `rungs[i]`, the best of each going on to the next."""

    def __init__(self, rungs: Sequence[int], sizes: Sequence[int]) -> None:
        self.rungs = list(rungs)
        self.start = self.rungs[0]
        self.sizes = list(sizes)
        self.stage = 0
        self.issued = 0  # proposals of this stage
        self.told = 0
        self.queue: deque[tuple[int, Architecture]] = deque()  # to be promoted: trial and architecture, the best first
        self.results: list[Result] = []  # of this stage
        self.architectures: dict[int, Architecture] = {}
        self.holders: set[int] = set()

    @property
    def rung(self) -> int:
        """Where its trials are measured now."""
        return self.rungs[self.stage]

    @property
    def open(self) -> bool:
        """Whether this stage has something left to propose."""
        return self.issued < self.sizes[self.stage]

    @property
    def over(self) -> bool:
        """Whether nothing will ever come of it."""
        return self.stage == len(self.sizes) - 1 and self.told == self.sizes[self.stage]

    def tell(self, trial: Trial, result: Result | None) -> None:
        """One of its trials has ended; equivalents count once."""
        self.told += 1
        if result is not None and holder(trial) not in self.holders:
            self.holders.add(holder(trial))
            self.results.append(result)
            self.architectures[trial.number] = trial.architecture
        self.advance()

    @property
    def closable(self) -> bool:
        """Whether it could go on if no new trial came any more."""
        return self.stage == 0 < len(self.sizes) - 1 and self.told == self.issued and bool(self.results)

    def close(self) -> None:
        """No new trial will come: the first stage is what it is, and as large a share of it goes on as was planned."""
        self.sizes[1] = max(1, self.sizes[1] * self.issued // self.sizes[0])
        self.sizes[0] = self.issued
        self.advance()

    def advance(self) -> None:
        """Begin the next stage when this one has ended: failures are not replaced, so that nobody waits for them."""
        while self.told == self.sizes[self.stage] and self.stage < len(self.sizes) - 1:
            chosen = best_first(self.results)[: self.sizes[self.stage + 1]]
            self.queue = deque((number, self.architectures[number]) for number in chosen)
            self.stage += 1
            self.sizes[self.stage] = len(chosen)
            self.issued = self.told = 0
            self.results, self.architectures, self.holders = [], {}, set()


class Brackets:
    """Runs brackets in the order of a plan, again and again; the oldest that has something to propose goes first.

    When all open ones wait for results, another is begun, so that a free worker always gets something; when the inner
    strategy has nothing new, a bracket whose trials have all ended goes on with those. What is raised leaves no trace.
    A bracket leaves out the rungs that are switched off when it begins (`RungRanks`), with the trials planned there.

    plan: (lowest rung, trials at each rung) of each bracket.
    """

    def __init__(
        self, setting: Setting, fidelities: Sequence[Fidelity], plan: Sequence[tuple[int, Sequence[int]]],
        options: Options,
    ) -> None:  # fmt: skip
        self.setting = setting
        self.fidelities = fidelities
        self.plan = plan
        self.rank_by = options.rank_by
        self.ranks = RungRanks(fidelities, options.level)
        self.inner = Inner(setting, fidelities, [start for start, _ in plan], options)
        self.begun = 0  # brackets
        self.open: list[Bracket] = []
        self.owner: dict[int, Bracket] = {}  # of each draw in flight
        self.draws = 0
        self.events = 0

    def propose(self) -> Proposal:
        """The next proposal. Raises SpaceError when the inner strategy has nothing new and nothing can go on."""
        proposal, bracket = self._next()
        bracket.issued += 1
        self.owner[self.draws] = bracket
        self.draws += 1
        self.events += 1
        return proposal

    def _next(self) -> tuple[Proposal, Bracket]:
        problem: SpaceError | None = None
        for bracket in self.open:
            if bracket.queue:
                return self._promotion(bracket), bracket
            if bracket.open:
                try:
                    return self.inner.propose(bracket.start, self.draws, self.events), bracket
                except SpaceError as error:
                    problem = error
        for turn in range(self.begun, self.begun + len(self.plan)):
            bracket = self._bracket(*self.plan[turn % len(self.plan)])
            try:
                proposal = self.inner.propose(bracket.start, self.draws, self.events)
            except SpaceError as error:
                problem = error
                continue
            self.open.append(bracket)
            self.begun = turn + 1
            return proposal, bracket
        for bracket in self.open:
            if bracket.closable:
                bracket.close()
                return self._promotion(bracket), bracket
        assert problem is not None
        raise problem

    def _bracket(self, start: int, sizes: Sequence[int]) -> Bracket:
        """Of a plan what is on; the user's start architectures begin where they were to begin."""
        rungs = range(start, start + len(sizes))
        early = self.draws < len(self.setting.start)
        kept = [(rung, n) for rung, n in zip(rungs, sizes, strict=True) if early or self.ranks.on[rung]]
        return Bracket([rung for rung, _ in kept], [n for _, n in kept])

    def _promotion(self, bracket: Bracket) -> Proposal:
        number, architecture = bracket.queue.popleft()
        return promotion(architecture, self.fidelities[bracket.rung], number, self.draws, self.events)

    def tell(self, trial: Trial) -> None:
        """What became of a trial; those of others reach the inner strategy alone."""
        self.events += 1
        self.inner.tell(trial)
        bracket = self.owner.pop(trial.proposal.draw, None)
        if bracket is None:
            return
        result = result_of(trial, self.setting.objectives, self.rank_by, self.fidelities[-1].epochs)
        if result is not None:
            self.ranks.tell(bracket.rung, trial, result.losses[0])
        bracket.tell(trial, result)
        if bracket.over:
            self.open.remove(bracket)
