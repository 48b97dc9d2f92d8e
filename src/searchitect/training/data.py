"""Data as they were given: read, checked, labelled, and not yet turned into tensors.

`load` is the one door. It names what it understood (kind, task, layout) in `notes`, refuses what cannot be
used with a `DataError`, and never changes a value except for the casts it reports.

Layouts (N rows): images "NHW", "NHWC", "NCHW" (kept as N C H W); sequences "NCT", "NTC", "NT" (kept as
N C T, channels before time); tables "NF"; texts "NL" and streams "S" (`ragged.py`). Images are uint8 or float32,
sequences float32, texts and windows of a stream int32, tables a `Table`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from searchitect.errors import DataError, UsageError
from searchitect.training.arrange import Arranged, Kind, arrange
from searchitect.training.readers import Found, read, read_stream
from searchitect.training.split import Kin, stratified_part
from searchitect.training.table import Features, Table
from searchitect.training.targets import Targets, encode, read_targets

if TYPE_CHECKING:
    import pandas as pd
    import torch

log = logging.getLogger(__name__)

Task = Literal["classification", "regression"]
Array: TypeAlias = "np.ndarray | torch.Tensor | pd.DataFrame | pd.Series | Sequence[Any]"
Source: TypeAlias = "str | Path | tuple[Array, Array] | pd.DataFrame"

MINIMUM_ROWS = 6  # two classes, each with a row to train on, to choose by and to test on
FEW_ROWS = 10  # below this neither validation nor an interval means anything, which is said


@dataclass(frozen=True, eq=False)
class RawData:
    """Checked data. `y` is int64 class numbers (N,) or float64 targets (N,) or (N, outputs).

    `test` is a test part that was given apart (same form as x and y), else None. `classes` are the labels as
    text, in the order of the class numbers. `names` are the column names of a table. `groups` (N,) numbers what must
    not be torn apart by a split (None: rows are independent); `ordered` rows are in the order of time. `weights` (N,)
    are how much each row counts in the loss of a training (None: all the same). `test_groups` are those of a test part
    that was given apart, where its groups are known. Of texts and streams, `vocabulary` is how many token ids there
    are, and `padding` the one that stands for none (None: no id does); of sequences it is 0 where rows differed in
    length.
    """

    x: Features
    y: np.ndarray
    kind: Kind
    task: Task
    outputs: int
    classes: tuple[str, ...] | None = None
    test: tuple[Features, np.ndarray] | None = None
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    ordered: bool = False
    weights: np.ndarray | None = None
    test_groups: np.ndarray | None = None
    vocabulary: int = 0
    padding: int | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (C, H, W), (C, T), (L,) or (columns,)."""
        return tuple(self.x.shape[1:])

    def only(self, rows: np.ndarray) -> RawData:
        """These rows alone; the test part stays as it is."""
        groups = None if self.groups is None else self.groups[rows]
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], groups=groups, weights=weights)

    def kin(self, rows: np.ndarray) -> Kin:
        """What these rows are to each other, for a split."""
        groups = None if self.groups is None else self.groups[rows]
        return Kin(len(rows), self.y[rows] if self.task == "classification" else None, groups, self.ordered)

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change when any value, label, group or the test part changes."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.kind, self.task, self.classes, self.names)).encode())
        if self.groups is not None or self.ordered:
            digest.update(repr((self.ordered, None if self.groups is None else self.groups.tolist())).encode())
        if self.weights is not None:
            digest.update(self.weights.tobytes())
        parts = [(self.x, self.y), *([self.test] if self.test is not None else [])]
        for x, y in parts:
            for array in (*(x.parts() if isinstance(x, Table) else (x,)), y):
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
        return digest.hexdigest()


