"""Sockets between the driver of a Ray executor and its hosts, for the small messages of tasks.

A call of a Ray actor costs its caller half a millisecond, most of it in threads of Ray; a message on a socket costs a
tenth of that. A host opens a door at the address that its machine has in the cluster, and lets in who knows a secret
that the driver sent it through Ray. Ray goes on to say that hosts are there or have died, and carries files; all
messages go through Ray where a door cannot be opened or reached, and where Ray is told to encrypt (RAY_USE_TLS).
"""

from __future__ import annotations

import hmac
import logging
import os
import queue
import secrets
import selectors
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from searchitect.executors.wire import Frames, pack

log = logging.getLogger(__name__)

_ANSWER = 2.0  # seconds that a machine has to answer, and a caller to say the secret


def new_secret() -> str:
    """What opens doors; nothing where Ray encrypts what it sends, as we do not."""
    return "" if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true") else secrets.token_hex(32)


class Line:
    """One end of a connection: plain data in frames."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._frames = Frames()

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, message: list[Any]) -> None:
        """Send a message. To who is gone it is lost: `hear` will tell."""
        with suppress(OSError):
            self._socket.sendall(pack(message))

    def hear(self) -> list[Any] | None:
        """The messages that have arrived, without waiting; None when the other end is gone."""
        try:
            data = self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
            return list(self._frames.feed(data)) if data else None
        except (BlockingIOError, InterruptedError):
            return []
        except (OSError, ValueError, msgspec.DecodeError):
            return None

    def wait(self) -> None:
        """Until there is something to hear."""
        with suppress(OSError):
            self._socket.recv(1, socket.MSG_PEEK)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Door:
    """Where a host is called by its driver, once. `port` is 0 where no door can be opened at this address."""

    def __init__(self, address: str, secret: str) -> None:
        self._secret = secret.encode()
        self.port = 0
        self._socket: socket.socket | None = None
        with suppress(OSError):  # the machine is known by an address that it does not have itself
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if secret:
                self._socket = socket.create_server((address, 0), family=family)
                self.port = int(self._socket.getsockname()[1])

    def admit(self, seconds: float) -> Line | None:
        """The driver's line, who must call within so many seconds; others are sent away. The door closes behind it."""
        end = time.monotonic() + seconds
        if self._socket is None:
            return None
        with self._socket:
            while (left := end - time.monotonic()) > 0:
                self._socket.settimeout(left)
                try:
                    caller, _ = self._socket.accept()
                except OSError:  # nobody came
                    return None
                if self._knows(caller):
                    return Line(caller)
                caller.close()
        return None

    def close(self) -> None:
        """Let nobody in."""
        if self._socket is not None:
            self._socket.close()

    def _knows(self, caller: socket.socket) -> bool:
        said, end = b"", time.monotonic() + _ANSWER
        with suppress(OSError):
            while len(said) < len(self._secret) and (left := end - time.monotonic()) > 0:
                caller.settimeout(left)
                if not (part := caller.recv(len(self._secret) - len(said))):
                    break
                said += part
        return hmac.compare_digest(said, self._secret)


def dial(address: str, port: int, secret: str) -> Line | None:
    """The line to the host behind this door; None where nothing answers."""
    try:
        sock = socket.create_connection((address, port), _ANSWER)
        sock.sendall(secret.encode())
    except OSError as error:
        log.info("no line to %s:%d (%s): messages go through Ray", address, port, error)
        return None
    return Line(sock)


class Called(Protocol):
    """Who speaks to the driver: by a line, where it has one, and as the answer to a call of its actor (`out`)."""

    line: Line | None
    out: bool


Caller = TypeVar("Caller", bound=Called)


class Ears(Generic[Caller]):
    """All that is said to the driver, on lines and by threads of Ray, heard in its own thread."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[tuple[Caller, Future[Any]]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._may_dial = True

    def answer(self, who: Caller, done: Future[Any]) -> None:
        """A call of an actor has ended; called by a thread of Ray."""
        self._answers.put((who, done))
        with suppress(OSError):  # full (the driver will wake anyway), or closed
            self._waker.send(b"\0")

    def dial(self, who: Caller, address: str, port: int, secret: str) -> bool:
        """Whether there is a line to this host now. After one that cannot be reached no other is tried: each would
        take seconds."""
        if port and self._may_dial:
            who.line = dial(address, port, secret)
            self._may_dial = who.line is not None
        if who.line is not None:
            self._selector.register(who.line, selectors.EVENT_READ, who)
        return who.line is not None

    def hang_up(self, who: Caller) -> None:
        """End its line."""
        if who.line is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(who.line)
            who.line.close()

    def hear(self, timeout: float) -> list[tuple[Caller, Any]]:
        """What each has said since, waiting for it at most so long; an exception where a call has failed."""
        found: list[tuple[Caller, Any]] = []
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                with suppress(OSError):
                    self._wake.recv(1 << 12)
            else:
                self._hear_line(key.data, found)
        with suppress(queue.Empty):
            while True:
                who, done = self._answers.get_nowait()
                who.out = False
                self._hear_line(who, found)  # what it said before comes before its end
                found.append((who, done.exception() or done.result()))
        return found

    def _hear_line(self, who: Caller, found: list[tuple[Caller, Any]]) -> None:
        if who.line is None or who.line.fileno() < 0:
            return
        messages = who.line.hear()
        if messages is None:
            self.hang_up(who)  # Ray will say what has become of it
        else:
            found += [(who, message) for message in messages]

    def close(self) -> None:
        """Hear no more."""
        self._selector.close()
        self._wake.close()
        self._waker.close()
