"""What a study remembers: its trials, their order of asking and telling, reports and notes, in one file.

The driver is the only writer and holds a lock on the folder; everybody else reads. Every change of a
trial compares its state and attempt first, so a late result can do no harm. Finished means on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.store.salvage import salvage
    from searchitect.store.sqlite import Note, Store

__all__ = ["Note", "Store", "salvage"]

_HOMES = {"Note": "sqlite", "Store": "sqlite", "salvage": "salvage"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # Stored at once: importing the module `salvage` would otherwise put itself under the function's name.
    globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return globals()[name]
