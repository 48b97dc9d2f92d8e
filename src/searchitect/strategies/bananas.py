"""BANANAS: an ensemble of small networks predicts from decisions and paths, Thompson sampling chooses among mutants."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from searchitect.errors import UsageError
from searchitect.records import Proposal, Trial
from searchitect.seeds import Stream, derive
from searchitect.space import Architecture
from searchitect.strategies.base import Setting, Strategy, initial
from searchitect.strategies.ensemble import Ensemble
from searchitect.strategies.evidence import Evidence, Outcomes, at_least, last_fit, promising, recent_and_best
from searchitect.strategies.surrogate import acquisition as scores
from searchitect.strategies.surrogate.features import Features
from searchitect.strategies.surrogate.targets import scalarise
from searchitect.strategies.surrogate.threads import one_thread

Array = NDArray[np.float64]
ACQUISITIONS = ("thompson", "ucb", "ei")
HIDDEN, STEPS, RATE, DECAY = (64, 64), 150, 0.01, 1.0
ROWS = 512  # at most so many results are learned from: half the best, half the latest
MEMORY = 20_000  # architectures described before those that were never proposed are forgotten


class Bananas(Strategy):
    """Bayesian optimisation with a neural predictor.

    Source: White, Neiswanger and Savani 2021, "BANANAS: Bayesian Optimization with Neural Architectures for Neural
    Architecture Search", Algorithm 1 (independent Thompson sampling; mutants of the best as candidates).
    Where we differ: (1) inputs are decisions and counts of chains of up to three operations (`surrogate.features`),
    as networks of many cells have too many whole paths; equivalent architectures have the same inputs; (2) five
    networks of two layers of 64, trained by 150 steps of AdamW on squared errors of normal scores instead of the
    absolute percentage error; (3) trained at fixed counts: every `every` told trials, later every 5 %; (4) several
    goals: each is predicted, and they are weighed at random for each ask (`targets.scalarise`); (5) limits
    and failures are predicted too: the logarithm of the probability that all are kept is added to the score;
    (6) asynchronous: nothing equivalent to a running trial is proposed, and the deviation of a candidate is
    smaller the nearer it is to one (`nearness`).
    Cost per ask: about 0.4 ms for each candidate and 100 ms for a training; 35 ms in all on NAS-Bench-201.

    Options: `startup` = random proposals first, `candidates` = mutants and random ones to choose among, `every`,
    `members` = networks, `acquisition` = "thompson", "ucb" or "ei", `beta` = deviations in "ucb".
    """

    def __init__(
        self, setting: Setting, startup: int = 10, candidates: int = 64, every: int = 10, members: int = 5,
        acquisition: str = "thompson", beta: float = 1.0,
    ) -> None:  # fmt: skip
        at_least(1, startup=startup, candidates=candidates, every=every)
        at_least(2, members=members)
        if acquisition not in ACQUISITIONS:
            raise UsageError(f"acquisition={acquisition!r}: write one of {', '.join(ACQUISITIONS)}")
        self.setting, self.startup, self.pool, self.every, self.members = setting, startup, candidates, every, members
        self.acquisition, self.beta = acquisition, beta
        self.features = Features(setting.space)
        self.evidence = Evidence(setting, lambda architecture: self.features.of(architecture).key)
        self.fitted = 0
        self.outcomes = self.evidence.outcomes(0)
        self.ensemble: Ensemble | None = None
        self.draws = self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        with one_thread():
            return [self._propose() for _ in range(n)]

    def tell(self, trial: Trial) -> None:
        self.events += 1
        self.evidence.tell(trial)

    def _propose(self) -> Proposal:
        proposal = self._learned() if self.draws >= max(self.startup, len(self.setting.start)) else None
        if proposal is None:
            proposal = initial(self.setting, self.draws, self.events)
        self.evidence.propose(self.draws, proposal.architecture)
        self.draws += 1
        self.events += 1
        return proposal

    def _learned(self) -> Proposal | None:
        """The most promising candidate; None while there is nothing to learn from, or nothing new to propose."""
        self._fit()
        if self.ensemble is None:
            return None
        return promising(self.evidence, self.draws, self.events, self.pool, self._score)

    def _fit(self) -> None:
        """Train on the results up to the last fixed count, if that has not been done."""
        point = last_fit(len(self.evidence.failed), self.startup, self.every)
        if point == self.fitted:
            return
        self.fitted = point
        self.outcomes = self.evidence.outcomes(point)
        if len(self.outcomes.usable) < 2:
            return
        rows = recent_and_best(self.outcomes, ROWS)
        inputs = self._inputs([self.outcomes.results[i].architecture for i in rows])
        seed = derive(self.setting.seed, "ensemble", point)
        self.ensemble = Ensemble(self.members, HIDDEN, STEPS, RATE, DECAY, seed)
        self.ensemble.fit(inputs, self.outcomes.values[rows])
        if len(self.features) > MEMORY:
            self.features.forget(self.evidence.seen.__contains__)

    def _inputs(self, architectures: list[Architecture]) -> Array:
        return np.array([self.features.of(a).vector for a in architectures], dtype=np.float64)

    def _score(self, architectures: list[Architecture], source: Stream) -> Array:
        """How promising each candidate is; larger is more promising."""
        assert self.ensemble is not None
        predicted, goals = self.ensemble.predict(self._inputs(architectures)), self.outcomes.goals
        near = nearness(self.features, architectures, list(self.evidence.pending.values()))
        mean, deviation, best = _one_goal(predicted[:, :, :goals], self.outcomes, source)
        deviation = deviation * np.sqrt(1.0 - near**2)
        if self.acquisition == "thompson":
            score = scores.thompson(mean, deviation, source)
        elif self.acquisition == "ucb":
            score = scores.lower_bound(mean, deviation, self.beta)
        else:
            score = scores.log_expected_improvement(mean, deviation, best)
        centre, spread = predicted.mean(axis=0), predicted.std(axis=0, ddof=1)
        for place in range(goals, predicted.shape[2]):
            limit = 0.5 if place == predicted.shape[2] - 1 else 0.0  # the last says whether it fails
            kept = scores.probability_below(centre[:, place], np.hypot(spread[:, place], 0.1), limit)
            score = score + np.log(np.maximum(kept, 1e-9))
        return score


def _one_goal(predicted: Array, outcomes: Outcomes, source: Stream) -> tuple[Array, Array, float]:
    """Mean and deviation over members of one loss, and the best one observed, in the same units."""
    members, rows, goals = predicted.shape
    known = outcomes.values[outcomes.usable]
    scalar = scalarise(np.concatenate([predicted.reshape(-1, goals), known[:, :goals]]), source)
    each, observed = scalar[: members * rows].reshape(members, rows), scalar[members * rows :]
    kept = outcomes.violation[outcomes.usable] == 0
    best = float(observed[kept].min()) if kept.any() else float(observed.max())
    return each.mean(axis=0), each.std(axis=0, ddof=1), best


def nearness(features: Features, architectures: list[Architecture], others: list[Architecture]) -> Array:
    """exp(−squared distance of decisions) to the nearest of `others`: 0 far away, 0.37 one decision apart."""
    if not others:
        return np.zeros(len(architectures))
    width = int(np.searchsorted(features.parts, len(features.space.decisions)))  # decisions come before chains
    rows = np.array([features.of(a).vector[:width] for a in architectures], dtype=np.float64)
    running = np.array([features.of(a).vector[:width] for a in others], dtype=np.float64)
    squares = ((rows[:, None, :] - running[None, :, :]) ** 2).sum(axis=2)
    return np.asarray(np.exp(-squares.min(axis=1)))
