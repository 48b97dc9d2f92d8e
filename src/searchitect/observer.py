"""What a running study tells whoever watches it: a terminal, a notebook, a test."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

    def progress(self, progress: Progress) -> None:
        """After each event."""

    def message(self, text: str) -> None:
        """One line for the person."""

    def end(self, summary: dict[str, Any]) -> None:
        """The study's summary."""


class Announcer(Observer):
    """Passes news to an observer; one that fails is logged once and does not stop the search."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.complained = False

    def plan(self, facts: dict[str, Any]) -> None:
        """Before the first trial."""
        self._pass_on(self.observer.plan, facts)

    def end(self, summary: dict[str, Any]) -> None:
        """The study's summary."""
        self._pass_on(self.observer.end, summary)

    def progress(self, progress: Progress) -> None:
        """After each event."""
        self._pass_on(self.observer.progress, progress)

    def forecast(self, facts: dict[str, Any]) -> None:
        """Once two trials are done."""
        self._pass_on(self.observer.forecast, facts)

    def message(self, text: str) -> None:
        """One line."""
        self._pass_on(self.observer.message, text)

    def _pass_on(self, listener: Callable[[Any], None], news: Any) -> None:
        try:
            listener(news)
        except Exception:
            if not self.complained:
                log.exception("the observer of the search failed; the search goes on")
            self.complained = True
