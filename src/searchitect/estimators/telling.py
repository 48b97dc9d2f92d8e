"""What a fit shows in a notebook or a terminal: the plan, one live line, and the verdict in a sentence."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from searchitect.engine.observer import Observer, Progress
from searchitect.records import goals, objectives
from searchitect.report import plain

EVERY = 5.0  # seconds between two lines where a line cannot be rewritten
WIDTH = 79
NOT_COMPARED = "on validation rows; not compared with a baseline on test rows"
PHASES = {"search": "searching", "finalize": "comparing"}


class Teller(Observer):
    """Writes to `stream` (standard output where None), and remembers the signal that ended the search.

    live: rewrite one line in place; left out, where the stream is a terminal or a notebook.  quiet: say nothing.
    """

    def __init__(
        self, stream: TextIO | None = None, *, quiet: bool = False, live: bool | None = None, kept: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.signal: str | None = None
        self._stream = sys.stdout if stream is None else stream
        self._live = self._stream.isatty() or "ipykernel" in sys.modules if live is None else live
        self._quiet, self._kept, self._clock = quiet, kept, clock
        self._last, self._seen, self._width = -EVERY, ("", -1), 0
        self._goals: tuple[str, ...] = ()

    def plan(self, facts: dict[str, Any]) -> None:
        """What will be tried, and when it ends."""
        self._goals = tuple(o.metric for o in goals(objectives(facts["objectives"])))
        data = facts["data"] or {}
        self._line(f"data       {_data(data)}")
        self._line(f"search     {facts['space']['size']} networks of the space {facts['space']['name']!r}, by the "
                   f"strategy {facts['strategy']['name']}, for {', '.join(self._goals)}")  # fmt: skip
        self._line(f"ends       {_ends(facts)}")
        for note in (data.get("notes") or [])[:6]:
            self._line(f"note       {plain.line(note, 300)}")

    def progress(self, progress: Progress) -> None:
        """One line for each event on a live line; elsewhere at each new best and now and then."""
        text = self._progress(progress)
        if self._live:
            if not self._quiet:
                self._write("\r" + text[:WIDTH].ljust(self._width))
                self._width = min(len(text), WIDTH)
            return
        seen = (progress.phase, -1 if progress.best is None else progress.best.number)
        if seen != self._seen or self._clock() - self._last >= EVERY:
            self._last, self._seen = self._clock(), seen
            self._line("  " + text)

    def message(self, text: str) -> None:
        """One line for the person."""
        self._line(f"note       {plain.line(text, 300)}")

    def end(self, summary: dict[str, Any]) -> None:
        """The verdict, and where the report is."""
        self.signal = summary.get("signal")
        self._line(_outcome(summary))
        if summary.get("report"):
            fate = "" if self._kept else " (goes with the estimator; path= or export(FOLDER) keeps it)"
            self._line(f"report     {summary['report']}{fate}")

    def _progress(self, progress: Progress) -> str:
        left = "" if progress.left is None else f"{plain.show_duration(max(0.0, progress.left))} left"
        more = "" if not progress.trials_left else f"{plain.plural(progress.trials_left, 'trial')} left"
        best = ""
        if progress.best is not None:
            shown = ((name, progress.best.value(name)) for name in self._goals)
            best = "best " + ", ".join(f"{name} {plain.show_metric(name, v)}" for name, v in shown if v is not None)
        tried = f"{progress.done} tried" if progress.done else ""
        failed = f"{progress.failed} failed" if progress.failed else ""
        phase = "" if progress.phase == "probe" else PHASES.get(progress.phase, progress.phase)  # its text says it
        return " · ".join(part for part in (phase, left or more, best, tried, failed, progress.text) if part)

    def _line(self, text: str) -> None:
        if self._quiet:
            return
        blank = "\r" + " " * self._width + "\r" if self._width else ""
        self._width = 0
        self._write(f"{blank}{text}\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more; the search is not concerned
            self._stream.write(text)
            self._stream.flush()


def _data(data: Mapping[str, Any]) -> str:
    shape = "×".join(str(n) for n in data.get("shape") or ())
    what = f"{len(data['classes'])} classes" if data.get("classes") else str(data.get("task") or "")
    splits = data.get("splits") or {}
    parts = ", ".join(f"{n:,} for {name}" for name, n in splits.items() if n)
    return f"{data.get('kind')} {shape}, {what}; rows: {parts}"


def _ends(facts: Mapping[str, Any]) -> str:
    budget, trials = facts.get("budget_seconds"), facts.get("trials_limit")
    parts = []
    if budget:
        at = time.strftime("%H:%M:%S", time.localtime(time.time() + budget))
        parts.append(f"in {plain.show_duration(budget)} at the latest, at {at}, all included")
    if trials:
        parts.append(f"after {plain.plural(trials, 'network')}")
    return " or ".join(parts)


def _outcome(summary: Mapping[str, Any]) -> str:
    verdict = summary.get("verdict") or {}
    if verdict.get("sentence"):
        return f"verdict    {verdict['sentence']}"
    best = (summary.get("best") or {}).get("validation") or {}
    if not best:
        return "best       nothing: no network was measured"
    name, value = next(iter(best.items()))
    return f"best       {name} {plain.show_metric(name, value)} {NOT_COMPARED}"
