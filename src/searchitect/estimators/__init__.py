"""scikit-learn's way in: `SearchClassifier` and `SearchRegressor`, thin estimators around `search`.

Rows are checked as scikit-learn checks them, `search` does the work, and the network that it leaves is kept in memory,
so that an estimator can be pickled and moved. Classes are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.estimators.classifier import SearchClassifier
    from searchitect.estimators.regressor import SearchRegressor

_PLACES = {"SearchClassifier": "classifier", "SearchRegressor": "regressor"}

__all__ = ["SearchClassifier", "SearchRegressor"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
