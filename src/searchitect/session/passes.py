"""A search with weight sharing: epochs of a supernet, then architectures measured with its weights.

The supernet's epochs run one after the other in a worker, each of them saved; the architecture that a gradient method
would give after an epoch becomes a trial of kind "inherited". Methods without preferences of their own (SPOS,
FairNAS) are followed by an ordinary search with any strategy over inherited weights. Then come the final stages, as
for every search: finalists are trained from scratch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from searchitect.engine.interrupts import Interrupts
from searchitect.engine.loop import Loop
from searchitect.engine.observer import Announcer, Progress
from searchitect.errors import StudyFailedError, UsageError
from searchitect.evaluators import InheritedEvaluator, TrainEvaluator
from searchitect.evaluators.base import Outcome, Task
from searchitect.executors import Executor, Failed
from searchitect.records import Epoch, Fidelity, Measurement, Proposal, Trial, goals
from searchitect.report.plain import show_metric
from searchitect.seeds import derive, stream
from searchitect.session.preparing import Prepared
from searchitect.session.tasks import failure_line, run_tasks
from searchitect.sharing import METHODS
from searchitect.sharing.ranking import LEAST, agreement

if TYPE_CHECKING:
    from searchitect.session.run import Session

log = logging.getLogger(__name__)

FOLDER = "supernet"  # in the study's checkpoints
SEARCHED = ("spos", "fairnas")  # methods whose supernet says nothing of its own
OURS = ("inner", "inner_options", "ranking")  # options of the study, not of the method
SUPERNET_SHARE = 0.6  # of the search, where another search over inherited weights follows
MOST_EPOCHS, LEAST_EPOCHS = 50, 3
USUAL_TRIALS = 100  # of the search over inherited weights, without a budget
MEASURED_IN = 5.0  # seconds at most for the hand-made network with inherited weights, beyond the end of the search
RANKED_EPOCHS = 5  # at most, of the short trainings that inherited weights are compared with


def shares_weights(strategy: str) -> bool:
    """Whether a strategy is a method of weight sharing."""
    return strategy in METHODS


def inherited_task(trial: Trial, checkpoints: Path, epoch: int, horizon: int) -> Task:
    """Measure a trial's architecture with the weights of the supernet, which has had so many epochs of `horizon`."""
    return Task(
        trial.number, trial.architecture.decisions, trial.seed, epoch, supernet=str(checkpoints / FOLDER),
        horizon=horizon,
    )  # fmt: skip


