"""Opening a study's file: what is accepted, how it is set up, and what a fault of SQLite means in words.

A study may come from a stranger. Before anything is read, the header must carry our mark, the schema
must be ours to the letter (so there can be no view, trigger or expression of somebody else's), and SQLite
is told to trust nothing in it. Values are data only: they are decoded strictly, never run.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

from searchitect.errors import StorageError
from searchitect.store.lock import is_network

FILE = "study.db"
SCHEMA = 1
APPLICATION = 0x53_52_43_48  # "SRCH" in the header's application id
BUSY_SECONDS = 60.0
LONGEST = 1 << 28  # bytes of one value; longer ones are refused by SQLite itself
TABLES = {
    "meta": "CREATE TABLE meta(name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    "trials": (
        "CREATE TABLE trials(number INTEGER PRIMARY KEY, state TEXT NOT NULL, attempt INTEGER NOT NULL, "
        "key TEXT NOT NULL, body BLOB NOT NULL)"
    ),
    "events": "CREATE TABLE events(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, number INTEGER NOT NULL)",
    "reports": (
        "CREATE TABLE reports(number INTEGER, attempt INTEGER, step INTEGER, body BLOB NOT NULL, "
        "PRIMARY KEY(number, attempt, step)) WITHOUT ROWID"
    ),
    "notes": ("CREATE TABLE notes(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, time REAL NOT NULL, body BLOB NOT NULL)"),
}


def create(path: Path) -> sqlite3.Connection:
    """A new file with empty tables; the caller fills, closes and renames it."""
    database = _connect(f"file:{quote(str(path))}?mode=rwc")
    for statement in TABLES.values():
        database.execute(statement)
    database.execute(f"PRAGMA application_id={APPLICATION}")
    database.execute(f"PRAGMA user_version={SCHEMA}")
    return database


def open_writable(path: Path) -> sqlite3.Connection:
    """The driver's connection. Write-ahead log, except on a network file system, where it is not safe."""
    check_header(path)
    if path.is_symlink():
        raise StorageError(f"{path} is a link: a study is only driven in its own folder; open the folder it points to")
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            raise StorageError(f"cannot write {place}: permission denied; copy the study to a folder of your own")
    try:
        database = _connect(f"file:{quote(str(path))}?mode=rw")
        _check_schema(database, path)
        database.execute(f"PRAGMA journal_mode={'DELETE' if is_network(path.parent) else 'WAL'}")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("BEGIN IMMEDIATE")  # says now, not at the first trial, if nothing can be written
        database.execute("COMMIT")
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return database


def open_readable(path: Path) -> sqlite3.Connection:
    """A reader's connection; never changes or blocks anything. Works in a read-only folder too."""
    check_header(path)
    address = f"file:{quote(str(path))}?mode=ro"
    try:
        try:
            database = _connect(address)
            _check_schema(database, path)
        except sqlite3.OperationalError as error:
            if _code(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            if _unmerged(path):
                raise StorageError(
                    f"{path} was not closed by its driver and its folder is read-only, so the newest trials "
                    "cannot be read here; copy the whole folder to where you can write, and open it there"
                ) from error
            database = _connect(address + "&immutable=1")
            _check_schema(database, path)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return database


def check_header(path: Path) -> None:
    """Raise StorageError unless the file is a study of a schema that this version reads."""
    if not path.is_file():
        what = "is not a study" if path.exists() or path.parent.is_dir() else "does not exist"
        raise StorageError(
            f"{path.parent} {what}: there is no file {path.name} in it; `searchitect list` shows the studies"
        )
    try:
        with path.open("rb") as file:
            head = file.read(100)
        size = path.stat().st_size
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    if len(head) < 100 or head[:16] != b"SQLite format 3\0" or int.from_bytes(head[68:72], "big") != APPLICATION:
        raise StorageError(f"{path} is not a study of searchitect, or it is damaged at its beginning ({size} bytes)")
    version = int.from_bytes(head[60:64], "big")
    if version > SCHEMA:
        raise StorageError(
            f"{path} was written by a newer searchitect (schema {version}, this one reads {SCHEMA}): "
            "install the newest with `pip install -U searchitect`"
        )
    page = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    if size < pages * (65536 if page == 1 else page) and not _unmerged(path):
        raise StorageError(damaged(path, f"the file ends after {size} bytes"))


def damaged(path: Path, why: str) -> str:
    """The message for a file that was a study once."""
    return (
        f"{path} is damaged: {why}; searchitect.store.salvage(folder, new_folder) copies what is still "
        "readable and leaves this file as it is"
    )


def _connect(address: str) -> sqlite3.Connection:
    database = sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_SECONDS, cached_statements=64)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "temp_store=MEMORY"):
        database.execute(f"PRAGMA {pragma}")
    return database


def _check_schema(database: sqlite3.Connection, path: Path) -> None:
    try:
        found = dict(database.execute("SELECT name, sql FROM sqlite_schema"))
    except UnicodeDecodeError as error:
        raise StorageError(damaged(path, f"its schema is no text ({error})")) from error
    if found == TABLES:
        return
    strange = sorted(repr(str(name)[:40]) for name in found if found[name] != TABLES.get(name))
    missing = sorted(set(TABLES) - set(found))
    parts = [f"strange {', '.join(strange)}"] * bool(strange) + [f"missing {', '.join(missing)}"] * bool(missing)
    raise StorageError(f"{path} is not a study that searchitect wrote: {'; '.join(parts)}")


def _unmerged(path: Path) -> bool:
    """Whether a write-ahead log with content lies beside the file."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False


def _code(error: sqlite3.Error) -> int:
    """The primary result code (the extended one without its upper bits)."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def explain(error: sqlite3.Error, path: Path) -> StorageError:
    """The same fault for people: what, where, what to do."""
    code = _code(error)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _free(path) < 1 << 20):
        return StorageError(
            f"no space on {path.parent}: about {max(1, _size(path) >> 19)} MB are needed; all finished trials "
            "are kept, free some space and resume"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageError(f"{path} has been locked for {BUSY_SECONDS:g} s by {_lockers(path)}; close it and resume")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return StorageError(damaged(path, str(error)))
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StorageError(f"cannot open or write {path}: {error}; check that the file and its folder are yours")
    if code == sqlite3.SQLITE_IOERR:
        name = getattr(error, "sqlite_errorname", "I/O error")
        return StorageError(
            f"the disk failed under {path} ({name}); all finished trials are kept, check the disk and resume"
        )
    return StorageError(damaged(path, str(error)))


def _free(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 1 << 40


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lockers(path: Path) -> str:
    """Who holds a lock on the file, from the kernel's list; "another program" when it does not say."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return "another program"
    rows = [line.replace("-> ", "").split() for line in lines]
    pids = {row[4] for row in rows if row[5].endswith(f":{inode}") and row[4] != str(os.getpid())}
    return f"process {', '.join(sorted(pids))}" if pids else "another program"
