"""One task, run here: whatever it does becomes a finished or failed outcome. Shared by all executors."""

from __future__ import annotations

import errno
import io
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from searchitect.errors import out_of_memory
from searchitect.executors import system
from searchitect.executors.base import Context, Failed, Finished, Function
from searchitect.executors.wire import copied

LOG_MB = 2.0
_LONGEST_TRACE = 20_000
_LONGEST_LINE = 500


class Ended(BaseException):
    """Raised into a running task to end it (a BaseException, so that user code lets it through)."""

    def __init__(self, cause: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.retryable = retryable


class Outcome(NamedTuple):
    """What became of a task: a result, or everything that a Failed event needs."""

    result: dict[str, Any] | None = None
    cause: str = ""
    message: str = ""
    traceback: str = ""
    retryable: bool = False
    peak_mb: float = 0.0

    def event(self, ticket: int) -> Finished | Failed:
        """The same as the event that ends a ticket."""
        if self.result is not None:
            return Finished(ticket, self.result)
        return Failed(ticket, self.cause, self.message, self.traceback, self.retryable, self.peak_mb)


def run(function: Function, payload: Mapping[str, Any], context: Context, limits: str = "") -> Outcome:
    """Call the function. Never raises, but for KeyboardInterrupt. `limits` completes a memory message."""
    try:
        result = function(payload, context)
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        text = f"the task called sys.exit({'' if error.code is None else error.code!r})"
        return Outcome(cause="killed", message=text, traceback=trace(error), peak_mb=system.peak_mb())
    except BaseException as error:
        return _failed(error, limits)
    try:
        if not isinstance(result, Mapping):
            raise TypeError(
                f"the task returned {type(result).__name__}; it must return a mapping of names to plain values"
            )
        return Outcome(copied(dict(result)))
    except Exception as error:  # also what a strange mapping raises when it is read
        return Outcome(cause="user code", message=f"result of the task: {error}"[:_LONGEST_LINE])


def _failed(error: BaseException, limits: str) -> Outcome:
    peak = system.peak_mb()
    own = getattr(error, "cause", None)
    if isinstance(own, str) and own:
        message = _text(error).partition("\n")[0] or type(error).__name__
        return Outcome(None, own, message[:_LONGEST_LINE], trace(error), bool(getattr(error, "retryable", False)), peak)
    if is_memory(error):
        message = f"out of memory: peak {peak:.0f} MB{limits}; {_line(error)}"
        return Outcome(None, "out of memory", message[:_LONGEST_LINE], trace(error), False, peak)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Outcome(None, "storage", _line(error), trace(error), False, peak)
    return Outcome(None, "user code", _line(error), trace(error), False, peak)


def is_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, in one of the ways of Python, numpy and torch."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    try:
        return out_of_memory(error)
    except Exception:  # its text cannot be read
        return False


def _text(error: BaseException) -> str:
    try:
        return _printable(str(error))
    except Exception:
        return "<its text cannot be read>"


def _printable(text: str) -> str:
    """Text that UTF-8 cannot hold (lone surrogates, as in odd file names) written with backslashes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _line(error: BaseException) -> str:
    """`Type: message`, as the last line of a traceback, on one line."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    first = next((line for line in _text(error).splitlines() if line.strip()), "")
    return f"{name}: {first}"[:_LONGEST_LINE] if first else name


def trace(error: BaseException) -> str:
    """The traceback from the first frame of the user's code on; the middle of a very long one left out."""
    inner = error.__traceback__.tb_next if error.__traceback__ is not None else None
    try:
        text = _printable("".join(traceback.format_exception(type(error), error, inner or error.__traceback__)))
    except Exception:
        text = f"{type(error).__qualname__} (its traceback cannot be shown)"
    if len(text) <= _LONGEST_TRACE:
        return text
    half = _LONGEST_TRACE // 2
    return f"{text[:half]}\n ... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


class CappedLog(io.RawIOBase):
    """Standard output of a task: bytes to a file descriptor until the cap, then only counted."""

    def __init__(self, descriptor: int, cap: int) -> None:
        self._descriptor = descriptor
        self._left = cap

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write what still fits. Never fails: a full disk under a log must not fail the task."""
        view = memoryview(data).cast("B")
        if self._left > 0:
            part = bytes(view[: self._left])
            self._left -= len(part)
            if self._left <= 0:
                part += b"\n[the log is full: the rest is left out]\n"
            try:
                os.write(self._descriptor, part)
            except OSError:
                self._left = 0
        return len(view)


def log_stream(descriptor: int, cap: int) -> io.TextIOWrapper:
    """A text stream over a CappedLog that passes each line on."""
    raw = CappedLog(descriptor, cap)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)


def open_log(folder: Path | None, ticket: int) -> int:
    """A descriptor of the ticket's log `logs/<ticket>.log`, or of nowhere without a folder."""
    if folder is None:
        return os.open(os.devnull, os.O_RDWR)
    path = log_path(folder, ticket)
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError:  # a log is not worth a task
        return os.open(os.devnull, os.O_RDWR)


def drop_empty_log(folder: Path | None, ticket: int) -> None:
    """Remove the ticket's log when nothing was written to it."""
    if folder is not None:
        path = log_path(folder, ticket)
        try:
            if path.stat().st_size == 0:
                path.unlink()
        except OSError:
            pass


def log_path(folder: Path, ticket: int) -> Path:
    """Where the output of a ticket goes."""
    return folder / "logs" / f"{ticket:06d}.log"