def inner_strategy(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The strategy that asks and listens beside a method, and its options."""
    if name in SEARCHED:
        return str(options.get("inner", "regularized-evolution")), dict(options.get("inner_options") or {})
    return "random", {}


def check(prepared: Prepared, name: str, options: dict[str, Any]) -> None:
    """Raises UsageError when the method cannot share this space, or nothing is known to train on."""
    evaluator, ranked = prepared.evaluator, options.get("ranking", 0)
    if isinstance(ranked, bool) or not isinstance(ranked, int) or not (ranked == 0 or ranked >= LEAST):
        raise UsageError(f"ranking={ranked!r}: write how many networks are ranked, {LEAST} or more, or 0 for none")
    if not isinstance(evaluator, TrainEvaluator):
        raise UsageError(
            f"strategy {name!r} trains a supernet itself, so it needs data; with evaluate= take another strategy"
        )
    from searchitect.sharing import Start, SupernetSearch

    data = evaluator.data("train")
    own = {k: v for k, v in options.items() if k not in OURS}
    SupernetSearch(name, Start(prepared.space, data.sample, data.outputs, 0, 1, evaluator.recipe, own), data)


def evaluator_of(prepared: Prepared, name: str, options: dict[str, Any]) -> InheritedEvaluator:
    """What runs in the workers."""
    assert isinstance(prepared.evaluator, TrainEvaluator)
    own = {k: v for k, v in options.items() if k not in OURS}
    seed = derive(prepared.settings.seed, "supernet")
    return InheritedEvaluator(
        prepared.evaluator, name, own, seed, prepared.objectives, prepared.baseline_architecture
    )  # fmt: skip


class Passes:
    """The supernet's part of one session. `search` returns why the search ended."""

    def __init__(self, session: Session, executor: Executor, interrupts: Interrupts, method: str) -> None:
        self.session, self.executor, self.interrupts, self.method = session, executor, interrupts, method
        self.store = session.store
        self.folder = session.checkpoints / FOLDER
        self.announcer = Announcer(session.observer)
        self.ranked = int(self.store.meta["strategy"]["options"].get("ranking", 0))

    # -- plan ----------------------------------------------------------------------------------------

    def plan(self, seconds: float | None) -> bool:
        """Fix how many epochs the search has: an event, stored once. seconds: of the search, None without a budget.

        False when a signal cut the probe short. Raises StudyFailedError when the supernet cannot be trained.
        """
        if self.store.meta.get("supernet") is not None:
            return True
        asked = self.session.settings.epochs
        facts: dict[str, Any] = {"epochs": asked or MOST_EPOCHS}
        if asked is None and seconds is not None:
            probe = Task(-1, {}, derive(self.session.settings.seed, "supernet"), 0, network="supernet", horizon=1)
            (outcome,) = run_tasks(self.executor, [probe], interrupt=self.interrupts)
            if self.interrupts():
                return False
            each = max(self._outcome(outcome).seconds, 1e-3)
            seconds -= self._ranking_seconds()
            share = SUPERNET_SHARE if self.method in SEARCHED else 1.0
            facts = {"epochs": min(max(int(share * seconds / each), LEAST_EPOCHS), MOST_EPOCHS), "seconds": each}
        self.store.set_meta(supernet=facts)
        return True

    # -- the epochs ----------------------------------------------------------------------------------

    def search(self, loop: Loop) -> str:
        """The epochs, then the trials over inherited weights. Returns why it ended, as `Loop.run` does."""
        if loop.limits.deadline is not None:
            loop.limits.deadline -= self._ranking_seconds()
        stopped = self._epochs(loop)
        if stopped == "interrupted":
            return stopped
        self._rank(loop)
        settings, baseline = self.session.settings, self.session.prepared.baseline_architecture
        planned = int(self.store.meta["supernet"]["epochs"])
        last = Fidelity("inherited", planned if self.method in SEARCHED else self.last())
        known = any(t.proposal.origin == "enqueued" for t in loop.ledger.trials.values())
        if baseline is not None and not known and self.session.prepared.feasible(baseline):
            loop.ledger.enqueue(baseline, last)
        if self.method in SEARCHED:
            loop.limits.trials = settings.trials or (USUAL_TRIALS if loop.limits.deadline is None else None)
        else:
            loop.limits.trials = loop.ledger.measured + len(loop.ledger.ready)
            if not loop.ledger.ready:
                return stopped
            if loop.limits.deadline is not None:  # the hand-made network must be among the finalists
                loop.limits.deadline = max(loop.limits.deadline, loop.clock() + MEASURED_IN)
        ended = loop.run()
        return ended if self.method in SEARCHED or ended == "interrupted" else stopped

    def _epochs(self, loop: Loop) -> str:
        """All epochs that are left."""
        total = int(self.store.meta["supernet"]["epochs"])
        done = [self._epoch(note.body) for note in self.store.notes("epoch")]
        for number in range(len(done) + 1, total + 1):
            if done and done[-1].stop:
                break
            if self.interrupts():
                return "interrupted"
            left = None if loop.limits.deadline is None else loop.limits.deadline - loop.clock()
            share = SUPERNET_SHARE if self.method in SEARCHED else 1.0
            if left is not None and number > LEAST_EPOCHS and _is_over([e.seconds for e in done], left, share):
                return "budget"
            task = Task(
                -1, {}, derive(self.session.settings.seed, "supernet"), number, network="supernet", horizon=total,
                supernet=str(self.folder),
            )  # fmt: skip
            (answer,) = run_tasks(self.executor, [task], interrupt=self.interrupts)
            if self.interrupts() and (isinstance(answer, Failed) or answer.stopped):
                return "interrupted"
            outcome = self._outcome(answer)
            assert outcome.epoch is not None
            epoch = self._epoch(outcome.epoch)
            self._keep(loop, epoch, outcome)
            self._show(loop, epoch, total)
            done.append(epoch)
        return "guard" if done and done[-1].stop else "epochs"

    def _keep(self, loop: Loop, epoch: Epoch, outcome: Outcome) -> None:
        """The epoch as a note; what a gradient method derived from it as a trial; both or neither."""
        with self.store.transaction():
            self.store.note("epoch", msgspec.to_builtins(epoch))
            if self.method not in SEARCHED:
                architecture = loop.ledger.space.architecture(epoch.derived)
                proposal = Proposal(architecture, Fidelity("inherited", epoch.number), origin="derived")
                loop.ledger.record(proposal, Measurement(outcome.metrics, epoch.seconds, 1, outcome.device))

    def _show(self, loop: Loop, epoch: Epoch, total: int) -> None:
        text = f"supernet, epoch {epoch.number} of {total}: loss {epoch.losses['train']:.3g}"
        goal = next(iter(goals(self.session.prepared.objectives))).metric
        if self.method not in SEARCHED and goal in epoch.metrics:
            text += f", derived {goal} {show_metric(goal, epoch.metrics[goal])}"
        self._tell(loop, text)
        if epoch.stop:
            self.announcer.message(f"the guard ended the search: {epoch.stop}")

    # -- are inherited weights to be trusted? --------------------------------------------------------

    def _ranking_seconds(self) -> float:
        """What the short trainings take; nothing where none are wanted, or they were done before."""
        if self.store.notes("ranking"):
            return 0.0
        return self.ranked * self._short() * self.session.candidate_epoch / self.session.prepared.workers

    def _short(self) -> int:
        return min(int(self.store.meta["fidelities"]["final_epochs"]), RANKED_EPOCHS)

    def _rank(self, loop: Loop) -> None:
        """Compare the order of random architectures by inherited weights with that after short trainings: a note."""
        if not self.ranked or self.store.notes("ranking"):
            return
        self._tell(loop, f"ranking {self.ranked} random networks, by inherited weights and by training")
        seed, feasible = self.session.settings.seed, self.session.prepared.feasible
        drawn = (loop.ledger.space.sample(stream(seed, i, "ranking")) for i in range(20 * self.ranked))
        chosen = list(dict.fromkeys(a for a in drawn if feasible(a)))[: self.ranked]
        planned, short = int(self.store.meta["supernet"]["epochs"]), self._short()
        tasks = [
            Task(-1, a.decisions, derive(seed, "ranking", i), self.last(), supernet=str(self.folder), horizon=planned)
            for i, a in enumerate(chosen)
        ] + [Task(-1, a.decisions, derive(seed, "ranking", i), short) for i, a in enumerate(chosen)]
        answers = run_tasks(
            self.executor, tasks, interrupt=self.interrupts, time_limit=self.session.settings.time_limit
        )  # fmt: skip
        if self.interrupts():
            return
        metric = goals(self.session.prepared.objectives)[0].metric
        both = zip(answers[: len(chosen)], answers[len(chosen) :], strict=True)
        pairs = [
            (a.metrics[metric], b.metrics[metric]) for a, b in both
            if isinstance(a, Outcome) and isinstance(b, Outcome) and metric in a.metrics and metric in b.metrics
        ]  # fmt: skip
        facts: dict[str, Any] = {"metric": metric, "epochs": short, "pairs": [list(pair) for pair in pairs]}
        if len(pairs) >= LEAST:
            facts |= msgspec.to_builtins(agreement([a for a, _ in pairs], [b for _, b in pairs], seed=seed))
        self.store.note("ranking", facts)

    def _tell(self, loop: Loop, text: str) -> None:
        left = None if loop.limits.deadline is None else max(0.0, loop.limits.deadline - loop.clock())
        self.announcer.progress(Progress("search", elapsed=self.session.elapsed, left=left, text=text))

    def last(self) -> int:
        """The number of the last epoch."""
        return len(self.store.notes("epoch"))

    def _epoch(self, body: Any) -> Epoch:
        return msgspec.convert(body, Epoch, strict=False)

    def _outcome(self, answer: Outcome | Failed) -> Outcome:
        if isinstance(answer, Failed):
            raise StudyFailedError(
                f"the supernet cannot be trained ({failure_line(answer)})\n{answer.traceback}".rstrip()
            )
        return answer


def _is_over(spent: Sequence[float], left: float, share: float) -> bool:
    """Whether too little is left for one more epoch, or for seven tenths of it, in this share of the search's time.

    spent: seconds of the epochs so far; left: of the whole search.
    """
    kept = (1 - share) * (sum(spent) + left)
    return left - kept < 0.7 * spent[-1]
