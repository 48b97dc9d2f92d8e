"""The regressor."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import RegressorMixin

from searchitect.estimators.base import Estimator


class SearchRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A regressor, for one number a row or several, whose network is searched for in a time budget.

    Options and attributes are those of `SearchClassifier`, without `class_weight` and `classes_`. `objectives` are
    "rmse" where left out; "mae" and "r2" are known too.
    """

    _task: Literal["regression"] = "regression"

    def __init__(
        self, *, budget: Any = "auto", space: Any = "auto", strategy: str = "auto", trials: int | None = None,
        epochs: int | None = None, objectives: Any = None, baseline: Any = None, workers: int | None = None,
        executor: str | None = None, random_state: Any = None, finalize: Any = "auto", path: Any = None,
        verbose: bool = True, options: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.budget = budget
        self.space = space
        self.strategy = strategy
        self.trials = trials
        self.epochs = epochs
        self.objectives = objectives
        self.baseline = baseline
        self.workers = workers
        self.executor = executor
        self.random_state = random_state
        self.finalize = finalize
        self.path = path
        self.verbose = verbose
        self.options = options

    def _weights(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        self._wide = y.ndim == 2
        return sample_weight

    def predict(self, X: Any) -> np.ndarray:
        """The number of each row, float64 (N,), or (N, outputs) as y was in `fit`."""
        outputs = self._outputs(X)
        values = self.network_.values(outputs)
        return values.reshape(len(values), -1) if self._wide else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
