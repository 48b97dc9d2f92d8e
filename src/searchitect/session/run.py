"""One session of a study, from the first probe to the report: search, finalize, bundle, in a time budget."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from searchitect.engine.interrupts import Interrupts
from searchitect.engine.keeping import began, parent_of, state_path, weights_path
from searchitect.engine.ledger import Ledger
from searchitect.engine.limits import Limits
from searchitect.engine.loop import Loop
from searchitect.engine.observer import Observer, Progress
from searchitect.engine.reuse import Reuse
from searchitect.evaluators import Evaluator
from searchitect.evaluators.base import Heir, Rival, Task
from searchitect.executors import Executor
from searchitect.records import Fidelity, State, Trial, goals, losses, thoroughness
from searchitect.seeds import derive
from searchitect.session import budget
from searchitect.session.affording import affordable, left_out
from searchitect.session.finalizing import (
    finalists,
    finalize,
    most_epochs,
)
from searchitect.session.forecasting import buys, trial_seconds
from searchitect.session.gauging import Gauge
from searchitect.session.hopeless import Hopeless
from searchitect.session.leaving import leave_best_so_far
from searchitect.session.passes import Passes, evaluator_of, inherited_task, inner_strategy, shares_weights
from searchitect.session.preparing import Prepared
from searchitect.session.probing import probe
from searchitect.session.proposing import proposer
from searchitect.session.screening import judged, switched_off
from searchitect.session.speed import Speed
from searchitect.session.timeplan import final_seeds, more_finals, shared_out, tuning_seconds
from searchitect.store import Store
from searchitect.strategies import Setting, strategy_class

CHECKPOINT_FROM = 20.0  # seconds of a trial; shorter ones are repeated, not continued, after an interruption
MEASURED_BY_CLOCK = {"latency_ms", "seconds"}  # equal functions may differ in these
REPLAN_EVERY = 1.0  # seconds between two looks at all candidates
LARGEST_SLACK = 4.0  # seconds that running trials get beyond the end of the search


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Inside, Python's collector does not look again and again at the half million objects of the imported libraries:
    that held all workers up for 0.1 s every few hundred trials."""
    others = gc.get_freeze_count() > 0  # somebody else's wish, which is not ours to undo
    gc.freeze()
    try:
        yield
    finally:
        if not others:
            gc.unfreeze()


