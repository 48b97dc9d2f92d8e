"""What a study holds: its trials as they are on disk, and everything that follows from them.

A result is stored before the strategy hears of it. Counters, the incumbent, equivalents and the strategy's state are
folds over the stored events, so that a replay brings them back. Nothing here knows workers or torch.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from searchitect.engine.asking import ask, tell
from searchitect.engine.keeping import Kept, began
from searchitect.engine.limits import FirstFailures
from searchitect.engine.reuse import Reuse
from searchitect.errors import SearchitectError, SpaceError, StudyFailedError
from searchitect.records import Fidelity, Measurement, Objective, Proposal, State, Trial, best, goals
from searchitect.seeds import derive
from searchitect.space import Architecture, Space
from searchitect.store import Store
from searchitect.strategies.base import Strategy

REUSES = 1000  # so many in a row mean that the strategy has run dry


@dataclass
class Ledger:
    """The trials of one study, with what is known from them.

    reuse:     finds equivalents and copies their results.
    heirs:     whether trials may begin with the weights of others.
    listen:    is told of each trial just before the strategy, also in a replay.
    files:     folder where tasks leave weights and states (`keeping`).
    trials:    by number, as stored.
    ready:     queued: resumed, enqueued by the user, or to be tried again.
    tally:     how many are "done", "failed", "pruned" and "reused".
    incumbent: the best so far.
    fatal:     an error that ends the study. It is raised (`raise_if_fatal`) once what came before it is on disk.
    exhausted: why nothing is left to try, as the last `next` found; "" while there may be more.
    """

    space: Space
    store: Store
    strategy: Strategy
    objectives: tuple[Objective, ...]
    reuse: Reuse
    seed: int
    files: Path | None = None
    clock: Callable[[], float] = time.monotonic
    listen: Callable[[Trial], None] = lambda _trial: None
    heirs: bool = False

    def __post_init__(self) -> None:
        self.trials: dict[int, Trial] = {}
        self.ready: deque[Trial] = deque()
        self.tally: Counter[str] = Counter()
        self.incumbent: Trial | None = None
        self.fatal: SearchitectError | None = None
        self.exhausted = ""
        self.kept = Kept(self.files, self.objectives, self.heirs)
        self._began = self.clock()
        self._distinct: set[Architecture] = set()
        self._reuses = 0  # in a row
        self._first_failures = FirstFailures()
        self._replay()

    @property
    def measured(self) -> int:
        """Trials that were really evaluated, failed ones included."""
        return self.tally["done"] + self.tally["failed"] + self.tally["pruned"]

    def fail(self, error: SearchitectError) -> None:
        """End the study with this error, after the transaction that is open; the first one counts."""
        self.fatal = self.fatal or error

    def raise_if_fatal(self) -> None:
        if self.fatal is not None:
            raise self.fatal

    def _replay(self) -> None:
        """Bring strategy and counters to where the stored events end; queue again what was running."""
        self.store.requeue_running()
        self.trials.update((trial.number, trial) for trial in self.store.trials())
        for kind, number in self.store.events():
            trial = self.trials[number]
            if kind == "asked":
                self._remember(trial)
                if trial.proposal.draw >= 0:
                    self._ask_again(trial)
            else:
                self._count(trial)
                self._tell(trial)
                self.kept.told(trial, self.trials)
        self.ready.extend(trial for trial in self.trials.values() if trial.state is State.QUEUED)
        self.incumbent = best(self.trials.values(), self.objectives)

    def _ask_again(self, trial: Trial) -> None:
        again = ask(self.strategy)
        self.raise_if_fatal()
        if again != trial.proposal:
            raise StudyFailedError(
                f"trial {trial.number} would be proposed differently now: the strategy, its options or the space "
                "have changed since the study began. Start a new study, or go back to the former version"
            )

    # -- trials that begin ---------------------------------------------------------------------------

    def next(self, running: bool) -> Trial | None:
        """The next trial: one that is queued already, else what the strategy proposes.

        None when there is none now; then `exhausted` says why, unless more may come. running: if results are awaited.
        """
        self.exhausted = ""
        if self.ready:
            return self.ready.popleft()
        if not self.space.size.continuous and len(self._distinct) >= self.space.size.finite:
            self.exhausted = "every architecture of the space has been tried"
        elif self._reuses >= REUSES:
            self.exhausted = f"the last {REUSES:,} proposals were equivalents of what had been tried"
        if self.exhausted:
            return None
        try:
            proposal = ask(self.strategy)
        except SearchitectError as error:
            asked = any(trial.proposal.draw >= 0 for trial in self.trials.values())
            dry = asked and isinstance(error, SpaceError)
            if not dry:
                self.fail(error)
            self.exhausted = "" if dry and running else str(error)  # what runs may bring promotions
            return None
        return self._queued(proposal)

    def enqueue(self, architecture: Architecture, fidelity: Fidelity) -> Trial:
        """Queue an architecture of the user's; it runs before what the strategy proposes next."""
        trial = self._queued(Proposal(self.space.validate(architecture), fidelity, origin="enqueued"))
        self.ready.append(trial)
        return trial

    def record(self, proposal: Proposal, measurement: Measurement) -> Trial:
        """A trial that was measured already, as part of something else: it is stored, and the strategy is told."""
        with self.store.transaction():
            trial = self._queued(proposal)
            running = self.store.start(trial.number, worker=-1)
            done = msgspec.structs.replace(running, state=State.DONE, measurement=measurement)
            self.finish(done, running.attempts)
        self.raise_if_fatal()
        return self.trials[trial.number]

    def _queued(self, proposal: Proposal) -> Trial:
        number, first = len(self.trials), began(proposal, self.trials)
        seed = derive(self.seed, number, "trial") if first is None else first.seed  # a continued training keeps its own
        trial = Trial(number, proposal, key=self.reuse.key(proposal, number), seed=seed)
        self.store.queue([trial])
        self._remember(trial)
        return trial

    def _remember(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        if not trial.proposal.fidelity.horizon:  # those that pause may be promoted
            self._distinct.add(trial.architecture)
        self.reuse.remember(trial)

    def reused(self, trial: Trial) -> bool:
        """Whether an equivalent has, or will have, the result; then this trial needs no worker."""
        source = self.trials[self.reuse.holder(trial)]
        if source.number == trial.number:
            return False
        if source.state in (State.DONE, State.FAILED):
            self.finish(self.reuse.copied(trial, source))
        elif source.state is State.RUNNING:
            self.reuse.wait(source, trial)
        else:  # cut short, or queued itself: this one is measured
            self.reuse.take_over(trial)
            return False
        return True

    def start(self, trial: Trial) -> Trial:
        """The trial, stored as running."""
        running = self.store.start(trial.number, worker=-1)
        self.trials[trial.number] = running
        return running

    # -- trials that end -----------------------------------------------------------------------------

    def finish(self, trial: Trial, attempt: int = 0) -> None:
        """Record, then tell; then whoever waited for this result. Nothing, if the store knows of a later attempt."""
        if not self.store.finish(trial, attempt):
            return
        self.trials[trial.number] = trial
        self.store.told(trial.number)
        self._count(trial)
        self._tell(trial)
        self._note_best(trial)
        self.kept.told(trial, self.trials)
        for other in self.reuse.released(trial.number):
            if trial.state in (State.DONE, State.FAILED):
                self.finish(self.reuse.copied(other, trial))
            else:
                self.reuse.take_over(other)
                self.ready.append(other)
        if trial.failure is not None and trial.source is None:
            only = self.tally["failed"] == self.measured  # nothing was ever measured
            if only and (why := self._first_failures.add(trial.failure)):
                self.fail(StudyFailedError(why))

    def _tell(self, trial: Trial) -> None:
        self.listen(trial)
        try:
            tell(self.strategy, trial)
        except StudyFailedError as error:
            self.fail(error)

    def _count(self, trial: Trial) -> None:
        if trial.source is not None:
            self.tally["reused"] += 1
            self._reuses += 1
        else:
            self.tally[trial.state.value] += 1
            self._reuses = 0

    def _note_best(self, trial: Trial) -> None:
        """Remember a new incumbent; weights of all others are deleted."""
        if trial.source is not None:
            return
        dropped: Trial | None = trial
        if best([t for t in (self.incumbent, trial) if t is not None], self.objectives) is trial:
            dropped, self.incumbent = self.incumbent, trial
            value, elapsed = trial.value(goals(self.objectives)[0].metric), self.clock() - self._began
            self.store.note("incumbent", {"number": trial.number, "value": value, "elapsed": elapsed})
        self.kept.drop_weights(dropped)
