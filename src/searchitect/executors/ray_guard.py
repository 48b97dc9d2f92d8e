"""Outlives the driver of a local Ray cluster: ends what is left of the cluster, and deletes its folder.

`python -m searchitect.executors.ray_guard MARK FOLDER`. Ray's own processes end with their parents, but a worker that
was just starting looks for its parent for half a minute. The guard waits until its standard input is closed, which
happens when the driver ends, however it ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from searchitect.executors import system

MARK = "SEARCHITECT_CLUSTER"  # in the environment of all processes of a cluster
_SECONDS = 5.0


def begin(mark: str, folder: str) -> subprocess.Popen[bytes]:
    """Start the guard of a cluster."""
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "searchitect.executors.ray_guard", mark, folder], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


def end(guard: subprocess.Popen[bytes]) -> None:
    """Let the guard do its work now."""
    assert guard.stdin is not None
    guard.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        guard.wait(2 * _SECONDS)


def main() -> None:
    """Wait, then end and delete."""
    mark, folder = sys.argv[1:3]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    limit = time.monotonic() + _SECONDS
    while (left := system.marked(MARK, mark)) and time.monotonic() < limit:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
