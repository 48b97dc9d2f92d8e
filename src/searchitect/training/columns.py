"""Columns of text, numbers, dates and gaps: CSV files and DataFrames become a `Table`.

A date is a number, the days since the beginning of 1970: what is later is larger. What a model should know of weekdays
or months is a column of the user's own.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from searchitect.errors import DataError, UsageError
from searchitect.training.table import Table

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
_MICROSECONDS = 86_400e6  # of a day
MOSTLY = 0.9  # a column with at least this share of numbers is numeric, and the rest are mistakes
_HINTS = {"c": "split complex numbers into two columns"}  # fmt: skip


def read_csv(
    path: Path, target: str | None, groups: str | None = None
) -> tuple[Table, np.ndarray, np.ndarray | None, list[str]]:
    """Read a CSV file with a header line: (features, target column, column of groups, notes).

    The delimiter is found among `, ; tab |`, a byte-order mark is skipped, a decimal comma is understood
    where the delimiter is another sign. Raises DataError that names the line and the column.
    """
    names, numbered, delimiter = _csv_rows(path)
    if target is None:
        raise UsageError(f"{path.name}: name the target column, one of {', '.join(names)}")
    for name in (target, groups):
        if name is not None and name not in names:
            raise DataError(f"{path.name} has no column {name!r}; it has {', '.join(names)}")
    notes = [] if delimiter == "," else [f"{path.name}: delimiter {delimiter!r}"]
    place, comma = names.index(target), delimiter != ","
    y = np.array([row[place].strip() for _, row in numbered])
    gaps = [i for i, v in enumerate(y.tolist()) if v.lower() in MISSING]
    if gaps:
        raise DataError(f"{path.name}: the target {target!r} is missing in {len(gaps):,} rows, the first is "
                        f"line {numbered[gaps[0]][0]}; remove these rows")  # fmt: skip
    numbers = _numbers(y, comma)
    if numbers is not None:
        y = numbers.astype(np.int64) if _all_whole(y) else numbers
    kept = None if groups is None else np.array([row[names.index(groups)].strip() for _, row in numbered])
    return _csv_table(path, names, numbered, comma, without=(target, groups)), y, kept, notes


def read_csv_features(path: Path) -> Table:
    """All columns of a CSV file, for prediction."""
    names, numbered, delimiter = _csv_rows(path)
    return _csv_table(path, names, numbered, delimiter != ",")


def _csv_table(
    path: Path, names: Sequence[str], numbered: Sequence[tuple[int, list[str]]], comma: bool,
    without: Sequence[str | None] = (),
) -> Table:  # fmt: skip
    lines = [line for line, _ in numbered]
    columns = dict(zip(names, zip(*(row for _, row in numbered), strict=True), strict=True))
    columns = {name: cells for name, cells in columns.items() if name not in without}
    kinds = [_text_column(v, f"{path.name}: column {n!r}", comma, lines) for n, v in columns.items()]
    return _join(list(columns), kinds, len(numbered))


def _csv_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """Column names, rows with their line numbers, and the delimiter."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        numbered = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise DataError(f"{path.name}, line {reader.line_num}: {error}") from None
    if len(numbered) < 2:
        raise DataError(f"{path.name} has no rows below its header line")
    names = [cell.strip() for cell in numbered[0][1]]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError(f"{path.name}: the column {twice[0]!r} occurs {names.count(twice[0])} times in the header")
    for number, line in numbered[1:]:
        if len(line) != len(names):
            raise DataError(f"{path.name}, line {number}: {len(line)} cells, the header has {len(names)} columns")
        if [cell.strip() for cell in line] == names:
            raise DataError(f"{path.name}, line {number}: the header again (column {names[0]!r}); were files joined?")
    return names, numbered[1:], delimiter


def _numbers(texts: np.ndarray, comma: bool) -> np.ndarray | None:
    try:
        return texts.astype(np.float64)
    except ValueError:
        pass
    try:
        return np.char.replace(texts, ",", ".").astype(np.float64) if comma else None
    except ValueError:
        return None


def _all_whole(texts: np.ndarray) -> bool:
    return all(t.lstrip("+-").isdigit() and len(t) < 18 for t in texts.tolist())


