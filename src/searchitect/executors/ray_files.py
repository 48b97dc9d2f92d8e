"""Files of tasks that run on other machines: what a payload names below the executor's folder goes there and back.

A text in a payload that is a path below the folder stands for a file or folder of the task. On a machine that does
not see the executor's folder, a host has a mirror of it: the named files are put there before the task begins, and
whatever it changes, makes or deletes in the mirror comes back. A version is (bytes, time of change); both ends keep
the time, so what one end has is not sent again.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

Version = tuple[int, int]
Parcel = tuple[str, Version, Any]  # path below the folder, version, and where its bytes are had
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_LOGS = "logs/"
_MIRROR = "searchitect-mirror-"
_REMEMBERED = 8  # parcels whose bytes stay in the object store: a supernet is asked for again and again


def named(payload: Any, folder: str) -> set[str]:
    """The paths below the folder that a payload names, relative to it, with forward slashes."""
    found = set()
    for text in _texts(payload):
        if text.startswith(folder + os.sep):
            found.add(Path(os.path.relpath(text, folder)).as_posix())
    return {name for name in found if not name.startswith("..")}


def moved(payload: Any, old: str, new: str) -> Any:
    """The payload with one folder in the place of another."""
    if isinstance(payload, str):
        return new + payload[len(old) :] if payload.startswith(old + os.sep) else payload
    if isinstance(payload, Mapping):
        return {key: moved(value, old, new) for key, value in payload.items()}
    if isinstance(payload, (list, tuple)):
        return [moved(value, old, new) for value in payload]
    return payload


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)


def listing(folder: Path, names: Iterable[str] = (".",)) -> dict[str, Version]:
    """The versions of all files at or below these names; hidden files, which are being written, are left out."""
    found: dict[str, Version] = {}
    for name in names:
        place = folder / name
        inside = [place] if place.is_file() else place.rglob("*") if place.is_dir() else []
        for path in inside:
            relative = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in relative.parts)
            with suppress(FileNotFoundError):
                if not hidden and path.is_file() and not path.is_symlink():
                    state = path.stat()
                    found[relative.as_posix()] = state.st_size, state.st_mtime_ns
    return found


def is_inside(name: str, roots: Iterable[str] | None = None) -> bool:
    """Whether a relative path leads nowhere out of its folder (and, with roots, to one of them or below it)."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or not pure.parts or ".." in pure.parts:
        return False
    return roots is None or any(PurePosixPath(root) in (pure, *pure.parents) for root in roots)


def write(path: Path, data: Any, changed: int) -> None:
    """Write a file whole or not at all, with this time of change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(memoryview(data))
            file.flush()
            os.fsync(file.fileno())
        os.utime(temporary, ns=(changed, changed))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_orphans() -> None:
    """Delete the mirrors of hosts that were killed on this machine."""
    for place in Path(tempfile.gettempdir()).glob(f"{_MIRROR}*"):
        owner = place.name.removeprefix(_MIRROR).partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(place, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Depot:
    """The driver's end. `put` stores bytes for all machines and returns how they are had."""

    def __init__(self, folder: Path, put: Callable[[Bytes], Any]) -> None:
        self.folder = folder
        self._put = put
        self._made: set[str] = set()  # by tasks
        self._stored: OrderedDict[str, tuple[Version, Any]] = OrderedDict()

    def parcels(self, names: Iterable[str]) -> list[Parcel]:
        """The files at and below these names, as they are now."""
        return [
            parcel for name, version in listing(self.folder, names).items() for parcel in self._parcel(name, version)
        ]

    def _parcel(self, name: str, version: Version) -> list[Parcel]:
        known = self._stored.pop(name, None)
        if known is None or known[0] != version:
            try:
                known = version, self._put(np.fromfile(self.folder / name, np.uint8))
            except FileNotFoundError:  # removed since it was listed
                return []
        self._stored[name] = known
        while len(self._stored) > _REMEMBERED:
            self._stored.popitem(last=False)
        return [(name, *known)]

    def take(self, files: Mapping[str, tuple[int, bytes] | None], names: Iterable[str]) -> None:
        """What a task changed: (time of change, bytes) or None for a file that it deleted. A task may change what it
        was given, make files that are not there, and change those that tasks have made; others stay as they are.
        Raises OSError, and ValueError for a path that leads out of the folder."""
        names = list(names)
        for name, found in files.items():
            path = self.folder / name
            own = is_inside(name, names)
            if not is_inside(name):
                raise ValueError(f"a task sent a file {name!r}, which is not below its folder")
            made = name in self._made or name.startswith(_LOGS)
            if found is not None and not (own or made) and path.exists():
                log.warning("%s was there before this task, which wants to write it: it stays as it is", path)
            elif found is not None:
                write(path, found[1], found[0])
                self._made.add(name)
            elif own:
                path.unlink(missing_ok=True)
                with suppress(OSError):  # not empty, or the named folder itself is gone
                    path.parent.rmdir() if path.parent != self.folder else None


class Mirror:
    """The other end: a folder that looks to tasks like the driver's. `home` is the driver's path of it."""

    def __init__(self, home: str) -> None:
        self.home = home
        remove_orphans()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_MIRROR}{os.getpid()}-"))
        self._known: dict[str, Version] = {}

    def receive(self, payload: Any, parcels: Iterable[Parcel], fetch: Callable[[Any], Any]) -> Any:
        """Make the mirror hold these files and no others; the payload with the mirror's own paths."""
        wanted = {name: (version, where) for name, version, where in parcels}
        for name in set(listing(self.folder)) - set(wanted):
            (self.folder / name).unlink(missing_ok=True)
        for name, (version, where) in wanted.items():
            if listing(self.folder, [name]).get(name) != version:
                write(self.folder / name, fetch(where), version[1])
        self._known = listing(self.folder)
        return moved(payload, self.home, str(self.folder))

    def changed(self, *, logs: bool) -> dict[str, tuple[int, bytes] | None]:
        """What has changed since the last time: (time of change, bytes), or None for what is gone."""
        now = {name: v for name, v in listing(self.folder).items() if logs or not name.startswith(_LOGS)}
        found: dict[str, tuple[int, bytes] | None] = {}
        for name, version in now.items():
            if self._known.get(name) != version:
                with suppress(FileNotFoundError):
                    found[name] = version[1], (self.folder / name).read_bytes()
                    self._known[name] = version
        for name in set(self._known) - set(now):
            if not name.startswith(_LOGS):
                found[name] = None
                del self._known[name]
        return found

    def remove(self) -> None:
        """Delete the mirror."""
        shutil.rmtree(self.folder, ignore_errors=True)
