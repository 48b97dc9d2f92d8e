"""Makes, watches and buries the workers: `python -m searchitect.executors.server SOCKET CLOCK SLOTS DRIVER`.

It imports what is slow once, then forks workers in milliseconds. It does no computing of its own, so that a
fork is safe. It keeps time limits, reports how a worker died, kills what a worker leaves behind, and ends
with everything it made when its driver is gone.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from searchitect.executors import system
from searchitect.executors.base import Function
from searchitect.executors.wire import Frames, pack
from searchitect.executors.worker import Clock, Settings, load, read_start, start_message, work

_TICK = 0.2  # seconds between looks at time limits, logs and the driver


class DriverGone(Exception):
    """The other end of the control socket is closed."""


class Server:
    """One driver's server. `control` is the socket to the driver, `clock_fd` the memory of the deadlines."""

    def __init__(self, control: socket.socket, clock_fd: int, slots: int, driver: int) -> None:
        self._control = control
        self._slots = slots
        self._driver = driver
        self._frames = Frames()
        self._handed: list[int] = []  # descriptors received, in the order of the messages that use them
        self._workers: dict[int, int] = {}  # process → slot
        self._reasons: dict[int, str] = {}  # why we killed a process
        self._paused_at: float | None = None
        self._clock_fd = clock_fd
        self._clock = Clock(clock_fd, slots)
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._wake_writer = wake

    def run(self, settings: Settings, function: Function | None, data: bytes) -> None:
        """Serve until the driver is gone, then end every process."""
        self._settings, self._function, self._data = settings, function, data
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(self._wake, selectors.EVENT_READ)
        self._selector = selector
        try:
            self._tell("ready")
            while os.getppid() == self._driver:
                for key, _ in selector.select(_TICK):
                    if key.fileobj is self._control:
                        self._listen()
                    else:
                        self._wake.recv(4096)
                self._reap()
                self._look_around()
        except (DriverGone, BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self._end_all()

    def _tell(self, *message: Any) -> None:
        self._control.sendall(pack(message))

    def _listen(self) -> None:
        data, handed, _, _ = socket.recv_fds(self._control, 1 << 16, 16)
        if not data:
            raise DriverGone
        for descriptor in handed:
            os.set_inheritable(descriptor, False)
        self._handed += handed
        for message in self._frames.feed(data):
            getattr(self, f"_on_{message[0]}")(*message[1:])

    def _on_worker(self, slot: int) -> None:
        sock = socket.socket(fileno=self._handed.pop(0))
        try:
            pid = self._spawn(slot, sock) if self._settings.fresh else self._fork(slot, sock)
        except OSError as error:
            self._tell("exit", slot, 0, 0, 0, f"cannot be started: {error}")
        else:
            self._workers[pid] = slot
            self._tell("forked", slot, pid)
        finally:
            sock.close()

    def _fork(self, slot: int, sock: socket.socket) -> int:
        self._clock.set(slot, None)
        server = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            self._selector.close()
            for end in (self._control, self._wake, self._wake_writer):
                end.close()
            if os.getppid() != server:
                os._exit(0)
            assert self._function is not None
            work(sock, slot, self._settings, self._function, self._clock)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _spawn(self, slot: int, sock: socket.socket) -> int:
        """A worker as a new process, for devices whose state does not survive a fork."""
        self._clock.set(slot, None)
        numbers = [sock.fileno(), self._clock_fd]
        command = [sys.executable, "-P", "-m", "searchitect.executors.worker", *map(str, [*numbers, slot, self._slots])]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=numbers, start_new_session=True)
        message = start_message(self._settings, self._data)

        def feed() -> None:
            assert process.stdin is not None
            with suppress(OSError), process.stdin as pipe:
                pipe.write(message)

        threading.Thread(target=feed, daemon=True).start()
        process.returncode = 0  # we reap it ourselves, with its resource usage
        return process.pid

    def _on_kill(self, pid: int) -> None:
        if pid in self._workers:
            self._kill(pid, "kill")

    def _kill(self, pid: int, reason: str) -> None:
        self._reasons.setdefault(pid, reason)
        system.kill_group(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _on_pause(self) -> None:
        if self._paused_at is None:
            self._paused_at = time.monotonic()
            self._signal_all(signal.SIGSTOP)
        self._tell("paused")

    def _on_resume(self) -> None:
        if self._paused_at is not None:
            paused = time.monotonic() - self._paused_at
            self._paused_at = None
            for slot in self._workers.values():
                self._clock.extend(slot, paused)
            self._signal_all(signal.SIGCONT)
        self._tell("resumed")

    def _signal_all(self, number: int) -> None:
        for worker in self._workers:
            for pid in (worker, *system.family(worker)):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in self._workers:
                    self._bury(pid, status, usage.ru_maxrss)

    def _bury(self, pid: int, status: int, peak_kb: int) -> None:
        """Tell the driver how a worker died, after killing whatever it left behind."""
        system.kill_group(pid)
        slot = self._workers.pop(pid)
        for _ in range(50):
            left = system.family(pid) | (set(system.children(os.getpid())) - set(self._workers))
            if not left:
                break
            for stray in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(stray, signal.SIGKILL)
            time.sleep(0.002)
        self._tell("exit", slot, pid, status, peak_kb, self._reasons.pop(pid, ""))

    def _look_around(self) -> None:
        """Keep time limits, and cut logs that grow behind the worker's back."""
        for pid, slot in self._workers.items():
            if self._paused_at is None and self._clock.passed(slot):
                self._kill(pid, "limit")
            if self._settings.folder is not None and system.LINUX:
                output = f"/proc/{pid}/fd/1"
                with suppress(OSError):
                    if os.stat(output).st_size > 2e6 * self._settings.log_mb:
                        with open(output, "r+b") as log:
                            log.truncate(0)
                            log.write(b"[the log grew too long: what came before this is left out]\n")

    def _end_all(self) -> None:
        for pid in self._workers:
            for member in (pid, *system.family(pid)):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(member, signal.SIGKILL)
        system.end_children()


def main() -> NoReturn:
    """Begin as told by the driver: settings and function come on standard input, then the socket is used."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control_fd, clock_fd, slots, driver = map(int, sys.argv[1:5])  # the driver may be dead already: ask no kernel who
    for descriptor in (control_fd, clock_fd):
        os.set_inheritable(descriptor, False)
    control = socket.socket(fileno=control_fd)
    settings, data = read_start(sys.stdin.buffer)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    system.adopt_orphans()
    function = None
    if not settings.fresh:
        system.die_with_parent()  # loading takes seconds, in which nobody listens; there are no workers yet
        if os.getppid() != driver:
            os._exit(1)
        try:
            function = load(settings, data)
        except BaseException as error:
            control.sendall(pack(["broken", f"{type(error).__name__}: {error}", traceback.format_exc()]))
            os._exit(1)
        data = b""
        gc.collect()
        gc.freeze()  # forked workers share these pages as long as nobody writes to them
        system.die_with_parent(False)  # from here on it has workers to end first
    Server(control, clock_fd, slots, driver).run(settings, function, data)
    os._exit(0)


if __name__ == "__main__":
    main()
