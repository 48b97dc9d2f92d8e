"""The classifier."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight

from searchitect.errors import DataError
from searchitect.estimators.base import Estimator


class SearchClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A classifier whose network is searched for in a time budget, compared with a hand-made one, and kept.

        model = SearchClassifier(budget="10m").fit(X, y)
        print(model.verdict_.sentence, model.leaderboard())

    budget:       time for everything: "90s", "10m", "1h30m". "auto" is 5m, or none where `trials` says when to end.
    space:        "auto" by the kind of data, the name of a ready space, or a `Space`.
    strategy:     "auto", or a name that `searchitect strategies` lists; with `strategy_options` in `options`.
    trials:       networks to try; epochs: of one trial.
    objectives:   what to improve and limits to keep: "accuracy", ["roc_auc", "params < 20000"].
    baseline:     a function that makes the network to beat; left out, the space's own.
    workers:      trials at the same time; executor: "processes", or "serial" in this process.
    random_state: every random draw depends on it. None is 0, in contrast to scikit-learn: the same search each time.
    class_weight: None, "balanced", or weights by label, as in scikit-learn; they multiply sample weights.
    finalize:     True keeps a fifth of the rows unread, retrains the best few over seeds and compares the winner with
                  the baseline on those rows once. False trains on all but the validation rows, and there is no verdict.
                  "auto" is True with a budget, and False with `trials` alone.
    path:         folder to keep the study in; left out, it is a temporary one that goes with the estimator.
    verbose:      say what is tried, how it goes and what came out.
    options:      any other option of `searchitect.search`: {"validation": 0.1, "recipe": {"lr": 0.01}}.

    After `fit`: `study_`, `verdict_` (None where nothing was compared), `network_`, `classes_`, `n_features_in_` and,
    for frames, `feature_names_in_`. The network never saw the test rows; with a verdict it was trained on all others.
    """

    _task: Literal["classification"] = "classification"

    def __init__(
        self, *, budget: Any = "auto", space: Any = "auto", strategy: str = "auto", trials: int | None = None,
        epochs: int | None = None, objectives: Any = None, baseline: Any = None, workers: int | None = None,
        executor: str | None = None, random_state: Any = None, class_weight: Any = None, finalize: Any = "auto",
        path: Any = None, verbose: bool = True, options: dict[str, Any] | None = None,
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
        self.class_weight = class_weight
        self.finalize = finalize
        self.path = path
        self.verbose = verbose
        self.options = options

    def _weights(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise DataError(f"y has one class only ({self.classes_[0]!r}); there is nothing to tell apart")
        if self.class_weight is None:
            return sample_weight
        by_class: np.ndarray = compute_sample_weight(self.class_weight, y)
        return by_class if sample_weight is None else by_class * sample_weight

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, (N,)."""
        numbers = self._outputs(X).argmax(dim=1).numpy()
        labels: np.ndarray = self.classes_[numbers]
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """The share of each class, float32 (N, classes), in the order of `classes_`."""
        shares: np.ndarray = self._outputs(X).softmax(dim=1).numpy()
        return shares
