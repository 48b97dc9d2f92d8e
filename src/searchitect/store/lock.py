"""One driver per study: an operating-system lock on `study.lock`, with a note of who holds it.

The lock itself (flock) is the truth: it vanishes with its holder, so neither a crash nor a reboot leaves
anything behind. The note (pid, host, boot, start time of the process) serves the message, and decides
where flock cannot be trusted: no flock at all, or a network file system and a holder on another host.
A pid alone proves nothing, since pids are reused; with the boot and the start time it does.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import msgspec

from searchitect.errors import StorageError, StudyLockedError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; the note decides there
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = "study.lock"
# fmt: off
NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "afpfs", "beegfs", "ceph", "fuse.ceph",
    "glusterfs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "ncpfs", "ocfs2", "pvfs2", "orangefs",
    "webdav", "fuse.davfs2", "virtiofs",
})
# fmt: on


class Owner(msgspec.Struct, frozen=True):
    """Who drives a study. `boot` and `started` are empty where the system does not tell them."""

    pid: int
    host: str
    boot: str = ""
    started: str = ""

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(os.getpid(), socket.gethostname(), _boot(), _started(os.getpid()))

    def is_alive(self) -> bool:
        """Whether exactly this process, not another with its pid, runs on this machine now."""
        if self.boot and self.boot != _boot():
            return False
        if self.started:
            return self.started == _started(self.pid)
        if os.name == "nt":  # os.kill(pid, 0) would end the process there
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class StudyLock:
    """The lock of one study folder, held from construction to `release`.

    Raises StudyLockedError, which names the holder, when another process has it. `takeover` takes it
    all the same when the holder is known to be dead, or is on another host and cannot be asked.
    """

    def __init__(self, folder: Path, *, takeover: bool = False) -> None:
        self._path = folder / LOCK_FILE
        self._pid = os.getpid()
        self._fd = self._open()
        try:
            self._take(takeover)
        except BaseException:
            os.close(self._fd)
            raise

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            return os.open(self._path, flags, 0o644)
        except OSError as error:
            raise StorageError(
                f"cannot write {self._path}: {error.strerror}; to drive a study its folder must be writable "
                "(reading it works without)"
            ) from error

    def _take(self, takeover: bool) -> None:
        locked = self._flock()
        holder = self._holder()
        if locked is False:
            if holder is None or not takeover or holder.is_alive():
                raise StudyLockedError(self._refusal(holder))
            # A dead driver's stray child still holds the old file: leave it that file, use a new one.
            os.close(self._fd)
            self._path.unlink(missing_ok=True)
            self._fd = self._open()
            if self._flock() is False:
                raise StudyLockedError(self._refusal(self._holder()))
        elif holder is not None and not takeover and self._is_doubtful(holder, locked):
            raise StudyLockedError(self._refusal(holder))
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, msgspec.json.encode(Owner.me()), 0)

    def _flock(self) -> bool | None:
        """True: locked. False: somebody else has it. None: this file system has no such locks."""
        if fcntl is None:
            return None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def _holder(self) -> Owner | None:
        try:
            return msgspec.json.decode(os.pread(self._fd, 4096, 0), type=Owner)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _is_doubtful(self, holder: Owner, locked: bool | None) -> bool:
        """Whether the note, left by a driver that did not close, may speak of a living one."""
        elsewhere = holder.host != socket.gethostname()
        if locked:
            return elsewhere and is_network(self._path.parent)
        return elsewhere or holder.is_alive()

    def _refusal(self, holder: Owner | None) -> str:
        where = f"{self._path.parent} is being driven by {holder or 'another process'}"
        return f"{where}; wait for it or stop it (if it is dead: takeover=True, or --takeover)"

    def release(self) -> None:
        """Free the lock; safe to call twice, and in a forked child, where it only closes its copy."""
        if self._fd < 0:
            return
        if os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
                if (
                    fcntl is not None
                ):  # closing frees the lock only with the last copy, and a new child has one a moment
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        self._fd = -1


def is_network(folder: Path) -> bool:
    """Whether the folder lies on a network file system, as far as the system tells."""
    return filesystem_type(folder) in NETWORK


def filesystem_type(folder: Path) -> str:
    """The name of the folder's file system ("ext4", "nfs4"); "" where the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    target = os.path.realpath(folder)
    best, kind = "", ""
    for line in mounts:
        point, name = line.split(" ")[1:3]
        point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount on the same point hides the earlier
            best, kind = point, name
    return kind


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """The process's start time in ticks since boot; "" for no such process, a zombie, or where unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
