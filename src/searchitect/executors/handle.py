"""The driver's hold on its server process: start it, talk to it, and be sure that nothing of it is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from searchitect.executors import system
from searchitect.executors.wire import Frames, pack, receive
from searchitect.executors.worker import Clock, Settings, start_message

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ServerHandle:
    """A running server. `control` is the driver's end of its socket; `ready` once it can fork."""

    def __init__(self, settings: Settings, function: bytes, slots: int) -> None:
        self.ready = False
        self.control, theirs = socket.socketpair()
        self.control.setblocking(False)
        self._frames = Frames()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `bury`
        clock_fd = os.memfd_create("clock") if hasattr(os, "memfd_create") else os.dup(self._errors.fileno())
        self.clock = Clock(clock_fd, slots)
        numbers = [theirs.fileno(), clock_fd]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "searchitect.executors.server", *map(str, [*numbers, slots])],
                stdin=subprocess.PIPE,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=numbers,
                start_new_session=True,  # Ctrl-C in a terminal is for the driver alone
                env=_environment(settings),
            )
        os.close(clock_fd)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(start_message(settings, function))

    def hear(self) -> list[list[Any]] | None:
        """The messages that have arrived; None when the server is gone."""
        data = receive(self.control)
        return None if data is None else list(self._frames.feed(data))

    def tell(self, *message: Any) -> None:
        """Send a message. To a dead server it is lost: `hear` will tell."""
        send(self.control, pack(list(message)))

    def hire(self, slot: int) -> socket.socket:
        """Have a worker made; the driver's end of its socket."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self.control, [pack(["worker", slot])], [theirs.fileno()])
        return ours

    def bury(self, workers: Iterable[int]) -> str:
        """End the server and everything under it; returns the end of what it wrote to standard error.

        The server ends its workers itself when its socket closes. Should it be dead or deaf, they (and what
        belongs to their sessions) are killed from here.
        """
        self.control.close()
        self.clock.close()
        left: set[int] = set()
        if self._process.poll() is None:
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                left = system.family(self._process.pid)
                self._process.kill()
        self._process.wait()
        if self._process.returncode != 0:
            for pid in workers:
                left |= system.family(pid)
                system.kill_group(pid)
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with self._errors as file:
            file.seek(0)
            return file.read()[-4000:].decode("utf-8", "replace")


def send(sock: socket.socket, data: bytes) -> bool:
    """Send all of it; False when the other side is gone."""
    sock.setblocking(True)
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return False
    finally:
        sock.setblocking(False)
    return True


def _environment(settings: Settings) -> dict[str, str]:
    """The server's environment: our package importable, and one idea of how many threads there are."""
    home = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    arenas = {} if settings.memory_mb is None else {"MALLOC_ARENA_MAX": "2"}  # each reserves 64 MB
    return {**os.environ, **dict.fromkeys(_THREADS, str(settings.threads)), **arenas, "PYTHONPATH": paths}