def load(
    source: Source,
    target: str | None = None,
    *,
    task: Task | None = None,
    layout: str | None = None,
    test: Source | None = None,
    missing: Literal["error", "impute"] | None = None,
    limit_train: int | None = None,
    groups: Array | str | None = None,
    ordered: bool = False,
    weights: Array | None = None,
    seed: int = 0,
) -> RawData:
    """Read and check data.

    `source`: the name of a set that ships with scikit-learn ("digits", "iris", ...), a pair (X, y) of arrays,
    a DataFrame or `.csv` with `target` naming the column, an `.npz`, a folder of idx files or of CIFAR-10
    binary batches, a stream of token ids (one axis, with `layout` "S" or "S:128", the length of a window). `test` is a
    source of the same form that must not be trained on. `layout` overrides the
    reading of X (see the module). `missing` says what happens to empty cells of a table: "error" is usual
    for arrays, "impute" for CSV files and DataFrames. `limit_train` keeps that many rows, stratified.
    `groups` is a column (which is then no feature) or one value a row: rows of one group stay on one side of
    every split. `ordered`: rows are in the order of time, the latest are held out. `weights`: one number a row, how
    much it counts in the loss of a training; figures on validation and test rows count all rows alike.

    Raises DataError when the data cannot be used as they are, and UsageError for a wrong option.
    """
    _check_options(task, missing, limit_train)
    if groups is not None and ordered:
        raise UsageError("groups and ordered exclude each other: hold out other groups, or later rows")
    column = groups if isinstance(groups, str) else None
    stream = layout is not None and layout.partition(":")[0] == "S"
    found, apart = read_stream(source, layout) if stream and layout else read(source, target, column), None
    if test is not None:
        if found.x_test is not None:
            raise UsageError("test was given, but the source has a test part of its own; leave one of them out")
        apart = read_stream(test, layout) if stream and layout else read(test, target, column)
        found = replace(found, x_test=apart.x, y_test=apart.y)
    impute = missing == "impute" or (missing is None and found.tabular)
    features = arrange(found.x, "X", layout or found.layout, names=found.names, impute=impute)
    targets = _next_tokens(found) if stream else read_targets(found.y, task, found.classes)
    _check_rows(features.x, targets.y)
    part = _test_part(found, features, targets, impute)
    names = _named(found.groups if column is not None else groups, len(targets.y))
    tested = None if apart is None or apart.groups is None else _named(apart.groups, len(apart.groups))
    shared = () if apart is None or apart.groups is None or names is None else _shared(apart.groups, names)
    raw = RawData(
        x=features.x, y=targets.y, kind=features.kind, task=targets.task, outputs=targets.outputs,
        classes=targets.classes, test=part, names=features.names,
        ordered=ordered or (stream and groups is None), vocabulary=_vocabulary(features, targets),
        padding=features.padding,
        groups=_numbered(names),
        weights=_weights(weights, len(targets.y)),
        test_groups=_numbered(tested),
        notes=tuple(dict.fromkeys((*found.notes, *features.notes, *targets.notes, *shared, *_few(len(targets.y))))),
    )  # fmt: skip
    raw = raw if limit_train is None else limited(raw, limit_train, seed)
    for note in raw.notes:
        log.info("%s", note)
    return raw


def limited(raw: RawData, rows: int, seed: int) -> RawData:
    """The same data with at most `rows` rows (the test part stays whole), stratified by class."""
    if rows >= len(raw):
        return raw
    if rows < MINIMUM_ROWS:
        raise UsageError(f"limit_train={rows}: at least {MINIMUM_ROWS} rows are needed")
    strata = raw.y if raw.task == "classification" and raw.kind != "stream" else None
    keep = stratified_part(strata, len(raw), rows, seed, "limit")
    y = raw.y[keep]
    if raw.task == "classification" and raw.kind != "stream" and len(np.unique(y)) < raw.outputs:
        raise UsageError(f"limit_train={rows} loses a class of {raw.outputs}; keep more rows")
    note = f"kept {rows:,} of {len(raw):,} rows (limit_train)"
    return replace(raw.only(keep), notes=(*raw.notes, note))


