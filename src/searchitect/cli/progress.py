"""What a running search shows: the plan, a forecast, the progress, and the verdict at the end.

`observer` makes the one that fits the stream: a live line on a terminal, plain lines elsewhere (at each new
best, at each change of phase and about every five seconds), and only the end when asked to be quiet. The
words are made in `phrases`; here they are only put on the screen.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TextIO

from searchitect.cli import phrases
from searchitect.cli.text import wrap
from searchitect.engine.observer import Observer, Progress
from searchitect.errors import UsageError
from searchitect.records import goals, objectives

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

EVERY = 5.0  # seconds between plain lines when nothing remarkable happens


class Screen(Observer):
    """Keeps a terminal or a file informed. A context manager, so that a live line is always taken down.

    live: redraw one line in place instead of writing line after line.  quiet: only the end is shown.
    `signal` is, after the end, the name of the signal that ended the run early.
    """

    def __init__(
        self, stream: TextIO, *, live: bool, quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.signal: str | None = None
        self._stream = stream
        self._quiet = quiet
        self._clock = clock
        self._live = _live_line(stream) if live and not quiet else None
        self._last = -EVERY
        self._seen = ("", -1)  # phase and number of the best trial at the last plain line
        self._goals: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def plan(self, facts: dict[str, Any]) -> None:
        """What is going to happen, before the first trial."""
        with contextlib.suppress(UsageError):
            self._goals = tuple(o.metric for o in goals(objectives(facts.get("objectives") or ())))
        if not self._quiet:
            self._write(phrases.plan_lines(facts))

    def forecast(self, facts: dict[str, Any]) -> None:
        """How far the time will go, once a few trials have told."""
        text = phrases.forecast_text(facts)
        if text and not self._quiet:
            self._write(wrap(text, first="forecast: ", indent=" " * 10))

    def progress(self, progress: Progress) -> None:
        """One event of the search."""
        if self._quiet:
            return
        text = phrases.progress_text(progress, self._goals)
        if self._live is not None:
            self._live.start()
            self._live.update(_text(text, whole=False))
            return
        best = -1 if progress.best is None else progress.best.number
        now, seen = self._clock(), (progress.phase, best)
        if seen != self._seen or now - self._last >= EVERY:
            self._last, self._seen = now, seen
            self._write(wrap(text, indent="  "))

    def message(self, text: str) -> None:
        """Something the user should know."""
        if not self._quiet:
            self._write(wrap(text, first="note: ", indent=" " * 6))

    def end(self, summary: dict[str, Any]) -> None:
        """The outcome."""
        self.signal = summary.get("signal")
        self._stop()
        self._write(phrases.end_lines(summary))

    def _write(self, lines: list[str]) -> None:
        text = "\n".join(lines)
        try:
            if self._live is not None and self._live.is_started:
                self._live.console.print(_text(text), soft_wrap=True)
                return
            self._stream.write(text + "\n")
            self._stream.flush()
        except OSError:  # whoever watched has left; the study is not concerned
            return
        except RuntimeError:  # said by a signal handler while this very stream was being written
            os.write(self._stream.fileno(), (text + "\n").encode(errors="replace"))

    def _stop(self) -> None:
        if self._live is not None and self._live.is_started:
            with contextlib.suppress(OSError):
                self._live.stop()


def observer(*, quiet: bool = False, to_errors: bool = False) -> Screen:
    """The display for standard output, or for standard error where the output is for other programs."""
    stream = sys.stderr if to_errors else sys.stdout
    return Screen(stream, live=stream.isatty(), quiet=quiet)


def _live_line(stream: TextIO) -> Live:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    return Live(console=console, refresh_per_second=4, transient=True, redirect_stdout=True, redirect_stderr=True)


def _text(text: str, *, whole: bool = True) -> Text:
    """Rich text without markup; cut at the edge of the terminal unless `whole`."""
    from rich.text import Text

    return Text(text) if whole else Text(text, style="bold", no_wrap=True, overflow="ellipsis")
