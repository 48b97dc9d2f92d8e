"""What the strategies with several fidelities share: the ladder of epochs, the inner strategy, the order of results.

A trial is measured at one *rung* of a ladder of epochs. To *promote* it is to propose its architecture once more at the
next rung (origin "promote", the lower trial as the only parent); its training goes on where it paused. New
architectures come from an *inner* strategy, any other one by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from searchitect.errors import UsageError
from searchitect.records import PROMOTE, Fidelity, Objective, Proposal, State, Trial, goals
from searchitect.seeds import derive
from searchitect.space import Architecture
from searchitect.strategies import make_strategy, pareto
from searchitect.strategies.base import Setting, Strategy, fitness
from searchitect.strategies.extrapolation import extrapolated

RankBy = Literal["last", "extrapolated"]
NESTED = ("asha", "hyperband", "successive-halving")


class Options(NamedTuple):
    """What all of them take: the ladder, who proposes, and what results are ranked by."""

    inner: str = "random"
    inner_options: Mapping[str, Any] | None = None
    eta: int = 3
    min_epochs: int = 1
    rungs: Sequence[int] | None = None
    rank_by: RankBy = "last"
    level: float | None = 0.0


class Result(NamedTuple):
    """One measured trial at a rung. Smaller is better: the violation of limits, then the goals, then the age."""

    violation: float
    losses: tuple[float, ...]
    number: int


def ladder(full: Fidelity, options: Options) -> tuple[Fidelity, ...]:
    """The fidelities from the cheapest to the full one, each about `eta` times the epochs of the one before.

    Epochs are those of Hyperband, r_i = R / eta^i rounded, as long as they are at least `min_epochs`; or `rungs`
    as they are. Where there is nothing to shorten, the full fidelity is the only rung. Raises UsageError.
    """
    eta, least = options.eta, options.min_epochs
    if not isinstance(eta, int) or eta < 2:
        raise UsageError(f"eta={eta!r}: 1 of how many is promoted, a whole number from 2 on (usual: 3)")
    if not isinstance(least, int) or least < 1:
        raise UsageError(f"min_epochs={least!r}: the epochs of the lowest rung, at least 1")
    if options.rank_by not in ("last", "extrapolated"):
        raise UsageError(f"rank_by={options.rank_by!r} is not known; use 'last' or 'extrapolated'")
    if options.rungs is None:
        count = 0
        while full.epochs >= least * eta ** (count + 1):
            count += 1
        epochs = [round(full.epochs / eta**i) for i in range(count, -1, -1)]
    else:
        epochs = _given(options.rungs, full.epochs)
    top = epochs[-1]
    return tuple(replace(full, epochs=e, horizon=0 if e == top else top) for e in epochs)


def _given(rungs: Sequence[int], full: int) -> list[int]:
    epochs = list(rungs) if isinstance(rungs, (list, tuple)) else []
    whole = all(isinstance(e, int) and e >= 1 for e in epochs)
    if not epochs or not whole or any(a >= b for a, b in pairwise(epochs)):
        raise UsageError(f"rungs={rungs!r}: a rising list of epochs, for example [1, 3, 9]")
    if full and epochs[-1] != full:
        raise UsageError(
            f"rungs={rungs!r} end at {epochs[-1]} epochs, but a full trial has {full}: let them end there, "
            f"or ask for epochs={epochs[-1]}"
        )
    return epochs


def bracket_sizes(rungs: int, eta: int, aggressive: int) -> list[int]:
    """Trials at each rung of the Hyperband bracket s = `aggressive` (Li et al. 2017, Algorithm 1) on so many rungs.

    s = rungs - 1 begins at the lowest rung, s = 0 at the full fidelity: n = ⌈eta^s rungs / (s + 1)⌉, then ⌊n / eta^i⌋.
    """
    n = -(-rungs * eta**aggressive // (aggressive + 1))
    return [n // eta**i for i in range(aggressive + 1)]


class Inner:
    """The strategies that propose new architectures: one for each rung at which trials begin.

    Each hears of the trials at its own rung alone, whoever began or promoted them, so that no surrogate ever mixes
    fidelities. It sees its own proposals come back with its own count of draws; promotions and the user's
    architectures reach it as strangers. The first rung's one has the study's seed and the start architectures. Where
    trials begin at another rung than was planned, its strategy is made then, and told what was measured there.
    """

    def __init__(
        self, setting: Setting, fidelities: Sequence[Fidelity], starts: Sequence[int], options: Options
    ) -> None:
        if options.inner in NESTED:
            raise UsageError(f"inner={options.inner!r} has rungs of its own; name a strategy without")
        self.setting, self.options = setting, options
        self.fidelities = fidelities
        self.first = min(starts)
        self.strategies: dict[int, Strategy] = {}
        self.unheard: dict[int, list[Trial]] = {i: [] for i in range(len(fidelities))}  # at rungs without a strategy
        for rung in sorted(set(starts)):
            self._make(rung)
        self.flying: dict[int, Proposal] = {}  # the inner proposal of each draw that has not been told

    def _make(self, rung: int) -> None:
        own = self.setting._replace(fidelity=self.fidelities[rung])
        if rung > self.first:
            own = own._replace(seed=derive(self.setting.seed, "inner", rung), start=())
        self.strategies[rung] = made = make_strategy(self.options.inner, own, dict(self.options.inner_options or {}))
        for trial in self.unheard.pop(rung):
            made.tell(replace(trial, proposal=replace(trial.proposal, draw=-1, events=0)))

    def propose(self, rung: int, draw: int, events: int) -> Proposal:
        """Something new at a rung, as proposal number `draw` of the whole. Raises SpaceError when there is nothing."""
        if rung not in self.strategies:
            self._make(rung)
        (proposal,) = self.strategies[rung].ask(1)
        self.flying[draw] = proposal
        return replace(proposal, draw=draw, events=events)

    def tell(self, trial: Trial) -> None:
        """Pass a trial on to the strategy of its rung."""
        proposal = trial.proposal
        own = self.flying.pop(proposal.draw, None)
        for rung, strategy in self.strategies.items():
            if same(proposal.fidelity, self.fidelities[rung]):
                mine = own is not None and same(own.fidelity, proposal.fidelity)
                draw, events = (own.draw, own.events) if own is not None and mine else (-1, 0)
                strategy.tell(replace(trial, proposal=replace(proposal, draw=draw, events=events)))
        if self.options.level is not None:
            for rung, trials in self.unheard.items():
                if same(proposal.fidelity, self.fidelities[rung]):
                    trials.append(trial)


def same(one: Fidelity, other: Fidelity) -> bool:
    """Whether two fidelities are the same rung."""
    return one.kind == other.kind and one.epochs == other.epochs and one.data == other.data


def promotion(architecture: Architecture, fidelity: Fidelity, number: int, draw: int, events: int) -> Proposal:
    """The proposal that continues trial `number` at a higher rung."""
    return Proposal(architecture, fidelity, draw, (number,), events, PROMOTE)


def result_of(trial: Trial, objectives: Sequence[Objective], rank_by: RankBy, full: int) -> Result | None:
    """How a trial stands at its rung; None when it was not measured to its end or is not finite.

    With "extrapolated" the first goal's value is the one that its learning curve promises after `full` epochs.
    """
    found = fitness(trial, objectives) if trial.state is State.DONE else None
    if found is None or not all(map(math.isfinite, found[1])):
        return None
    violation, losses = found
    if rank_by == "extrapolated" and trial.measurement is not None:
        goal = goals(objectives)[0]
        curve = [goal.loss(step[goal.metric]) for step in trial.measurement.curve if goal.metric in step]
        if len(curve) == trial.proposal.fidelity.epochs:
            losses = (extrapolated(curve, full), *losses[1:])
    return Result(violation, losses, trial.number)


def holder(trial: Trial) -> int:
    """The number of the trial that was measured: its own, or that of the equivalent whose result it got."""
    return trial.number if trial.source is None else trial.source


def best_first(results: Sequence[Result]) -> list[int]:
    """The numbers of the trials, the best first: by limits, then the goal; with several goals by front and crowding."""
    if not results or len(results[0].losses) == 1:
        return [result.number for result in sorted(results)]
    ordered = sorted(results, key=lambda result: result.number)
    return [ordered[i].number for i in pareto.best_first([(r.violation, r.losses) for r in ordered])]
