"""What the operating system knows about processes: family, memory, limits. Full on Linux, less elsewhere."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def die_with_parent(yes: bool = True) -> None:
    """Have the kernel kill this process when its parent dies (or no longer)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if yes else 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parents die, so that none is ever lost sight of."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    """The living children of a process."""
    return [child for child, (parent, _) in _table().items() if parent == pid]


def family(pid: int) -> set[int]:
    """All living descendants of a process and all members of the session it leads, itself left out."""
    table = _table()
    found = {child for child, (_, session) in table.items() if session == pid}
    new = {pid} | found
    while new:
        new = {child for child, (parent, _) in table.items() if parent in new and child not in found}
        found |= new
    return found - {pid}


def marked(name: str, value: str) -> set[int]:
    """All processes that were started with this variable in their environment, as far as we may look."""
    wanted = f"{name}={value}".encode()
    found = set()
    with suppress(FileNotFoundError):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.add(int(pid))
    return found - {os.getpid()}


def _table() -> dict[int, tuple[int, int]]:
    """Process → (parent, session), zombies left out. Empty where there is no /proc."""
    table = {}
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                    if fields[0] not in (b"Z", b"X"):
                        table[int(name)] = int(fields[1]), int(fields[3])
    return table


def has_children() -> bool:
    """Whether this process has any child left, living or dead; takes a microsecond. Reaps the dead ones."""
    with suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
    return False


def end_children(spared: Iterable[int] = ()) -> int:
    """Kill all descendants of this process but the spared ones, and reap them; how many there were."""
    spared = set(spared)
    ended = 0
    for _ in range(50):  # one may have forked while we looked
        if not has_children():
            break
        victims = family(os.getpid()) - spared
        if not victims:
            break
        ended += len(victims)
        for victim in victims:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(victim, signal.SIGKILL)
        time.sleep(0.002)
    return ended


def kill_group(pid: int, sig: int = signal.SIGKILL) -> None:
    """Signal a process group, if it still exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, sig)


def limit_memory(extra_mb: float) -> None:
    """Let this process's address space grow by at most so many MB over what it is now."""
    try:
        import resource
    except ImportError:  # Windows
        return
    now = 0
    with suppress(OSError, ValueError):
        now = int(Path("/proc/self/statm").read_bytes().split()[0]) * PAGE
    limit = now + int(extra_mb * 1e6)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def memory_mb(pid: int | str = "self") -> float:
    """Resident memory of a process now, in MB; 0 where unknown."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int(file.read(200).split()[1]) * PAGE / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0


def forget_peak() -> None:
    """Begin measuring this process's peak memory anew."""
    with suppress(OSError), open("/proc/self/clear_refs", "wb") as file:
        file.write(b"5")


def peak_mb() -> float:
    """Most resident memory of this process since `forget_peak` (or ever), in MB; 0 where unknown."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if LINUX else 1) / 1e6


def machine_mb() -> float:
    """Memory of this machine, or of the control group that holds us, in MB; 0 where unknown."""
    amounts = []
    with suppress(OSError, ValueError, AttributeError):
        amounts.append(os.sysconf("SC_PHYS_PAGES") * PAGE / 1e6)
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            amounts.append(int(Path(file).read_text(encoding="ascii")) / 1e6)
    return min(amounts, default=0.0)


def cores() -> int:
    """How many processor cores this process may use: those it is bound to, or fewer where a container has a quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, int(cpu_quota() or bound)))


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Processors that the control group may keep busy (docker --cpus 1.5), or None without a limit.

    A share of a core counts as none: more threads than the quota has are all held up when it is used up.
    """
    with suppress(OSError, ValueError):  # version 2: "150000 100000", or "max 100000"
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):  # version 1, where -1 is no limit
        allowed = int((root / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        return allowed / int((root / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii")) if allowed > 0 else None
    return None