@dataclass
class Session:
    """Drives one study; the store is held for writing and stays open.

    began: the monotonic clock when the user's command began; the budget counts from there.
    """

    prepared: Prepared
    store: Store
    observer: Observer
    began: float

    def __post_init__(self) -> None:
        self.settings = self.prepared.settings
        self.folder = Path(self.store.folder)
        self.checkpoints = self.folder / "checkpoints"
        self.before = float((self.store.meta.get("seconds") or {}).get("active", 0.0))
        self.baseline_epoch = float(self.store.meta.get("baseline_epoch") or 0.0)
        self.candidate_epoch = float(self.store.meta.get("candidate_epoch") or 0.0)
        self.replanned = 0.0
        aims, share = self.prepared.objectives, self.settings.prune
        self.hopeless = None if share is None else Hopeless(goals(aims)[0], [o for o in aims if o.is_limit], share)
        self.ended: set[int] = set()  # trials that were asked to end by their curves, in this session
        self.gauge = Gauge(self.prepared, self.store, self.observer.message)
        name = str(self.store.meta["strategy"]["name"])
        self.method = name if shares_weights(name) else None

    # -- time ----------------------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Active seconds of this study, former sessions included."""
        return self.before + time.monotonic() - self.began

    @property
    def end(self) -> float | None:
        """The monotonic clock at which the budget is used up; None without a budget."""
        total = self.settings.budget_seconds
        return None if total is None else self.began - self.before + total

    def note_seconds(self, **more: float) -> None:
        """Write down where the time went."""
        seconds = dict(self.store.meta.get("seconds") or {}) | {"budget": self.settings.budget_seconds} | more
        self.store.set_meta(seconds=seconds | {"active": self.elapsed})

    # -- the whole -----------------------------------------------------------------------------------

    def run(self) -> str | None:
        """Search, then finalize. Returns the name of the signal that ended it early, or None.

        Raises StudyFailedError when the search cannot go on.
        """
        self.checkpoints.mkdir(exist_ok=True)
        for leftover in self.checkpoints.glob(".*"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
        try:
            with Interrupts(self.observer.message) as interrupts, self.prepared.executor(self.folder) as executor:
                if not self.gauge.take_laws(interrupts):
                    self.store.set_meta(stopped="interrupted")
                    return interrupts.name
                executor.start(self._evaluator())
                passes = None if self.method is None else Passes(self, executor, interrupts, self.method)
                fidelities = self._fidelities(executor, interrupts)
                if fidelities is None or (passes is not None and not passes.plan(self._for_search(fidelities))):
                    self.store.set_meta(stopped="interrupted")
                    return interrupts.name
                loop = self._loop(executor, interrupts, fidelities)
                with _old_objects_left_alone():
                    if passes is None:
                        self._enqueue(loop, fidelities)
                        stopped = loop.run()
                    else:
                        stopped = passes.search(loop)
                self.note_seconds(search=self.elapsed)
                self.store.set_meta(stopped=stopped)
                judged(loop.ledger.strategy, self.store)
                self._note_savers(loop.ledger.trials)
                if interrupts() or not self.settings.finalize or loop.ledger.incumbent is None:
                    leave_best_so_far(self, loop)
                else:
                    loop.ledger.kept.clear()
                    if self._measured(executor, loop):
                        finalize(self, executor, loop, fidelities, interrupts)
                return interrupts.name
        finally:
            self.note_seconds()

    def _note_savers(self, trials: Mapping[int, Trial]) -> None:
        """What was learned of memory, and what was saved by ending trainings, for the report. One that was asked to end
        may have been done, or begun again by a later session: the last note of those that did end counts."""
        notes = self.store.notes("pruned") if self.hopeless is not None else []
        saving = {int(note.body["trial"]): float(note.body["saved_seconds"]) for note in notes}
        ended = {number: s for number, s in saving.items() if trials[number].state is State.PRUNED}
        if ended:
            saved = sum(ended.values())
            facts = {"trials": len(ended), "saved_seconds": saved, "confidence": self.settings.prune}
            self.store.set_meta(pruned=facts)
        capacity = self.prepared.capacity
        if capacity.failed:
            known = {"threshold_mb": capacity.threshold, "failed": len(capacity.failed), "fitted": len(capacity.fitted)}
            self.store.set_meta(memory=known)

    def _measured(self, executor: Executor, loop: Loop) -> bool:
        """Measure whom limits on a device concern, alone, so that only those are finalists that keep them."""
        trials, count = loop.ledger.trials.values(), max(budget.FINALISTS, self.settings.ensemble or 0)
        with executor.exclusive():
            for control in (False, True) if self.settings.control else (False,):
                pick = partial(finalists, aims=self.prepared.objectives, control=control)
                if not self.gauge.choose(pick, trials, count) and not control:
                    return False
        return True

    def _evaluator(self) -> Evaluator:
        """What runs in the workers."""
        if self.method is None:
            return self.prepared.evaluator
        return evaluator_of(self.prepared, self.method, self.store.meta["strategy"]["options"])

    def _for_search(self, fidelities: budget.Fidelities) -> float | None:
        """Seconds that are left for the search; None without a budget."""
        return None if self.end is None else max(self.end - fidelities.reserve - time.monotonic(), 0.0)

    def _fidelities(self, executor: Executor, interrupts: Interrupts) -> budget.Fidelities | None:
        """Epochs in the search and in the end. With a budget they follow from probe trainings: an event,
        stored once and never recomputed. None when a signal cut the probes short: they say nothing then."""
        stored = self.store.meta.get("fidelities")
        self.prepared.most_macs = (self.store.meta.get("forecast") or {}).get("most_macs")
        if stored is not None:
            return msgspec.convert(stored, budget.Fidelities)
        settings, prepared = self.settings, self.prepared
        total = settings.budget_seconds
        if total is None or prepared.data is None:
            epochs = (None if self.method else settings.epochs) or prepared.full_epochs
            reserve = 0.3 * total if total is not None and settings.finalize else 0.0
            found = budget.Fidelities(epochs, 1.0, epochs, reserve)
        else:
            self.observer.progress(Progress("probe", text="measuring what an epoch costs here", elapsed=self.elapsed))
            probed = probe(prepared, executor, interrupts)
            if interrupts():
                return None
            strategy, spent = None if self.method else str(self.store.meta["strategy"]["name"]), self.elapsed
            self.note_seconds(probe=spent)
            stays = affordable(prepared, strategy, total, spent, probed)
            self.candidate_epoch, self.baseline_epoch = stays.candidate, probed.baseline
            found = shared_out(prepared, strategy, total, spent, stays.candidate, probed.baseline)
            if strategy is not None:
                self.store.set_meta(forecast=msgspec.to_builtins(buys(prepared, strategy, total, spent, probed)))
            if stays.most_macs is not None:
                prepared.most_macs = stays.most_macs
                self.observer.message(left_out(stays, total))
        evaluator = dict(self.store.meta["evaluator"]) | {"epochs": found.epochs}
        self.store.set_meta(
            fidelities=msgspec.to_builtins(found), baseline_epoch=self.baseline_epoch,
            candidate_epoch=self.candidate_epoch, evaluator=evaluator,
        )  # fmt: skip
        return found

    # -- search --------------------------------------------------------------------------------------

    def _loop(self, executor: Executor, interrupts: Interrupts, fidelities: budget.Fidelities) -> Loop:
        settings, prepared = self.settings, self.prepared
        feasible = None if prepared.costs is None and prepared.known is None else prepared.feasible
        name, options = settings.strategy, dict(self.store.meta["strategy"]["options"])
        if name == "auto":  # only in a new study, whose file we have just written
            name = self.store.meta["strategy"]["name"]
        if self.method is not None:
            name, options = inner_strategy(self.method, options)
        setting = Setting(
            prepared.space, prepared.objectives, settings.seed, self._fidelity(fidelities), feasible, prepared.start,
            excess=None if feasible is None else prepared.excess,
        )  # fmt: skip
        timed = self.end is not None
        strategy = proposer(prepared, self.store, setting, (name, options), timed, self.observer.message)
        limits = Limits(trials=settings.trials, patience=settings.patience, time_limit=settings.time_limit)
        if self.end is not None:
            limits.deadline, limits.reserve = self.end - fidelities.reserve, fidelities.reserve
            own = str(self.store.meta["strategy"]["name"])
            if self.candidate_epoch and self.method is None and not strategy_class(own).pauses:
                limits.usual = trial_seconds(prepared, own, self.candidate_epoch, fidelities)
            limits.slack = min(LARGEST_SLACK, 0.02 * (settings.budget_seconds or 0.0))
        described = f"{derive(0, msgspec.json.encode(prepared.evaluator.describe()).decode()):x}"
        clocked = ({o.metric for o in prepared.objectives} & MEASURED_BY_CLOCK) - {*self.gauge.metrics}
        costs = None if prepared.costs is None else prepared.costs.numbers
        reuse = Reuse(prepared.space, described, costs=costs, exact=bool(clocked))
        ledger = Ledger(
            prepared.space, self.store, strategy, prepared.objectives, reuse, settings.seed, self.checkpoints,
            listen=self._listen, heirs=self.heirs,
        )  # fmt: skip
        return Loop(
            ledger, executor, partial(self._payload, ledger.trials), limits, self.observer, interrupts,
            lambda loop: self._replan(loop, fidelities), watch=self._watch,
        )  # fmt: skip

    def _listen(self, trial: Trial) -> None:
        self.prepared.told(trial)
        if self.hopeless is not None:
            self.hopeless.told(trial)

    def _watch(self, trial: Trial, reports: list[dict[str, float]], seconds: float) -> bool:
        """Whether a training is to be ended; each is noted once, with the time that this saves."""
        bound = None if self.hopeless is None else self.hopeless(trial, reports)
        if bound is None or self.hopeless is None or trial.number in self.ended:
            return bound is not None
        done, epochs = len(reports), trial.proposal.fidelity.epochs
        self.ended.add(trial.number)
        sign = 1 if self.hopeless.goal.direction == "min" else -1
        self.store.note("pruned", {
            "trial": trial.number, "epochs": done, "of": epochs, "likely_best": sign * bound,
            "fifth_best": sign * self.hopeless.best[-1], "confidence": self.hopeless.confidence,
            "saved_seconds": seconds / done * (epochs - done),
        })  # fmt: skip
        return True

    def _fidelity(self, fidelities: budget.Fidelities) -> Fidelity:
        if self.method is not None:
            return Fidelity("inherited", int(self.store.meta["supernet"]["epochs"]))
        return Fidelity(self.prepared.evaluator.kind, fidelities.epochs, fidelities.data)

    def _enqueue(self, loop: Loop, fidelities: budget.Fidelities) -> None:
        """A new study begins with the hand-made network, if it keeps the limits: the search must find at least that.
        Then comes what the user left to be tried; it leaves that list in the same transaction."""
        baseline = self.prepared.baseline_architecture
        first = (
            [baseline] if baseline is not None and not loop.ledger.trials and self.prepared.feasible(baseline) else []
        )
        wanted = [self.prepared.space.architecture(d) for d in self.store.meta.get("enqueued") or ()]
        with self.store.transaction():
            for architecture in [*first, *wanted]:
                loop.ledger.enqueue(architecture, self._fidelity(fidelities))
            self.store.set_meta(enqueued=[])

    def _payload(self, trials: Mapping[int, Trial], trial: Trial, incumbent: Trial | None) -> dict[str, Any]:
        fidelity, first, start = trial.proposal.fidelity, began(trial.proposal, trials), 0
        if fidelity.kind == "inherited":
            planned = int(self.store.meta["supernet"]["epochs"])
            task = inherited_task(trial, self.checkpoints, len(self.store.notes("epoch")), planned)
            inherits: dict[str, Any] = msgspec.to_builtins(task)
            return inherits
        if first is not None:
            start = trials[trial.proposal.parents[0]].proposal.fidelity.epochs
        pauses = fidelity.horizon > fidelity.epochs
        long = self.baseline_epoch * (fidelity.epochs - start) * fidelity.data > CHECKPOINT_FROM
        state = state_path(self.checkpoints, (first or trial).number) if long or pauses or start else None
        evaluator = self.prepared.evaluator
        beaten = incumbent is not None and thoroughness(incumbent.proposal.fidelity) > thoroughness(fidelity)
        task = Task(
            trial.number, trial.architecture.decisions, trial.seed, fidelity.epochs, data=fidelity.data,
            save=str(weights_path(self.checkpoints, trial.number)) if evaluator.weights and not beaten else None,
            rival=None if self.heirs else self._rival(trial, incumbent), heir=self._heir(trial, trials),
            horizon=fidelity.horizon, start=start,
            checkpoint=None if state is None else str(state),
            save_every=1 if long else fidelity.epochs if pauses else 0,
        )  # fmt: skip
        payload: dict[str, Any] = msgspec.to_builtins(task)
        return payload

    @property
    def heirs(self) -> bool:
        """Whether trials may begin with the weights of others: an option of some strategies."""
        return bool(self.store.meta["strategy"]["options"].get("inherit"))

    def _heir(self, trial: Trial, trials: Mapping[int, Trial]) -> Heir | None:
        """The parent whose weights are there; the first one where there are none, so that the trial says so."""
        if not trial.proposal.inherits:
            return None
        numbers = [parent_of(number, trials) for number in trial.proposal.parents]
        with_file = [n for n in numbers if weights_path(self.checkpoints, n).exists()]
        parent = trials[(with_file or numbers)[0]]
        return Heir(parent.number, parent.architecture.decisions, str(weights_path(self.checkpoints, parent.number)))

    def _rival(self, trial: Trial, incumbent: Trial | None) -> Rival | None:
        """What a trial must beat for its weights to be worth keeping."""
        if incumbent is None or incumbent.proposal.fidelity != trial.proposal.fidelity:
            return None
        objectives = self.prepared.objectives
        return Rival(incumbent.number, goals(objectives), losses(incumbent, objectives) or ())

    def _replan(self, loop: Loop, fidelities: budget.Fidelities) -> None:
        """Move the end of the search by what the best candidates so far really cost."""
        switched_off(loop.ledger.strategy, self.store, self.observer.message)
        now = time.monotonic()
        if self.end is None or self.method is not None or now - self.replanned < REPLAN_EVERY:
            return
        self.replanned = now
        top = finalists([t for t in loop.ledger.trials.values() if t.source is None], self.prepared.objectives)
        if len(top) < 2:
            return
        top = top[: budget.FINALISTS]
        speed = Speed(loop.ledger.trials.values())
        per_epoch = [speed.epoch(trial) for trial in top if trial.state is State.DONE]
        baseline, least = self.baseline_epoch * speed.slower or max(per_epoch), fidelities.final_epochs
        tuning = tuning_seconds(self.prepared, self.settings.budget_seconds, self.candidate_epoch, self.baseline_epoch)
        spent = float((self.store.meta.get("seconds") or {}).get("probe", 0.0))  # or more is kept than was forecast
        most = budget.FINAL_SHARE * ((self.settings.budget_seconds or 0.0) - tuning - spent)
        reserve_for = partial(
            budget.reserve_for, per_epoch, baseline, workers=self.prepared.workers, seeds=final_seeds(self.settings),
            finalists=len(per_epoch), more=more_finals(self.settings),
        )  # fmt: skip
        longest = next((e for e in range(most_epochs(self, fidelities), least, -1) if reserve_for(e) <= most), least)
        loop.limits.reserve = min(reserve_for(longest), most) + tuning
        loop.limits.deadline = self.end - loop.limits.reserve
