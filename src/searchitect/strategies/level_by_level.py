"""Level by level: search one level of a space with the others held at the best so far, then the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

from msgspec.structs import replace

from searchitect.errors import SpaceError, UsageError
from searchitect.records import Proposal, State, Trial
from searchitect.seeds import derive
from searchitect.space import Architecture, Space
from searchitect.strategies import make_strategy
from searchitect.strategies.base import Fitness, Setting, Strategy, fitness, initial, started


class Turn:
    """One level's turn: the part of the space that is free, and the inner strategy in it."""

    def __init__(self, number: int, part: Space, held: Mapping[str, Any], inner: Strategy) -> None:
        self.number, self.part, self.held, self.inner = number, part, held, inner
        self.asked = 0

    def below(self, architecture: Architecture) -> Architecture | None:
        """What an architecture is in the part; None where it differs in what is held."""
        chosen = architecture.decisions
        if any(chosen.get(name, value) != value for name, value in self.held.items()):
            return None
        return Architecture(self.part.fingerprint, {n: v for n, v in chosen.items() if n not in self.held})


class LevelByLevel(Strategy):
    """Any other strategy, on one level of a hierarchical space at a time.

    Idea: a space of macro × stage × cell is a product; with all but one level held, what is left is small. After
    `initial` random architectures the levels take turns of `trials` proposals, for as long as the search lasts. In each
    turn the decisions of the other levels are held at the best architecture so far, and a new inner strategy searches
    the others; it is told all former trials that lie in this part. What is not active in the best architecture is free.
    Source: block coordinate descent; a cell's motifs level by level: Liu et al. 2018 ("Hierarchical Representations for
    Efficient Architecture Search"). Where we differ: any space, any inner strategy, one level at a time, and the levels
    come again and again, so that an early one can follow a later one. With several goals the best is that by the first
    goal, limits first. When a level has nothing new the next one begins; when none has, draws are
    random. Cost per ask: that of the inner strategy; at a new turn also a tell for each former trial in its part.

    Options: `inner`, `inner_options`; `levels` = lists of patterns for names of decisions, the first level first, such
    as [["depth", "width*"], ["*.op"]] (a decision belongs to the first that fits; left out: by how deep names are
    nested, the shortest first); `trials` = proposals of a turn, or one number for each level; `initial`.
    """

    def __init__(
        self, setting: Setting, inner: str = "local-search", inner_options: Mapping[str, Any] | None = None,
        levels: Sequence[Sequence[str]] | None = None, trials: int | Sequence[int] = 25, initial: int = 10,
    ) -> None:  # fmt: skip
        if inner == "level-by-level":
            raise UsageError("inner='level-by-level': name the strategy that searches a level")
        if not isinstance(initial, int) or initial < 1:
            raise UsageError(f"initial={initial!r}: at least one architecture is needed before one can be held")
        self.setting, self.inner_name, self.inner_options = setting, inner, dict(inner_options or {})
        self.initial = initial
        self.levels = _by_depth(setting.space) if levels is None else _by_pattern(setting.space, levels)
        self.trials = [trials] * max(len(self.levels), 1) if isinstance(trials, int) else list(trials)
        if len(self.trials) != max(len(self.levels), 1) or any(not isinstance(n, int) or n < 1 for n in self.trials):
            raise UsageError(f"trials={trials!r}: one number from 1 on, or one for each of {len(self.levels)} levels")
        with suppress(SpaceError):  # a level may be what the whole space is not: finite, small
            make_strategy(inner, setting, self.inner_options)  # wrong options are named now
        self.best: tuple[Fitness, int, Architecture] | None = None
        self.told: list[Trial] = []
        self.turn: Turn | None = None
        self.turns = 0
        self.place: tuple[int, tuple[tuple[str, Any], ...]] = (0, ())  # of the turn: its level, and what is held
        self.dry: set[tuple[int, tuple[tuple[str, Any], ...]]] = set()  # places where nothing new was left
        self.own: dict[int, tuple[int, Proposal]] = {}  # by our draw: the turn, and the proposal as it was made there
        self.draws = self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        proposal = started(self.setting, self.draws, self.events)
        if proposal is None and self.draws >= self.initial and self.best is not None:
            proposal = self._of_a_level()
        if proposal is None:
            proposal = initial(self.setting, self.draws, self.events)
        self.draws += 1
        self.events += 1
        return proposal

    def _of_a_level(self) -> Proposal | None:
        """The inner strategy's next one; None when no level has anything new."""
        for _ in range(len(self.levels) + 1):
            turn = self.turn
            try:
                if turn is None or turn.asked >= self.trials[turn.number % len(self.levels)]:
                    turn = self.turn = self._begin()
                if turn is not None:
                    (own,) = turn.inner.ask(1)
                    turn.asked += 1
                    self.own[self.draws] = turn.number, own
                    whole = turn.part.whole(own.architecture)
                    return replace(own, architecture=whole, draw=self.draws, events=self.events)
            except SpaceError:  # nothing new is left at this level, as long as the others are held like that
                self.dry.add(self.place)
            self.turn = None
        return None

    def _begin(self) -> Turn | None:
        """The next level's turn; None where nothing of it is free."""
        number, self.turns = self.turns, self.turns + 1
        if self.best is None or not self.levels:
            return None
        setting, level = self.setting, self.levels[number % len(self.levels)]
        held = {n: v for n, v in self.best[2].decisions.items() if n not in level}
        self.place = number % len(self.levels), tuple(sorted(held.items()))
        if self.place in self.dry:
            return None
        part = setting.space.hold(held)
        if not part.decisions:
            return None
        feasible, excess, score = setting.feasible, setting.excess, setting.score
        own = setting._replace(
            space=part, seed=derive(setting.seed, "level", number), start=(),
            feasible=None if feasible is None else lambda a: feasible(part.whole(a)),
            excess=None if excess is None else lambda a: excess(part.whole(a)),
            score=None if score is None else lambda many: score([part.whole(a) for a in many]),
        )  # fmt: skip
        turn = Turn(number, part, held, make_strategy(self.inner_name, own, self.inner_options))
        for trial in self.told:
            self._pass_on(turn, trial, None)
        return turn

    def tell(self, trial: Trial) -> None:
        self.events += 1
        number, own = self.own.pop(trial.proposal.draw, (-1, None))
        found = fitness(trial, self.setting.objectives) if trial.state is State.DONE else None
        if found is not None and (self.best is None or (found, trial.number) < self.best[:2]):
            self.best = found, trial.number, trial.architecture
        self.told.append(trial)
        if self.turn is not None:
            self._pass_on(self.turn, trial, own if number == self.turn.number else None)

    def _pass_on(self, turn: Turn, trial: Trial, own: Proposal | None) -> None:
        """Tell the inner strategy, in its own words, of a trial that lies in its part."""
        architecture = turn.below(trial.architecture)
        if own is None and architecture is not None:
            own = replace(trial.proposal, architecture=architecture, draw=-1, events=0)
        if own is not None:
            turn.inner.tell(replace(trial, proposal=own))


