"""Objects of the user's by name: "module:object" or "FILE.py:object"."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from searchitect.errors import UsageError


def load_object(text: str, what: str) -> Any:
    """The object behind "module:object" or "FILE.py:object"; `what` names the option in messages.

    A file is imported like a script would import it: its folder joins `sys.path`, so workers find it too.
    This runs the user's code, and only what the user named. Raises UsageError when it cannot be had.
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(f"{what} {text!r}: write module:object or FILE.py:object")
    if place.endswith(".py"):
        path = Path(place).resolve()
        if not path.is_file():
            raise UsageError(f"{what} {text!r}: there is no file {place}")
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        place = path.stem
        known = sys.modules.get(place)
        if known is not None and Path(getattr(known, "__file__", None) or "").resolve() != path:
            raise UsageError(f"{what} {text!r}: another module is called {place!r} already; rename the file")
    try:
        found: Any = importlib.import_module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise UsageError(f"{what} {text!r}: {error}") from error
    except ImportError as error:
        raise UsageError(f"{what} {text!r} cannot be imported: {error}") from error
    return found
