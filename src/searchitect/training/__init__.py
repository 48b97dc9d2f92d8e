"""From data to a trained module and its figures. Takes an `nn.Module`; knows nothing of spaces or studies.

`load` reads and checks data, `split.split` cuts it (import it from there), `prepare` makes tensors, `fit` trains
(`Goal`, `Course` and `Machine` say what for, as a part of what, and where), `predict` and `score` measure. Names are
imported when first used, so looking at this package does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.training.data import RawData, limited, load
    from searchitect.training.loop import fit
    from searchitect.training.meters import as_number, check_metrics, parameters, predict, score
    from searchitect.training.preprocess import Preprocess
    from searchitect.training.recipe import Recipe, recipe_for
    from searchitect.training.run import FitResult
    from searchitect.training.split import Splits, part
    from searchitect.training.table import Table
    from searchitect.training.tensors import TrainData, prepare
    from searchitect.training.terms import Course, Goal, Machine

_PLACES = {
    "table": ("Table",),
    "data": ("RawData", "limited", "load"),
    "loop": ("fit",),
    "meters": ("as_number", "check_metrics", "parameters", "predict", "score"),
    "preprocess": ("Preprocess",),
    "recipe": ("Recipe", "recipe_for"),
    "run": ("FitResult",),
    "split": ("Splits", "part"),
    "tensors": ("TrainData", "prepare"),
    "terms": ("Course", "Goal", "Machine"),
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Course",
    "FitResult",
    "Goal",
    "Machine",
    "Preprocess",
    "RawData",
    "Recipe",
    "Splits",
    "Table",
    "TrainData",
    "as_number",
    "check_metrics",
    "fit",
    "limited",
    "load",
    "parameters",
    "part",
    "predict",
    "prepare",
    "recipe_for",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACE[name]}"), name)
