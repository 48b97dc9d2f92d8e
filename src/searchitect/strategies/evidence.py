"""What model-based strategies know: what was proposed, what became of it, and what to choose among next.

Shared by `bananas` and `nas-bowl`, which fit a model at fixed counts of told trials and ask it about fresh candidates.
Everything is a fold over the events; columns of `outcomes` are in units in which about 1 is a usual difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from searchitect.errors import UsageError
from searchitect.records import Proposal, State, Trial
from searchitect.seeds import Stream, stream
from searchitect.space import Architecture
from searchitect.strategies.base import Setting
from searchitect.strategies.surrogate.acquisition import choose
from searchitect.strategies.surrogate.candidates import Candidate, mutants, strangers
from searchitect.strategies.surrogate.targets import Result, Told, scalarise

Array = NDArray[np.float64]
PARENTS = 10  # so many of the best are mutated
CLIP = 3.0  # how far a limit's excess counts, in deviations


class Outcomes(NamedTuple):
    """One row for each result that says something, in the order told.

    values: (rows, goals + limits + 1). Goals: normal scores of their ranks, smaller is better. Limits: excess over the
    limit in deviations, above 0 is broken. Last: 1 where the architecture failed by its own fault. NaN: not known.
    """

    results: list[Result]
    values: Array
    goals: int

    @property
    def usable(self) -> Array:
        """Positions of the rows with goals."""
        return np.asarray(np.flatnonzero(np.isfinite(self.values[:, 0])))

    @property
    def violation(self) -> Array:
        """By how much each row breaks limits."""
        excess = np.maximum(self.values[:, self.goals : -1], 0.0)
        return np.asarray(np.where(np.isnan(excess), 0.0, excess).sum(axis=1))


class Evidence:
    """Proposed and told. `key_of` gives the canonical key of an architecture."""

    def __init__(self, setting: Setting, key_of: Callable[[Architecture], str]) -> None:
        self.setting = setting
        self.key_of = key_of
        self.told = Told(setting.objectives)
        self.failed: list[bool] = []
        self.seen: set[Architecture] = set()
        self.keys: set[str] = set()
        self.pending: dict[int, Architecture] = {}

    def propose(self, draw: int, architecture: Architecture) -> None:
        """Note what is being measured."""
        self.pending[draw] = architecture
        self._note(architecture)

    def tell(self, trial: Trial) -> None:
        """Note what became of it."""
        self.pending.pop(trial.proposal.draw, None)
        result = self.told.add(trial)
        own_fault = trial.state is State.FAILED and not (trial.failure is not None and trial.failure.retryable)
        self.failed.append(own_fault or (trial.state is State.DONE and result.losses is None))
        self._note(trial.architecture)

    def _note(self, architecture: Architecture) -> None:
        self.seen.add(architecture)
        self.keys.add(self.key_of(architecture))

    def outcomes(self, count: int) -> Outcomes:
        """The first `count` results as numbers to model."""
        told, objectives = self.told, self.told.objectives
        chosen = [i for i in range(count) if self.failed[i] or told.results[i].losses is not None]
        results = [told.results[i] for i in chosen]
        limits = [o for o in objectives if o.limit is not None]
        values = np.full((len(chosen), told.goals + len(limits) + 1), np.nan)
        values[:, -1] = [float(self.failed[i]) for i in chosen]
        known = [row for row, result in enumerate(results) if result.losses is not None]
        if known:
            losses = np.array([results[row].losses for row in known], dtype=np.float64)
            values[known, : told.goals] = np.column_stack([normal_scores(column) for column in losses.T])
        for place, o in enumerate(limits, told.goals):
            measured = np.array([(results[row].limited or ())[place - told.goals] for row in known], dtype=np.float64)
            excess = (measured - (o.limit or 0.0)) * (1.0 if o.direction == "min" else -1.0)
            values[known, place] = _scaled(excess, [o.kept(v) for v in measured])
        return Outcomes(results, values, told.goals)

    def candidates(self, source: Stream, parents: Sequence[Result], count: int) -> list[Candidate]:
        """About `count` feasible architectures, three in four mutants of `parents`, the others random.

        None is equivalent to what was proposed or told, nor to another one of them. Empty in a space that is used up.
        """
        architectures = [parent.architecture for parent in parents]
        found = mutants(self.setting, source, architectures, count - count // 4, self.seen)
        found += strangers(self.setting, source, count // 4, self.seen)
        fresh: dict[str, Candidate] = {}
        for candidate in found:
            key = self.key_of(candidate.architecture)
            if key not in self.keys:
                fresh.setdefault(key, candidate)
        return list(fresh.values())


def promising(
    evidence: Evidence, draw: int, events: int, count: int, score: Callable[[list[Architecture], Stream], Array]
) -> Proposal | None:
    """The candidate with the largest score, or None where there is nothing new to propose."""
    setting = evidence.setting
    if not setting.space.decisions:
        return None
    source = stream(setting.seed, draw, "propose")
    parents = best_first(evidence.outcomes(len(evidence.failed)), source)
    found = evidence.candidates(source, parents, count)
    if not found:
        return None
    chosen = found[choose(score([candidate.architecture for candidate in found], source))]
    by = () if chosen.parent is None else (parents[chosen.parent].number,)
    return Proposal(chosen.architecture, setting.fidelity, draw, by, events, "model")


def best_first(outcomes: Outcomes, source: Stream, count: int = PARENTS) -> list[Result]:
    """The best results: least violation first, then by the goals (several: weighed at random, see `scalarise`)."""
    rows = outcomes.usable
    scalar = scalarise(outcomes.values[rows, : outcomes.goals], source)
    order = np.lexsort((scalar, outcomes.violation[rows]))
    return [outcomes.results[rows[i]] for i in order[:count]]


def last_fit(told: int, first: int, every: int) -> int:
    """The last count of told trials at which a model is fitted: `first`, then every few, then every 5 %; 0 for none."""
    point, following = 0, first
    while following <= told:
        point, following = following, following + max(every, following // 20)
    return point


def recent_and_best(outcomes: Outcomes, most: int) -> NDArray[np.intp]:
    """At most `most` rows, in their order: half of them the best by the first goal, the others the latest."""
    rows = len(outcomes.results)
    if rows <= most:
        return np.arange(rows)
    first = np.where(np.isnan(outcomes.values[:, 0]), np.inf, outcomes.values[:, 0]) + 10.0 * outcomes.violation
    best = np.argsort(first, kind="stable")[: most // 2]
    rest = np.setdiff1d(np.arange(rows), best)[-(most - most // 2) :]
    return np.union1d(best, rest)


def normal_scores(losses: Array) -> Array:
    """Quantiles of the standard normal by rank; equal losses get equal scores. How bad the bad are hardly matters."""
    order = np.sort(losses)
    low, high = np.searchsorted(order, losses, side="left"), np.searchsorted(order, losses, side="right")
    return np.asarray(ndtri((low + high) / 2.0 / len(losses)))


def _scaled(excess: Array, kept: Sequence[bool]) -> Array:
    """In deviations, within ±3; a limit that is just broken stays above 0."""
    spread = float(np.sqrt(np.mean(excess**2))) if len(excess) else 1.0
    scaled = np.clip(excess / (spread or 1.0), -CLIP, CLIP)
    return np.asarray(np.where(kept, np.minimum(scaled, 0.0), np.maximum(scaled, 1e-6)))


def at_least(least: int, **options: int) -> None:
    """Raises UsageError naming the option that is no whole number of at least `least`."""
    for name, value in options.items():
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{name}={value!r}: give a whole number of at least {least}")
