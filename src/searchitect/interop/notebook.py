"""Live progress in a notebook cell: search(..., observer=NotebookProgress())."""

from __future__ import annotations

import html
import time
from typing import Any

from searchitect.engine.observer import Observer, Progress
from searchitect.errors import UsageError

try:
    import IPython.display as shown
except ImportError as error:
    raise UsageError(f"IPython cannot be imported ({error}): this is for notebooks; pip install ipython") from error

_SHOWN: Any = shown  # its functions have no types
EVERY = 0.5  # seconds between two changes of the cell


class NotebookProgress(Observer):
    """One table below the cell that changes while the search runs, and messages under it."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._last = 0.0
        self._rows: dict[str, str] = {}
        self._said: list[str] = []

    def plan(self, facts: dict[str, Any]) -> None:
        """Before the first trial."""
        self._rows = {
            "study": str(facts.get("name", "")),
            "strategy": str((facts.get("strategy") or {}).get("name", "")),
        }
        self._show(now=True)

    def progress(self, progress: Progress) -> None:
        """After each event."""
        counts = {
            "done": progress.done,
            "running": progress.running,
            "failed": progress.failed,
            "reused": progress.reused,
        }
        self._rows["trials"] = ", ".join(f"{n} {word}" for word, n in counts.items() if n) or "none yet"
        if progress.best is not None and progress.best.measurement is not None:
            numbers = progress.best.measurement.metrics
            shown = ", ".join(f"{name} {value:.4g}" for name, value in list(numbers.items())[:4])
            self._rows["best"] = f"trial {progress.best.number}: {shown}"
        left = "" if progress.left is None else f", {progress.left:.0f} s left"
        self._rows["time"] = f"{progress.elapsed:.0f} s{left}"
        if progress.phase != "search" or progress.text:
            self._rows["now"] = f"{progress.phase} {progress.text}".strip()
        self._show()

    def message(self, text: str) -> None:
        """One line, which stays."""
        self._said.append(text)
        self._show(now=True)

    def end(self, summary: dict[str, Any]) -> None:
        """The outcome."""
        self._rows.pop("now", None)
        verdict = summary.get("verdict")
        self._rows["verdict"] = verdict["sentence"] if verdict else "none"
        self._rows["folder"] = str(summary.get("path", ""))
        self._show(now=True)

    def page(self) -> str:
        """What the cell shows."""
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self._rows.items())
        return f"<table>{rows}</table>" + "".join(f"<p>{html.escape(text)}</p>" for text in self._said)

    def _show(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._last < EVERY:
            return
        self._last = time.monotonic()
        if self._handle is None:
            self._handle = _SHOWN.display(_SHOWN.HTML(self.page()), display_id=True)
        if self._handle is not None:  # outside of a notebook there is nothing that could be changed
            self._handle.update(_SHOWN.HTML(self.page()))
