"""Published tables of trained architectures, and searches on them in virtual time.

A table holds what training would have given, so that a strategy can be run hundreds of times in seconds and
judged on a test column that it never sees. `load_table` reads a shipped table or a stranger's file,
`simulate` runs one strategy on it, `compare` runs many and does the statistics. Nothing here loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.bench.loading import TABLES, load_table
    from searchitect.bench.simulation import Limit, Run, simulate
    from searchitect.bench.table import Table

__all__ = ["TABLES", "Limit", "Run", "Table", "load_table", "simulate"]

_HOMES = {
    "TABLES": "loading", "load_table": "loading", "Table": "table", "Limit": "simulation", "Run": "simulation",
    "simulate": "simulation",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