def _by_depth(space: Space) -> list[frozenset[str]]:
    depths: dict[int, set[str]] = {}
    for decision in space.decisions:
        depths.setdefault(decision.name.count("."), set()).add(decision.name)
    return [frozenset(depths[depth]) for depth in sorted(depths)]


def _by_pattern(space: Space, levels: Sequence[Sequence[str]]) -> list[frozenset[str]]:
    """Raises UsageError for patterns that leave a decision out or fit none."""
    if not isinstance(levels, (list, tuple)) or not all(isinstance(level, (list, tuple)) for level in levels):
        raise UsageError(f"levels={levels!r}: write a list of lists of names, for example [['depth'], ['*.op', '*.k']]")
    found: list[set[str]] = [set() for _ in levels]
    for decision in space.decisions:
        fits = (i for i, level in enumerate(levels) if any(fnmatchcase(decision.name, p) for p in level))
        place = next(fits, None)
        if place is None:
            raise UsageError(f"levels: decision {decision.name!r} is in none of them: add it, or '*' at the end")
        found[place].add(decision.name)
    empty = next((level for level, names in zip(levels, found, strict=True) if not names), None)
    if empty is not None:
        known = ", ".join(d.name for d in space.decisions[:8])
        raise UsageError(f"levels: {list(empty)} fits no decision of this space; there are {known}")
    return [frozenset(names) for names in found]
