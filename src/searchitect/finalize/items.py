"""Metrics that are means over test items, item by item (numpy only)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

ItemValues = Callable[[np.ndarray, np.ndarray], np.ndarray]


def item_values(metric: str, task: Literal["classification", "regression"]) -> ItemValues | None:
    """The function (outputs, y) → (N,) whose mean is the metric, or None for a metric that is no mean (r2, rmse, ...).

    outputs (N, classes) raw and y (N,) class numbers, or outputs and y (N, targets) in one unit.
    """
    table: dict[tuple[str, str], ItemValues] = {
        ("accuracy", "classification"): _right,
        ("loss", "classification"): _cross_entropy,
        ("loss", "regression"): _squared,
        ("mae", "regression"): _absolute,
    }
    return table.get((metric, task))


def _right(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(outputs.argmax(axis=1) == y, dtype=np.float64)


def _cross_entropy(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(y)), y.astype(np.int64)]
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - chosen)


def _squared(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray((_error(outputs, y) ** 2).mean(axis=1))


def _absolute(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(_error(outputs, y)).mean(axis=1))


def _error(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    error: np.ndarray = outputs.reshape(len(outputs), -1).astype(np.float64) - y.reshape(len(y), -1)
    return error
