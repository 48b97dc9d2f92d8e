"""Evaluators turn (architecture, fidelity, seed) into named numbers, inside a worker.

`train` trains with the project's own loop, `function` calls the user's, `inherited` takes weights from a supernet,
`table` looks up what others measured, `zero_cost` scores the untrained network.
An evaluator is sent to the workers once; then only small plain payloads and results cross. Test rows are never
inside an evaluator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from searchitect.evaluators.base import Evaluator, Live

if TYPE_CHECKING:
    from searchitect.evaluators.function import FunctionEvaluator, LiveTrial
    from searchitect.evaluators.inherited import InheritedEvaluator
    from searchitect.evaluators.table import TableEvaluator
    from searchitect.evaluators.train import TrainEvaluator
    from searchitect.evaluators.zero_cost import ZeroCostEvaluator

__all__ = [
    "Evaluator",
    "FunctionEvaluator",
    "InheritedEvaluator",
    "Live",
    "LiveTrial",
    "TableEvaluator",
    "TrainEvaluator",
    "ZeroCostEvaluator",
]

_HOMES = {
    "TrainEvaluator": "train",
    "FunctionEvaluator": "function",
    "LiveTrial": "function",
    "TableEvaluator": "table",
    "InheritedEvaluator": "inherited",
    "ZeroCostEvaluator": "zero_cost",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
