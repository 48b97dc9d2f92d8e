"""Bayesian search: a Gaussian process over canonical architectures says what to try next."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from searchitect.errors import UsageError
from searchitect.records import Proposal, Trial, goals
from searchitect.seeds import Stream, stream
from searchitect.strategies.base import Setting, Strategy, initial, started
from searchitect.strategies.surrogate import acquisition as scores
from searchitect.strategies.surrogate.archive import Archive
from searchitect.strategies.surrogate.candidates import Pool, strangers
from searchitect.strategies.surrogate.climbing import climb, pick
from searchitect.strategies.surrogate.feasibility import log_probability
from searchitect.strategies.surrogate.features import Features
from searchitect.strategies.surrogate.fitting import Parameters, fit
from searchitect.strategies.surrogate.graphs import size
from searchitect.strategies.surrogate.prior import ScorePrior
from searchitect.strategies.surrogate.regression import ROOM, Process
from searchitect.strategies.surrogate.targets import warp
from searchitect.strategies.surrogate.threads import one_thread
from searchitect.strategies.surrogate.weighing import Weighing, draw_weighing, log_improvement

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
CAPACITY = 448  # networks that the process models at most
FITTED = 192  # networks that its parameters are fitted to at most
POOL = 512  # candidates that stay from one proposal to the next
PARENTS = 8  # the best so many have children
FRESH, LEAST = 600, 8  # new candidates for a proposal: 600 / (10 + networks told), at least 8
NEAR = 1200  # and around the best candidates: 1,200 / (10 + networks told)
MODULES = 80  # in networks of twice as many modules half as many are new, as each takes twice as long to describe
BETA = 1.0  # deviations below the mean in "ucb"


class GaussianProcess(Strategy):
    """Proposes the candidate from which a Gaussian process expects the largest improvement.

    Idea: networks are described by their decisions and by chains of operations in their canonical graph
    (`surrogate.features`), so that equivalent architectures are one point, and none is proposed whose equivalent
    was. Candidates are children of the best and random ones, kept in a pool.
    Source: expected improvement of Jones et al. 1998 (Eq. 15) in its logarithm (Ament et al. 2023); Rasmussen and
    Williams 2006, Eq. 2.25, 2.26 and 5.8; kernels on architectures as in Kandasamy et al. 2018 and Ru et al. 2021.
    Where we differ: (1) the kernel is a product over decisions and lengths of chains, its scales found by marginal
    likelihood with a prior when 3 or a quarter more networks were told; (2) losses are pressed together above the
    median (`surrogate.targets.warp`); (3) trials in flight are rows without a value, which shrink the variance only
    (GP-BUCB, Desautels et al. 2014); so are failed ones; (4) several goals: expected improvement of a random weighing
    for each proposal (Paria et al. 2019; Knowles 2006), whatever `acquisition` says; (5) limits and failures: times
    the probability that limits are kept and nothing fails (Gardner et al. 2014), as soon as one was not; (6) at most
    448 networks are modelled: the best half, the latest quarter, and others spread over time.
    Cost per ask: 3-6 ms up to 10,000 told, twice that for networks of fifty modules (0.35 and 0.6 ms for each of the 8
    to 60 candidates that are described; 512 are scored); with `climb` 1.2 to 2 times that.

    Options: `acquisition` = "ei", "ucb" (confidence bound, one deviation) or "thompson" (one draw for each candidate);
    `initial` = random architectures at first; `climb` = go on from the best candidate to its neighbours, and so on;
    `prior` = name of a score of untrained networks from which a prior mean is made (`surrogate.prior`; one goal).
    """

    def __init__(
        self, setting: Setting, acquisition: Literal["ei", "ucb", "thompson"] = "ei", initial: int = 10,
        climb: bool = False, prior: str | None = None,
    ) -> None:  # fmt: skip
        if acquisition not in ("ei", "ucb", "thompson"):
            raise UsageError(f"acquisition {acquisition!r} is not known: write ei, ucb or thompson")
        if initial < 1:
            raise UsageError(f"initial={initial}: at least one architecture is needed before anything can be learned")
        if prior is not None and len(goals(setting.objectives)) > 1:
            raise UsageError(f"prior={prior!r} is for one goal: make limits of the others, or leave it out")
        self.setting = setting
        self.prior = None if prior is None else ScorePrior(prior, setting.score)
        self.acquisition, self.initial, self.climb = acquisition, initial, climb
        self.features = Features(setting.space)
        self.archive = Archive(self.features, setting.objectives)
        self.pool = Pool(self.features, self.archive.by_key)
        self.rows: list[int] = []  # entries of the archive that the process models, in its order
        self.next_fit = self.seen = 0  # networks told until the next fit; entries that the process knows
        self.parameters: Parameters | None = None
        self.weights = np.ones(1)  # of the parameters
        self.process: Process | None = None
        self.modules, self.exhausted = 0, False  # of the first network; whether nothing was left of a small space
        self.draws = self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        with one_thread():
            return [self._propose() for _ in range(n)]

    def tell(self, trial: Trial) -> None:
        self.events += 1
        self.archive.tell(trial)

    def _propose(self) -> Proposal:
        proposal = started(self.setting, self.draws, self.events)
        if proposal is None and self.draws >= self.initial and len(self.archive.measured) >= min(3, self.initial):
            proposal = self._learned()
        if proposal is None:
            proposal = self._random()
        self.archive.add(proposal.architecture)
        self.draws += 1
        self.events += 1
        return proposal

    def _random(self) -> Proposal:
        """A random architecture that is new, unless a few draws find none."""
        first = initial(self.setting, self.draws, self.events)
        source = stream(self.setting.seed, self.draws, "another")
        known = self.archive.by_key
        for architecture in (first.architecture, *(c.architecture for c in strangers(self.setting, source, 16, ()))):
            if self.features.of(architecture).key not in known:
                return Proposal(architecture, self.setting.fidelity, self.draws, (), self.events, "sample")
        return first

    def _learned(self) -> Proposal | None:
        """The best candidate; None when every network has been proposed."""
        source = stream(self.setting.seed, self.draws, "propose")
        process = self._model()
        losses, kept = self.archive.losses(self.rows), self.archive.kept(self.rows)
        known = np.isfinite(losses[:, 0])
        values = np.zeros_like(losses)
        values[known] = np.stack([warp(goal) for goal in losses[known].T], axis=1)
        weighing = draw_weighing(values[kept if kept.any() else known], source)
        new = self._refill(source, np.where(known, weighing.of(values) + 1e6 * ~kept, np.inf))
        if not self.pool.items:
            return None

        def score_from(start: int) -> Array:
            process.add_candidates(self.pool.vectors(start) * self.weights)
            same = stream(self.setting.seed, self.draws, "score") if self.climb else source  # in each step
            return self._score(process, values, known, kept, weighing, same)

        score = climb(self.pool, self.setting, source, new, self._fresh(NEAR) if self.climb else 0, score_from)
        chosen, picked, score = pick(self.pool, process, score, self.setting.feasible)
        if picked is None:
            return None
        process.take_candidate(chosen)
        self.rows.append(len(self.archive.entries))  # the entry that this proposal becomes
        self.seen += 1
        if len(self.pool.items) > POOL + ROOM:
            score[chosen] = score[-1]
            best = np.sort(np.argsort(-np.round(score[:-1], 9), kind="stable")[:POOL])  # no last digits, as in choose
            self.pool.keep(best.tolist())
            process.keep_candidates(best)
        parents = (picked.parent,) if picked.parent >= 0 else ()
        return Proposal(picked.architecture, self.setting.fidelity, self.draws, parents, self.events, "model")

    def _fresh(self, most: int) -> int:
        """How many candidates may be described, of `most` / (10 + networks told)."""
        return max(4, int(min(1.0, MODULES / self.modules) * max(LEAST, most / (10 + len(self.archive.measured)))))

    def _score(
        self, process: Process, values: Array, known: Flags, kept: Flags, weighing: Weighing, source: Stream
    ) -> Array:
        """How promising each candidate is; larger is better."""
        feasible = log_probability(self.archive, self.rows, process)
        if not kept.any():
            return feasible
        if values.shape[1] > 1:
            return log_improvement(process, values, known, kept, weighing, source) + feasible
        if self.prior is None:
            mean, deviation, at_rows = process.posterior(values[:, 0], known)
        else:
            rows = [self.archive.entries[i].architecture for i in self.rows]
            waiting = [item.architecture for item in self.pool.items]
            mean, deviation, at_rows = self.prior.posterior(process, values[:, 0], known, rows, waiting)
        if self.acquisition == "ei":
            return scores.log_expected_improvement(mean, deviation, float(at_rows[kept].min())) + feasible
        bound = self.acquisition == "ucb"
        promise = scores.lower_bound(mean, deviation, BETA) if bound else scores.thompson(mean, deviation, source)
        return promise + np.maximum(feasible, -1e6)

    def _model(self) -> Process:
        """The process with a row for each network that was proposed or told; its parameters fitted when it is time."""
        archive, told = self.archive, len(self.archive.measured)
        self.modules = self.modules or size(self.setting.space, archive.entries[0].architecture)
        if self.parameters is None or told >= self.next_fit:
            self.next_fit = told + max(3, told // 4)
            some = [i for i in archive.active(FITTED) if archive.entries[i].losses is not None]
            targets = np.stack([warp(goal) for goal in archive.losses(some).T], axis=1)
            decisions = len(self.setting.space.decisions)
            self.parameters = fit(archive.vectors(some), targets, self.features.parts, decisions, self.parameters)
            self.weights, self.process = self.parameters.weights(self.features.parts), None
        weights = self.weights
        if self.process is None or self.process.n >= CAPACITY + ROOM:
            self.rows = archive.active(CAPACITY)
            noise = float(np.exp(self.parameters.noise))
            self.process = Process(archive.vectors(self.rows) * weights, self.pool.vectors() * weights, noise)
        else:
            late = range(self.seen, len(archive.entries))
            for row in archive.vectors(late):
                self.process.add_row(row * weights)
            self.rows += late
        # late entries were not candidates, or came from the user, perhaps of one that waits here
        still = self.pool.open() if len(archive.entries) > self.seen else range(len(self.pool.items))
        if len(still) < len(self.pool.items):
            self.pool.keep(still)
            self.process.keep_candidates(np.array(still, dtype=np.int64))
        self.seen = len(archive.entries)
        return self.process

    def _refill(self, source: Stream, values: Array) -> int:
        """New candidates, three of four children of the rows with the least values. Where the new ones begin."""
        entries, pool, setting = self.archive.entries, self.pool, self.setting
        before, count = len(pool.items), self._fresh(FRESH)
        best = [entries[self.rows[i]] for i in np.argsort(values, kind="stable")[:PARENTS] if np.isfinite(values[i])]
        pool.refresh(setting, source, [(e.architecture, e.number) for e in best], count)
        if not pool.items and not self.exhausted:
            self.exhausted = not pool.list_all(setting)
        return before
