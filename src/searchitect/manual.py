"""Ask and tell by hand: hold the loop yourself and keep the store, the reuse of equivalents and the resume."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from searchitect.engine.ledger import Ledger
from searchitect.engine.limits import Limits
from searchitect.engine.loop import Loop
from searchitect.engine.reuse import Reuse
from searchitect.errors import UsageError
from searchitect.executors import Event, Executor, Failed, Finished
from searchitect.records import Cause, Fidelity, Measurement, Proposal, Trial, objectives
from searchitect.session.userobjects import start_architectures
from searchitect.space import Architecture, Space
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy


class _You(Executor):
    """The executor is whoever calls ask and tell."""

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def start(self, function: Any) -> None: ...

    def submit(
        self, ticket: int, payload: Mapping[str, Any], *, time_limit: float | None = None, attempt: int = 1
    ) -> None: ...

    def wait(self, timeout: float | None) -> list[Event]:
        return []

    def stop(self, ticket: int) -> None: ...

    def kill(self, ticket: int) -> None: ...

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self, grace: float = 0.0) -> None: ...


def _feasible(space: Space) -> Callable[[Architecture], bool] | None:
    """What the space allows. Raises UsageError for limits on costs, as no shape of a row is known here."""
    if space.cost_limits:
        raise UsageError(
            f"the space limits {space.cost_limits[0]}, which depends on the shape of a row, and Manual knows none: use "
            "search(space, evaluate=..., sample=...), or limit(function) with nets.Costs in it"
        )
    return space.allows if space.limits else None


class Manual:
    """A search whose loop is yours; an existing study at `path` is continued.

        with Manual(space, "max score", "runs/mine", strategy="regularized-evolution") as study:
            for trial in study.take(50):
                study.tell(trial, score=train(build(space, trial.architecture, sample)))

    `for trial in study:` goes on until nothing new is left, or you break; `trial.seed` is one for its training.

    An equivalent of something told already never comes back: its result is reused and counted. What was told
    is on disk, and a study cut anywhere goes on with the same proposals. Several trials may be out at once,
    told in any order; whoever calls is one process. `start` are architectures (or decisions by name, or paths
    of arch.json) that the strategy proposes first; a study that is continued keeps those it began with.

    With `epochs` (those of a full training) strategies may ask for less: `trial.proposal.fidelity.epochs` says how
    many, counted from the beginning, and a trial whose `proposal.origin` is "promote" goes on where its parent paused
    (`proposal.parents[0]`, with the same `seed`); the schedule is for `fidelity.horizon` epochs where that is not 0.
    """

    def __init__(
        self, space: Space, objective: str | Sequence[str], path: str | Path, *, strategy: str = "random",
        strategy_options: Mapping[str, Any] | None = None, seed: int = 0, start: Any = (), epochs: int = 0,
    ) -> None:  # fmt: skip
        aims, options, folder = objectives(objective), dict(strategy_options or {}), Path(path)
        known = (folder / "study.db").exists()
        self.store = (
            Store.open(folder, write=True) if known else Store.create(folder, {"format": 1, "name": folder.name})
        )
        try:
            self._note(space, [str(o) for o in aims], {"name": strategy, "options": options, "why": "asked for"}, seed)
            self._fidelity = Fidelity("function", epochs)
            first = start_architectures(self.store.meta.get("start", start), space)
            self.store.set_meta(start=[dict(a.decisions) for a in first])
            made = make_strategy(strategy, Setting(space, aims, seed, self._fidelity, _feasible(space), first), options)
            ledger = Ledger(space, self.store, made, aims, Reuse(space, "by hand"), seed)
            self._loop = Loop(ledger, _You(1_000_000), lambda *_: {}, Limits())
        except BaseException:
            self.store.close()
            raise

    def _note(self, space: Space, aims: list[str], strategy: dict[str, Any], seed: int) -> None:
        from searchitect.session.opening import space_facts

        before = self.store.meta.get("space")
        if before and before["fingerprint"] != space.fingerprint:
            raise UsageError(f"{self.store.folder} is a study of another space; choose another path")
        self.store.set_meta(
            space=space_facts(space, "asked for"), objectives=aims, strategy=strategy, seed=seed,
            created=self.store.meta.get("created", time.time()), evaluator={"kind": "function"},
        )  # fmt: skip

    # -- the loop ------------------------------------------------------------------------------------

    def ask(self) -> Trial | None:
        """The next trial to measure, or None when nothing new is left in the space."""
        return self._loop.lease()

    def take(self, count: int) -> Iterator[Trial]:
        """Ask until this study has measured `count` trials in all, or nothing new is left."""
        while self._loop.ledger.measured + len(self._loop.flying) < count:
            trial = self.ask()
            if trial is None:
                return
            yield trial

    def __iter__(self) -> Iterator[Trial]:
        """Ask until nothing new is left in the space; whoever holds the loop breaks out of it."""
        return self.take(sys.maxsize)

    def tell(self, trial: Trial, **metrics: float) -> None:
        """What was measured: every objective by name. Raises UsageError for a trial that is not out."""
        numbers = {name: float(value) for name, value in metrics.items()}
        seconds = self._loop.clock() - self._loop.begun.get(trial.number, self._loop.clock())
        self._settle(Finished(trial.number, {"metrics": numbers, "seconds": seconds}))

    def tell_failed(self, trial: Trial, message: str, cause: str = Cause.USER_CODE) -> None:
        """The trial could not be measured."""
        self._settle(Failed(trial.number, cause, message))

    def _settle(self, event: Event) -> None:
        if event.ticket not in self._loop.flying:
            raise UsageError(f"trial {event.ticket} is not out: it was told already, or never asked for")
        self._loop.settle(event)

    def enqueue(self, architecture: Architecture) -> Trial:
        """An architecture of yours, asked for next."""
        return self._loop.ledger.enqueue(architecture, self._fidelity)

    def record(self, architecture: Architecture, **metrics: float) -> Trial:
        """A result that is known from elsewhere, such as a former study: stored, and the strategy is told. One that was
        recorded already, as when a script runs again, is returned as it stands. Raises UsageError for a result without
        one of the objectives."""
        ledger = self._loop.ledger
        numbers = {name: float(value) for name, value in metrics.items()}
        missing = [aim.metric for aim in ledger.objectives if aim.metric not in numbers]
        if missing:
            has = ", ".join(numbers) or "nothing"
            raise UsageError(f"record: the objective {missing[0]!r} is missing, {has} was given; give all by name")
        for trial in ledger.trials.values():
            measured = trial.measurement
            if measured is not None and measured.metrics == numbers and trial.architecture == architecture:
                return trial
        proposal = Proposal(ledger.space.validate(architecture), self._fidelity, origin="enqueued")
        return ledger.record(proposal, Measurement(numbers))

    # -- what was found ------------------------------------------------------------------------------

    @property
    def best(self) -> Trial | None:
        """The best trial so far."""
        return self._loop.ledger.incumbent

    @property
    def trials(self) -> list[Trial]:
        """All trials, open ones included."""
        return list(self._loop.ledger.trials.values())

    def close(self) -> None:
        """Leave the study on disk; trials that are out are asked again next time."""
        self.store.close()

    def __enter__(self) -> Manual:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
