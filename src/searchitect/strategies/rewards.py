"""From what was measured to an advantage: what policy-gradient strategies learn from a trial.

A reward must have a size that one learning rate fits. Goals are turned so that more is better, and then

- a goal in "%" is divided by 100, and scores that lie in [0, 1] (accuracy, F1, ROC AUC, ...; while all that was told
  of them does) stay as they are: so it is in the published protocols;
- any other number is divided by ten times its running spread (the interquartile range of the different values told
  so far, over 1.349, which is the standard deviation of a normal sample): the accuracies of random networks spread by
  about 0.1, so a step is as long as it would be there. It adapts, and single huge losses do not move it.

Several goals: the mean of their advantages, which is a sum with equal weights. Limits: a violation (the sum of the
relative excesses, at most 1) is taken off the reward. The baseline is the exponential moving average of each part,
with the weights of the missing past divided out.

A trial that failed for its own fault, or without a number, counts as the worst told so far; a fault of the machine
(lost, killed, storage) teaches nothing, and neither does a failure before the first success.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from searchitect.records import Objective, State, Trial, goals
from searchitect.strategies.base import violation

SHARES = (
    "accuracy", "balanced_accuracy", "average_precision", "top_k_accuracy", "f1", "precision", "recall", "jaccard",
    "roc_auc",
)  # fmt: skip
USUAL = 0.1  # the spread that other numbers are brought to
LONGEST = 1.0  # no advantage is larger: the difference between all right and all wrong
NORMAL = 1.349  # interquartile range of a normal distribution over its standard deviation


class Average:
    """Exponential moving average with decay m: sum of m^age x over sum of m^age."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._above = 0.0
        self._below = 0.0

    def add(self, value: float) -> float:
        """The average with this value in it."""
        self._above = self.decay * self._above + (1.0 - self.decay) * value
        self._below = self.decay * self._below + (1.0 - self.decay)
        return self._above / self._below


class Spread:
    """The interquartile range over 1.349 of the different values seen (0 for fewer than two)."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def add(self, value: float) -> float:
        """The spread with this value in it."""
        at = bisect.bisect_left(self._values, value)
        if at == len(self._values) or self._values[at] != value:
            self._values.insert(at, value)
        return (self._quantile(0.75) - self._quantile(0.25)) / NORMAL

    def in_shares(self) -> bool:
        """Whether all values lie in [0, 1]."""
        return not self._values or (self._values[0] >= 0.0 and self._values[-1] <= 1.0)

    def _quantile(self, share: float) -> float:
        place = share * (len(self._values) - 1)
        low = int(place)
        high = min(low + 1, len(self._values) - 1)
        return self._values[low] + (place - low) * (self._values[high] - self._values[low])


class Advantages:
    """A fold over told trials: `of(trial)` is the trial's advantage over the baseline, in [-1, 1].

    `decay` in [0, 1) is that of the baseline, which contains the trial itself (as in the published code).
    """

    def __init__(self, objectives: Sequence[Objective], decay: float) -> None:
        self.objectives = objectives
        self.goals = goals(objectives)
        self.limited = any(o.is_limit for o in objectives)
        self.baselines = [Average(decay) for _ in range(len(self.goals) + 1)]
        self.spreads = [Spread() for _ in self.goals]
        self.worst: list[float] | None = None

    def of(self, trial: Trial) -> float | None:
        """The advantage, or None when the trial teaches nothing."""
        parts = self._rewards(trial)
        if parts is None:
            return None
        total = 0.0
        for i, (goal, reward) in enumerate(zip(self.goals, parts[:-1], strict=True)):
            over = reward - self.baselines[i].add(reward)
            total += over * self._scale(i, goal, reward) / len(self.goals)
        total += parts[-1] - self.baselines[-1].add(parts[-1])
        return min(max(total, -LONGEST), LONGEST)

    def _rewards(self, trial: Trial) -> list[float] | None:
        """The reward of each goal in its own unit, then minus the violation; the worst so far for a failure."""
        if trial.failure is not None and trial.failure.retryable:
            return None
        values = [trial.value(o.metric) for o in self.goals]
        parts = [-o.loss(v) if v is not None else -math.inf for o, v in zip(self.goals, values, strict=True)]
        if trial.state is State.FAILED or not all(map(math.isfinite, parts)):
            return None if self.worst is None else list(self.worst)
        parts.append(-min(violation(trial, self.objectives), 1.0) if self.limited else 0.0)
        self.worst = parts if self.worst is None else [min(a, b) for a, b in zip(self.worst, parts, strict=True)]
        return parts

    def _scale(self, i: int, goal: Objective, reward: float) -> float:
        if goal.unit == "%":
            return 0.01
        spread = self.spreads[i].add(reward)
        if goal.direction == "max" and goal.metric.startswith(SHARES) and self.spreads[i].in_shares():
            return 1.0
        return USUAL / spread if spread > 0 else 0.0
