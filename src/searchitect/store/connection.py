"""One process's connection to a study's file: statements, transactions, and who may use it.

Faults of SQLite leave here as StorageError with words for people. Waiting for a lock of somebody else is
SQLite's own (up to a minute). A failed read is tried once more. A failed write or fsync never is: the
system may have dropped the pages it could not write, so the only safe way on is to stop and reopen.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from searchitect.errors import StorageError
from searchitect.store.database import damaged, explain
from searchitect.store.lock import StudyLock


class Connection:
    """Statements with bound values on one file. Writes only with a lock, and only in this process.

    `on_rollback` is called after changes were undone, so that the owner forgets what it had remembered.
    """

    def __init__(self, path: Path, database: sqlite3.Connection, lock: StudyLock | None) -> None:
        self.on_rollback: Callable[[], None] = lambda: None
        self._path = path
        self._database = database
        self._lock = lock
        self._pid = os.getpid()
        self._depth = 0
        self._broken = False
        self._full_sync = True
        self._closed = False
        _connections.add(self)

    def run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """One changing statement, inside a transaction."""
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """The same statement for many rows, inside a transaction."""
        try:
            self._database.executemany(statement, rows)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a reading statement."""
        self._check_usable()
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_IOERR:
                raise explain(error, self._path) from error
        except UnicodeDecodeError as error:
            raise StorageError(damaged(self._path, f"a text in it is none ({error})")) from error
        time.sleep(0.05)
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    @contextmanager
    def transaction(self, *, full_sync: bool = True) -> Iterator[None]:
        """One commit for everything inside, or nothing. Nested ones join the outermost, which also decides
        whether the commit waits for the disk (`full_sync`) or reaches it with the next one that does."""
        self._begin(full_sync)
        try:
            yield
        except BaseException:
            self._end(failed=True)
            raise
        self._end(failed=False)

    def _begin(self, full_sync: bool) -> None:
        if self._depth == 0:
            self._check_usable()
            if self._lock is None:
                raise StorageError(
                    f"{self._path.parent} is open for reading only; open it with write=True to change it"
                )
            if full_sync is not self._full_sync:
                self.run(f"PRAGMA synchronous={'FULL' if full_sync else 'NORMAL'}")
                self._full_sync = full_sync
            self.run("BEGIN IMMEDIATE")
        self._depth += 1

    def _end(self, *, failed: bool) -> None:
        self._depth -= 1
        self._broken = self._broken or failed
        if self._depth:
            return
        broken, self._broken = self._broken, False
        if not broken:
            try:
                self.run("COMMIT")
            except StorageError:
                self._rollback()
                raise
            return
        self._rollback()
        if not failed:
            raise StorageError(f"{self._path}: a part of a transaction failed, so nothing of it was written")

    def _rollback(self) -> None:
        with suppress(sqlite3.Error):
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        self.on_rollback()

    def _check_usable(self) -> None:
        if self._closed:
            raise StorageError(f"{self._path.parent} is closed; open it again")
        if os.getpid() != self._pid:
            raise StorageError(
                f"{self._path.parent} was opened by process {self._pid}; a forked process must open it anew"
            )

    def close(self) -> None:
        """Leave one self-contained file behind and free the lock. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # a forked child: the connection belongs to its parent
        with suppress(sqlite3.Error):
            if self._lock is not None:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                self._database.execute("PRAGMA busy_timeout=500")
                self._database.execute("PRAGMA journal_mode=DELETE")  # refused, harmlessly, while one reads
        self._database.close()
        if self._lock is not None:
            self._lock.release()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []


def _after_fork() -> None:
    """In a forked child: drop its copy of the lock, and never let its copy of a connection be closed.

    Closing one would have SQLite clean up files that the parent still writes.
    """
    for connection in list(_connections):
        _inherited.append(connection._database)
        if connection._lock is not None:
            connection._lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
