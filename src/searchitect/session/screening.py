"""A strategy that trains only what scores well untrained: scores for it, kept in the study so that a replay sees the
same ones, and how many of them the time allows; and what every cheap measurement was worth, the rungs included."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from searchitect.errors import SearchitectError, UsageError
from searchitect.evaluators import TrainEvaluator
from searchitect.evaluators.base import Task
from searchitect.evaluators.table import TableEvaluator
from searchitect.evaluators.zero_cost import ZeroCostEvaluator
from searchitect.records import jsonable
from searchitect.report.savings import rung_words
from searchitect.scores import check_names
from searchitect.seeds import derive
from searchitect.session.preparing import Prepared
from searchitect.space import Architecture
from searchitect.store import Store
from searchitect.strategies.base import Setting, Strategy
from searchitect.strategies.rung_ranks import RungRanks
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


def prior_of(options: Mapping[str, Any]) -> str | None:
    """The score from which a strategy, or the one inside it, makes a prior mean."""
    inner = options.get("inner_options")
    return options.get("prior") or (inner.get("prior") if isinstance(inner, Mapping) else None)


def check_prior(prepared: Prepared, options: Mapping[str, Any]) -> None:
    """Raises UsageError where nobody can compute the score of a prior mean."""
    name, evaluator, screen = prior_of(options), prepared.evaluator, prepared.settings.screen
    if name is None:
        return
    if isinstance(evaluator, TableEvaluator):
        if name not in evaluator.constants:
            known = ", ".join(sorted(evaluator.constants)) or "none"
            raise UsageError(f"prior={name!r}: the table knows no such column beforehand; known are {known}")
    elif not isinstance(evaluator, TrainEvaluator):
        raise UsageError(f"prior={name!r}: with evaluate= nobody scores untrained networks; leave it out")
    else:
        check_names([name])
    if screen is not None and screen != name:
        raise UsageError(f"prior={name!r} and screen={screen!r} are two scores: name one for both")


def scores_for_prior(prepared: Prepared, store: Store, name: str) -> Callable[[Sequence[Architecture]], list[float]]:
    """Scores for a prior mean: computed and kept, or a column of a table that is known beforehand."""
    evaluator = prepared.evaluator
    if not isinstance(evaluator, TableEvaluator):
        return Scores(prepared, store, name)
    column = evaluator.constants[name]
    return lambda many: [float(column[row]) if (row := evaluator.find(a)) >= 0 else math.nan for a in many]


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
    """Write down what the score was worth, where there is one, and how well each rung ranked the next. A control beside
    the strategy is looked through."""
    for one in layers(strategy):
        if isinstance(one, Screened):
            found = {k: round(v, 6) for k, v in one.agreement._asdict().items()}
            store.set_meta(screen=dict(store.meta["screen"]) | found | {"on": one.on})
    ranks = rung_ranks(strategy)
    if ranks is not None and ranks.facts():
        store.set_meta(rungs=ranks.facts())


def switched_off(strategy: Strategy, store: Store, message: Callable[[str], None]) -> None:
    """Write down and say which rungs have been switched off since this was last asked."""
    ranks = rung_ranks(strategy)
    off = [] if ranks is None else [f for f in ranks.facts() if not f["on"]]
    known = list(store.meta.get("rungs_off") or ())
    fresh = [f for f in off if f["epochs"] not in known]
    if fresh:
        with store.transaction():
            store.set_meta(rungs_off=known + [f["epochs"] for f in fresh])
            for facts in fresh:
                store.note("rung off", facts)
        for facts in fresh:
            message(f"short trainings that mislead: {rung_words(facts)}")


def layers(strategy: Strategy) -> Iterator[Strategy]:
    """A strategy and those inside it."""
    current: Any = getattr(strategy, "sides", (strategy,))[0]
    while isinstance(current, Strategy):
        yield current
        current = getattr(current, "inner", None)


def rung_ranks(strategy: Strategy) -> RungRanks | None:
    """What a strategy with rungs knows of them."""
    for one in layers(strategy):
        found = getattr(getattr(one, "brackets", one), "ranks", None)
        if isinstance(found, RungRanks):
            return found
    return None
