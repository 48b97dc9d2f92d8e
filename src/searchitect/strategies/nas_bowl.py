"""NAS-BOWL: a Gaussian process with a Weisfeiler-Lehman kernel on canonical graphs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from searchitect.errors import ArchitectureError
from searchitect.records import Proposal, Trial
from searchitect.seeds import Stream
from searchitect.space import Architecture
from searchitect.strategies.base import Setting, Strategy, initial
from searchitect.strategies.evidence import Evidence, at_least, last_fit, promising, recent_and_best
from searchitect.strategies.plan_graph import PlanGraph, plan_graph
from searchitect.strategies.surrogate import acquisition as scores
from searchitect.strategies.surrogate.targets import scalarise
from searchitect.strategies.wl_kernel import Levels, Vector, distances, products, squares

Array = NDArray[np.float64]
ROWS, FITTED = 400, 160  # results in the process, and those that its parameters are chosen by
LENGTHS = (0.6, 1.2, 2.5, 5.0, 10.0)  # in medians of the squared distance
NOISES = (1e-3, 1e-2, 1e-1, 0.5)  # in variances of the signal
MEMORY = 20_000  # architectures remembered before those that were never proposed are forgotten


class Kernel(NamedTuple):
    """Mean over the first `levels` of exp(−distance² / (2 · length · median of that level))."""

    levels: int
    length: float
    noise: float
    medians: Array

    def __call__(self, squared: Array) -> Array:
        """Covariances from squared distances (levels, n, m)."""
        scale = 2.0 * self.length * self.medians[: self.levels, None, None]
        return np.asarray(np.exp(-squared[: self.levels] / scale).mean(axis=0))


class Known(NamedTuple):
    """An architecture as the kernel sees it."""

    key: str
    vectors: list[Vector]


class NasBowl(Strategy):
    """Bayesian optimisation with a graph kernel.

    Source: Ru et al. 2021, "Interpretable Neural Architecture Search via Bayesian Optimisation with Weisfeiler-Lehman
    Kernels" (NAS-BOWL), section 3: rounds of relabelling chosen by marginal likelihood, expected improvement, mutants.
    Where we differ: (1) graphs are canonical plans, so equivalent architectures are one; (2) the kernel is a mean over
    rounds of squared exponentials of Weisfeiler-Lehman distances, where theirs is the inner product itself, and one
    level more knows arguments apart from operations (`wl_kernel`); (3) rounds, length and noise come from a grid, at
    fixed counts: every `every` told trials, later every 5 %; (4) goals are normal scores of ranks; several are weighed
    at random for each ask; (5) limits and failures have a process each on the same kernel, and the logarithm of the
    probability that all are kept is added to that of the improvement; (6) running trials count as if they gave what
    is predicted (so do failed ones): deviations near them shrink and means stay.
    Cost per ask: about 0.9 ms for each new candidate and 10 ms for the process.

    Options: `startup` = random proposals first, `candidates` = mutants and random ones to choose among, `every`,
    `rounds` = rounds of relabelling at most.
    """

    def __init__(
        self, setting: Setting, startup: int = 10, candidates: int = 64, every: int = 5, rounds: int = 4
    ) -> None:
        at_least(1, startup=startup, candidates=candidates, every=every)
        at_least(0, rounds=rounds)
        self.setting, self.startup, self.pool, self.every = setting, startup, candidates, every
        self.levels = Levels(rounds)
        self.known: dict[Architecture, Known] = {}
        self.evidence = Evidence(setting, lambda architecture: self._of(architecture).key)
        self.fitted = 0
        self.kernel: Kernel | None = None
        self.draws = self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def tell(self, trial: Trial) -> None:
        self.events += 1
        self.evidence.tell(trial)

    def _propose(self) -> Proposal:
        proposal = self._learned() if self.draws >= max(self.startup, len(self.setting.start)) else None
        if proposal is None:
            proposal = initial(self.setting, self.draws, self.events)
        self.evidence.propose(self.draws, proposal.architecture)
        self.draws += 1
        self.events += 1
        return proposal

    def _learned(self) -> Proposal | None:
        self._fit()
        if self.kernel is None:
            return None
        return promising(self.evidence, self.draws, self.events, self.pool, self._score)

    def _of(self, architecture: Architecture) -> Known:
        found = self.known.get(architecture)
        if found is None:
            try:
                graph = plan_graph(self.setting.space, architecture)
            except ArchitectureError:  # a value of the plan cannot be computed: it equals itself only
                graph = PlanGraph([], [], [], [], architecture.to_json())
            found = self.known[architecture] = Known(graph.key, self.levels(graph))
        return found

    def _fit(self) -> None:
        """Choose the kernel by the results up to the last fixed count, if that has not been done."""
        point = last_fit(len(self.evidence.failed), self.startup, self.every)
        if point == self.fitted:
            return
        self.fitted = point
        outcomes = self.evidence.outcomes(point)
        rows = np.intersect1d(recent_and_best(outcomes, FITTED), outcomes.usable)
        if len(rows) < 2:
            return
        items = [self._of(outcomes.results[i].architecture).vectors for i in rows]
        own = squares(items)
        squared = distances(products(items, items, len(self.levels.names)), own, own)
        self.kernel = likeliest(squared, outcomes.values[rows, : outcomes.goals])
        if len(self.known) > MEMORY:
            self.known = {a: k for a, k in self.known.items() if a in self.evidence.seen}

    def _score(self, architectures: list[Architecture], source: Stream) -> Array:
        """Logarithm of the expected improvement, plus that of the probability that limits are kept."""
        assert self.kernel is not None
        outcomes = self.evidence.outcomes(len(self.evidence.failed))
        rows = recent_and_best(outcomes, ROWS)
        told = [outcomes.results[i].architecture for i in rows]
        items = [self._of(a).vectors for a in (*told, *self.evidence.pending.values())]
        others = [self._of(a).vectors for a in architectures]
        own, theirs, width = squares(items), squares(others), len(self.levels.names)
        among = self.kernel(distances(products(items, items, width), own, own))
        across = self.kernel(distances(products(items, others, width), own, theirs))
        values = np.full((len(items), outcomes.values.shape[1]), np.nan)
        values[: len(rows)] = outcomes.values[rows]
        usable = np.flatnonzero(np.isfinite(values[:, 0]))
        goal = np.full(len(items), np.nan)
        goal[usable] = scalarise(values[usable, : outcomes.goals], source)
        mean, deviation, at_rows = posterior(among, across, goal, self.kernel.noise)
        kept = usable[outcomes.violation[rows[usable]] == 0]
        score = scores.log_expected_improvement(mean, deviation, float(at_rows[kept if len(kept) else usable].min()))
        for place in range(outcomes.goals, values.shape[1]):
            limit = 0.5 if place == values.shape[1] - 1 else 0.0  # the last says whether it fails
            if np.nanmax(values[:, place]) <= limit:
                continue  # never broken so far
            mean, deviation, _ = posterior(among, across, values[:, place], self.kernel.noise)
            score = score + np.log(np.maximum(scores.probability_below(mean, deviation, limit), 1e-9))
        return score


def likeliest(squared: Array, targets: Array) -> Kernel:
    """The kernel of the grid with the largest marginal likelihood of all columns of `targets` (rows, goals)."""
    upper = np.triu_indices(squared.shape[1], 1)
    medians = np.array([np.median(level[upper]) or np.mean(level[upper]) or 1.0 for level in squared])
    best, found = -np.inf, None
    for levels in range(1, len(squared) + 1):
        for length in LENGTHS:
            kernel = Kernel(levels, length, 0.0, medians)
            values, vectors = np.linalg.eigh(kernel(squared))
            rotated = (vectors.T @ (targets - targets.mean(axis=0))) ** 2
            for noise in NOISES:
                likelihood = marginal(np.maximum(values, 0.0) + noise, rotated)
                if likelihood > best + 1e-6:
                    best, found = likelihood, kernel._replace(noise=noise)
    assert found is not None
    return found


def marginal(eigenvalues: Array, rotated: Array) -> float:
    """Log marginal likelihood up to a constant, the signal's variance being the likeliest one (yᵀK⁻¹y / n).

    rotated: squares of the targets in the basis of the eigenvectors, (rows, goals); goals add up.
    """
    n = len(eigenvalues)
    variance = np.maximum((rotated / eigenvalues[:, None]).sum(axis=0) / n, 1e-12)
    return float((-0.5 * n * np.log(variance) - 0.5 * np.log(eigenvalues).sum()).sum())


def posterior(among: Array, across: Array, values: Array, noise: float) -> tuple[Array, Array, Array]:
    """Mean and deviation at candidates, and the mean at rows.

    among: covariances of rows (n, n); across: of rows and candidates (n, m); values: (n), NaN where not known yet.
    Rows that are not known count as if they gave their predicted mean: they take part in the deviation only.
    """
    known = np.flatnonzero(np.isfinite(values))
    y = values[known]
    centre = float(y.mean())
    noisy = among[np.ix_(known, known)] + noise * np.eye(len(known))
    weights = cho_solve(cho_factor(noisy, lower=True), y - centre)
    variance = max(float((y - centre) @ weights) / len(known), 1e-12)
    factor = np.linalg.cholesky(among + noise * np.eye(len(among)))
    explained = (solve_triangular(factor, across, lower=True) ** 2).sum(axis=0)
    mean, at_rows = centre + across[known].T @ weights, centre + among[:, known] @ weights
    return mean, np.sqrt(variance * np.maximum(1.0 - explained, 1e-9)), at_rows
