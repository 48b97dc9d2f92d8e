"""`searchitect stop`: ask the process that drives a study to finish."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import click
import msgspec

from searchitect.cli.app import Command
from searchitect.cli.options import study_argument
from searchitect.errors import StudyFailedError, StudyLockedError
from searchitect.store.lock import LOCK_FILE, Owner

WAIT = 120.0  # seconds; the driver ends its trials, writes the bundle and the report
LOOK = 0.1


@click.command(cls=Command)
@study_argument
@click.option("--now", is_flag=True, help="End at once; what was finished is kept, running trials are not.")
@click.option("--wait", default=WAIT, show_default=True, type=click.FloatRange(0), help="Seconds to wait for the end.")
def stop(folder: Path, now: bool, wait: float) -> None:
    """Ask a running study to finish, as Ctrl-C in its terminal would, and wait until it has."""
    owner = driver(folder)
    if owner is None:
        click.echo(f"{folder} is not being driven by any process; nothing to stop")
        return
    if owner.host != socket.gethostname():
        raise StudyLockedError(f"{folder} is driven by {owner}, which is another host; run `searchitect stop` there")
    interrupt(owner)
    if now:
        time.sleep(0.5)  # two signals at once would arrive as one
        if is_driven(folder, owner):
            interrupt(owner)
    else:
        click.echo(f"asked {owner} to finish; waiting up to {wait:g} s")
    end = time.monotonic() + wait
    while is_driven(folder, owner):
        if time.monotonic() >= end:
            raise StudyFailedError(
                f"{owner} still drives {folder} after {wait:g} s; wait longer with --wait, or end it with --now"
            )
        time.sleep(LOOK)
    click.echo(f"stopped; `searchitect show {folder}` shows what was found, `searchitect resume {folder}` goes on")


def driver(folder: Path) -> Owner | None:
    """Who drives the study now, by the note in its lock file; None when nobody does."""
    try:
        owner = msgspec.json.decode((folder / LOCK_FILE).read_bytes()[:4096], type=Owner)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    if owner.host != socket.gethostname():
        return owner if is_held(folder) else None
    # A stranger's folder may hold any note: only a living process of exactly this description is believed.
    return owner if owner.pid > 1 and owner.started and owner.is_alive() and is_held(folder) else None


def is_held(folder: Path) -> bool:
    """Whether some process holds the lock itself (true where the system cannot tell)."""
    try:
        import fcntl

        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except (ImportError, OSError):
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_driven(folder: Path, owner: Owner) -> bool:
    """Whether this very process still drives the study."""
    return driver(folder) == owner


def interrupt(owner: Owner) -> None:
    """Send what Ctrl-C sends."""
    try:
        os.kill(owner.pid, signal.SIGINT)
    except ProcessLookupError:
        return
    except PermissionError:
        raise StudyLockedError(f"{owner} belongs to another user; ask them to stop it") from None
