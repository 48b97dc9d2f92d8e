"""The driver's hold on its server process: start it, talk to it, and be sure that nothing of it is left."""

from __future__ import annotations

import os
import secrets
import signal
import site
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from searchitect.executors import system
from searchitect.executors.wire import Frames, pack, receive
from searchitect.executors.worker import Clock, Settings, start_message

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_MARK = "SEARCHITECT_SERVER"


class ServerHandle:
    """A running server. `control` is the driver's end of its socket; `ready` once it can fork."""

    def __init__(self, settings: Settings, function: bytes, slots: int) -> None:
        self.ready = False
        self._mark = f"{os.getpid()}-{secrets.token_hex(8)}"
        self.control, theirs = socket.socketpair()
        self.control.setblocking(False)
        self._frames = Frames()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `bury`
        clock_fd = os.memfd_create("clock") if hasattr(os, "memfd_create") else os.dup(self._errors.fileno())
        self.clock = Clock(clock_fd, slots)
        numbers = [theirs.fileno(), clock_fd]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "searchitect.executors.server", *map(str, [*numbers, slots, os.getpid()])],
                stdin=subprocess.PIPE,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=numbers,
                start_new_session=True,  # Ctrl-C in a terminal is for the driver alone
                env=_environment(settings) | {_MARK: self._mark},
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

    def bury(self) -> str:
        """End the server and everything under it; returns the end of what it wrote to standard error.

        The server ends all its descendants itself when its socket closes. Should it be dead or still loading, they are
        known by the mark in their environment, whatever has become of their parents.
        """
        if not self.ready or not self._ends_by_itself(2.0):
            self._process.kill()
        if self._process.wait() != 0:
            for _ in range(5):  # one may have forked while we looked
                for pid in system.marked(_MARK, self._mark):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
        self.control.close()
        self.clock.close()
        with self._errors as file:
            file.seek(0)
            return file.read()[-4000:].decode("utf-8", "replace")

    def _ends_by_itself(self, seconds: float) -> bool:
        """Close our half of the socket; whether the server, which then ends, closes the other in time."""
        try:
            self.control.settimeout(seconds)
            self.control.shutdown(socket.SHUT_WR)
            while self.control.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


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
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(settings.threads))}
    if settings.memory_mb is not None:
        environment["MALLOC_ARENA_MAX"] = "2"  # each reserves 64 MB
    home = str(Path(__file__).resolve().parents[2])
    if home not in [*site.getsitepackages(), site.getusersitepackages()]:  # that would come before Python's own
        environment["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    return environment
