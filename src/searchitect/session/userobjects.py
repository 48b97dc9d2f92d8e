"""Objects of the user's by name ("module:object" or "FILE.py:object"), and architectures to start from."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from searchitect.errors import ArchitectureError, UsageError
from searchitect.records import candidates, front, losses, objectives
from searchitect.space import Architecture, Space
from searchitect.store import Store

FROM_STUDY = 5  # of a former study that a new one starts from


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


def start_architectures(items: Any, space: Space) -> tuple[Architecture, ...]:
    """Architectures of the space from Architectures, decisions by name, paths of arch.json files, or folders of
    studies, which give their best (`FROM_STUDY` at most, the best first, each once).

    Raises UsageError that names the item which is none of these, or none of the space.
    """
    if isinstance(items, (str, os.PathLike, Mapping, Architecture)) or not isinstance(items, Iterable):
        items = [items]
    found: list[Architecture] = []
    for position, item in enumerate(items, 1):
        what = f"start {position}"
        if isinstance(item, (str, os.PathLike)) and (Path(item).expanduser() / "study.db").exists():
            several = best_of_study(Path(item).expanduser())
            found += (_start_architecture(one, f"{what}, {os.fspath(item)}", space) for one in several)
        else:
            found.append(_start_architecture(item, what, space))
    return tuple(dict.fromkeys(found))


def best_of_study(folder: Path) -> list[Mapping[str, Any]]:
    """Decisions of the best trials of a study: with several goals those that none dominates come first.

    Raises UsageError when nothing in it was measured.
    """
    with Store.open(folder) as store:
        trials, aims = store.trials(), objectives(store.meta["objectives"])
    measured = [t for t in candidates(trials, aims) if t.source is None]
    first = {t.number for t in front(measured, aims)}
    ranked = sorted(measured, key=lambda t: (t.number not in first, losses(t, aims) or (), t.number))
    if not ranked:
        raise UsageError(f"start {folder}: nothing was measured in this study that keeps its limits")
    return [t.architecture.decisions for t in ranked[:FROM_STUDY]]


def _start_architecture(item: Any, what: str, space: Space) -> Architecture:
    try:
        if isinstance(item, Mapping):
            return space.architecture(item)
        if isinstance(item, (str, os.PathLike)):
            what = f"{what}, {os.fspath(item)}"
            item = Architecture.from_json(Path(item).expanduser().read_text(encoding="utf-8"))
        if isinstance(item, Architecture):
            space.validate(item)
            return space.architecture(item.decisions)
    except ArchitectureError as error:
        raise UsageError(f"{what}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"{what}: cannot be read: {why}; give the path of an arch.json") from error
    raise UsageError(f"{what}: got {type(item).__name__}; give an Architecture, decisions by name, or a path")
