"""Values that a shell completes: names of data, spaces, strategies and tables; files and folders where those are meant.

Click asks at every press of the key, in a process of its own; nothing that needs torch is loaded for an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

Answer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _data() -> Sequence[str]:
    return ("breast_cancer", "diabetes", "digits", "iris", "openml:", "wine")


def _spaces() -> Sequence[str]:
    from searchitect.spaces import SPACES

    return tuple(SPACES)


def _searches() -> Sequence[str]:
    from searchitect.sharing import METHODS

    return (*_strategies(), *METHODS)


def _strategies() -> Sequence[str]:
    from searchitect.strategies import STRATEGIES

    return ("auto", *STRATEGIES)


def _tables() -> Sequence[str]:
    from searchitect.bench.loading import TABLES

    return tuple(TABLES)


def _scores() -> Sequence[str]:
    from searchitect.scores.names import SCORES

    return SCORES


# What completes the value of an option or argument by its name: a list of names, and whether files may stand there too.
LISTS: dict[str, tuple[Callable[[], Sequence[str]], bool]] = {
    "data": (_data, True), "space": (_spaces, True), "strategy": (_searches, False), "table": (_tables, True),
    "screen": (_scores, False), "bench strategy": (_strategies, False),
}  # fmt: skip


def completing(what: str) -> Answer:
    """The `shell_complete` of an option: names from `LISTS` that begin as what was typed, then files."""

    def answer(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
        names, files = LISTS[what]
        found = [CompletionItem(name) for name in names() if name.startswith(typed)]
        return found or ([CompletionItem(typed, type="file")] if files else [])

    return answer


def folders(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    """For an argument that is a folder."""
    return [CompletionItem(typed, type="dir")]


def about(name: str) -> dict[str, Any]:
    """The keyword that gives an option of `Settings` its completion, if it has one."""
    if name in LISTS:
        return {"shell_complete": completing(name)}
    return {"shell_complete": folders} if name in ("path", "shared") else {}
