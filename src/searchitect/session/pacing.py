"""Final trainings that keep an end: when they turn out slower than planned, those that are still to come get shorter.

Trainings come in rounds: all networks with one seed, then all with the next. Within a round all have the same share of
their epochs, or they could not be compared; so it is decided when the first training of a round is about to begin, by
what the trainings before it took. A moment in which the machine is held up changes nothing: it is slower when most of
the latest trainings were, more of them than can run at one time. The last help is a time limit for each training, so
that nothing runs far beyond the end: it is met only where a round turns out slower than all that came before. Pure
arithmetic on a clock that is given.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Hashable, Sequence

import msgspec

from searchitect.evaluators.base import Outcome, Task
from searchitect.finalize.planning import FinalPlan, makespan

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)  # of the planned epochs
LATE = 1.03  # a batch that would take so many times what is left is not shortened yet
ONE_EPOCH = 1.5  # times what an epoch took so far: there is always time for that


class Pace:
    """The epochs of tasks that are to end at `end` (of `clock`) on so many workers.

    after: seconds that what comes behind them takes at the planned speed; it is shortened by the same share.
    slack: seconds after `end` when every training has to stop. expected: seconds of an epoch, until one was measured.
    `took` has the seconds of an epoch of each network, the last time, `fastest` the least so far; `shortened` the
    epochs of each round that got fewer than planned; `cut` counts trainings that met their limit.
    """

    def __init__(
        self, tasks: Sequence[Task], end: float, workers: int, clock: Callable[[], float], *, slack: float = 0.0,
        expected: float = 0.0, after: float = 0.0,
    ) -> None:  # fmt: skip
        self.tasks, self.end, self.workers, self.clock = tasks, end, workers, clock
        self.slack, self.expected, self.after = slack, expected, after
        self.shortened: list[float] = []
        self.cut = 0
        self._share: dict[int, float] = {}  # of the planned epochs, by the seed of the round
        self._running: dict[int, tuple[float, int, float]] = {}  # since when, for how many epochs of which part of rows
        self.took: dict[Hashable, float] = {}
        self.fastest: dict[Hashable, float] = {}
        self._latest: deque[float] = deque(maxlen=2 * workers + 1)  # how many times longer they took than the fastest

    def goes_on_from(self, before: Pace, times: float) -> None:
        """What was learned from an earlier batch; an epoch over the rows of this one takes `times` as long."""
        self.took = {network: seconds * times for network, seconds in before.took.items()}
        self.fastest = {network: seconds * times for network, seconds in before.fastest.items()}
        self._latest.extend(before._latest)

    def begin(self, i: int) -> Task:
        """The task as it is to be run now."""
        task, now = self.tasks[i], self.clock()
        if task.seed not in self._share:
            self._share[task.seed] = self._affordable(i, now)
            if self._share[task.seed] < 1.0:
                epochs, data = self._length(task)
                self.shortened.append(epochs if data == 1.0 else data)
        (epochs, data), each = self._length(task), self._each(task)
        self._running[i] = now, epochs, data
        limit = max(self.end + self.slack - self.after / 2 - now, ONE_EPOCH * data * each)
        return msgspec.structs.replace(
            task, epochs=epochs, data=data * task.data, seconds=limit if each > 0 else None
        )  # fmt: skip

    def ended(self, i: int, outcome: object) -> None:
        """Learn from what a training took, by the clock: building, waiting and saving are part of it."""
        begun, epochs, data = self._running.pop(i)
        if isinstance(outcome, Outcome):
            if outcome.epochs:
                network, each = _network(self.tasks[i]), (self.clock() - begun) / (outcome.epochs * data)
                self.took[network] = each
                self.fastest[network] = least = min(each, self.fastest.get(network, each))
                self._latest.append(each / least if least > 0 else 1.0)
            self.cut += outcome.stopped and outcome.epochs < epochs

    def _length(self, task: Task) -> tuple[int, float]:
        """Epochs, and what part of the rows: what cannot have one epoch has one over fewer rows."""
        wanted = task.epochs * self._share[task.seed]
        return (max(1, round(wanted)), 1.0) if wanted >= 1 else (1, wanted)

    def _affordable(self, i: int, now: float) -> float:
        """The share of their epochs that the trainings from i on can have."""
        begun = [
            max(0.0, self._each(self.tasks[k]) * epochs * data - (now - since))
            for k, (since, epochs, data) in self._running.items()
        ]
        coming = [self._each(task) * task.epochs for task in self.tasks[i:]]
        left, after = LATE * (self.end - now), self.after * self._slower()

        def takes(share: float) -> float:
            return makespan([*begun, *(share * seconds for seconds in coming)], self.workers) + share * after

        return next((share for share in SHARES if takes(share) <= left), SHARES[-1])

    def _slower(self) -> float:
        """How many times longer an epoch takes than expected; never less than once."""
        return max(1.0, self._usual() / self.expected) if self.expected > 0 else 1.0

    def _each(self, task: Task) -> float:
        """Seconds of an epoch of this network, or of the others as far as they are known."""
        network = _network(task)
        return self._now(network) if network in self.took else self._usual()

    def _usual(self) -> float:
        return statistics.fmean(map(self._now, self.took)) if self.took else self.expected

    def _now(self, network: Hashable) -> float:
        """As the last time, unless only that one was held up: most of the latest trainings have to be as slow."""
        held_up = statistics.median(self._latest) if self._latest else 1.0
        return min(self.took[network], self.fastest[network] * held_up)


def _network(task: Task) -> Hashable:
    return task.network, task.number


class Paces:
    """The pace of each batch of the final trainings: stage A, the trainings of a teacher, stage B.

    left: seconds until all of them must have ended, asked when a batch begins; `tuning` of them are for what comes
    between the stages. more_rows: rows of stage B for one of stage A. slack: see `Pace`. `notes` say what became
    shorter.
    """

    def __init__(
        self, plan: FinalPlan, left: Callable[[], float], workers: int, clock: Callable[[], float], *,
        more_rows: float = 1.0, slack: float = 0.0, tuning: float = 0.0,
    ) -> None:  # fmt: skip
        self.plan, self.left, self.workers, self.clock = plan, left, workers, clock
        self.more_rows, self.slack, self.tuning = more_rows, slack, tuning
        self.notes: list[str] = []
        self._stage_a: Pace | None = None
        self._began = False

    def of(self, tasks: Sequence[Task]) -> Pace | None:
        """None for what has a limit of its own: tuning, and what is repeated after a failure of stage A."""
        stage_a, stage_b = self.plan.stage_seconds
        coming = [stage_a, self.plan.teacher_seconds, stage_b]
        if tasks[0].rows == "all":
            final = {task.seed for task in tasks} & set(self.plan.alone_seeds)
            at = 2 if final or self.plan.teacher_seconds <= 0 else 1
        elif self._began or not self.plan.stage_a_seeds:
            return None
        else:
            at = 0
        self._began = True
        rows = self.more_rows if at else 1.0
        rest = sum(coming[at:])
        left = self.left() - (0.0 if at else self.tuning)
        after = rest - coming[at]
        epochs, more = sum(task.epochs for task in tasks), 1.0
        if at == 2:  # more seeds than planned
            more = len({task.seed for task in tasks}) / len(self.plan.stage_b_seeds)
        expected = coming[at] * more * self.workers / max(epochs, 1)
        end = self.clock() + left
        pace = Pace(tasks, end, self.workers, self.clock, slack=self.slack, expected=expected, after=after)
        if self._stage_a is not None:
            pace.goes_on_from(self._stage_a, rows)
        return pace

    def told(self, pace: Pace) -> None:
        """Learn from a batch that has ended."""
        if pace.tasks[0].rows == "train":
            self._stage_a = pace
        stage = "stage A" if pace.tasks[0].rows == "train" else "the final trainings"
        if pace.shortened:
            counts = ", ".join(f"{n:.1g}" if n < 1 else f"{n:.0f}" for n in pace.shortened)
            planned = max(task.epochs for task in pace.tasks)
            self.notes.append(
                f"short of time: {stage} turned out slower than planned; {len(pace.shortened)} of "
                f"{len({task.seed for task in pace.tasks})} rounds took {counts} instead of {planned} epochs"
                + " (below one: a part of the rows)"
                * (min(pace.shortened) < 1)
            )
        if pace.cut:
            self.notes.append(f"short of time: {pace.cut} trainings of {stage} were ended before their last epoch")
