"""Optuna's samplers as strategies: the tree-structured Parzen estimator and the Gaussian process.

One study in memory holds what was asked and told; each ask puts a new sampler into it, keyed by the study's
seed and the number of the draw, so that the state is a fold over the events. Decisions are suggested during
the walk (define by run), which serves conditional spaces. Optuna is loaded when one of the two is made.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from searchitect.errors import UsageError
from searchitect.records import Proposal, Trial
from searchitect.strategies.base import Setting, Strategy
from searchitect.strategies.optuna_study import Adapter

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class OptunaTPE(Strategy):
    """Optuna's tree-structured Parzen estimator with Optuna's own defaults.

    Source: Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; Watanabe 2023 for Optuna's variant
    (multivariate with one goal, constant liar for what is running, limits first).
    Where we differ: (1) a new sampler for every ask, see above; (2) numbers in a choice keep their order (an integer
    position), other labels are categories; (3) a goal that is not finite counts as failed, and failures teach nothing;
    (4) after ten proposals in a row that break limits known beforehand one is drawn at random.
    Cost per ask: Optuna's own, about 2 ms after 100 trials and 10 ms after 1,000.

    Options: `startup` = random proposals first, `candidates` = draws among which the best is proposed.
    """

    def __init__(self, setting: Setting, startup: int = 10, candidates: int = 24) -> None:
        _at_least_one(startup=startup, candidates=candidates)

        def sampler(seed: int) -> BaseSampler:
            from optuna.samplers import TPESampler

            return TPESampler(seed=seed, n_startup_trials=startup, n_ei_candidates=candidates)

        self.adapter = Adapter(setting, sampler, "_search_space")

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self.adapter.propose() for _ in range(n)]

    def tell(self, trial: Trial) -> None:
        self.adapter.tell(trial)


class OptunaGP(Strategy):
    """Optuna's Gaussian process with logarithmic expected improvement; needs torch.

    Source: Optuna 5, `GPSampler` (Matérn kernel with automatic relevance, Hamming distance for categories,
    qLogEI of Ament et al. 2023 for what is running, expected hypervolume improvement with several goals).
    Where we differ: as `optuna-tpe`, (1) to (4); kernel parameters are fitted from Optuna's fixed start at every ask,
    never from the last fit. Decisions that are not active in every trial are drawn at random (Optuna's rule), so a
    conditional space is searched at random below its conditions.
    Cost per ask: Optuna's own, about 60 ms after 100 trials.

    Options: `startup` = random proposals first.
    """

    def __init__(self, setting: Setting, startup: int = 10) -> None:
        _at_least_one(startup=startup)
        if importlib.util.find_spec("torch") is None:
            raise UsageError("strategy 'optuna-gp' needs torch: install it, or take 'optuna-tpe' or 'gaussian-process'")

        def sampler(seed: int) -> BaseSampler:
            from optuna.samplers import GPSampler

            return GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)

        self.adapter = Adapter(setting, sampler, "_intersection_search_space")

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self.adapter.propose() for _ in range(n)]

    def tell(self, trial: Trial) -> None:
        self.adapter.tell(trial)


def _at_least_one(**options: int) -> None:
    for name, value in options.items():
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{name}={value!r}: give a whole number of at least 1")
