"""What is to be predicted: labels become class numbers, numbers stay numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from searchitect.errors import DataError

MOST_CLASSES = 100  # more distinct whole numbers than this are read as a quantity
SURE_CLASSES = 20  # so few distinct whole numbers are read as labels wherever they start


@dataclass(frozen=True, eq=False)
class Targets:
    """`y` is int64 class numbers (N,) or float64 (N,) / (N, outputs); `labels` the values as given."""

    y: np.ndarray
    task: Literal["classification", "regression"]
    outputs: int
    labels: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def read_targets(value: Any, task: str | None = None, names: Sequence[str] | None = None) -> Targets:
    """Read y: an array, tensor, Series or list of labels or numbers. `names` are names for labels 0..n-1.

    The task is inferred when it is None: text, bool and few whole numbers are classes, other numbers a
    quantity; the choice is said in the notes. Raises DataError.
    """
    y, notes = _flat(_array(value, "y"), task, "y")
    if len(y) == 0:
        raise DataError("y is empty")
    wanted = task or _infer(y)
    if wanted == "regression":
        if y.dtype.kind in "US":
            raise DataError(f"y holds text ({str(y[0])!r}) and cannot be a regression target")
        if task is None and y.ndim == 1 and y.dtype.kind in "iu":
            notes.append(f"y: {len(np.unique(y)):,} distinct whole numbers are read as a quantity "
                         "(regression); task='classification' overrides")  # fmt: skip
        spread = y.astype(np.float64)
        if np.ptp(spread, axis=0).min() == 0:
            raise DataError(f"y is constant ({spread.reshape(-1)[0]:g}): there is nothing to learn")
        return Targets(spread, "regression", 1 if y.ndim == 1 else y.shape[1], notes=tuple(notes))
    labels = _labels(y)
    if task is None and names is None and y.dtype.kind in "iuf":
        notes.append(f"y: {len(labels)} distinct whole numbers are read as classes; "
                     "task='regression' overrides")  # fmt: skip
    if y.dtype.kind == "f":
        y, labels = y.astype(np.int64), labels.astype(np.int64)  # 2.0 is the label "2"
    classes = _class_names(labels, names)
    return Targets(np.searchsorted(labels, y), "classification", len(labels), labels, classes, tuple(notes))


def encode(value: Any, like: Targets, what: str = "y") -> np.ndarray:
    """Encode more targets as `like` was encoded. Raises DataError for a label that it does not have."""
    y, _ = _flat(_array(value, what), like.task, what)
    if like.labels is None:
        wide = 1 if y.ndim == 1 else y.shape[1]
        if y.dtype.kind in "US" or wide != like.outputs:
            raise DataError(f"{what} must hold {like.outputs} numbers a row, as in training")
        return y.astype(np.float64)
    if (y.dtype.kind in "US") != (like.labels.dtype.kind in "US"):
        raise DataError(f"{what} has labels like {y.reshape(-1)[0]!s}, training has {like.labels[0]!s}")
    strange = np.flatnonzero(~np.isin(y, like.labels))
    if len(strange):
        raise DataError(
            f"{what} has the label {_text(y[strange[0]])!r} at row {strange[0]}, which never occurs in training; "
            f"known: {', '.join((like.classes or ())[:20])}"
        )
    return np.searchsorted(like.labels, y)


def _array(value: Any, what: str) -> np.ndarray:
    if value is None:
        raise DataError(f"{what} is missing: give a pair (X, y), or name the target column")
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    if hasattr(value, "to_numpy"):  # pandas
        value = value.to_numpy()
    try:
        y = np.asarray(value)
    except ValueError:
        raise DataError(f"{what} has rows of different lengths") from None
    if y.dtype.kind == "O":
        y = _from_objects(y, what)
    if y.dtype.kind not in "biufUS":
        raise DataError(f"{what} has dtype {y.dtype}; give numbers, text or bool")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        bad = np.flatnonzero(~np.isfinite(y).reshape(len(y), -1).all(axis=1))
        raise DataError(f"{what} has {len(bad):,} rows that are NaN or infinite, the first is row {bad[0]}; "
                        "remove these rows")  # fmt: skip
    return y


def _from_objects(y: np.ndarray, what: str) -> np.ndarray:
    """Objects of one plain type; pandas keeps text and missing values this way."""
    flat = y.reshape(-1).tolist()
    gaps = [i for i, v in enumerate(flat) if v is None or v != v]  # NaN differs from itself
    if gaps:
        raise DataError(f"{what} has {len(gaps):,} missing values, the first is at row {gaps[0]}; remove these rows")
    kinds = {str if isinstance(v, str) else bool if isinstance(v, (bool, np.bool_)) else float
             if isinstance(v, (float, np.floating)) else int if isinstance(v, (int, np.integer)) else type(v)
             for v in flat}  # fmt: skip
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {str, bool}):
        return np.asarray(flat).reshape(y.shape)
    names = ", ".join(sorted(k.__name__ for k in kinds))
    raise DataError(f"{what} mixes values of type {names}; give one of numbers, text or bool")


def _flat(y: np.ndarray, task: str | None, what: str) -> tuple[np.ndarray, list[str]]:
    """y as (N,), or (N, outputs) for several numbers a row; one-hot rows become class numbers."""
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0], [f"{what}: shape {y.shape} is read as ({len(y)},)"]
    if y.ndim == 1 or (y.ndim == 2 and task == "regression"):
        return y, []
    if y.ndim != 2 or y.dtype.kind in "US":
        raise DataError(f"{what} has shape {y.shape}; expected one label or number a row, that is (n,)")
    binary = bool(np.isin(y, (0, 1)).all())
    if binary and (y.sum(axis=1) == 1).all():
        return y.argmax(axis=1), [f"{what}: one-hot rows are read as {y.shape[1]} classes"]
    if binary or task == "classification":
        raise DataError(f"{what} has shape {y.shape} with several labels a row, which is not supported; "
                        "give one label a row, or task='regression'")  # fmt: skip
    return y, []


def _infer(y: np.ndarray) -> Literal["classification", "regression"]:
    if y.dtype.kind in "bUS":
        return "classification"
    if y.ndim == 2 or (y.dtype.kind == "f" and not np.array_equal(y, np.round(y))):
        return "regression"
    values = np.unique(y)
    counted = values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1 and y.dtype.kind != "f"
    few = len(values) <= SURE_CLASSES or (len(values) <= MOST_CLASSES and counted)
    return "classification" if few and 3 * len(values) <= len(y) else "regression"


def _labels(y: np.ndarray) -> np.ndarray:
    if y.ndim != 1:
        raise DataError(f"y has shape {y.shape}; classes need one label a row")
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        odd = int(np.flatnonzero(y != np.round(y))[0])
        raise DataError(f"y has the value {y[odd]:g} at row {odd}, which is no class label; use whole numbers or text, "
                        "or task='regression'")  # fmt: skip
    labels = np.unique(y)
    if len(labels) == 1:
        raise DataError(f"y has one class only ({_text(labels[0])!r}); there is nothing to tell apart")
    return labels


def _class_names(labels: np.ndarray, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is not None and labels.dtype.kind in "iu" and labels[0] >= 0 and labels[-1] < len(names):
        return tuple(str(names[int(v)]) for v in labels)
    return tuple(_text(v) for v in labels)


def _text(label: Any) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)
