"""After the search: finalists become one winner, the winner a verdict on test data, and the network a folder.

Others get from here: `compare`, `compare_scores`, `compare_seeds` (the verdict), `plan_finals`, `run_stages` with
`FinalContext` (stages A and B), `write_bundle`, `read_bundle`, `rebuild`, `run_bundle` (the folder `best/`),
`write_formats` (pt2 and onnx in it). Loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.finalize.bundle import Bundle as Bundle
    from searchitect.finalize.bundle import write_bundle as write_bundle
    from searchitect.finalize.context import FinalContext as FinalContext
    from searchitect.finalize.context import FinalResult as FinalResult
    from searchitect.finalize.formats import write_formats as write_formats
    from searchitect.finalize.opening import Opened as Opened
    from searchitect.finalize.opening import read_bundle as read_bundle
    from searchitect.finalize.opening import rebuild as rebuild
    from searchitect.finalize.opening import run_bundle as run_bundle
    from searchitect.finalize.planning import FinalPlan as FinalPlan
    from searchitect.finalize.planning import plan_finals as plan_finals
    from searchitect.finalize.stages import run_stages as run_stages
    from searchitect.finalize.verdict import compare as compare
    from searchitect.finalize.verdict import compare_scores as compare_scores
    from searchitect.finalize.verdict import compare_seeds as compare_seeds

_FILES = {
    "compare": "verdict", "compare_scores": "verdict", "compare_seeds": "verdict", "FinalPlan": "planning",
    "plan_finals": "planning", "FinalContext": "context", "FinalResult": "context", "run_stages": "stages",
    "Bundle": "bundle", "write_bundle": "bundle", "Opened": "opening", "read_bundle": "opening", "rebuild": "opening",
    "run_bundle": "opening", "write_formats": "formats",
}  # fmt: skip

__all__ = list(_FILES)


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
