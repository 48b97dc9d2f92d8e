"""Trainings that are ended because their learning curve says, with a stated confidence, that nobody will want them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from searchitect.records import Objective, State, Trial, feasible
from searchitect.strategies.extrapolation import LEAST, extrapolated

PLACES = 5  # as many finalists there are: whoever can still be one of them goes on


class Hopeless:
    """Ends a plain training whose goal will not come near that of the fifth best trial.

    Its value at the end is told from its curve so far (`strategies.extrapolation`). How far such a prediction is off is
    known from the finished trainings of the study, told after as many epochs: of n errors, the one with rank
    floor((1 - confidence)(n + 1)), smallest first, is added. If curves are exchangeable, a training that ends better
    than that has a probability of 1 - confidence at most (split conformal prediction: Vovk et al. 2005; Lei et al.
    2018, section 2.2). So nothing is ended before about 1 / (1 - confidence) trainings of this length have finished.
    The probability is for one look; a training is looked at after each epoch from the fourth on, but not one that goes
    on from a checkpoint after an interruption: its first epochs are not among its reports.

    goal: the only one. A fold over what is told; whether a training is ended depends on when results come.
    """

    def __init__(self, goal: Objective, limits: Sequence[Objective], confidence: float) -> None:
        self.goal, self.limits, self.confidence = goal, tuple(limits), confidence
        self.finished: dict[int, list[list[float]]] = {}  # by epochs: whole curves, smaller is better
        self.best: list[float] = []  # of those that keep the limits
        self._errors: dict[tuple[int, int, int], list[float]] = {}  # by length, epochs and how many had finished

    def told(self, trial: Trial) -> None:
        """One more trial has ended."""
        fidelity, measured = trial.proposal.fidelity, trial.measurement
        if trial.state is not State.DONE or trial.source is not None or measured is None or fidelity.horizon:
            return
        curve = self._losses(measured.curve)
        if len(curve) == fidelity.epochs and fidelity.data == 1.0 and not trial.proposal.inherits:
            self.finished.setdefault(fidelity.epochs, []).append(curve)
        value = measured.metrics.get(self.goal.metric, math.nan)
        if feasible(measured.metrics, self.limits) and math.isfinite(value):
            self.best = sorted([*self.best, self.goal.loss(value)])[:PLACES]

    def _losses(self, curve: Sequence[Mapping[str, float]]) -> list[float]:
        return [self.goal.loss(point[self.goal.metric]) for point in curve if self.goal.metric in point]

    def bound(self, curve: Sequence[float], epochs: int) -> float | None:
        """The best end that is likely: smaller ones have a probability of 1 - confidence at most. None where too few
        trainings have finished to say so."""
        known, seen = self.finished.get(epochs, []), len(curve)
        rank = math.floor((1 - self.confidence) * (len(known) + 1) + 1e-9)
        if rank < 1 or seen < LEAST:
            return None
        key = seen, epochs, len(known)
        if key not in self._errors:
            self._errors[key] = sorted(past[-1] - extrapolated(past[:seen], epochs) for past in known)
        return extrapolated(curve, epochs) + self._errors[key][rank - 1]

    def __call__(self, trial: Trial, reports: Sequence[Mapping[str, float]]) -> float | None:
        """The likely best end of a training that is to be ended now; None for one that goes on."""
        fidelity = trial.proposal.fidelity
        if fidelity.horizon or fidelity.data != 1.0 or trial.proposal.inherits or trial.proposal.origin == "enqueued":
            return None
        if trial.attempts > 1 and reports and reports[0].get("step", 0.0) > 1:
            return None  # goes on from a checkpoint
        curve = self._losses(reports)
        if len(self.best) < PLACES or not LEAST <= len(curve) < fidelity.epochs:
            return None
        bound = self.bound(curve, fidelity.epochs)
        return bound if bound is not None and bound > self.best[-1] else None
