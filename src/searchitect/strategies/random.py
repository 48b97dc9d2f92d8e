"""Random search: the control that every other strategy must beat."""

from __future__ import annotations

from typing import Literal

from searchitect.records import Proposal, Trial
from searchitect.seeds import stream
from searchitect.strategies.base import Setting, Strategy, initial, started
from searchitect.strategies.seen import Seen, unseen


class Random(Strategy):
    """Draws every architecture anew, learning nothing.

    Source: Li and Talwalkar 2019, "Random Search and Reproducibility for Neural Architecture Search".
    Where we differ: equivalents are not trained twice (the study reuses their result), so equal budgets buy
    more distinct networks. Cost per ask: one draw, about 5 µs; without replacement also a canonical key.

    Options: `by` = "branch" (each decision uniform among its options) or "architecture" (uniform over all
    architectures, exact, slower); `replacement` = false: never an equivalent of what was proposed or told; when
    nothing new is left, the search ends as exhausted.
    """

    def __init__(
        self, setting: Setting, by: Literal["branch", "architecture"] = "branch", replacement: bool = True
    ) -> None:
        self.setting = setting
        self.by = by
        self.seen = None if replacement else Seen(setting.space, "equivalent")
        self.draws = 0
        self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        proposals = []
        for _ in range(n):
            proposals.append(self._propose())
            self.draws += 1
            self.events += 1
        return proposals

    def _propose(self) -> Proposal:
        setting, seen = self.setting, self.seen
        if seen is None:
            return initial(setting, self.draws, self.events, self.by)
        if (first := started(setting, self.draws, self.events)) is not None:
            seen.add(first.architecture)
            return first
        source = stream(setting.seed, self.draws, "sample")
        architecture = unseen(setting, seen, source, lambda s: setting.space.sample(s, by=self.by))
        return Proposal(architecture, setting.fidelity, self.draws, (), self.events, "sample")

    def tell(self, trial: Trial) -> None:
        self.events += 1
        if self.seen is not None:
            self.seen.add(trial.architecture)
