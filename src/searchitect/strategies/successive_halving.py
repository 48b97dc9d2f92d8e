"""Successive halving: many begin at little cost, the best 1/eta of each rung go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from searchitect.records import Proposal, Trial
from searchitect.strategies.base import Setting, Strategy
from searchitect.strategies.brackets import Brackets
from searchitect.strategies.rungs import Options, RankBy, ladder


class SuccessiveHalving(Strategy):
    """Brackets of eta^k new trials at the lowest of k + 1 rungs; the best 1/eta go on, one reaches the full fidelity.

    Source: Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
    Algorithm 1 (here with eta for their 2). Where we differ: (1) brackets follow one another as long as the study
    lasts; when all open ones wait for results, another is begun, so that no worker waits; (2) failed trials are not
    replaced and hold nobody up; (3) new architectures come from any other strategy, which hears of the trials at its
    own rung alone; (4) with several goals the best are those of the best fronts, the least crowded first, and limits
    come before goals; (5) equivalents in one rung count once. Cost per ask: that of the inner strategy and about 5 µs;
    a rung is sorted once, when it ends.

    Options: `inner`, `inner_options` = who proposes new architectures; `eta` = 1 of how many is promoted;
    `min_epochs` = the least epochs of the lowest rung, or `rungs` = the epochs of all; `rank_by` = "last" or
    "extrapolated" (what the learning curve promises); `level` = a rung whose rank correlation with the next is not
    above it with confidence is switched off (`RungRanks`; None: never).
    """

    pauses = True

    def __init__(
        self, setting: Setting, inner: str = "random", inner_options: Mapping[str, Any] | None = None, eta: int = 3,
        min_epochs: int = 1, rungs: Sequence[int] | None = None, rank_by: RankBy = "last",
        level: float | None = 0.0,
    ) -> None:  # fmt: skip
        options = Options(inner, inner_options, eta, min_epochs, rungs, rank_by, level)
        fidelities = ladder(setting.fidelity, options)
        last = len(fidelities) - 1
        self.brackets = Brackets(setting, fidelities, [(0, [eta ** (last - i) for i in range(last + 1)])], options)

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self.brackets.propose() for _ in range(n)]

    def tell(self, trial: Trial) -> None:
        self.brackets.tell(trial)
