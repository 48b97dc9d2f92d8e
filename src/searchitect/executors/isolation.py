"""Put a process back as it was before user code ran in it.

What is remembered: folder, environment, signal handlers, output streams, import path, warning filters,
recursion limit; of numpy and torch, where loaded: random states, default dtype and device, threads,
gradient mode, determinism. Modules that user code imported or changed stay.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_NAMES = (
    "SIGINT SIGTERM SIGHUP SIGQUIT SIGALRM SIGCHLD SIGUSR1 SIGUSR2 SIGPIPE SIGABRT SIGFPE SIGCONT SIGTSTP SIGVTALRM"
)
_SIGNALS = [getattr(signal, name) for name in _NAMES.split() if hasattr(signal, name)]


class Remembered:
    """The process-wide state as it was when this was made."""

    def __init__(self) -> None:
        self._loaded = _loaded()
        self._undo = [*_process(), *_torch(), *_randomness()]

    def restore(self) -> None:
        """Bring it back, as often as wanted."""
        for step in self._undo:
            with suppress(Exception):  # one that cannot be undone must not keep the others
                step()

    def complete(self) -> bool:
        """Whether no module has been imported since then that has a state of its own."""
        return self._loaded == _loaded()


@contextmanager
def restored() -> Iterator[None]:
    """Whatever the block does to the process-wide state is undone, also when it raises."""
    before = Remembered()
    try:
        yield
    finally:
        before.restore()


def _loaded() -> tuple[bool, bool]:
    return "numpy.random" in sys.modules, "torch" in sys.modules


def _process() -> list[Callable[[], None]]:
    streams = sys.stdout, sys.stderr, sys.stdin, sys.excepthook
    path, limit = list(sys.path), sys.getrecursionlimit()
    filters = list(warnings.filters)
    environment = _environment()
    try:
        folder: str | None = os.getcwd()
    except OSError:
        folder = None
    handlers = {s: signal.getsignal(s) for s in _SIGNALS} if _in_main_thread() else {}

    def back() -> None:
        sys.stdout, sys.stderr, sys.stdin, sys.excepthook = streams
        sys.path[:] = path
        sys.setrecursionlimit(limit)
        if filters != warnings.filters:
            warnings.filters[:] = filters  # type: ignore[index]
            getattr(warnings, "_filters_mutated", lambda: None)()
        if environment != _environment():
            os.environ.clear()
            os.environ.update({os.fsdecode(k): os.fsdecode(v) for k, v in environment.items()})

    def back_in_folder() -> None:
        if folder is not None:
            os.chdir(folder)

    def back_to_handlers() -> None:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return [back, back_in_folder, back_to_handlers]


def _environment() -> dict[Any, Any]:
    """The environment as a plain mapping; the inner one, where there is it, since the outer takes 50 µs."""
    return dict(getattr(os.environ, "_data", os.environ))


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _randomness() -> list[Callable[[], None]]:
    state = random.getstate()
    undo: list[Callable[[], None]] = [lambda: random.setstate(state)]
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        drawn = numpy.get_state()
        undo.append(lambda: numpy.set_state(drawn))
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "random"):
        bits = torch.get_rng_state()
        undo.append(lambda: torch.set_rng_state(bits))
    return undo


def _torch() -> list[Callable[[], None]]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_dtype"):
        return []
    dtype, threads, gradient = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    device, cudnn = torch.empty(0).device, torch.backends.cudnn  # get_default_device() takes five times as long
    flags = cudnn.benchmark, cudnn.deterministic

    def back() -> None:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradient)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.empty(0).device != device:
            torch.set_default_device(device if device.type != "cpu" else None)
        if (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()) != (
            strict,
            warn_only,
        ):
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        if (cudnn.benchmark, cudnn.deterministic) != flags:
            cudnn.benchmark, cudnn.deterministic = flags

    return [back]
