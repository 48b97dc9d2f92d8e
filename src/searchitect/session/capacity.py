"""Which networks fit into memory, learned from those that were tried."""

from __future__ import annotations

from bisect import insort


class Capacity:
    """A threshold on the megabytes that a training needs at least (by the tables of costs, with two rows at a time):
    what needs as much or more is taken not to fit.

    It is where the fewest of the networks tried lie on the wrong side, those that fit below it and those that did not
    above; among equals the highest. So one unlucky failure below many successes rules nothing out, and with failures
    alone it is at the smallest of them. A fold over what is told: the same order, the same threshold.
    """

    def __init__(self) -> None:
        self.fitted: list[float] = []
        self.failed: list[float] = []
        self.threshold: float | None = None

    def told(self, mb: float, fits: bool) -> None:
        """One more network that fitted, or did not with any number of rows at a time."""
        insort(self.fitted if fits else self.failed, mb)
        if self.failed:
            best = min(self.failed, key=lambda t: (self._wrong(t), -t))
            self.threshold = best if self._wrong(best) < len(self.failed) else None

    def _wrong(self, threshold: float) -> int:
        return sum(mb >= threshold for mb in self.fitted) + sum(mb < threshold for mb in self.failed)

    def allows(self, mb: float) -> bool:
        """Whether a network is worth trying."""
        return self.threshold is None or mb < self.threshold
