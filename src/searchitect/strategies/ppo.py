"""Proximal policy optimisation: several careful steps on each batch of told trials."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from searchitect.errors import UsageError
from searchitect.records import Proposal, Trial
from searchitect.space import Architecture
from searchitect.strategies.base import Setting, Strategy, started
from searchitect.strategies.reinforce import check_options, draw, policy_of
from searchitect.strategies.rewards import Advantages

RATES = {"factorised": 0.2, "lstm": 0.01}  # of Adam, by policy, where the user gives none


class Experience(NamedTuple):
    """What one told trial brings to a batch; `log_prob` is that of the policy which drew it."""

    architecture: Architecture
    advantage: float
    log_prob: float


class PPO(Strategy):
    """Maximises the mean of min(r A, clip(r, 1-c, 1+c) A), with r = p_now(a) / p_drawn(a), over batches of trials.

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equation 7 and Algorithm 1, with the
    entropy bonus of equation 9. An architecture is one action: r is the ratio of whole architectures.
    Where we differ: (1) no critic: the baseline is the moving average of `reinforce`, and the advantages of a batch
    are divided by their root mean square; (2) a batch is the next `batch` told trials whoever drew them and when: r is
    taken against the probability at the draw, which corrects for trials that were long in flight, up to the clip;
    (3) architectures that it did not propose enter with the probability at their tell; (4) each epoch is one step on
    the whole batch. Rewards, failures and limits as in `reinforce` (`rewards.py`).
    Cost per ask and tell: about 0.13 ms with 6 decisions and 0.19 ms with 28, factorised; 3 ms with the LSTM. On the
    published tables the LSTM learns more slowly from some hundred trials than the factorised policy does.

    Options: `batch` = trials per update, `epochs` = steps on each batch, `clip` = c, `lr` (0.2 for "factorised",
    0.01 for "lstm"), `optimizer` ("adam" or "sgd"), `baseline` = decay of the moving average, `entropy` = weight of
    the bonus, `policy` = "factorised" or "lstm"; further options go to the policy (`temperature`, `tanh_constant`,
    `hidden`).
    """

    def __init__(
        self, setting: Setting, batch: int = 10, epochs: int = 4, clip: float = 0.2, lr: float | None = None,
        entropy: float = 0.1, policy: str = "factorised", **more: Any,
    ) -> None:  # fmt: skip
        baseline = more.pop("baseline", 0.9)
        check_options(baseline, entropy)
        if batch < 1 or epochs < 1 or not clip > 0:
            raise UsageError(
                f"ppo needs batch >= 1, epochs >= 1 and clip > 0, got batch={batch}, epochs={epochs}, clip={clip}"
            )
        self.setting = setting
        self.batch, self.epochs, self.clip, self.entropy = batch, epochs, clip, entropy
        rate = RATES.get(policy) if lr is None else lr
        self.policy = policy_of(setting, policy, **{"optimizer": "adam", "lr": rate, **more})
        self.advantages = Advantages(setting.objectives, baseline)
        self.drawn: dict[int, tuple[Architecture, float]] = {}  # by draw, while it is in flight
        self.waiting: list[Experience] = []
        self.draws = 0
        self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        proposal = started(self.setting, self.draws, self.events)
        if proposal is None:
            sample = draw(self.setting, self.policy, self.draws)
            self.drawn[self.draws] = sample
            proposal = Proposal(sample.architecture, self.setting.fidelity, self.draws, (), self.events, "policy")
        self.draws += 1
        self.events += 1
        return proposal

    def tell(self, trial: Trial) -> None:
        self.events += 1
        drawn = self.drawn.pop(trial.proposal.draw, None)
        advantage = self.advantages.of(trial)
        if advantage is None:
            return
        if drawn is not None and drawn[0] == trial.architecture:
            log_prob = drawn[1]
        else:
            log_prob = float(self.policy.log_probs([trial.architecture])[0])
        if log_prob == -math.inf:  # masked: no ratio, and nothing that could be learned
            return
        self.waiting.append(Experience(trial.architecture, advantage, log_prob))
        if len(self.waiting) == self.batch:
            self._learn()
            self.waiting.clear()

    def _learn(self) -> None:
        size = math.sqrt(sum(e.advantage**2 for e in self.waiting) / len(self.waiting))
        if size == 0.0:
            return
        batch = [Experience(e.architecture, e.advantage / size, e.log_prob) for e in self.waiting]
        for _ in range(self.epochs):
            now = self.policy.log_probs([e.architecture for e in batch]).tolist()
            slopes = [slope(e, log, self.clip) / len(batch) for e, log in zip(batch, now, strict=True)]
            self.policy.ascend([(e.architecture, w) for e, w in zip(batch, slopes, strict=True)], self.entropy)


def slope(experience: Experience, log_prob: float, clip: float) -> float:
    """The derivative of min(r A, clip(r) A) by log p: r A while the first is the smaller, 0 where it is clipped."""
    ratio = math.exp(min(log_prob - experience.log_prob, 700.0))
    advantage = experience.advantage
    clipped = ratio > 1.0 + clip if advantage > 0 else ratio < 1.0 - clip
    return 0.0 if clipped else ratio * advantage
