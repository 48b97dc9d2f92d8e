"""Rows and answers as scikit-learn checks them, with the words that its users know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d, validate_data

from searchitect.errors import DataError


@contextmanager
def as_value_error() -> Iterator[None]:
    """Data that cannot be used are a ValueError to scikit-learn."""
    try:
        yield
    except DataError as error:
        raise ValueError(str(error)) from error


def is_frame(x: Any) -> bool:
    """Whether X has named columns, each with a type of its own."""
    return hasattr(x, "dtypes") and hasattr(x, "columns") and hasattr(x, "iloc")


def training_rows(estimator: Any, x: Any, y: Any, *, numbers: bool) -> tuple[Any, np.ndarray]:
    """X and y checked, for `fit`; sets n_features_in_ and feature_names_in_.

    Frames stay as they are (text, dates and gaps are welcome). numbers: y are numbers, perhaps several a row.
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None; fit(X, y) learns y from X"
        )
    if is_frame(x):
        validate_data(estimator, x, skip_check_array=True)
        if len(x) < 2:
            raise ValueError(f"Found array with {len(x)} sample(s) while a minimum of 2 is required")
    else:
        x = validate_data(estimator, _plain(x), **_rules(), ensure_min_samples=2)
    y = _plain(y)
    if numbers:
        y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y", estimator=estimator)
        y = y.astype(np.float64) if y.dtype.kind != "f" else y
    else:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
    check_consistent_length(x, y)
    return x, y


def new_rows(estimator: Any, x: Any) -> Any:
    """X checked against what was fitted, for `predict`."""
    if is_frame(x):
        validate_data(estimator, x, reset=False, skip_check_array=True)
        if hasattr(estimator, "feature_names_in_"):
            return x
    elif hasattr(estimator, "feature_names_in_") and estimator.text_columns_:
        raise ValueError(
            f"{type(estimator).__name__} was fitted on a DataFrame with text in {estimator.text_columns_[0]!r}: "
            "pass a DataFrame with the same columns"
        )
    return validate_data(estimator, _plain(x), reset=False, **_rules())


def _rules() -> dict[str, Any]:
    return {"dtype": "numeric", "ensure_all_finite": "allow-nan", "allow_nd": True}


def _plain(value: Any) -> Any:
    """Tensors as arrays; all else as it is."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def text_columns(x: Any) -> list[str]:
    """Names of a frame's columns that are not plain numbers."""
    if not is_frame(x):
        return []
    return [str(n) for i, n in enumerate(x.columns) if getattr(x.dtypes.iloc[i], "kind", "O") not in "biuf"]
