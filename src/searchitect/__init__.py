"""searchitect finds a neural network for your data, hardware and time, and shows whether it was worth it.

    from searchitect import search
    study = search(data=(X, y), budget="10m")
    print(study.verdict.sentence)

Write a space with `lazy`, `one_of`, `repeat`, ...; run it with `search`; look at the `Study`. Importing this
package loads neither torch nor numpy; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.checking import check
    from searchitect.errors import SearchitectError
    from searchitect.estimators import SearchClassifier, SearchRegressor
    from searchitect.manual import Manual
    from searchitect.nets import build
    from searchitect.settings import Settings
    from searchitect.space import (
        OUTPUTS,
        Architecture,
        Space,
        integer,
        lazy,
        limit,
        named,
        one_of,
        real,
        repeat,
        subset,
    )
    from searchitect.spaces import load_space
    from searchitect.spaces.around import space_around
    from searchitect.strategies import Strategy
    from searchitect.study import Study, resume, search

_HOMES = {
    "SearchitectError": "errors",
    "SearchClassifier": "estimators",
    "SearchRegressor": "estimators",
    "Manual": "manual",
    "build": "nets",
    "check": "checking",
    "Settings": "settings",
    "OUTPUTS": "space",
    "Architecture": "space",
    "Space": "space",
    "integer": "space",
    "lazy": "space",
    "limit": "space",
    "named": "space",
    "one_of": "space",
    "real": "space",
    "repeat": "space",
    "subset": "space",
    "load_space": "spaces",
    "Strategy": "strategies",
    "Study": "study",
    "resume": "study",
    "search": "study",
    "space_around": "spaces.around",
}

__version__ = "0.1.0"

__all__ = [
    "OUTPUTS",
    "Architecture",
    "Manual",
    "SearchClassifier",
    "SearchRegressor",
    "SearchitectError",
    "Settings",
    "Space",
    "Strategy",
    "Study",
    "build",
    "check",
    "integer",
    "lazy",
    "limit",
    "load_space",
    "named",
    "one_of",
    "real",
    "repeat",
    "resume",
    "search",
    "space_around",
    "subset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'searchitect' has no attribute {name!r}")
    return getattr(import_module(f"searchitect.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
