"""Random search: the control that every other strategy must beat."""

from __future__ import annotations

from typing import Literal

from searchitect.records import Proposal, Trial
from searchitect.seeds import stream
from searchitect.strategies.base import Setting, Strategy, first_feasible


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
        setting, proposals = self.setting, []
        for _ in range(n):
            source = stream(setting.seed, self.draws, "sample")
            architecture = first_feasible(setting, lambda _attempt, s=source: setting.space.sample(s, by=self.by))  # type: ignore[misc]
            proposals.append(Proposal(architecture, setting.fidelity, self.draws, (), self.events, "sample"))
            self.draws += 1
            self.events += 1
        return proposals

    def tell(self, trial: Trial) -> None:
        self.events += 1
