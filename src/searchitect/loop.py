"""The loop of a search: ask, reuse or submit, collect, record, tell. Nothing here knows torch.

Everything that happened between two waits is one transaction of the store, so a serial search costs one
fsync per trial. A result is written before the strategy hears of it; workers are given their next task
before the disk is waited for (if the process dies in between, its workers die with it).
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from searchitect.asking import ask, tell
from searchitect.errors import SearchitectError, SpaceError, StudyFailedError
from searchitect.executors import Event, Executor, Failed, Finished, Report
from searchitect.keeping import Kept, began
from searchitect.limits import FirstFailures, Limits, Payload, forecast
from searchitect.observer import Announcer, Observer, Progress
from searchitect.records import (
    Cause,
    Failure,
    Fidelity,
    Measurement,
    Objective,
    Proposal,
    State,
    Trial,
    best,
    goals,
)
from searchitect.reuse import Reuse
from searchitect.seeds import derive
from searchitect.space import Architecture, Space
from searchitect.store import Store
from searchitect.strategies.base import Strategy

RETRIES = 2  # for faults of the machine, with the same seed
REUSES = 1000  # so many in a row mean that the strategy has run dry
GRACE = 5.0  # seconds that running trials get to end at their next step


@dataclass
class Loop:
    """One search over one store. `run` returns why it ended: "budget", "trials", "exhausted" or "interrupted".

    payload:   makes the worker's task of a trial.
    reuse:     finds equivalents and copies their results.
    interrupt: asked often; true ends the search at the next step of what runs.
    replan:    called after each result; may move `limits.deadline`.
    files:     folder where tasks leave weights and states (`keeping`).
    """

    space: Space
    store: Store
    strategy: Strategy
    executor: Executor
    objectives: tuple[Objective, ...]
    payload: Payload
    reuse: Reuse
    limits: Limits
    seed: int
    observer: Observer = field(default_factory=Observer)
    interrupt: Callable[[], bool] = lambda: False
    replan: Callable[[Loop], None] | None = None
    files: Path | None = None
    clock: Callable[[], float] = time.monotonic
    trials: dict[int, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.flying: dict[int, Trial] = {}
        self.sessions: dict[int, list[dict[str, float]]] = {}  # reports of what runs
        self.ready: deque[Trial] = deque()  # queued: resumed, enqueued by the user, or to be tried again
        self.distinct: set[Architecture] = set()
        self.tally: Counter[str] = Counter()
        self.first_failures = FirstFailures()
        self.reuses = 0
        self.began = self.clock()
        self.stopped: str | None = None
        self.winding_down = False
        self.retried: Counter[int] = Counter()  # machine faults of each trial; former sessions do not count
        self.incumbent: Trial | None = None
        self.begun: dict[int, float] = {}  # clock at submission
        self.durations: deque[float] = deque(maxlen=64)  # of finished trials, as the driver saw them
        self.announcer = Announcer(self.observer)
        self.fatal: SearchitectError | None = None  # raised once what came before it is on disk
        self.forecast_given = False
        self.kept = Kept(self.files, self.objectives)
        self._replay()

    # -- what was before -----------------------------------------------------------------------------

    def _replay(self) -> None:
        """Bring strategy and counters to where the stored events end; queue again what was running."""
        self.store.requeue_running()
        self.trials.update((trial.number, trial) for trial in self.store.trials())
        for kind, number in self.store.events():
            trial = self.trials[number]
            if kind == "asked":
                self._remember(trial)
                if trial.proposal.draw >= 0:
                    again = ask(self.strategy)
                    self._raise_if_fatal()
                    if again != trial.proposal:
                        raise StudyFailedError(
                            f"trial {number} would be proposed differently now: the strategy, its options or the space "
                            "have changed since the study began. Start a new study, or go back to the former version"
                        )
            else:
                self._count(trial)
                self._tell(trial)
                self.kept.told(trial, self.trials)
        self.ready.extend(trial for trial in self.trials.values() if trial.state is State.QUEUED)
        self.incumbent = best(self.trials.values(), self.objectives)

    def enqueue(self, architecture: Architecture, fidelity: Fidelity) -> Trial:
        """Queue an architecture of the user's; it runs before what the strategy proposes next."""
        trial = self._new_trial(Proposal(self.space.validate(architecture), fidelity, origin="enqueued"))
        self.store.queue([trial])
        self._remember(trial)
        self.ready.append(trial)
        return trial

    def record(self, proposal: Proposal, measurement: Measurement) -> Trial:
        """A trial that was measured already, as part of something else: it is stored, and the strategy is told."""
        with self.store.transaction():
            trial = self._new_trial(proposal)
            self.store.queue([trial])
            self._remember(trial)
            running = self.store.start(trial.number, worker=-1)
            self._finish(msgspec.structs.replace(running, state=State.DONE, measurement=measurement), running.attempts)
        self._raise_if_fatal()
        return self.trials[trial.number]

    def _tell(self, trial: Trial) -> None:
        try:
            tell(self.strategy, trial)
        except StudyFailedError as error:  # raised after the transaction that is open
            self.fatal = self.fatal or error

    def _fail(self, why: str) -> None:
        """End the study with this error, after the transaction that is open."""
        self.fatal = self.fatal or StudyFailedError(why)

    # -- the loop ------------------------------------------------------------------------------------

    def run(self) -> str:
        """Search until a limit is met. Raises StudyFailedError when the first trials fail alike."""
        self.executor.listener = self._report
        try:
            with self.store.transaction():
                self._fill()
            self._raise_if_fatal()
            while self.flying:
                events = self.executor.wait(self._patience())
                self._check_limits()
                if any(isinstance(event, (Finished, Failed)) for event in events):
                    with self.store.transaction():  # workers get their next task before it is committed
                        for event in events:
                            self._handle(event)
                        self._fill()
                    if self.replan is not None:
                        self.replan(self)
                self._raise_if_fatal()
                self._show()
                if self._must_stop():
                    self._wind_down()
        finally:
            self.executor.listener = None
        return self.stopped or "exhausted"

    def _raise_if_fatal(self) -> None:
        if self.fatal is not None:
            raise self.fatal

    def _patience(self) -> float:
        left = 0.5 if self.limits.deadline is None else self.limits.deadline - self.clock()
        return min(max(left, 0.05), 0.5)

    def _must_stop(self) -> bool:
        """Whether what still runs is to be stopped, not waited for."""
        late = self.limits.deadline is not None and self.clock() >= self.limits.deadline + self.limits.slack
        return self.stopped == "interrupted" or (self.stopped is not None and late)

    def _check_limits(self) -> None:
        """Note the first reason to end; a signal comes before any other, also while the last trials run."""
        if self.interrupt():
            self.stopped = "interrupted"
        elif self.stopped:
            return
        elif self.limits.deadline is not None and self.clock() >= self.limits.deadline:
            self.stopped = "budget"
        elif self.limits.trials is not None and self.measured + len(self.flying) >= self.limits.trials:
            self.stopped = "trials"

    @property
    def measured(self) -> int:
        """Trials that were really evaluated, failed ones included."""
        return self.tally["done"] + self.tally["failed"] + self.tally["pruned"]

    def _fill(self) -> None:
        """Give every free worker something to do."""
        while len(self.flying) < self.executor.slots:
            self._check_limits()
            if self.stopped or self.fatal is not None or not self._worth_starting():
                return
            trial = self._next()
            if trial is None:
                return
            if not self._reused(trial):
                self._submit(trial)

    def _worth_starting(self) -> bool:
        """Whether a trial begun now would end in time, by the time that the former ones took."""
        if self.limits.deadline is None or len(self.durations) < 2:
            return True
        usual = statistics.median(self.durations)
        if self.clock() + 0.8 * usual <= self.limits.deadline:
            return True
        if not self.flying:
            self.stopped = "budget"
        return False

    def _next(self) -> Trial | None:
        """The next trial: one that is queued already, else what the strategy proposes."""
        if self.ready:
            return self.ready.popleft()
        if not self.space.size.continuous and len(self.distinct) >= self.space.size.finite:
            self._end("exhausted")
            return None
        if self.reuses >= REUSES:
            self._end("exhausted")
            return None
        try:
            proposal = ask(self.strategy)
        except SearchitectError as error:  # raised after the transaction, which holds results that came before
            asked = any(t.proposal.draw >= 0 for t in self.trials.values())
            if asked and isinstance(error, SpaceError) and self.flying:
                return None  # what runs may bring promotions
            if not (asked and isinstance(error, SpaceError)):
                self.fatal = self.fatal or error
            self._end("exhausted")
            return None
        trial = self._new_trial(proposal)
        self.store.queue([trial])
        self._remember(trial)
        return trial

    def _end(self, why: str) -> None:
        self.stopped = self.stopped or why

    def _new_trial(self, proposal: Proposal) -> Trial:
        number, first = len(self.trials), began(proposal, self.trials)
        seed = derive(self.seed, number, "trial") if first is None else first.seed  # a continued training keeps its own
        return Trial(number, proposal, key=self.reuse.key(proposal, number), seed=seed)

    def _remember(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        if not trial.proposal.fidelity.horizon:  # those that pause may be promoted
            self.distinct.add(trial.architecture)
        self.reuse.remember(trial)

    def _reused(self, trial: Trial) -> bool:
        """Whether an equivalent has, or will have, the result; then this trial needs no worker."""
        source = self.trials[self.reuse.holder(trial)]
        if source.number == trial.number:
            return False
        if source.state in (State.DONE, State.FAILED):
            self._finish(self.reuse.copied(trial, source))
        elif source.state is State.RUNNING:
            self.reuse.wait(source, trial)
        else:  # cut short, or queued itself: this one is measured
            self.reuse.take_over(trial)
            return False
        return True

    def _submit(self, trial: Trial) -> None:
        running = self.store.start(trial.number, worker=-1)
        self.trials[trial.number] = self.flying[trial.number] = running
        self.sessions[trial.number] = []
        self.begun[trial.number] = self.clock()
        payload, limit = self.payload(running, self.incumbent), self.limits.time_limit
        self.executor.submit(trial.number, payload, time_limit=limit, attempt=running.attempts)

    # -- by hand -------------------------------------------------------------------------------------

    def lease(self) -> Trial | None:
        """The next trial that needs measuring, started; None when nothing new is left."""
        with self.store.transaction():
            while (trial := self._next()) is not None:
                if not self._reused(trial):
                    self._submit(trial)
                    break
        self._raise_if_fatal()
        return None if trial is None else self.trials[trial.number]

    def settle(self, event: Event) -> None:
        """Record one event of a leased trial and tell the strategy."""
        with self.store.transaction():
            self._handle(event)
        self._raise_if_fatal()

    # -- what comes back -----------------------------------------------------------------------------

    def _report(self, event: Report) -> None:
        trial = self.flying.get(event.ticket)
        if trial is not None:
            numbers = {k: float(v) for k, v in event.data.items() if isinstance(v, (int, float))}
            self.sessions[event.ticket].append(numbers)
            self.store.report(event.ticket, trial.attempts, len(self.sessions[event.ticket]), numbers)
        self._check_limits()
        if self.stopped == "interrupted":
            self.executor.stop(event.ticket)

    def _handle(self, event: Event) -> None:
        trial = self.flying.get(event.ticket)
        if trial is None or not isinstance(event, (Finished, Failed)):
            return
        del self.flying[event.ticket]
        if isinstance(event, Finished):
            self._finished(trial, event.result)
        else:
            self._failed(trial, event)

    def _finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        curve = tuple(result.get("curve") or ())
        measurement = Measurement(
            dict(result["metrics"]), float(result["seconds"]), int(result.get("epochs", 0)),
            str(result.get("device", "cpu")), curve, tuple(result.get("notes") or ()),
        )  # fmt: skip
        if failure := self._unreported(trial, measurement):
            failed = msgspec.structs.replace(trial, state=State.FAILED, failure=failure, measurement=measurement)
            self._finish(failed, trial.attempts)
            return
        if result.get("stopped"):
            if self.stopped == "interrupted":  # it goes on where it was when the study is resumed
                self.store.requeue(trial.number, trial.attempts)
                return
            state = State.PRUNED
        else:
            state = State.DONE
            self.durations.append(self.clock() - self.begun[trial.number])
        self._finish(msgspec.structs.replace(trial, state=state, measurement=measurement), trial.attempts)

    def _unreported(self, trial: Trial, measurement: Measurement) -> Failure | None:
        """A goal that nobody reports would make every trial worthless: the study ends at the first."""
        missing = next((o.metric for o in self.objectives if o.metric not in measurement.metrics), None)
        if missing is None:
            return None
        names = ", ".join(sorted(measurement.metrics)) or "nothing"
        why = (
            f"trial {trial.number} did not report the objective {missing!r}; it reported {names}. "
            "Return it from evaluate(), or name one of these as the objective"
        )
        self._fail(why)
        return Failure(Cause.USER_CODE, why)

    def _failed(self, trial: Trial, event: Failed) -> None:
        if self.winding_down and event.cause == Cause.KILLED:
            self.store.requeue(trial.number, trial.attempts)
            return
        if event.retryable and self.retried[trial.number] < RETRIES:
            self.retried[trial.number] += 1
            self.store.requeue(trial.number, trial.attempts)
            if self.stopped in ("trials", "exhausted"):  # it was counted as one that will be measured
                self.stopped = None
            self.announcer.message(f"trial {trial.number}: {event.message}; trying again")
            self.ready.appendleft(msgspec.structs.replace(trial, state=State.QUEUED))
            return
        cause = Cause(event.cause) if event.cause in set(Cause) else Cause.USER_CODE
        last = tuple(self.sessions.get(trial.number, ()))
        failure = Failure(cause, event.message, event.traceback, event.retryable)
        partial = Measurement({}, curve=last) if last else None
        failed = msgspec.structs.replace(trial, state=State.FAILED, failure=failure, measurement=partial)
        self._finish(failed, trial.attempts)

    def _finish(self, trial: Trial, attempt: int = 0) -> None:
        """Record, then tell; then whoever waited for this result."""
        if not self.store.finish(trial, attempt):
            return
        self.trials[trial.number] = trial
        self.store.told(trial.number)
        self._count(trial)
        self._tell(trial)
        self.sessions.pop(trial.number, None)
        self._note_best(trial)
        self.kept.told(trial, self.trials)
        for other in self.reuse.released(trial.number):
            if trial.state in (State.DONE, State.FAILED):
                self._finish(self.reuse.copied(other, trial))
            else:
                self.reuse.take_over(other)
                self.ready.append(other)
        if trial.failure is not None and trial.source is None:
            only = self.tally["failed"] == self.measured  # nothing was ever measured
            if only and (why := self.first_failures.add(trial.failure)):
                self._fail(why)

    def _count(self, trial: Trial) -> None:
        if trial.source is not None:
            self.tally["reused"] += 1
            self.reuses += 1
        else:
            self.tally[trial.state.value] += 1
            self.reuses = 0

    def _note_best(self, trial: Trial) -> None:
        """Remember a new incumbent; weights of all others are deleted."""
        if trial.source is not None:
            return
        dropped: Trial | None = trial
        if best([t for t in (self.incumbent, trial) if t is not None], self.objectives) is trial:
            dropped, self.incumbent = self.incumbent, trial
            value = trial.value(goals(self.objectives)[0].metric)
            self.store.note("incumbent", {"number": trial.number, "value": value, "elapsed": self.clock() - self.began})
        self.kept.drop_weights(dropped)

    # -- ending --------------------------------------------------------------------------------------

    def _wind_down(self) -> None:
        """Ask what still runs to end at its next step, and kill what does not within the grace."""
        self.winding_down = True
        for number in self.flying:
            self.executor.stop(number)
        end = self.clock() + GRACE
        while self.flying and self.clock() < end:
            self._collect(0.1)
        for number in list(self.flying):
            self.executor.kill(number)
        while self.flying:
            self._collect(2.0)

    def _collect(self, timeout: float) -> None:
        events = self.executor.wait(timeout)
        with self.store.transaction():
            for event in events:
                self._handle(event)

    def _show(self) -> None:
        now = self.clock()
        left = None if self.limits.deadline is None else max(0.0, self.limits.deadline - now)
        trials_left = None if self.limits.trials is None else max(0, self.limits.trials - self.measured)
        self.announcer.progress(Progress(
            "search", self.tally["done"], self.tally["failed"], self.tally["reused"], len(self.flying), self.incumbent,
            now - self.began, left, trials_left,
        ))  # fmt: skip
        if not self.forecast_given and len(self.durations) >= 2:
            self.forecast_given = True
            usual = statistics.median(self.durations)
            facts = forecast(usual, self.executor.slots, self.measured, trials_left, left, self.limits.reserve)
            self.store.note("forecast", facts)
            self.announcer.forecast(facts)