def _text_column(values: Sequence[str], where: str, comma: bool, lines: Sequence[int]) -> np.ndarray:
    """One column of cells: float64 with NaN for missing, or text with "" for missing."""
    texts = np.array([v.strip() for v in values])
    gaps = np.array([v.lower() in MISSING for v in texts.tolist()])
    numbers = _numbers(np.where(gaps, "nan", texts), comma)
    if numbers is not None:
        return numbers
    words = [i for i in np.flatnonzero(~gaps).tolist() if _numbers(texts[i : i + 1], comma) is None]
    if len(words) <= (1 - MOSTLY) * (~gaps).sum():
        raise DataError(f"{where} holds numbers, but {str(texts[words[0]])!r} in line {lines[words[0]]} "
                        f"({len(words):,} such cells); correct or empty them")  # fmt: skip
    return _dates(np.where(gaps, "", texts))


def frame_table(frame: Any, what: str) -> Table:
    """A DataFrame as a `Table`: numbers and bool are numeric, text and categories categorical."""
    names = [str(n) for n in frame.columns]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise DataError(f"{what}: the column {twice[0]!r} occurs twice")
    columns = [_frame_column(name, frame.iloc[:, i], what) for i, name in enumerate(names)]
    return _join(names, columns, len(frame))


def _frame_column(name: str, column: Any, what: str) -> np.ndarray:
    kind = getattr(column.dtype, "kind", "O")
    if kind == "M":
        return _days(column.dt.tz_localize(None) if column.dt.tz is not None else column)
    if kind == "m":
        return np.asarray(column.dt.total_seconds().to_numpy(dtype=np.float64))
    if kind in "biuf":
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if kind in _HINTS:
        raise DataError(f"{what}: column {name!r} has dtype {column.dtype}; {_HINTS[kind]}")
    gaps = column.isna().to_numpy()
    cells = column.astype(object).tolist()
    if not gaps.all() and all(gap or isinstance(v, date) for v, gap in zip(cells, gaps, strict=True)):
        return np.array([np.nan if gap else days(str(v)) for v, gap in zip(cells, gaps, strict=True)])
    kinds = {"text" if isinstance(v, str) else "numbers" if isinstance(v, (int, float, np.number)) else
             type(v).__name__ for v, gap in zip(cells, gaps, strict=True) if not gap}  # fmt: skip
    if len(kinds) > 1 or not kinds <= {"text", "numbers"}:
        raise DataError(f"{what}: column {name!r} mixes {', '.join(sorted(kinds))}; use one type")
    if kinds == {"numbers"} and str(column.dtype) == "object":
        return np.array([np.nan if gap else float(v) for v, gap in zip(cells, gaps, strict=True)])
    return _dates(np.array(["" if gap else str(v) for v, gap in zip(cells, gaps, strict=True)], dtype=str))


def _days(column: Any) -> np.ndarray:
    """A column of dates as days since the beginning of 1970, NaN for missing."""
    found = column.to_numpy(dtype="datetime64[us]")
    return np.where(np.isnat(found), np.nan, found.astype(np.int64) / _MICROSECONDS)


def days(text: str) -> float:
    """Days from the beginning of 1970 to an ISO date or time, whose zone is left out; NaN for any other text."""
    try:
        return (datetime.fromisoformat(text).replace(tzinfo=None) - datetime(1970, 1, 1)) / timedelta(days=1)
    except ValueError:
        return np.nan


def _dates(texts: np.ndarray) -> np.ndarray:
    """Text ("" for missing) as it is, or as days where each cell is a date such as 2024-03-31 or 2024-03-31 12:30."""
    filled = [t for t in texts.tolist() if t]
    if not filled or not all(_ISO.match(t) for t in filled):
        return texts
    found = np.array([days(t) if t else np.nan for t in texts.tolist()])
    return texts if np.isnan(found).sum() > len(texts) - len(filled) else found


def _join(names: Sequence[str], columns: Sequence[np.ndarray], rows: int) -> Table:
    numeric = [i for i, c in enumerate(columns) if c.dtype.kind == "f"]
    text = [i for i, c in enumerate(columns) if c.dtype.kind != "f"]
    return Table(
        np.stack([columns[i] for i in numeric], axis=1) if numeric else np.empty((rows, 0)),
        np.stack([columns[i] for i in text], axis=1) if text else np.empty((rows, 0), "U1"),
        tuple(names[i] for i in (*numeric, *text)),
    )
