"""scikit-learn's scorers on the outputs of a network. Loaded only where one is asked for: scikit-learn takes as long to
import as torch."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names

from searchitect.errors import TrialError


@cache
def names() -> frozenset[str]:
    """What the installed version knows."""
    return frozenset(get_scorer_names())


class _Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Looks like a fitted classifier to scikit-learn: rows are numbers into known shares (N, classes)."""

    def __init__(self, shares: np.ndarray) -> None:
        self.shares = shares
        self.classes_ = np.arange(shares.shape[1])

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.shares[rows].argmax(axis=1))

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.shares[rows])


class _Regressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The same for numbers."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = numbers

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.numbers[rows])


def by_scorer(metric: str, numbers: np.ndarray, truth: np.ndarray, task: str) -> float:
    """The scorer's number for shares (N, classes) and class numbers (N,), or for numbers and targets (N, outputs).

    Raises TrialError when it cannot be computed.
    """
    estimator: Any = _Classifier(numbers)
    if task == "regression":
        flat = truth.shape[1] == 1
        estimator, truth = _Regressor(numbers[:, 0] if flat else numbers), truth[:, 0] if flat else truth
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class that is never predicted counts as 0, which is meant
            return float(get_scorer(metric)(estimator, np.arange(len(truth)), truth))
    except ValueError as error:
        raise TrialError(f"metric {metric!r} cannot be computed: {error}") from error
