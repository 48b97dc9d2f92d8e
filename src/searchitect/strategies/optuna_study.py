"""The study in memory behind `optuna-tpe` and `optuna-gp`: events in Optuna's words, decisions as its suggestions."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from searchitect.records import Proposal, State, Trial, goals, losses
from searchitect.seeds import derive, stream
from searchitect.space import Architecture
from searchitect.space.architecture import Scalar
from searchitect.space.decision import Decision
from searchitect.strategies.base import Setting, first_feasible, started

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

SAMPLED = 10  # attempts by the sampler before a feasible architecture is drawn at random


class Adapter:
    """A study of Optuna's in memory, and the events in its words.

    `sampler` makes one from a seed. `memory` is the attribute in which a sampler remembers which decisions every
    trial so far has had; it is handed to the next one, as going through all trials at each ask would take four times
    what the sampler itself takes. Without such an attribute proposals are the same and slower.
    """

    def __init__(self, setting: Setting, sampler: Callable[[int], BaseSampler], memory: str) -> None:
        import optuna

        self.setting = setting
        self.sampler = sampler
        self.memory = memory
        self.remembered: Any = None
        with _quiet():
            self.study = optuna.create_study(directions=["minimize"] * len(goals(setting.objectives)))
        self.waiting: dict[int, optuna.Trial] = {}
        self.draws = 0
        self.events = 0

    def propose(self) -> Proposal:
        """A start architecture, or one of ten attempts of the sampler that is feasible, or a random one."""
        setting = self.setting
        proposal = started(setting, self.draws, self.events)
        if proposal is None:
            architecture, origin = self._feasible()
            proposal = Proposal(architecture, setting.fidelity, self.draws, (), self.events, origin)
        else:
            self.waiting[self.draws] = self._fixed(proposal.architecture)
        self.draws += 1
        self.events += 1
        return proposal

    def _feasible(self) -> tuple[Architecture, str]:
        source = stream(self.setting.seed, self.draws, "sample")
        rejected: list[optuna.Trial] = []

        def draw(attempt: int) -> Architecture:
            self._drop(rejected)
            if attempt >= SAMPLED:
                return self.setting.space.sample(source)
            rejected.append(self._ask(attempt))
            return self._suggested(rejected[0])

        architecture = first_feasible(self.setting, draw, source)
        self.waiting[self.draws] = rejected[0] if rejected else self._fixed(architecture)
        return architecture, "optuna" if rejected else "sample"

    def _fixed(self, architecture: Architecture) -> optuna.Trial:
        """A running trial of an architecture that the sampler did not propose."""
        self.study.enqueue_trial(self._params(architecture))
        trial = self._ask(SAMPLED)
        self._suggested(trial)
        return trial

    def _drop(self, last: list[optuna.Trial]) -> None:
        import optuna

        while last:
            self.study.tell(last.pop(), state=optuna.trial.TrialState.FAIL)

    def _ask(self, attempt: int) -> optuna.Trial:
        sampler = self.sampler(derive(self.setting.seed, self.draws, "optuna", attempt) % 2**32)
        if self.remembered is not None:
            setattr(sampler, self.memory, self.remembered)
        self.remembered = getattr(sampler, self.memory, None)
        self.study.sampler = sampler
        return self.study.ask()

    def _suggested(self, trial: optuna.Trial) -> Architecture:
        """The trial's architecture; what was suggested once stays."""

        def decide(decision: Decision) -> Scalar:
            return _value(decision, _suggest(trial, decision))

        return Architecture(self.setting.space.fingerprint, self.setting.space.trace(decide))

    def _params(self, architecture: Architecture) -> dict[str, Any]:
        by_name = self.setting.space.by_name
        return {name: _suggestion(by_name[name], value) for name, value in architecture.decisions.items()}

    def tell(self, trial: Trial) -> None:
        """Finish the trial of Optuna's; one that it never asked for is added."""
        import optuna

        self.events += 1
        own = self.waiting.pop(trial.proposal.draw, None)
        if own is None or self._suggested(own) != trial.architecture:
            if own is not None:
                self.waiting[trial.proposal.draw] = own
            own = self._fixed(trial.architecture)
        states = optuna.trial.TrialState
        values = losses(trial, self.setting.objectives)
        usable = values is not None and all(map(math.isfinite, values))
        if trial.state is State.DONE and usable:
            self._set_limits(own, trial)
            self.study.tell(own, values)
        elif trial.state is State.PRUNED:
            if usable and values is not None and len(values) == 1 and trial.measurement is not None:
                own.report(values[0], max(1, len(trial.measurement.curve)))
            self.study.tell(own, state=states.PRUNED)
        else:
            self.study.tell(own, state=states.FAIL)

    def _set_limits(self, own: optuna.Trial, trial: Trial) -> None:
        """Optuna calls a limit kept at zero or less: the relative excess, negative below the limit."""
        for o in self.setting.objectives:
            if o.limit is None:
                continue
            value = trial.value(o.metric)
            if value is None or not math.isfinite(value):
                own.set_constraint(str(o), -1.0 if o.kept(value) else 1.0)
                continue
            excess = (value - o.limit) / max(abs(o.limit), 1e-12)
            excess = excess if o.direction == "min" else -excess
            own.set_constraint(str(o), excess if o.kept(value) else max(excess, 1e-12))


def _suggest(trial: optuna.Trial, decision: Decision) -> Any:
    """A position among the labels; Floats and numbers on a log scale as they are."""
    name, labels = decision.name, decision.labels
    if labels is None:
        return trial.suggest_float(name, decision.low, decision.high, log=decision.log)
    if isinstance(labels, range) and decision.log:
        return trial.suggest_int(name, labels[0], labels[-1], log=True)
    if decision.ordered:
        return trial.suggest_int(name, 0, decision.n - 1)
    return trial.suggest_categorical(name, range(decision.n))


def _value(decision: Decision, suggested: Any) -> Scalar:
    """The decision's own value for what was suggested."""
    labels: Any = decision.labels
    if labels is None:
        return float(suggested)
    if isinstance(labels, range):
        position = round((suggested - labels.start) / labels.step) if decision.log else suggested
        number: Scalar = labels[position]
        return number
    own: Scalar = sorted(labels)[suggested] if decision.ordered else labels[suggested]
    return own


def _suggestion(decision: Decision, value: Scalar) -> Any:
    """What would have been suggested for a value."""
    labels: Any = decision.labels
    if labels is None or (isinstance(labels, range) and decision.log):
        return value
    if decision.ordered:
        in_order: Any = labels if isinstance(labels, range) else sorted(labels)
        return in_order.index(value)
    return decision.position(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's message that a study was made; its verbosity stays what the user set."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
