"""What a running study tells whoever watches it: a terminal, a notebook, a test."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from searchitect.errors import UsageError
from searchitect.records import Trial

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """What a person wants to see after each event."""

    phase: str
    done: int = 0
    failed: int = 0
    reused: int = 0
    running: int = 0
    best: Trial | None = None
    elapsed: float = 0.0
    left: float | None = None
    trials_left: int | None = None
    text: str = ""


class Observer:
    """Hears what happens; does nothing. Subclasses override what they show."""

    def plan(self, facts: dict[str, Any]) -> None:
        """What will be done, before the first trial."""

    def forecast(self, facts: dict[str, Any]) -> None:
        """What the budget buys, once two trials are done."""

    def trial(self, trial: Trial) -> None:
        """A trial has ended: done, failed, pruned or reused; it is on disk already."""

    def progress(self, progress: Progress) -> None:
        """After each event."""

    def message(self, text: str) -> None:
        """One line for the person."""

    def end(self, summary: dict[str, Any]) -> None:
        """The study's summary."""


Watchers = Observer | Callable[[Trial], Any] | Sequence[Observer | Callable[[Trial], Any]] | None


class Announcer(Observer):
    """Passes news to one or several observers; one that fails is logged once and never stops the search.

    A plain function is called with every trial that has ended.
    """

    def __init__(self, observers: Watchers = None) -> None:
        several = observers if isinstance(observers, Sequence) else () if observers is None else (observers,)
        self.observers = [one if isinstance(one, Observer) else _Function(one) for one in several]
        self.complained: set[int] = set()

    def plan(self, facts: dict[str, Any]) -> None:
        """Before the first trial."""
        self._pass_on("plan", facts)

    def trial(self, trial: Trial) -> None:
        """A trial has ended."""
        self._pass_on("trial", trial)

    def end(self, summary: dict[str, Any]) -> None:
        """The study's summary."""
        self._pass_on("end", summary)

    def progress(self, progress: Progress) -> None:
        """After each event."""
        self._pass_on("progress", progress)

    def forecast(self, facts: dict[str, Any]) -> None:
        """Once two trials are done."""
        self._pass_on("forecast", facts)

    def message(self, text: str) -> None:
        """One line."""
        self._pass_on("message", text)

    def _pass_on(self, what: str, news: Any) -> None:
        for position, observer in enumerate(self.observers):
            try:
                getattr(observer, what)(news)
            except Exception:
                if position not in self.complained:
                    name = type(observer).__name__
                    log.exception("the observer %s of the search failed; the search goes on", name.lstrip("_"))
                self.complained.add(position)


class _Function(Observer):
    """A function of the user's that hears of trials."""

    def __init__(self, function: Callable[[Trial], Any]) -> None:
        if not callable(function):
            raise UsageError(
                f"observer {function!r} is none: give an Observer, a function of a trial, or a list of them"
            )
        self.function = function

    def trial(self, trial: Trial) -> None:
        """A trial has ended."""
        self.function(trial)
