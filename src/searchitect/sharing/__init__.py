"""Weight sharing: all architectures of a space are trained at once in a supernet, and a method says which is best.

`SupernetSearch` is the one loop (weights step, architecture step, derive, measure); each method is one small file
with a gate rule and an architecture step. A pass over the data gives a `records.Epoch`. Nothing here knows of
studies, stores or executors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from searchitect.errors import UsageError

if TYPE_CHECKING:
    from searchitect.sharing.method import Method, Setup
    from searchitect.sharing.search import SupernetSearch
    from searchitect.sharing.start import Start

METHODS: dict[str, str] = {
    "darts": "searchitect.sharing.darts:Darts",
    "gdas": "searchitect.sharing.gdas:Gdas",
    "snas": "searchitect.sharing.snas:Snas",
    "pcdarts": "searchitect.sharing.pcdarts:PcDarts",
    "drnas": "searchitect.sharing.drnas:DrNas",
    "proxyless": "searchitect.sharing.proxyless:Proxyless",
    "enas": "searchitect.sharing.enas:Enas",
    "spos": "searchitect.sharing.spos:Spos",
    "fairnas": "searchitect.sharing.fairnas:FairNas",
}
_PLACE = {"Method": "method", "Setup": "method", "Start": "start", "SupernetSearch": "search"}

__all__ = ["METHODS", "Method", "Setup", "Start", "SupernetSearch", "method_class"]


def method_class(name: str) -> type[Method]:
    """The class behind a name of `METHODS`. Raises UsageError for another name."""
    if name not in METHODS:
        raise UsageError(f"weight-sharing method {name!r} is not known: write one of {', '.join(METHODS)}")
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method] = getattr(importlib.import_module(module), attribute)
    return found


def __getattr__(name: str) -> Any:
    if name not in _PLACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACE[name]}"), name)
