"""Copy what is still readable of a damaged study into a new one."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from searchitect.errors import StorageError
from searchitect.records import State, Trial
from searchitect.store.codec import decode, decode_trial
from searchitect.store.database import FILE
from searchitect.store.sqlite import Store

_STEP = 100  # rows read together; where that fails, they are read one by one


def salvage(folder: Path | str, target: Path | str) -> dict[str, int]:
    """Copy readable trials, events, notes and facts of the study in `folder` to a new study in `target`.

    The original is read from a private copy and stays untouched. Trials that were running are queued
    again. Returns how many of each were saved. Raises StorageError when nothing at all can be read.
    """
    source = Path(folder) / FILE
    if not source.is_file():
        raise StorageError(f"{folder} has no file {FILE}: there is nothing to salvage")
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / FILE
        for end in ("", "-wal"):
            part = source.with_name(source.name + end)
            if part.is_file():
                shutil.copyfile(part, copy.with_name(copy.name + end))
        _complete(copy)
        database = sqlite3.connect(copy, isolation_level=None)
        try:
            database.execute("PRAGMA trusted_schema=OFF")
            rows = {table: list(_rows(database, table)) for table in ("trials", "events", "notes")}
            meta = _meta(database)
        except sqlite3.Error as error:
            raise StorageError(f"nothing can be read from {source}: {error}") from error
        finally:
            database.close()
    return _rebuild(Path(target), rows, meta)


def _complete(file: Path) -> None:
    """Fill a cut file up with empty pages to the length its header names, or SQLite would not open it."""
    with file.open("r+b") as raw:
        head = raw.read(100)
        page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        wanted = pages * (65536 if page == 1 else page)
        if file.stat().st_size < wanted <= 1 << 40:
            raw.truncate(wanted)


def _rebuild(target: Path, rows: dict[str, list[Any]], meta: dict[str, Any]) -> dict[str, int]:
    trials = {number: trial for number, trial in map(_trial, rows["trials"]) if trial is not None}
    if not trials and not meta:
        raise StorageError("nothing readable is left in this study")
    saved = {"trials": len(trials), "events": 0, "notes": 0, "meta": len(meta)}
    with Store.create(target, meta) as store, store.transaction():
        events = [row[1:] for row in rows["events"] if row[1] in ("asked", "told") and row[2] in trials]
        asked = {number for kind, number in events if kind == "asked"}
        events = [("asked", n) for n in trials if n not in asked] + events
        for kind, number in dict.fromkeys(events):
            if kind == "asked":
                store.queue([trials[number]])
                _set_state(store, trials[number])
            else:
                store.told(number)
            saved["events"] += 1
        for _, kind, _, body in rows["notes"]:
            try:
                store.note(str(kind), decode(body))
                saved["notes"] += 1
            except (msgspec.DecodeError, StorageError, TypeError, ValueError):
                continue
    return saved


def _set_state(store: Store, trial: Trial) -> None:
    if trial.state in (State.QUEUED, State.RUNNING):
        return
    stored = store.trial(trial.number)
    store._replace(stored, trial)  # the trial is taken over as it was, with its own times and attempts


def _trial(row: tuple[Any, ...]) -> tuple[int, Trial | None]:
    number, body = row[0], row[-1]
    try:
        trial = decode_trial(body)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError):
        return number, None
    return number, trial if trial.number == number else None


def _rows(database: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """The table's readable rows by their row ids, stepping over damaged pages."""
    key = "number" if table == "trials" else "id"
    last = _last(database, table, key)
    for low in range(0, last + 1, _STEP):
        high = min(low + _STEP, last + 1)
        try:
            found = database.execute(f"SELECT * FROM {table} WHERE {key} >= ? AND {key} < ?", (low, high)).fetchall()
        except sqlite3.Error:
            found = [row for n in range(low, high) for row in _one(database, table, key, n)]
        yield from found


def _one(database: sqlite3.Connection, table: str, key: str, number: int) -> list[tuple[Any, ...]]:
    try:
        return database.execute(f"SELECT * FROM {table} WHERE {key} = ?", (number,)).fetchall()
    except sqlite3.Error:
        return []


def _last(database: sqlite3.Connection, table: str, key: str) -> int:
    """The largest row id; by doubling where the end of the table cannot be read."""
    try:
        return int(database.execute(f"SELECT max({key}) FROM {table}").fetchone()[0] or 0)
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error) or "not a database" in str(error):
            raise
    found = [row[0] for n in range(100_000) for row in _one(database, table, key, n)]
    return max(found, default=0)


def _meta(database: sqlite3.Connection) -> dict[str, Any]:
    try:
        return {name: decode(body) for name, body in database.execute("SELECT name, body FROM meta")}
    except (sqlite3.Error, msgspec.DecodeError):
        return {}
