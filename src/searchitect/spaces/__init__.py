"""Ready-made search spaces, each in one file with its size, source and hand-made baseline.

Others get from here: `load_space("cnn", ...)`, the table `SPACES`, and `auto`, which picks and sizes a
space for a kind of data, its shape and a budget. Nothing is loaded until used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from searchitect.errors import UsageError, meant

if TYPE_CHECKING:
    from searchitect.space import Space
    from searchitect.spaces.automatic import auto as auto

SPACES = {
    "cnn": "searchitect.spaces.cnn:space",
    "darts": "searchitect.spaces.darts:space",
    "ft_transformer": "searchitect.spaces.ft_transformer:space",
    "gpt": "searchitect.spaces.gpt:space",
    "macro": "searchitect.spaces.macro:space",
    "mlp": "searchitect.spaces.mlp:space",
    "mobilenet": "searchitect.spaces.mobilenet:space",
    "nb101": "searchitect.spaces.nb101:space",
    "nb201": "searchitect.spaces.nb201:space",
    "resnet": "searchitect.spaces.resnet:space",
    "rnn": "searchitect.spaces.rnn:space",
    "tcn": "searchitect.spaces.tcn:space",
    "transformer": "searchitect.spaces.transformer:space",
    "vit": "searchitect.spaces.vit:space",
}

__all__ = ["SPACES", "auto", "load_space"]


def load_space(name: str, **options: Any) -> Space:
    """A ready-made space by name; options go to its `space(...)` function.

    Raises UsageError for an unknown name or option.
    """
    if name not in SPACES:
        raise UsageError(f"space {name!r} is not known{meant(name, SPACES)}: ready-made are {', '.join(SPACES)}")
    module, _, function = SPACES[name].partition(":")
    make = getattr(importlib.import_module(module), function)
    try:
        space: Space = make(**options)
    except TypeError as error:
        raise UsageError(f"space {name!r}: {error}") from None
    return space


def __getattr__(name: str) -> Any:
    if name == "auto":
        return importlib.import_module("searchitect.spaces.automatic").auto
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
