"""Ctrl-C and friends: once ends the run in order, twice at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

_ASKED = [s for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]


class Interrupts:
    """While inside, signals set `name` instead of ending the process; a second Ctrl-C raises KeyboardInterrupt.

    Called, it says whether a signal came. Outside the main thread Python delivers no signals and nothing
    is changed.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.name: str | None = None
        self._say = say
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for name in _ASKED:
                number = getattr(signal, name)
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.name is not None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.name is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.name = signal.Signals(number).name
        text = f"{self.name}: stopping in order; the study can be resumed"
        if number == signal.SIGINT:
            text = "finishing: the running step ends, then results are written; press Ctrl-C again to stop now"
        with suppress(Exception):  # the terminal may be gone, which is what SIGHUP says
            self._say(text)