def _next_tokens(found: Found) -> Targets:
    """The token after each window: every id is a class, whether it follows a window or not."""
    count = int(max(found.x.max(), found.y.max())) + 1
    note = f"y: the token after each window, one of {count:,}; a training learns all tokens of a window"
    names = tuple(map(str, range(count)))
    return Targets(found.y, "classification", count, np.arange(count), names, (note,))


def _vocabulary(features: Arranged, targets: Targets) -> int:
    """How many token ids there are, of texts and streams."""
    if features.kind == "stream":
        return targets.outputs
    return int(np.asarray(features.x).max()) + 1 if features.kind == "text" else 0


def _check_options(task: str | None, missing: str | None, limit: int | None) -> None:
    if task not in (None, "classification", "regression"):
        raise UsageError(f"task={task!r} is not known; use 'classification' or 'regression'")
    if missing not in (None, "error", "impute"):
        raise UsageError(f"missing={missing!r} is not known; use 'error' or 'impute'")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise UsageError(f"limit_train={limit!r} is not a number of rows")


def _few(rows: int) -> tuple[str, ...]:
    return (f"{rows} rows are very few: what is said of rows held out means next to nothing",) * (rows < FEW_ROWS)


def _weights(weights: Any, rows: int) -> np.ndarray | None:
    """How much each row counts, as float64 (N,)."""
    if weights is None:
        return None
    found = np.asarray(weights, np.float64)
    if found.shape != (rows,):
        raise DataError(f"weights of shape {found.shape}: give one number for each of the {rows:,} rows")
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(wrong):
        raise DataError(f"the weight of row {wrong[0]} is {found[wrong[0]]:g}; weights must be 0 or more, and finite")
    if not found.any():
        raise DataError("all weights are zero: there is nothing to learn from")
    return found


def _named(groups: Any, rows: int) -> np.ndarray | None:
    """The name of its group for each row."""
    if groups is None:
        return None
    values = np.asarray(groups)
    if values.shape != (rows,):
        raise DataError(f"groups of shape {values.shape}: give one value for each of the {rows:,} rows")
    gaps = np.array([v is None or v != v or v == "" for v in values.tolist()])
    if gaps.any():
        raise DataError(f"groups are missing in {gaps.sum():,} rows, the first is row {gaps.argmax():,}; fill them in, "
                        "or remove these rows")  # fmt: skip
    return values.astype(str) if values.dtype.kind == "O" else values


def _numbered(names: np.ndarray | None) -> np.ndarray | None:
    return None if names is None else np.unique(names, return_inverse=True)[1].astype(np.int64)


def _shared(apart: Any, names: np.ndarray) -> tuple[str, ...]:
    """A note where rows of the test part belong to groups that are trained on."""
    known, tested = set(map(str, names.tolist())), np.asarray(apart).tolist()
    count = sum(str(name) in known for name in tested)
    if not count:
        return ()
    return (f"{count:,} of {len(tested):,} test rows are of groups that are trained on too (a leak: the figures on "
            "test data are too good)",)  # fmt: skip


def _check_rows(x: Features, y: np.ndarray, what: str = "") -> None:
    if len(x) != len(y):
        raise DataError(f"{what}X has {len(x):,} rows and {what}y has {len(y):,}; they must be equal")
    if not what and len(y) < MINIMUM_ROWS:
        raise DataError(f"the data have {len(y)} rows; at least {MINIMUM_ROWS} are needed")


def _test_part(found: Found, features: Arranged, targets: Targets, impute: bool) -> tuple[Features, np.ndarray] | None:
    if found.x_test is None:
        return None
    apart = arrange(found.x_test, "test X", features.layout, names=found.names, impute=impute, like=features.x)
    y = encode(found.y_test, targets, "test y")
    _check_rows(apart.x, y, "test ")
    if len(y) == 0:
        raise DataError("the test part has no rows; leave it out, then a part of X is cut off for it")
    return apart.x, y
