"""Screening: a cheap score says which architectures are worth a training, as long as it ranks them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from searchitect.errors import UsageError
from searchitect.records import Proposal, State, Trial, losses
from searchitect.seeds import stream
from searchitect.space import Architecture
from searchitect.strategies import strategy_class
from searchitect.strategies.agreement import Agreement, agreement
from searchitect.strategies.base import Setting, Strategy, first_feasible

UNCHOSEN = 3  # one of so many warm starts is drawn without regard to its score
ENOUGH = 12  # measured unchosen ones from which the score is judged


class Screened(Strategy):
    """Another strategy whose first proposals are the best scored of many, and whose later ones must score well enough.

    Idea: `scored` random architectures are scored with `setting.score` (larger is better). The best are the first
    `trained` proposals of the inner strategy, as its start; every third of these is drawn from the others at random.
    Then nothing is proposed that scores below the share `below` of the scored ones. The rank correlation of score and
    first goal is watched on the random ones alone, since among chosen ones it is smaller: when twelve are measured and
    the lower bound of its 90 % interval is under `level`, screening is switched off for good, and the inner strategy
    goes on without it. Source: the warm start and the move proposal of Abdelfattah et al. 2021, section 4. Where we
    differ: the score must prove itself. Cost per ask: that of the inner strategy and of the scores that it asks for.

    Options: `inner`, `inner_options`, `scored`, `trained`, `below` (0: only the warm start), `level`.
    """

    def __init__(
        self, setting: Setting, inner: str = "random", inner_options: Mapping[str, Any] | None = None,
        scored: int = 1000, trained: int = 50, below: float = 0.5, level: float = 0.0,
    ) -> None:  # fmt: skip
        if setting.score is None:
            raise UsageError("screening needs scores, and nobody computes any here: give Setting(score=...)")
        if not (1 <= trained <= scored and 0.0 <= below < 1.0 and -1.0 <= level < 1.0):
            raise UsageError(
                f"scored={scored}, trained={trained}, below={below}, level={level}: allowed are 1 <= trained <= "
                "scored, 0 <= below < 1 and -1 <= level < 1"
            )
        cls = strategy_class(inner)
        if issubclass(cls, Screened):
            raise UsageError("inner='screened': name the strategy that is to be screened")
        self.setting, self.scored, self.trained, self.below, self.level = setting, scored, trained, below, level
        self.on = True
        self.known: dict[Architecture, float] = {}
        self.warm: list[Architecture] = []
        self.unchosen: set[Architecture] = set()
        self.pairs: dict[Architecture, tuple[float, float]] = {}  # score and goal of measured unchosen ones
        self.threshold = -math.inf
        own = setting._replace(start=Warm(self), feasible=self._passes)
        try:
            self.inner = cls(own, **(inner_options or {}))
        except TypeError as error:
            raise UsageError(f"strategy {inner!r}: {error}; its options are written in its docstring") from error

    def ask(self, n: int = 1) -> list[Proposal]:
        given = len(self.setting.start)
        return [
            replace(p, origin="screen") if p.origin == "start" and p.draw >= given else p for p in self.inner.ask(n)
        ]

    def tell(self, trial: Trial) -> None:
        self.inner.tell(trial)
        architecture, found = trial.architecture, losses(trial, self.setting.objectives)
        if trial.state is not State.DONE or architecture not in self.unchosen or not found:
            return
        if architecture not in self.pairs and math.isfinite(found[0]):
            self.pairs[architecture] = self.known[architecture], -found[0]
            self.on = self.on and not (len(self.pairs) >= ENOUGH and self.agreement.low < self.level)

    @property
    def agreement(self) -> Agreement:
        """How well the score ranks what training measured, on architectures that it did not choose."""
        pairs = list(self.pairs.values())
        return agreement([score for score, _ in pairs], [goal for _, goal in pairs])

    def start(self, place: int) -> Architecture:
        """The start architecture at a place: the user's, then warm ones while screening is on, else a random one."""
        setting = self.setting
        if place < len(setting.start):
            return setting.start[place]
        if self.on:
            self._score_many()
            if place - len(setting.start) < len(self.warm):
                return self.warm[place - len(setting.start)]
        return self._random(place, "unscreened")

    def _random(self, number: int, purpose: str) -> Architecture:
        source = stream(self.setting.seed, number, purpose)
        return first_feasible(self.setting, lambda _attempt: self.setting.space.sample(source), source)

    def _passes(self, architecture: Architecture) -> bool:
        if self.setting.feasible is not None and not self.setting.feasible(architecture):
            return False
        if not self.on or not self.below or architecture in self.setting.start:
            return True
        self._score_many()
        return not self._score([architecture])[0] < self.threshold  # one without a score passes

    def _score(self, architectures: Sequence[Architecture]) -> list[float]:
        fresh = [a for a in dict.fromkeys(architectures) if a not in self.known]
        if fresh:
            assert self.setting.score is not None
            self.known.update(zip(fresh, self.setting.score(fresh), strict=True))
        return [self.known[a] for a in architectures]

    def _score_many(self) -> None:
        """Draw and score, once: the warm starts and the threshold."""
        if self.warm:
            return
        pool = list(dict.fromkeys(self._random(i, "screen") for i in range(self.scored)))
        ranked = [(s, a) for s, a in zip(self._score(pool), pool, strict=True) if not math.isnan(s)]
        if not ranked:
            self.on = False
            return
        ranked.sort(key=lambda pair: -pair[0])
        self.threshold = ranked[min(int(len(ranked) * (1 - self.below)), len(ranked) - 1)][0]
        best = [a for _, a in ranked[: self.trained - self.trained // UNCHOSEN]]
        others = [a for _, a in ranked[len(best) :]]
        others = stream(self.setting.seed, 0, "unchosen").sample(others, min(self.trained // UNCHOSEN, len(others)))
        self.unchosen = set(others)
        for place in range(self.trained):
            turn = others if (place % UNCHOSEN == UNCHOSEN - 1 and others) or not best else best
            if turn:
                self.warm.append(turn.pop(0))


class Warm(tuple[Architecture, ...]):
    """The start of the inner strategy, whose places are filled when they are looked at."""

    owner: Screened

    def __new__(cls, owner: Screened) -> Warm:
        """Empty to tuple; length and items are the owner's."""
        made = super().__new__(cls)
        made.owner = owner
        return made

    def __len__(self) -> int:
        return len(self.owner.setting.start) + self.owner.trained

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return tuple(self[i] for i in range(*place.indices(len(self))))
        return self.owner.start(place)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return True
