"""Hyperband: successive halving from several lowest rungs in turn, since nobody knows what a short training says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from searchitect.records import Proposal, Trial
from searchitect.strategies.base import Setting, Strategy
from searchitect.strategies.brackets import Brackets
from searchitect.strategies.rungs import Options, RankBy, bracket_sizes, ladder


class Hyperband(Strategy):
    """Brackets that cost about the same, from many short trainings (s = s_max) to a few full ones (s = 0), in turn.

    Source: Li et al. 2017, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", Algorithm 1; the
    sizes for 81 epochs and eta = 3 are those of its Table 1. Where we differ: as `successive-halving` does, and
    epochs are whole numbers. With another inner strategy than random it is close to BOHB (Falkner et al. 2018), whose
    one model follows the highest rung with enough results, where here each bracket asks the strategy of its own lowest
    rung, which hears of all trials there. Cost per ask: that of the inner strategy and about 5 µs.

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
        plan = [(start, bracket_sizes(last + 1, eta, last - start)) for start in range(last + 1)]
        self.brackets = Brackets(setting, fidelities, plan, options)

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self.brackets.propose() for _ in range(n)]

    def tell(self, trial: Trial) -> None:
        self.brackets.tell(trial)
