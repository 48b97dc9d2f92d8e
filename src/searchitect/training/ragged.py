"""Rows of different length, and rows of token ids: brought to one length, with what is padding kept apart.

Text is an int32 array (N, L) of ids with -1 for padding. A stream of tokens is cut into windows (N, L), each with the
token after it. Sequences of different length get zeros at their end and one more channel, 1 where there are data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from searchitect.errors import DataError, UsageError

PADDING = -1
MOST_TOKENS = 512  # longer texts are cut, and that is said: attention grows with the square of the length
MOST_IDS = 2**22  # more than this are no numbers of a vocabulary
WINDOW = 64  # tokens of a window of a stream, where the layout does not say


def is_ragged(value: Any) -> bool:
    """Whether this is a list (or an array of objects) of arrays or lists of numbers that differ in length."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or not value or not all(hasattr(v, "__len__") for v in value):
        return False
    if any(isinstance(v, (str, bytes)) for v in value):
        return False
    return len({np.shape(v) if hasattr(v, "shape") else (len(v),) for v in value}) > 1


def rows_of(value: Any, what: str) -> list[np.ndarray]:
    """Each row as an array of numbers. Raises DataError, naming the first row that is none."""
    rows = []
    for i, row in enumerate(value):
        try:
            found = np.asarray(row.detach().cpu() if hasattr(row, "detach") else row)
        except ValueError:
            found = np.empty(0, object)
        if found.dtype.kind not in "biuf" and found.size:
            raise DataError(f"{what}: row {i} holds {found.dtype}, not numbers; rows of different length are arrays")
        rows.append(found)
    return rows


def are_tokens(rows: Sequence[np.ndarray]) -> bool:
    """Whether rows look like texts: one axis, whole numbers, none below zero."""
    full = [row for row in rows if row.size]
    return bool(full) and all(row.ndim == 1 and row.dtype.kind in "iu" and row.min() >= 0 for row in full)


def tokens(value: Any, what: str, padding: int | None, length: int | None) -> tuple[np.ndarray, int | None, list[str]]:
    """Texts as int32 (N, L), -1 for padding; the id that is padding; and what was done.

    padding: the id that stands for padding in `value`; None: found, where every row ends (or begins) with it.
    length:  L, where it is known from the training rows. Raises DataError.
    """
    notes: list[str] = []
    given = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    if isinstance(given, np.ndarray) and given.ndim == 2:
        x = _whole(given, what)
        padding = _found(x) if padding is None else padding
    else:
        x = _joined([_whole(row, what, i) for i, row in enumerate(rows_of(given, what))], what)
    if padding is not None and padding >= 0:
        x = np.where(x == padding, PADDING, x)
    if (x < 0).all(axis=1).any():
        notes.append(f"{what}: {int((x < 0).all(axis=1).sum()):,} rows have no token")
    longest = x.shape[1]
    wanted = min(longest, MOST_TOKENS) if length is None else length
    lost = int((x[:, wanted:] >= 0).any(axis=1).sum()) if longest > wanted else 0
    if lost:
        notes.append(f"{what}: {lost:,} rows are longer than {wanted} tokens and keep their first {wanted}")
    x = x[:, :wanted] if longest >= wanted else np.pad(x, ((0, 0), (0, wanted - longest)), constant_values=PADDING)
    said = f"id {padding} is padding" if padding is not None and padding >= 0 else "shorter rows are padded"
    share = float((x < 0).mean())
    notes.insert(0, f"{what}: {len(x):,} texts of up to {wanted} tokens"
                    + (f"; {said} ({100 * share:.0f} % of all places)" if share else ", none is padding"))  # fmt: skip
    return np.ascontiguousarray(x.astype(np.int32)), padding, notes


def _whole(row: np.ndarray, what: str, i: int | None = None) -> np.ndarray:
    """Ids as int64. Raises DataError for what is no id."""
    place = "" if i is None else f" in row {i}"
    if row.size and (row.dtype.kind not in "biuf" or (row.dtype.kind == "f" and not (row == np.round(row)).all())):
        raise DataError(f"{what}{place} holds numbers that are no token ids: give whole numbers, or another layout=")
    if row.size and row.max() > MOST_IDS:
        raise DataError(f"{what}{place} has the token id {int(row.max())}; number the tokens from 0, without gaps")
    return row.astype(np.int64)


