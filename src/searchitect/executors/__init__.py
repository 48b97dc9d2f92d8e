"""Where functions are run: in this process or in worker processes. Knows functions, nothing of what they do.

An executor is given one function, then tickets with small plain payloads; it answers with events. Whatever
a task does to its process (raise, hang, crash, eat the memory) ends as one event of that ticket.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.executors.base import Context, Event, Executor, Failed, Finished, Report, Started

__all__ = ["EXECUTORS", "Context", "Event", "Executor", "Failed", "Finished", "Report", "Started", "make"]

EXECUTORS = {
    "serial": "searchitect.executors.serial:Serial",
    "processes": "searchitect.executors.processes:Processes",
    "ray": "searchitect.executors.ray:RayExecutor",
}


def make(name: str, **options: Any) -> Executor:
    """An executor by its name in EXECUTORS, or by "module:Class" for one of your own.

    Raises UsageError for a name that does not exist.
    """
    from searchitect.errors import UsageError, meant

    module, found, attribute = EXECUTORS.get(name, name).partition(":")
    if not found:
        near, known = meant(name, EXECUTORS), ", ".join(EXECUTORS)
        raise UsageError(f"executor {name!r} is not known{near}: {known}, or 'module:Class' of your own")
    try:
        made: Executor = getattr(import_module(module), attribute)(**options)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"executor {name!r} cannot be loaded: {error}") from error
    return made


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.base"), name)
