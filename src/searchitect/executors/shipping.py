"""A function and everything it holds, as bytes for our own workers.

The only place where pickles are made or read, and only ones made by the parent process of the very
process that reads them. They go through a pipe and are never in a file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import cloudpickle

from searchitect.errors import UsageError

_DEEP = 6


class Packed(NamedTuple):
    """A function that somebody has packed already, to be sent on as it is."""

    data: bytes


def pack_function(function: Any) -> bytes:
    """The function as bytes. Raises UsageError that names what in it cannot be sent to another process."""
    if isinstance(function, Packed):
        return function.data
    try:
        data: bytes = cloudpickle.dumps(function)
        return data
    except Exception as error:  # user objects raise anything when they are pickled
        place, why = _culprit(function, getattr(function, "__qualname__", type(function).__name__), error)
        raise UsageError(
            f"not picklable: {place} ({why}), so it cannot be sent to worker processes; "
            "make it inside the function instead, or use the serial executor (workers=0)"
        ) from error


def unpack_function(data: bytes) -> Any:
    """What `pack_function` made."""
    return cloudpickle.loads(data)  # our own bytes, from our own parent's pipe


def _culprit(value: Any, path: str, error: Exception, depth: int = 0) -> tuple[str, str]:
    """The innermost part that fails by itself, as a path of names, and why."""
    if depth < _DEEP:
        for name, part in _parts(value):
            try:
                cloudpickle.dumps(part)
            except Exception as inner:
                return _culprit(part, f"{path}{name}", inner, depth + 1)
    return path, f"{type(value).__name__}: {error}".splitlines()[0]


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, functools.partial):
        yield ".func", value.func
        yield from ((f" argument {i}", part) for i, part in enumerate(value.args))
        yield from ((f" argument {k}", part) for k, part in value.keywords.items())
    if isinstance(value, dict):
        yield from ((f"[{k!r}]", part) for k, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, type(functools)):
        yield ".__self__", owner
    code = getattr(value, "__code__", None)
    if code is not None:
        cells = zip(code.co_freevars, getattr(value, "__closure__", None) or (), strict=False)
        yield from ((f".{name}", cell.cell_contents) for name, cell in cells)
        names = getattr(value, "__globals__", {})
        yield from ((f".{name}", names[name]) for name in code.co_names if name in names)
        yield from ((" default", part) for part in getattr(value, "__defaults__", None) or ())
    elif not isinstance(value, type):
        yield from ((f".{k}", part) for k, part in getattr(value, "__dict__", {}).items())