def _found(x: np.ndarray) -> int | None:
    """The id that fills up rows at one end of an array (N, L), or None; ids below zero always are padding."""
    if not x.size or (x < 0).any():
        return None
    for rows in (x, x[:, ::-1]):
        last, counts = np.unique(rows[:, -1], return_counts=True)
        candidate = int(last[counts.argmax()])
        same = rows == candidate
        trailing = np.logical_and.accumulate(same[:, ::-1], axis=1)[:, ::-1]
        if (same == trailing).all() and trailing.sum(axis=1).max() > 1:
            return candidate
    return None


def _joined(rows: list[np.ndarray], what: str) -> np.ndarray:
    if not rows or any(row.ndim != 1 for row in rows):
        raise DataError(f"{what} must be one list of token ids a row")
    x = np.full((len(rows), max(1, *(len(row) for row in rows))), PADDING, np.int64)
    for i, row in enumerate(rows):
        x[i, : len(row)] = row
    return x


def windows(ids: Any, length: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """A stream of ids cut into rows (N, length) that do not overlap, and the token after each. Raises DataError."""
    x = _whole(np.asarray(ids), what)
    count = (len(x) - 1) // length
    if (x < 0).any() or count < 1:
        raise DataError(f"{what} is a stream of {len(x):,} tokens: windows of {length} need more, and no id below zero")
    return x[: count * length].reshape(count, length).astype(np.int32), x[length : count * length + 1 : length]


def window_of(layout: str) -> int:
    """The length that "S" or "S:128" asks for. Raises UsageError."""
    text = layout.partition(":")[2]
    if text and not (text.isdigit() and int(text) > 0):
        raise UsageError(f"layout={layout!r}: after S: comes the length of a window, for example S:128")
    return int(text) if text else WINDOW


def padding_of(layout: str) -> int | None:
    """The id of padding that "NL:0" names; None for "NL". "NL:none" says that there is none. Raises UsageError."""
    text = layout.partition(":")[2]
    if text and text != "none" and not text.isdigit():
        raise UsageError(f"layout={layout!r}: after NL: comes the id that is padding, for example NL:0, or none")
    return None if not text else PADDING if text == "none" else int(text)


def padded(value: Any, what: str, layout: str | None, like: tuple[int, ...] | None) -> tuple[np.ndarray, list[str]]:
    """Sequences of different length as float32 (N, C + 1, T): zeros behind the end, the last channel 1 where data are.

    layout: "NTC" or "NCT" for rows (T, C) or (C, T); None: the axis that all rows agree in is the channels. `like`:
    the shape (C + 1, T) of training rows, to which rows are cut or filled up. Raises DataError.
    """
    rows = [row[None] if row.ndim == 1 else row for row in rows_of(value, what)]
    if any(row.ndim != 2 for row in rows):
        raise DataError(f"{what} has rows of different lengths that are no sequences; bring them to one shape")
    flat = all(len(row) == 1 for row in rows)
    wide, high = {row.shape[1] for row in rows}, {len(row) for row in rows}
    known = None if like is None else {like[0] - 1}
    upright = wide == known != high if known else len(high) > 1 and len(wide) == 1
    if layout == "NTC" or (layout is None and upright and not flat):
        rows = [row.T for row in rows]
    channels = {len(row) for row in rows}
    if len(channels) > 1:
        few = ", ".join(map(str, sorted(channels)[:3]))
        raise DataError(f"{what} has rows with different numbers of channels: {few}")
    lengths = [row.shape[1] for row in rows]
    longest = max(1, *lengths) if like is None else like[1]
    x = np.zeros((len(rows), channels.pop() + 1, longest), np.float32)
    with np.errstate(over="ignore"):
        for i, row in enumerate(rows):
            kept = row[:, :longest]
            x[i, :-1, : kept.shape[1]] = kept
            x[i, -1, : kept.shape[1]] = 1.0
    note = (f"{what}: sequences of {min(lengths)} to {max(lengths)} steps, filled up with zeros to {longest}; one more "
            "channel says where data are")  # fmt: skip
    cut = sum(n > longest for n in lengths)
    return x, [note, *([f"{what}: {cut:,} rows are cut to {longest} steps"] * bool(cut))]
