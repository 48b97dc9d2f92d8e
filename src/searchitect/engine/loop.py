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
from typing import Any

import msgspec

from searchitect.engine.ledger import Ledger
from searchitect.engine.limits import Limits, Payload, forecast, usual_seconds
from searchitect.engine.observer import Announcer, Observer, Progress
from searchitect.errors import StudyFailedError
from searchitect.executors import Event, Executor, Failed, Finished, Report
from searchitect.records import Cause, Failure, Measurement, State, Trial

RETRIES = 2  # for faults of the machine, with the same seed
GRACE = 5.0  # seconds that running trials get to end at their next step


@dataclass
class Loop:
    """One search over one ledger. `run` returns why it ended: "budget", "trials", "patience", "exhausted" or
    "interrupted".

    payload:   makes the worker's task of a trial.
    interrupt: asked often; true ends the search at the next step of what runs.
    watch:     hears what a running trial reports, and how long it has run; true ends it at its next step.
    replan:    called after each result; may move `limits.deadline`.
    """

    ledger: Ledger
    executor: Executor
    payload: Payload
    limits: Limits
    observer: Observer = field(default_factory=Observer)
    interrupt: Callable[[], bool] = lambda: False
    replan: Callable[[Loop], None] | None = None
    clock: Callable[[], float] = time.monotonic
    watch: Callable[[Trial, list[dict[str, float]], float], bool] = lambda *_: False

    def __post_init__(self) -> None:
        self.store = self.ledger.store
        self.flying: dict[int, Trial] = {}
        self.sessions: dict[int, list[dict[str, float]]] = {}  # reports of what runs
        self.began = self.clock()
        self.stopped: str | None = None
        self.winding_down = False
        self.retried: Counter[int] = Counter()  # machine faults of each trial; former sessions do not count
        self.begun: dict[int, float] = {}  # clock at submission
        self.durations: deque[float] = deque(maxlen=64)  # of finished trials, as the driver saw them
        self.announcer = Announcer(self.observer)
        self.forecast_given = False
        self.fruitless = _since_best(self.ledger)
        self.ended: list[int] = []  # trials that the observer has not heard of yet
        self.half: float | None = None  # seconds of the search that are left when the forecast is given again

    # -- the loop ------------------------------------------------------------------------------------

    def run(self) -> str:
        """Search until a limit is met. Raises StudyFailedError when the first trials fail alike."""
        self.executor.listener = self._report
        try:
            with self.store.transaction():
                self._fill()
            self.ledger.raise_if_fatal()
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
                self.ledger.raise_if_fatal()
                self._show()
                if self._must_stop():
                    self._wind_down()
            self._tell_of_ended()
        finally:
            self.executor.listener = None
        return self.stopped or "exhausted"

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
        elif self.limits.trials is not None and self.ledger.measured + len(self.flying) >= self.limits.trials:
            self.stopped = "trials"
        elif self.limits.patience is not None and self.fruitless >= self.limits.patience:
            self.stopped = "patience"

    def _fill(self) -> None:
        """Give every free worker something to do."""
        while len(self.flying) < self.executor.slots:
            self._check_limits()
            if self.stopped or self.ledger.fatal is not None or not self._worth_starting():
                return
            trial = self._next()
            if trial is None:
                return
            if self.ledger.reused(trial):
                self.ended.append(trial.number)
            else:
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
        trial = self.ledger.next(running=bool(self.flying))
        if trial is None and self.ledger.exhausted and self.stopped is None:
            self.stopped = "exhausted"
            self.store.note("exhausted", {"text": self.ledger.exhausted})
            if self.ledger.fatal is None:
                self.announcer.message(f"the search ends: {self.ledger.exhausted}")
        return trial

    def _submit(self, trial: Trial) -> None:
        self.flying[trial.number] = running = self.ledger.start(trial)
        self.sessions[trial.number] = []
        self.begun[trial.number] = self.clock()
        payload, limit = self.payload(running, self.ledger.incumbent), self.limits.time_limit
        self.executor.submit(trial.number, payload, time_limit=limit, attempt=running.attempts)

    # -- by hand -------------------------------------------------------------------------------------

    def lease(self) -> Trial | None:
        """The next trial that needs measuring, started; None when nothing new is left."""
        with self.store.transaction():
            while (trial := self._next()) is not None:
                if not self.ledger.reused(trial):
                    self._submit(trial)
                    break
        self.ledger.raise_if_fatal()
        return None if trial is None else self.ledger.trials[trial.number]

    def settle(self, event: Event) -> None:
        """Record one event of a leased trial and tell the strategy."""
        with self.store.transaction():
            self._handle(event)
        self.ledger.raise_if_fatal()

    # -- what comes back -----------------------------------------------------------------------------

    def _report(self, event: Report) -> None:
        trial = self.flying.get(event.ticket)
        if trial is not None:
            numbers = {k: float(v) for k, v in event.data.items() if isinstance(v, (int, float))}
            self.sessions[event.ticket].append(numbers)
            self.store.report(event.ticket, trial.attempts, len(self.sessions[event.ticket]), numbers)
            if self.watch(trial, self.sessions[event.ticket], self.clock() - self.begun[event.ticket]):
                self.executor.stop(event.ticket)
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
        missing = next((o.metric for o in self.ledger.objectives if o.metric not in measurement.metrics), None)
        if missing is None:
            return None
        names = ", ".join(sorted(measurement.metrics)) or "nothing"
        why = (
            f"trial {trial.number} did not report the objective {missing!r}; it reported {names}. "
            "Return it from evaluate(), or name one of these as the objective"
        )
        self.ledger.fail(StudyFailedError(why))
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
            self.ledger.ready.appendleft(msgspec.structs.replace(trial, state=State.QUEUED))
            return
        cause = Cause(event.cause) if event.cause in set(Cause) else Cause.USER_CODE
        last = tuple(self.sessions.get(trial.number, ()))
        failure = Failure(cause, event.message, event.traceback, event.retryable)
        partial = Measurement({}, curve=last) if last else None
        failed = msgspec.structs.replace(trial, state=State.FAILED, failure=failure, measurement=partial)
        self._finish(failed, trial.attempts)

    def _finish(self, trial: Trial, attempt: int) -> None:
        before = self.ledger.incumbent
        self.ledger.finish(trial, attempt)
        better = self.ledger.incumbent is not before
        self.fruitless = 0 if better or before is None else self.fruitless + 1
        self.sessions.pop(trial.number, None)
        self.ended.append(trial.number)

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
        self._tell_of_ended()
        now = self.clock()
        left = None if self.limits.deadline is None else max(0.0, self.limits.deadline - now)
        trials_left = None if self.limits.trials is None else max(0, self.limits.trials - self.ledger.measured)
        tally = self.ledger.tally
        self.announcer.progress(Progress(
            "search", tally["done"], tally["failed"], tally["reused"], len(self.flying), self.ledger.incumbent,
            now - self.began, left, trials_left,
        ))  # fmt: skip
        half = bool(self.half) and left is not None and left <= (self.half or 0.0)
        if len(self.durations) >= 2 and (not self.forecast_given or half):
            expected = None if self.forecast_given else self.limits.usual
            usual = usual_seconds(self.durations, expected, latest=self.forecast_given)
            self.half = left / 2 if left is not None and not self.forecast_given else None
            self.forecast_given = True
            measured = self.ledger.measured + len(self.flying) / 2  # those that run are half done
            facts = forecast(usual, self.executor.slots, measured, trials_left, left, self.limits.reserve)
            self.store.note("forecast", facts)
            self.announcer.forecast(facts)

    def _tell_of_ended(self) -> None:
        """What is on disk now; a copy that still waits for its result is told of later."""
        waiting = []
        for number in dict.fromkeys(self.ended):
            trial = self.ledger.trials[number]
            if trial.state in (State.DONE, State.FAILED, State.PRUNED):
                self.announcer.trial(trial)
            elif trial.number not in self.flying:
                waiting.append(number)
        self.ended = waiting


def _since_best(ledger: Ledger) -> int:
    """Measured trials that ended after the best one, in a study that goes on."""
    best = ledger.incumbent
    if best is None:
        return 0
    over = (State.DONE, State.FAILED, State.PRUNED)
    measured = [t for t in ledger.trials.values() if t.source is None and t.state in over]
    return sum((t.finished or 0.0) > (best.finished or 0.0) for t in measured)
