"""Final trainings that keep an end: when they turn out slower than planned, those that are still to come get shorter.

Trainings come in rounds: all networks with one seed, then all with the next. Within a round all have the same share of
their epochs, or they could not be compared; so it is decided when the first training of a round is about to begin, by
what the trainings before it took. The last help is a time limit for each training, so that nothing runs far beyond the
end: it is met only where a round turns out slower than all that came before. Pure arithmetic on a clock that is given.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Sequence

import msgspec

from searchitect.evaluators.base import Outcome, Task
from searchitect.finalize.planning import makespan

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)  # of the planned epochs; one epoch at least
LATE = 1.03  # a batch that would take so many times what is left is not shortened yet
ONE_EPOCH = 1.5  # times what an epoch took so far: there is always time for that


class Pace:
    """The epochs of tasks that are to end at `end` (of `clock`) on so many workers.

    slack: seconds after `end` when every training has to stop. expected: seconds of an epoch, until one was measured.
    `shortened` has the epochs of each round that got fewer than planned; `cut` counts trainings that met their limit.
    """

    def __init__(
        self, tasks: Sequence[Task], end: float, workers: int, clock: Callable[[], float], *, slack: float = 0.0,
        expected: float = 0.0,
    ) -> None:  # fmt: skip
        self.tasks, self.end, self.workers, self.clock = tasks, end, workers, clock
        self.slack, self.expected = slack, expected
        self.shortened: list[int] = []
        self.cut = 0
        self._share: dict[int, float] = {}  # of the planned epochs, by the seed of the round
        self._running: dict[int, tuple[float, int]] = {}  # since when, and for how many epochs
        self._took: dict[Hashable, float] = {}  # seconds of an epoch of each network, the last time

    def begin(self, i: int) -> Task:
        """The task as it is to be run now."""
        task, now = self.tasks[i], self.clock()
        if task.seed not in self._share:
            self._share[task.seed] = self._affordable(i, now)
            if self._share[task.seed] < 1.0 and task.epochs > 1:
                self.shortened.append(self._epochs(task))
        epochs, each = self._epochs(task), self._each(task)
        self._running[i] = now, epochs
        limit = max(self.end + self.slack - now, ONE_EPOCH * each)
        return msgspec.structs.replace(task, epochs=epochs, seconds=limit if each > 0 else None)

    def ended(self, i: int, outcome: object) -> None:
        """Learn from what a training took, by the clock: building, waiting and saving are part of it."""
        begun, epochs = self._running.pop(i)
        if isinstance(outcome, Outcome) and outcome.epochs:
            self._took[_network(self.tasks[i])] = (self.clock() - begun) / outcome.epochs
            self.cut += outcome.stopped and outcome.epochs < epochs

    def _epochs(self, task: Task) -> int:
        return max(1, round(task.epochs * self._share[task.seed]))

    def _affordable(self, i: int, now: float) -> float:
        """The share of their epochs that the trainings from i on can have."""
        begun = [max(0.0, self._each(self.tasks[k]) * n - (now - since)) for k, (since, n) in self._running.items()]
        coming = [self._each(task) * task.epochs for task in self.tasks[i:]]
        left = LATE * (self.end - now)
        fitting = (share for share in SHARES if makespan([*begun, *(share * s for s in coming)], self.workers) <= left)
        return next(fitting, SHARES[-1])

    def _each(self, task: Task) -> float:
        """Seconds of an epoch of this network, or of the others as far as they are known."""
        own = self._took.get(_network(task))
        if own is not None:
            return own
        return statistics.fmean(self._took.values()) if self._took else self.expected


def _network(task: Task) -> Hashable:
    return task.network, task.number
