"""X in one form: images as N C H W, sequences as N C T, texts as N L, tables as numeric and categorical columns.

What cannot be told apart is an error that names `layout=`; what was guessed is a note.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from searchitect.errors import DataError, UsageError
from searchitect.training import ragged
from searchitect.training.columns import frame_table
from searchitect.training.table import Features, Table

CHANNELS = (1, 2, 3, 4)  # a last or second axis this short is the channel axis
Kind = Literal["image", "table", "sequence", "text", "stream"]
LAYOUTS: dict[str, tuple[Kind, int]] = {
    "NHW": ("image", 3), "NHWC": ("image", 4), "NCHW": ("image", 4),
    "NCT": ("sequence", 3), "NTC": ("sequence", 3), "NT": ("sequence", 2), "NF": ("table", 2),
    "NL": ("text", 2), "S": ("stream", 1),
}  # fmt: skip
ENDS = ":ends"  # behind a layout: rows of different length, with a channel that says where data are
GUESS_WIDTH, GUESS_BATCH = 32, 32  # a forecast of memory assumes one layer this wide at full resolution


@dataclass(frozen=True, eq=False)
class Arranged:
    """X in its one form, the layout it was read by, and what was said about it."""

    x: Features
    kind: Kind
    layout: str
    notes: tuple[str, ...]
    names: tuple[str, ...] = ()
    padding: int | None = None


def arrange(
    value: Any,
    what: str = "X",
    layout: str | None = None,
    *,
    names: Sequence[str] = (),
    impute: bool = False,
    like: Features | None = None,
) -> Arranged:
    """Bring X (array, tensor, DataFrame, Table) into its one form and check every value.

    `like` is the training X that this one must match in shape or columns. `impute` lets NaN stand in tables.
    Raises DataError, naming the first wrong value or the layouts that would fit.
    """
    base = None if layout is None else layout.partition(":")[0]
    uneven = layout is not None and layout.endswith(ENDS)
    if base is not None and (base not in LAYOUTS or (base != layout and base not in ("NL", "S"))) and not uneven:
        raise UsageError(f"layout={layout!r} is not known; use one of {', '.join(LAYOUTS)}")
    if base in ("NL", "S") or uneven or ragged.is_ragged(value):
        return _uneven(value, what, layout, like)
    if hasattr(value, "dtypes") and hasattr(value, "columns"):
        value = frame_table(value, what)
    if not isinstance(value, Table):
        value = _array(value, what)
        if value.dtype.kind in "US" or layout == "NF" or (layout is None and value.ndim == 2):
            _check_layout(value, "NF", what)
            value = _plain_table(value, names)
    if isinstance(value, Table):
        if layout not in (None, "NF"):
            raise DataError(f"{what} is a table of named columns and cannot be read with layout={layout!r}")
        return _table(value, what, impute, like)
    return _grid(value, what, layout, like)


def _uneven(value: Any, what: str, layout: str | None, like: Features | None) -> Arranged:
    """Texts, windows of a stream, and rows of different length."""
    if layout == "NF":
        raise DataError(f"{what} is no table: its rows have different lengths; leave layout= out, or cut them")
    if len(value) == 0:
        raise DataError(f"{what} is empty: it has no rows")
    base = None if layout is None else layout.partition(":")[0]
    if base is None and ragged.are_tokens(ragged.rows_of(value, what)):
        base, layout = "NL", "NL:none"
    if base in ("NL", "S"):
        length = None if like is None else int(like.shape[1])
        named = ragged.PADDING if layout is None or base == "S" else ragged.padding_of(layout)
        x, padding, notes = ragged.tokens(value, what, named, length)
        again = f"NL:{'none' if padding is None or padding < 0 else padding}" if base == "NL" else "S"
        said = tuple(notes) if base == "NL" else ()  # of windows, `read_stream` says what they are
        return Arranged(x, "text" if base == "NL" else "stream", again, said, padding=padding)
    shape = None if like is None else (int(like.shape[1]), int(like.shape[2]))
    rows, notes = ragged.padded(value, what, base or None, shape)
    found = _grid(rows, what, "NCT", like)
    return Arranged(found.x, "sequence", f"{base or ''}{ENDS}", (*notes, *found.notes), padding=0)


def _table(table: Table, what: str, impute: bool, like: Features | None) -> Arranged:
    if isinstance(like, Table):
        table = _match_columns(table, like, what)
    if 0 in table.shape:
        raise DataError(f"{what} is empty: it has {table.shape[0]} rows and {table.shape[1]} columns")
    notes = _missing_cells(table, what, impute)
    root = round(table.shape[1] ** 0.5)
    if root >= 8 and root * root == table.shape[1] and _bytes_only(table.numeric):
        notes.append(f"{what}: {root * root} columns of whole numbers 0..255 are read as a table; if they are "
                     f"{root}×{root} images, reshape to (n, {root}, {root})")  # fmt: skip
    return Arranged(table, "table", "NF", tuple(notes), table.names)


def _bytes_only(x: np.ndarray) -> bool:
    return x.size > 0 and bool(x.max() > 15 and x.min() >= 0 and x.max() <= 255 and (x == np.floor(x)).all())


def _missing_cells(table: Table, what: str, impute: bool) -> list[str]:
    notes = []
    infinite = np.argwhere(np.isinf(table.numeric))
    if len(infinite):
        row, column = infinite[0]
        raise DataError(f"{what} has {len(infinite):,} infinite values, the first at row {row}, column "
                        f"{table.names[column]!r}; replace them")  # fmt: skip
    gaps = np.isnan(table.numeric)
    blank = table.categorical == ""
    total = int(gaps.sum() + blank.sum())
    if total:
        everywhere = np.concatenate([gaps, blank], axis=1)
        row, column = np.argwhere(everywhere)[0]
        if not impute:
            raise DataError(f"{what} has {total:,} missing (NaN) values, the first at row {row}, column "
                            f"{table.names[column]!r}; remove them or pass missing='impute'")  # fmt: skip
        notes.append(f"{what}: {total:,} missing cells in {int(everywhere.any(axis=0).sum())} columns are imputed")
    return notes


def _match_columns(table: Table, like: Table, what: str) -> Table:
    """The columns of `like`, in its order. Raises DataError for a column that is missing or of another type."""
    if table.names == like.names and table.numeric.shape[1] == like.numeric.shape[1]:
        return table
    lacking = [n for n in like.names if n not in table.names]
    if lacking:
        raise DataError(f"{what} lacks the column {lacking[0]!r} that training has ({len(lacking)} of "
                        f"{len(like.names)} are missing)")  # fmt: skip
    width, split = table.numeric.shape[1], like.numeric.shape[1]
    places = [table.names.index(n) for n in like.names]
    for name, place in zip(like.names[:split], places[:split], strict=True):
        if place >= width:
            raise DataError(f"{what}: column {name!r} holds text, in training it held numbers")
    numeric = table.numeric[:, places[:split]]
    texts = [table.categorical[:, p - width] if p >= width else _as_text(table.numeric[:, p]) for p in places[split:]]
    wide = np.stack(texts, axis=1) if texts else np.empty((len(table), 0), "U1")
    return Table(numeric, wide, like.names)


def _as_text(column: np.ndarray) -> np.ndarray:
    return np.array(["" if v != v else f"{v:g}" for v in column.tolist()])


def _plain_table(x: np.ndarray, names: Sequence[str]) -> Table:
    """A 2-D array as a table: text columns when it holds text, else numbers."""
    named = tuple(names) if len(names) == x.shape[1] else tuple(f"x{i}" for i in range(x.shape[1]))
    if x.dtype.kind in "US":
        return Table(np.empty((len(x), 0)), x.astype(str), named)
    return Table(x.astype(np.float64), np.empty((len(x), 0), "U1"), named)


def _array(value: Any, what: str) -> np.ndarray:
    if value is None:
        raise DataError(f"{what} is missing: give a pair (X, y)")
    if hasattr(value, "detach"):  # a torch tensor; numpy has no bfloat16
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() and value.element_size() < 4 else value
    if hasattr(value, "toarray"):
        raise DataError(f"{what} is a sparse matrix; pass its toarray()")
    try:
        x = np.asarray(value)
    except ValueError:
        raise DataError(f"{what} has rows of different lengths; pad or cut them to one length") from None
    if x.dtype.kind not in "biufUS":
        raise DataError(f"{what} has dtype {x.dtype}; use numbers, or a DataFrame for mixed columns")
    if x.ndim < 2:
        raise DataError(f"{what} has shape {x.shape}; expected rows and columns: for one column use X.reshape(-1, 1)")
    return x


def _check_layout(x: np.ndarray, layout: str, what: str) -> None:
    kind, dimensions = LAYOUTS[layout]
    if x.ndim != dimensions:
        raise DataError(
            f"{what} has shape {x.shape}, that is {x.ndim} axes; layout {layout} ({kind}) needs {dimensions}"
        )


def _grid(x: np.ndarray, what: str, layout: str | None, like: Features | None) -> Arranged:
    """Images and sequences."""
    if x.dtype.kind == "U" or 0 in x.shape:
        raise DataError(f"{what} is empty or no numbers: shape {x.shape}, dtype {x.dtype}")
    notes: list[str] = []
    if layout is None:
        layout, said = _guess(x, what)
        notes.append(said)
    _check_layout(x, layout, what)
    if layout == "NCHW" and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS and x.shape[2] != x.shape[3]:
        raise DataError(f"{what} has shape {x.shape}: layout NCHW would mean {x.shape[1]} channels; it looks like NHWC")
    if layout == "NHWC" and x.shape[1] in CHANNELS and x.shape[3] not in CHANNELS and x.shape[2] != x.shape[1]:
        raise DataError(f"{what} has shape {x.shape}: layout NHWC would mean {x.shape[3]} channels; it looks like NCHW")
    kind = LAYOUTS[layout][0]
    _check_memory((len(x), *x.shape[1:]), what, kind)
    x = _cast(x, what, kind, notes)
    if layout in ("NHW", "NT"):
        x = x[:, None]
    elif layout in ("NHWC", "NTC"):
        x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    if like is not None and like.shape[1:] != x.shape[1:]:
        raise DataError(f"{what} has rows of shape {x.shape[1:]}, training has {tuple(like.shape[1:])}")
    return Arranged(x, kind, layout, tuple(notes))


def _guess(x: np.ndarray, what: str) -> tuple[str, str]:
    """The layout of a 3-D or 4-D array and the note that says so."""
    if x.ndim == 3:
        height, width = x.shape[1:]
        whole = x.dtype.kind in "iub"
        if (whole and max(height, width) <= 2 * min(height, width)) or (height == width and height >= 8):
            return "NHW", f"{what}: {len(x):,} grey images of {height}×{width} (layout='NCT' would read sequences)"
        return "NCT", f"{what}: sequences of {height} channels × {width} steps (layout='NTC' for the other order)"
    if x.ndim != 4:
        raise DataError(
            f"{what} has shape {x.shape}; expected 2 axes (table), 3 (grey images, sequences) or 4 (images)"
        )
    _, a, b, c = x.shape
    first, last = a in CHANNELS, c in CHANNELS
    if first == last:  # both or neither: equal sides decide
        first, last = b == c != a, a == b != c
    if first == last:
        raise DataError(
            f"{what} has shape {x.shape}, which may be N C H W or N H W C; say layout='NCHW' or layout='NHWC'"
        )
    channels, height, width = (a, b, c) if first else (c, a, b)
    return ("NCHW" if first else "NHWC"), f"{what}: {len(x):,} images of {height}×{width}, channels: {channels}"


def _cast(x: np.ndarray, what: str, kind: str, notes: list[str]) -> np.ndarray:
    """uint8 images stay, everything else becomes float32; every value must be finite."""
    if x.dtype == np.uint8 and kind == "image":
        return x
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = np.argwhere(~np.isfinite(x))
        place = tuple(int(i) for i in bad[0])
        raise DataError(
            f"{what} has {len(bad):,} values that are NaN or infinite, the first ({x[place]}) at index {place}"
        )
    if x.dtype == np.float32:
        return x
    with np.errstate(over="ignore"):
        cast = x.astype(np.float32)
    if not np.isfinite(cast).all():
        raise DataError(f"{what} has values beyond float32 (largest {np.abs(x).max():g}); scale them down")
    notes.append(f"{what}: {x.dtype} is cast to float32")
    return cast


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or its control group's where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(name).read_text()))
        except (OSError, ValueError):
            continue
    return total


def _check_memory(shape: tuple[int, ...], what: str, kind: str) -> None:
    """Refuse rows that one plain network could not be trained on here."""
    row = float(np.prod(shape[1:])) * 4
    spots = float(np.prod(sorted(shape[1:])[-2:])) if kind == "image" else float(max(shape[1:]))
    need = shape[0] * row + 2 * min(GUESS_BATCH, shape[0]) * GUESS_WIDTH * spots * 4
    have = memory_bytes()
    if need > have:
        size, gib = "×".join(str(s) for s in shape[1:]), 2**30
        raise DataError(
            f"{what}: {shape[0]:,} {kind}s of {size} need about {need / gib:.1f} GiB for one plain network, and there "
            f"are {have / gib:.1f}; resize them (224 pixels a side are usual) or use fewer rows"
        )
