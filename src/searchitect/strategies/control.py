"""A search with its control beside it, so that what the strategy itself was worth can be told.

Both have their own memory and half of the means. Neither is told of the other's trials: what random draws found would
else be the strategy's knowledge for nothing. Proposals of the control have the origin "control"; everything that looks
for the best (`records.candidates`) leaves them out unless it asks for them.
"""

from __future__ import annotations

import msgspec

from searchitect.records import CONTROL, Proposal, Trial
from searchitect.strategies.base import Strategy


class Beside(Strategy):
    """Interleaves the proposals of `strategy` and `control`.

    Idea: Li and Talwalkar 2019, section 4, compare with random search at equal cost; here both run at the same time
    on the same machine, so that a change of its speed meets both.

    timed: the next proposal is that of the side which has used fewer seconds so far. A trial that is still running
    counts as a usual one of its side, a reused result as what it had cost. Otherwise sides take turns.
    Trials that the user enqueued are told to the strategy and charged to nobody. Cost per ask: that of the side.
    """

    def __init__(self, strategy: Strategy, control: Strategy, timed: bool) -> None:
        self.sides = (strategy, control)
        self.timed = timed
        self.draws = 0
        self.events = 0
        self.own: dict[int, tuple[int, Proposal]] = {}  # by our draw: the side, and the proposal as it made it
        self.asked = [0, 0]
        self.told = [0, 0]
        self.seconds = [0.0, 0.0]

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        side = self._turn()
        own = self.sides[side].ask(1)[0]
        self.own[self.draws] = side, own
        proposal = msgspec.structs.replace(
            own, draw=self.draws, events=self.events, origin=CONTROL if side else own.origin
        )
        self.asked[side] += 1
        self.draws += 1
        self.events += 1
        return proposal

    def tell(self, trial: Trial) -> None:
        self.events += 1
        side, own = self.own.get(trial.proposal.draw, (0, None))
        if own is None or own.architecture != trial.architecture:
            self.sides[0].tell(trial)
            return
        self.told[side] += 1
        self.seconds[side] += _seconds(trial)
        self.sides[side].tell(msgspec.structs.replace(trial, proposal=own))

    def _turn(self) -> int:
        """Whose proposal comes next: 0 is the strategy's, 1 the control's."""
        if not self.timed:
            return self.draws % 2
        usual = sum(self.seconds) / max(sum(self.told), 1)
        used = []
        for side in (0, 1):
            each = self.seconds[side] / self.told[side] if self.told[side] else usual
            running = max(self.asked[side] - self.told[side], 0)  # a trial may be told twice
            used.append((self.seconds[side] + running * each, self.asked[side]))
        return 0 if used[0] <= used[1] else 1


def _seconds(trial: Trial) -> float:
    """What a trial has cost, or would have."""
    if trial.measurement is not None and trial.measurement.seconds:
        return trial.measurement.seconds
    if trial.started is not None and trial.finished is not None:
        return max(trial.finished - trial.started, 0.0)
    return 0.0
