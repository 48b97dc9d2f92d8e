"""The store of a study: one folder, one SQLite file, one writer."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from searchitect.errors import StorageError, UsageError
from searchitect.records import State, Trial
from searchitect.store import database
from searchitect.store.codec import decode, decode_numbers, decode_trial, encode, encode_trial
from searchitect.store.connection import Connection
from searchitect.store.lock import Owner, StudyLock

T = TypeVar("T")
_ENDS = frozenset({State.DONE, State.FAILED, State.PRUNED})
_UNREADABLE = (msgspec.DecodeError, TypeError, ValueError, RecursionError)


class Note(msgspec.Struct, frozen=True):
    """One entry of the study's free-form log. `time` is UTC seconds since 1970."""

    kind: str
    time: float
    body: dict[str, Any]


class Store:
    """A study's file. Made by `create` or `open`; a context manager that closes itself.

    The trial's JSON is the truth; number, state, attempt and key stand beside it for queries. What was
    acknowledged by `queue`, `start`, `finish` or `told` (outside a `transaction`, or after its end) is on
    disk. A report reaches the disk with the next of these. Every method may raise StorageError; the
    writing ones do when the study is open for reading only.
    """

    def __init__(self, folder: Path, connection: Connection) -> None:
        self.folder = folder
        self.meta: dict[str, Any] = {}
        self._path = folder / database.FILE
        self._connection = connection
        self._open_trials: dict[int, Trial] = {}  # queued and running, as they are in the file
        connection.on_rollback = self._forget
        self._load_meta()

    # -- opening and closing ---------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path | str, meta: Mapping[str, Any]) -> Store:
        """A new study in `folder` (made if needed), open for writing.

        Raises StorageError when there is one already. The file appears complete or not at all.
        """
        folder = Path(folder)
        path = folder / database.FILE
        _refuse_existing(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder {folder}: {error.strerror}; choose another path") from error
        lock = StudyLock(folder)
        try:
            _refuse_existing(path)  # somebody may have been quicker
            _write_new(path, meta)
            return cls(folder, Connection(path, database.open_writable(path), lock))._begin_session()
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, folder: Path | str, *, write: bool = False, takeover: bool = False) -> Store:
        """An existing study. `write=True` makes this process its driver (StudyLockedError if another is).

        `takeover=True` takes the lock of a driver known to be dead. Reading needs no lock, disturbs nobody
        and works in a read-only folder. Raises StorageError for what is not a study, damaged, or newer.
        """
        folder = Path(folder)
        path = folder / database.FILE
        if not write:
            return cls(folder, Connection(path, database.open_readable(path), None))
        database.check_header(path)
        lock = StudyLock(folder, takeover=takeover)
        try:
            return cls(folder, Connection(path, database.open_writable(path), lock))._begin_session()
        except BaseException:
            lock.release()
            raise

    def _begin_session(self) -> Store:
        me = Owner.me()
        self.note("session", {"pid": me.pid, "host": me.host, "version": version("searchitect")})
        return self

    def close(self) -> None:
        """Leave one self-contained file and free the lock. Safe to call twice."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside becomes one commit with one fsync, or nothing at all. May be nested."""
        return self._connection.transaction()

    def _forget(self) -> None:
        self._open_trials.clear()
        self._load_meta()

    # -- what is known about the study -----------------------------------------------------------------

    def _load_meta(self) -> None:
        rows = self._connection.rows("SELECT name, body FROM meta")
        self.meta = {name: self._read(decode, body, f"meta {name!r}") for name, body in rows}

    def set_meta(self, **values: Any) -> None:
        """Store (or replace) facts about the study: plain JSON values by name."""
        with self.transaction():
            for name, value in values.items():
                body = encode(value)
                self._connection.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, body))
                self.meta[name] = decode(body)

    def note(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write to the free-form log: late results, test reads, limits, epochs, ..."""
        row = (kind, time.time(), encode(dict(body)))
        with self.transaction():
            self._connection.run("INSERT INTO notes(kind, time, body) VALUES (?, ?, ?)", row)

    def notes(self, kind: str | None = None) -> list[Note]:
        """The notes in their order, all or of one kind."""
        rows = self._connection.rows(
            "SELECT kind, time, body FROM notes WHERE ?1 IS NULL OR kind = ?1 ORDER BY id", (kind,)
        )
        return [Note(k, t, self._read(decode, body, f"a note on {k!r}")) for k, t, body in rows]

    # -- the life of a trial ---------------------------------------------------------------------------

    def queue(self, proposals: Sequence[Trial]) -> None:
        """Store new trials as QUEUED, and one "asked" event for each, in the order given.

        Raises UsageError when one of the numbers is taken.
        """
        trials = [t if t.state is State.QUEUED else replace(t, state=State.QUEUED) for t in proposals]
        rows = [(t.number, t.state.value, t.attempts, t.key, encode_trial(t)) for t in trials]
        with self.transaction():
            try:
                self._connection.run_many("INSERT INTO trials VALUES (?, ?, ?, ?, ?)", rows)
            except StorageError as error:
                if isinstance(error.__cause__, sqlite3.IntegrityError):
                    numbers = ", ".join(str(t.number) for t in trials)
                    raise UsageError(f"queue: a trial numbered {numbers} is in the study already") from error
                raise
            events = [(t.number,) for t in trials]
            self._connection.run_many("INSERT INTO events(kind, number) VALUES ('asked', ?)", events)
            self._open_trials.update((t.number, t) for t in trials)

    def start(self, number: int, *, worker: int) -> Trial:
        """QUEUED becomes RUNNING with the next attempt. Raises UsageError in any other state."""
        with self.transaction():
            trial = self.trial(number)
            if trial.state is not State.QUEUED:
                raise UsageError(f"trial {number} is {trial.state}: only a queued one can be started")
            running = replace(
                trial,
                state=State.RUNNING,
                attempts=trial.attempts + 1,
                started=time.time(),
                finished=None,
                worker=worker,
            )
            self._replace(trial, running)
            return running

    def requeue(self, number: int, attempt: int) -> bool:
        """RUNNING with this attempt becomes QUEUED again; False when the trial has moved on."""
        with self.transaction():
            trial = self.trial(number)
            if trial.state is not State.RUNNING or trial.attempts != attempt:
                return False
            self._replace(trial, replace(trial, state=State.QUEUED, started=None, worker=None))
            return True

    def requeue_running(self) -> list[int]:
        """On resume: queue again whatever the last driver left running. Returns the numbers."""
        with self.transaction():
            running = self.trials([State.RUNNING])
            for trial in running:
                self._replace(trial, replace(trial, state=State.QUEUED, started=None, worker=None))
            return [t.number for t in running]

    def report(self, number: int, attempt: int, step: int, metrics: Mapping[str, float]) -> None:
        """One step of a running trial's curve; dropped when the attempt is not the current one.

        Does not wait for the disk: it gets there with the next commit that does.
        """
        trial = self.trial(number)
        if trial.state is not State.RUNNING or trial.attempts != attempt:
            return
        row = (number, attempt, step, encode(dict(metrics)))
        with self._connection.transaction(full_sync=False):
            self._connection.run("INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?)", row)

    def finish(self, trial: Trial, attempt: int) -> bool:
        """Store what became of a RUNNING trial: DONE, FAILED or PRUNED.

        A QUEUED trial may be finished too, when its result was reused (`source`) or it was never started.
        Returns False, and leaves a note of the result, when the attempt is not the current one.
        """
        if trial.state not in _ENDS:
            allowed = ", ".join(sorted(_ENDS))
            raise UsageError(f"trial {trial.number} cannot be finished as {trial.state}; allowed: {allowed}")
        with self.transaction():
            stored = self._find(trial.number)
            if stored is None or not _may_finish(stored, trial, attempt):
                self.note("late result", _late(stored, trial, attempt))
                return False
            done = replace(
                trial,
                attempts=attempt,
                started=stored.started if trial.started is None else trial.started,
                finished=time.time() if trial.finished is None else trial.finished,
                worker=stored.worker if trial.worker is None else trial.worker,
            )
            self._replace(stored, done)
            return True

    def told(self, number: int) -> None:
        """The strategy has been told of the trial."""
        with self.transaction():
            self._connection.run("INSERT INTO events(kind, number) VALUES ('told', ?)", (number,))

    def _replace(self, old: Trial, new: Trial) -> None:
        """Compare and set: the row must still be in the state and attempt that were decided upon."""
        values = (new.state.value, new.attempts, new.key, encode_trial(new))
        cursor = self._connection.run(
            "UPDATE trials SET state=?, attempt=?, key=?, body=? WHERE number=? AND state=? AND attempt=?",
            (*values, old.number, old.state.value, old.attempts),
        )
        if cursor.rowcount != 1:
            raise StorageError(
                f"{self._path}: trial {old.number} was changed by another program; only its driver may write"
            )
        if new.state in _ENDS:
            self._open_trials.pop(new.number, None)
        else:
            self._open_trials[new.number] = new

    # -- reading ---------------------------------------------------------------------------------------

    def trials(self, states: Iterable[State] | None = None) -> list[Trial]:
        """The trials in the order of their numbers, all or in the given states."""
        if states is None:
            rows = self._connection.rows("SELECT number, body FROM trials ORDER BY number")
        else:
            names = encode([State(s).value for s in states]).decode()
            rows = self._connection.rows(
                "SELECT number, body FROM trials WHERE state IN (SELECT value FROM json_each(?)) ORDER BY number",
                (names,),
            )
        return [self._trial(number, body) for number, body in rows]

    def trial(self, number: int) -> Trial:
        """One trial. Raises UsageError when there is none."""
        trial = self._find(number)
        if trial is None:
            total = sum(self.count().values())
            raise UsageError(f"there is no trial {number} in {self.folder}; it has {total} trials")
        return trial

    def count(self) -> dict[State, int]:
        """How many trials are in each state."""
        rows = self._connection.rows("SELECT state, count(*) FROM trials GROUP BY state")
        found = {self._read(State, state, "a trial's state"): n for state, n in rows}
        return {state: found.get(state, 0) for state in State}

    def events(self) -> list[tuple[str, int]]:
        """("asked" or "told", trial number) in the order in which it happened."""
        return self._connection.rows("SELECT kind, number FROM events ORDER BY id")

    def reports(self, number: int) -> list[tuple[int, dict[str, float]]]:
        """The trial's curve: (step, metrics). Where an attempt began again, it replaces what came before."""
        curve: dict[int, dict[str, float]] = {}
        last = None
        rows = self._connection.rows(
            "SELECT attempt, step, body FROM reports WHERE number=? ORDER BY attempt, step", (number,)
        )
        for attempt, step, body in rows:
            if attempt != last:
                curve = {s: m for s, m in curve.items() if s < step}
                last = attempt
            curve[step] = self._read(decode_numbers, body, f"a report of trial {number}")
        return list(curve.items())

    def _find(self, number: int) -> Trial | None:
        trial = self._open_trials.get(number)
        if trial is not None:
            return trial
        rows = self._connection.rows("SELECT body FROM trials WHERE number=?", (number,))
        return self._trial(number, rows[0][0]) if rows else None

    def _trial(self, number: int, body: bytes) -> Trial:
        trial = self._read(decode_trial, body, f"trial {number}")
        if trial.number != number:
            raise StorageError(database.damaged(self._path, f"trial {number} calls itself {trial.number}"))
        return trial

    def _read(self, reader: Callable[[Any], T], body: Any, what: str) -> T:
        try:
            return reader(body)
        except _UNREADABLE as error:
            why = f"{what[:60]} cannot be read ({str(error)[:200]})"
            raise StorageError(database.damaged(self._path, why)) from error


def _may_finish(stored: Trial, trial: Trial, attempt: int) -> bool:
    if stored.attempts != attempt:
        return False
    if stored.state is State.QUEUED:  # after a requeue, a result of the former attempt would look current
        return trial.source is not None or attempt == 0
    return stored.state is State.RUNNING


def _late(stored: Trial | None, trial: Trial, attempt: int) -> dict[str, Any]:
    return {
        "number": trial.number,
        "attempt": attempt,
        "state": trial.state.value,
        "metrics": trial.measurement.metrics if trial.measurement else {},
        "stored": None if stored is None else {"state": stored.state.value, "attempt": stored.attempts},
    }


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise StorageError(
            f"{path.parent} holds a study already: go on with `searchitect resume {path.parent}` "
            "(in Python: resume), or choose another path"
        )


def _write_new(path: Path, meta: Mapping[str, Any]) -> None:
    """A complete file beside `path`, then renamed: a crash in between leaves no half study."""
    rows = [(name, encode(value)) for name, value in meta.items()]
    temporary = path.with_name(f".{path.name}.new")  # the folder's lock is held: nobody else uses this name
    for leftover in (temporary, temporary.with_name(temporary.name + "-journal")):
        leftover.unlink(missing_ok=True)
    try:
        connection = database.create(temporary)
        try:
            connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise database.explain(error, path) from error
    os.replace(temporary, path)
    if os.name != "nt":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
