"""Writing a file so that its readers see the old one or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from searchitect.errors import StorageError


def write_atomically(path: Path, body: bytes) -> Path:
    """Write through a temporary file in the same folder: fsync, rename, fsync of the folder.

    Raises StorageError when it cannot be written, and when `path` is a link or a folder.
    """
    if path.is_symlink() or path.is_dir():
        kind = "a link" if path.is_symlink() else "a folder"
        raise StorageError(f"{path} is {kind}: it is not replaced; remove it or choose another path")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    except OSError as error:
        raise StorageError(f"cannot write into {path.parent}: {error.strerror}; choose another path") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; {len(body) >> 10:,} KB are needed, free some space and try again"
        ) from error
    finally:
        with suppress(OSError):
            os.unlink(name)
    with suppress(OSError):  # not every file system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path
