"""Random search: the control that every other strategy must beat."""

from __future__ import annotations

from typing import Literal

from searchitect.records import Proposal, Trial
from searchitect.strategies.base import Setting, Strategy, initial


class Random(Strategy):
    """Draws every architecture anew, learning nothing.

    Source: Li and Talwalkar 2019, "Random Search and Reproducibility for Neural Architecture Search".
    Where we differ: equivalents are not trained twice (the study reuses their result), so equal budgets buy
    more distinct networks. Cost per ask: one draw, about 5 µs.

    Options: `by` = "branch" (each decision uniform among its options) or "architecture" (uniform over all
    architectures, exact, slower).
    """

    def __init__(self, setting: Setting, by: Literal["branch", "architecture"] = "branch") -> None:
        self.setting = setting
        self.by = by
        self.draws = 0
        self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        proposals = []
        for _ in range(n):
            proposals.append(initial(self.setting, self.draws, self.events, self.by))
            self.draws += 1
            self.events += 1
        return proposals

    def tell(self, trial: Trial) -> None:
        self.events += 1
