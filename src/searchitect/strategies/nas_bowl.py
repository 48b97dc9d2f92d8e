"""NAS-BOWL: a Gaussian process with a Weisfeiler-Lehman kernel on canonical graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searchitect.errors import ArchitectureError
from searchitect.records import Proposal, Trial
from searchitect.seeds import Stream
from searchitect.space import Architecture
from searchitect.strategies.base import Setting, Strategy, initial
from searchitect.strategies.evidence import Evidence, at_least, last_fit, promising, recent_and_best
from searchitect.strategies.graph_process import Kernel, likeliest, posterior
from searchitect.strategies.plan_graph import PlanGraph, plan_graph
from searchitect.strategies.surrogate import acquisition as scores
from searchitect.strategies.surrogate.targets import scalarise
from searchitect.strategies.surrogate.threads import one_thread
from searchitect.strategies.wl_kernel import Levels, Vector, distances, products, squares

Array = NDArray[np.float64]
ROWS, FITTED = 400, 160  # results in the process, and those that its parameters are chosen by
MEMORY = 20_000  # architectures remembered before those that were never proposed are forgotten


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
    Cost per ask: about 0.5 ms for each new candidate, and for the process 10 ms (100 told) to 50 ms (1,000 told).

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
        self.places: dict[Architecture, int] = {}  # rows of `table`, covariances by the kernel of now
        self.table = np.zeros((0, 0))
        self.draws = self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        with one_thread():
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
        self.places, self.table = {}, np.zeros((0, 0))
        if len(self.known) > MEMORY:
            self.known = {a: k for a, k in self.known.items() if a in self.evidence.seen}

    def _covariances(self, first: Sequence[Architecture], second: Sequence[Architecture]) -> Array:
        assert self.kernel is not None
        rows, columns = ([self._of(a).vectors for a in side] for side in (first, second))
        return self.kernel(distances(products(rows, columns, len(self.levels.names)), squares(rows), squares(columns)))

    def _among(self, architectures: Sequence[Architecture]) -> Array:
        """Covariances of these; what was found since the kernel was chosen is remembered."""
        new = [a for a in dict.fromkeys(architectures) if a not in self.places]
        if new:
            old = len(self.places)
            self.places.update((a, old + i) for i, a in enumerate(new))
            block = self._covariances(new, list(self.places))
            self.table = np.pad(self.table, ((0, len(new)), (0, len(new))))
            self.table[old:], self.table[:, old:] = block, block.T
        chosen = [self.places[a] for a in architectures]
        return self.table[np.ix_(chosen, chosen)]

    def _score(self, architectures: list[Architecture], source: Stream) -> Array:
        """Logarithm of the expected improvement, plus that of the probability that limits are kept."""
        assert self.kernel is not None
        outcomes = self.evidence.outcomes(len(self.evidence.failed))
        rows = recent_and_best(outcomes, ROWS)
        told = [outcomes.results[i].architecture for i in rows]
        items = [*told, *self.evidence.pending.values()]
        among, across = self._among(items), self._covariances(items, architectures)
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
