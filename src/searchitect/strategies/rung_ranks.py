"""Whether a short training ranks what a longer one says: each rung of a ladder is compared with the next, live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from searchitect.errors import UsageError
from searchitect.records import PROMOTE, Fidelity, Trial
from searchitect.strategies.agreement import Agreement, agreement, among_all, spread_share

ENOUGH = 30  # promoted trials from which a rung is judged


class RungRanks:
    """A fold over the results at the rungs of a ladder: how well each ranks, and which are switched off.

    A promoted trial is a pair: what its parent's training said at the lower rung, and what the longer one says. Only
    the best were promoted, so the rank correlation of the pairs is corrected for that (`agreement.among_all`). Once 30
    were promoted, a rung whose lower bound of the 90 % interval is under `level` is switched off for good: nothing is
    begun there, nothing promoted from there, and what is promoted from below passes it by. None: rungs are measured and
    stay on. The full fidelity is always on. Equivalents are not measured again and do not count.
    """

    def __init__(self, fidelities: Sequence[Fidelity], level: float | None) -> None:
        if level is not None and not (isinstance(level, (int, float)) and -1.0 <= level < 1.0):
            raise UsageError(
                f"level={level!r}: the rank correlation under which a rung is switched off, -1 to 1, or None"
            )
        self.fidelities, self.level = fidelities, level
        self.on = [True] * len(fidelities)
        self.losses: list[dict[int, float]] = [{} for _ in fidelities]  # by trial
        self.pairs: dict[tuple[int, int], list[tuple[float, float]]] = {}
        self.home: dict[int, int] = {}  # the rung of each trial

    def tell(self, rung: int, trial: Trial, loss: float) -> None:
        """One more result; `loss` is what it is ranked by."""
        if trial.source is not None or trial.number in self.home:
            return
        self.home[trial.number] = rung
        self.losses[rung][trial.number] = loss
        parent = trial.proposal.parents[0] if trial.proposal.origin == PROMOTE and trial.proposal.parents else -1
        lower = self.home.get(parent)
        if lower is None or lower >= rung:
            return
        self.pairs.setdefault((lower, rung), []).append((self.losses[lower][parent], loss))
        pairs = len(self.pairs[lower, rung])
        if self.level is not None and self.on[lower] and rung == self.next(lower) and pairs >= ENOUGH:
            self.on[lower] = not self.agreement(lower).low < self.level

    def next(self, rung: int) -> int:
        """The next rung above that is on."""
        return next(i for i in range(rung + 1, len(self.on)) if self.on[i])

    def entry(self, rung: int) -> int:
        """Where trials begin that would begin at a rung."""
        return rung if self.on[rung] else self.next(rung)

    def agreement(self, rung: int) -> Agreement:
        """How well a rung ranks what the next one says, among all that were measured there."""
        pairs = self.pairs.get((rung, self.next(rung)), [])
        found = agreement([low for low, _ in pairs], [high for _, high in pairs])
        if found.low <= -1.0:
            return found
        return among_all(found, spread_share([low for low, _ in pairs], list(self.losses[rung].values())))

    def facts(self) -> list[dict[str, Any]]:
        """Plain data for a report: one entry for each rung but the last from which something was promoted."""
        found = []
        for rung in range(len(self.on) - 1):
            told, above = self.agreement(rung), self.next(rung)
            if told.n:
                numbers = {name: round(value, 6) for name, value in told._asdict().items()}
                epochs = {"epochs": self.fidelities[rung].epochs, "next": self.fidelities[above].epochs}
                found.append(epochs | numbers | {"on": self.on[rung]})
        return found
