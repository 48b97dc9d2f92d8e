"""A strategy that trains only what scores well untrained: scores for it, kept in the study so that a replay sees the
same ones, and how many of them the time allows."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from searchitect.errors import SearchitectError
from searchitect.evaluators import TrainEvaluator
from searchitect.evaluators.base import Task
from searchitect.evaluators.zero_cost import ZeroCostEvaluator
from searchitect.records import jsonable
from searchitect.seeds import derive
from searchitect.session.preparing import Prepared
from searchitect.space import Architecture
from searchitect.store import Store
from searchitect.strategies.base import Setting, Strategy
from searchitect.strategies.screened import Screened

MOST, LEAST = 1_000, 50  # architectures that are scored first
TIMES = 20
SHARE = 0.05  # of a budget, for scoring them
PROBED = 4  # scores that are timed to say how many there is time for; the first one warms up


class Alone:
    """What a task may ask for when it runs in the driver."""

    threads = 1
    folder: Path | None = None

    def __init__(self, device: str) -> None:
        self.device = device

    def report(self, data: Mapping[str, Any]) -> None:
        """Nobody listens."""

    def should_stop(self) -> bool:
        """Never: a score takes milliseconds."""
        return False


class Scores:
    """The score of each architecture that is asked for, computed once in the life of a study.

    NaN where a network has no score. The draw of the weights follows from the study's seed and is the same for all.
    """

    def __init__(self, prepared: Prepared, store: Store, name: str) -> None:
        assert isinstance(prepared.evaluator, TrainEvaluator)
        self.prepared, self.store, self.name = prepared, store, name
        self.evaluator = ZeroCostEvaluator(prepared.evaluator, [name])
        self.known: dict[Architecture, float] = {}
        self.reasons: Counter[str] = Counter()
        for note in store.notes("scores"):
            for decisions, value in note.body["scores"]:
                self.known[prepared.space.architecture(decisions)] = float(value)

    def __call__(self, architectures: Sequence[Architecture]) -> list[float]:
        fresh = [a for a in dict.fromkeys(architectures) if a not in self.known]
        if fresh:
            self.reasons.clear()
            self.known.update((a, self.score(a)) for a in fresh)
            rows = [[dict(a.decisions), jsonable(self.known[a])] for a in fresh]
            self.store.note("scores", {"score": self.name, "scores": rows, "without": dict(self.reasons)})
        return [self.known[a] for a in architectures]

    def score(self, architecture: Architecture) -> float:
        """One score, computed now; why there is none goes into the study's notes, once for each reason."""
        seed = derive(self.prepared.settings.seed, "scores")
        task = Task(-1, dict(architecture.decisions), seed, 0)
        try:
            return self.evaluator.run(task, Alone(self.prepared.device)).metrics[self.name]
        except (SearchitectError, RuntimeError) as error:  # RuntimeError is torch's, of a network that cannot run
            self.reasons[f"{type(error).__name__}: {error}"[:200]] += 1
            return math.nan


def screened(
    prepared: Prepared, store: Store, inner: str, options: Mapping[str, Any], setting: Setting, expected: int
) -> Strategy:
    """The strategy with a score before it. How many are scored depends on the clock: an event, stored once.

    expected: trials that the search will have; a third of them, at most 50, are chosen by the score.
    """
    name = prepared.settings.screen
    assert name is not None
    scores = Scores(prepared, store, name)
    if store.meta.get("screen") is None:
        trained = max(3, min(50, expected // 3))
        scored = max(_count(prepared, scores, trained), trained)
        store.set_meta(screen={"score": name, "scored": scored, "trained": trained})
    plan = store.meta["screen"]
    return Screened(
        setting._replace(score=scores), inner, dict(options), scored=plan["scored"], trained=plan["trained"]
    )


def _count(prepared: Prepared, scores: Scores, trained: int) -> int:
    """How many architectures can be scored in a share of the budget; without one, twenty for each that is trained."""
    budget = prepared.settings.budget_seconds
    if budget is None:
        return min(MOST, TIMES * trained)
    took = []
    for number in range(PROBED):
        began = time.monotonic()
        scores.score(prepared.space.sample(number))
        took.append(time.monotonic() - began)
    return max(LEAST, min(MOST, int(SHARE * budget / max(min(took[1:]), 1e-4))))


def judged(strategy: Strategy, store: Store) -> None:
    """Write down what the score was worth, where there is one. A control beside the strategy is looked through."""
    inner = getattr(strategy, "sides", (strategy,))[0]
    if isinstance(inner, Screened):
        found = {k: round(v, 6) for k, v in inner.agreement._asdict().items()}
        store.set_meta(screen=dict(store.meta["screen"]) | found | {"on": inner.on})
