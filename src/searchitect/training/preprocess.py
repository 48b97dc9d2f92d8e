"""From checked data to float32 tensors, by figures that are fixed on the training rows alone.

Images and sequences: one mean and one deviation a channel. Tables: numbers are standardised (missing ones
become the median, and a flag column says so), text becomes one-hot with a column for everything else.
Regression targets are standardised too. All figures go to plain JSON, so that they can be repeated elsewhere.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import torch

from searchitect.errors import DataError
from searchitect.training.arrange import ENDS, arrange
from searchitect.training.data import RawData
from searchitect.training.readers import read_x
from searchitect.training.table import Features, Table

MOST_LEVELS = 64  # rarer levels of a text column share one column
CLIP = 10.0  # standardised numbers of a table stay within ±10: one wild cell must not rule a batch
_CHUNK = 2048  # rows at a time, so that float64 sums need little memory


class Column(msgspec.Struct, frozen=True):
    """One column of a table. A numeric one gives 1 (+1 with `flag`) features, text `len(levels) + 1`.

    A number v becomes clip(((median if missing else v) - mean) / std, ±CLIP), then 1 if missing else 0 where
    `flag`. A constant or useless column has `keep` False and gives only its flag, if any.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    keep: bool = True
    median: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    flag: bool = False
    levels: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many features this column becomes."""
        if self.kind == "categorical":
            return len(self.levels) + 1 if self.keep else 0
        return int(self.keep) + int(self.flag)


class Preprocess(msgspec.Struct, frozen=True):
    """What was fixed on the training rows. `sample` is the shape of one row after `apply`."""

    kind: Literal["image", "table", "sequence", "text", "stream"]
    task: Literal["classification", "regression"]
    sample: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] = ()  # one a channel
    std: tuple[float, ...] = ()
    columns: tuple[Column, ...] = ()  # numeric ones first, as in Table
    y_mean: tuple[float, ...] = ()
    y_std: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    format: int = 1
    vocabulary: int = 0  # of texts and streams: ids from 0 to below it become 1 to it, everything else 0 (padding)
    padding: int | None = None  # the id that stands for no token; of sequences: 0 where rows may differ in length

    @staticmethod
    def fit(raw: RawData, rows: np.ndarray) -> Preprocess:
        """Fix all figures on these rows. Raises DataError when no usable column is left."""
        x, y = raw.x[rows], raw.y[rows]
        y_mean, y_std = _target_figures(y) if raw.task == "regression" else ((), ())
        common: dict[str, Any] = {"kind": raw.kind, "task": raw.task, "outputs": raw.outputs, "classes": raw.classes,
                  "y_mean": y_mean, "y_std": y_std}  # fmt: skip
        if isinstance(x, Table):
            columns, notes = _fit_columns(x)
            width = sum(c.width for c in columns)
            if width == 0:
                raise DataError("no column is left: all are constant or differ in every row")
            return Preprocess(**common, sample=(width,), columns=columns, notes=tuple(notes))
        if raw.vocabulary:
            return Preprocess(**common, sample=raw.shape, vocabulary=raw.vocabulary, padding=raw.padding)
        mean, std = _channel_figures(x)
        flat = [i for i, s in enumerate(std) if s == 0]
        notes = [f"X: channel {i} is constant ({mean[i]:g})" for i in flat]
        blank = _constant_rows(x)
        if blank:
            notes.append(f"X: {blank:,} of {len(x):,} training {raw.kind}s are constant (empty?)")
        safe = tuple(s or 1.0 for s in std)
        return Preprocess(
            **common, sample=raw.shape, mean=mean, std=safe, notes=tuple(notes), padding=raw.padding
        )  # fmt: skip

    def read(self, source: Any, layout: str | None = None) -> Features:
        """Rows for prediction in their checked form, ready for `apply`.

        `source`: an array, tensor or DataFrame of features, or a file or folder; a target in it is not looked at.
        Columns are found by name, images and sequences by the shape of training rows. Raises DataError.
        """
        x = read_x(source)
        like = self._empty()
        ndim = getattr(x, "ndim", 0)
        if self.vocabulary:
            named = "none" if self.padding is None or self.padding < 0 else str(self.padding)
            return arrange(x, "X", f"NL:{named}", like=like).x
        if self.kind == "sequence" and self.padding is not None:
            return arrange(x, "X", f"{layout or ''}{ENDS}", like=like).x
        if layout is None and isinstance(like, np.ndarray):
            first = tuple(x.shape[1:]) == self.sample if ndim == like.ndim else False
            known = {"image": ("NHW", "NCHW", "NHWC"), "sequence": ("NT", "NCT", "NTC")}[self.kind]
            layout = known[0] if ndim == like.ndim - 1 else known[1] if first else known[2]
        names = tuple(c.name for c in self.columns)
        return arrange(x, "X", layout, names=names, impute=True, like=like).x

    def _empty(self) -> Features:
        """No rows, in the form of the training rows."""
        if self.kind != "table":
            return np.empty((0, *self.sample), np.float32)
        split = sum(c.kind == "numeric" for c in self.columns)
        text = np.empty((0, len(self.columns) - split), "U1")
        return Table(np.empty((0, split)), text, tuple(c.name for c in self.columns))

    def apply(self, x: Features) -> torch.Tensor:
        """Rows in their checked form → float32 (N, *sample). Raises DataError for rows of another shape."""
        if self.kind == "table":
            return torch.from_numpy(self._table(x if isinstance(x, Table) else _bare(x)))
        if isinstance(x, Table) or tuple(x.shape[1:]) != self.sample:
            raise DataError(f"rows have shape {tuple(x.shape[1:])}, training had {self.sample}")
        shape = (1, -1) + (1,) * (len(self.sample) - 1)
        if self.vocabulary:
            return torch.from_numpy(np.where((x >= 0) & (x < self.vocabulary), x + 1, 0).astype(np.float32))
        values = torch.tensor(np.ascontiguousarray(x), dtype=torch.float32)  # a copy: x stays as it is
        mean, std = (torch.tensor(v, dtype=torch.float32).view(shape) for v in (self.mean, self.std))
        return values.sub_(mean).div_(std)

    def _table(self, table: Table) -> np.ndarray:
        split = sum(c.kind == "numeric" for c in self.columns)
        if table.numeric.shape[1] != split or table.shape[1] != len(self.columns):
            raise DataError(f"rows have {table.shape[1]} columns ({table.numeric.shape[1]} numeric), training had "
                            f"{len(self.columns)} ({split} numeric)")  # fmt: skip
        out = np.zeros((len(table), *self.sample), np.float32)
        at = 0
        for i, column in enumerate(self.columns):
            block = out[:, at : at + column.width]
            if column.kind == "numeric":
                _numeric_features(column, table.numeric[:, i], block)
            elif column.keep:
                _text_features(column, table.categorical[:, i - split], block)
            at += column.width
        return out

    def encode_y(self, y: np.ndarray) -> torch.Tensor:
        """Checked targets → int64 (N,) class numbers, or standardised float32 (N, outputs)."""
        if self.task == "classification":
            wrong = np.flatnonzero((y < 0) | (y >= self.outputs))
            if len(wrong):
                raise DataError(
                    f"y has the class number {y[wrong[0]]} at row {wrong[0]}; there are {self.outputs} classes"
                )
            return torch.from_numpy(np.asarray(y, np.int64))
        wide = np.asarray(y, np.float64).reshape(len(y), -1)
        return torch.from_numpy(((wide - np.array(self.y_mean)) / np.array(self.y_std)).astype(np.float32))

    def decode_y(self, outputs: torch.Tensor | np.ndarray) -> np.ndarray:
        """Network outputs (N, outputs), or class numbers (N,) → class names (N,), or numbers in the user's units."""
        values = outputs.detach().cpu().numpy() if isinstance(outputs, torch.Tensor) else np.asarray(outputs)
        if self.task == "classification":
            numbers = values.argmax(axis=1) if values.ndim == 2 else values
            return np.array(self.classes)[numbers.astype(np.int64)]
        real = values.reshape(len(values), -1).astype(np.float64) * np.array(self.y_std) + np.array(self.y_mean)
        return np.asarray(real[:, 0] if self.outputs == 1 else real)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dump`."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @staticmethod
    def from_json(plain: dict[str, Any]) -> Preprocess:
        """The inverse of `to_json`. Raises DataError for anything else."""
        try:
            read = msgspec.convert(plain, Preprocess)
        except msgspec.ValidationError as error:
            raise DataError(f"this is no preprocessing file: {error}") from None
        if read.format != 1:
            raise DataError(f"preprocessing format {read.format} is newer than this version understands (1)")
        return read


def _bare(x: np.ndarray) -> Table:
    x = np.asarray(x, np.float64)
    return Table(x, np.empty((len(x), 0), "U1"), tuple(f"x{i}" for i in range(x.shape[1])))


def _target_figures(y: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    wide = y.reshape(len(y), -1)
    return tuple(wide.mean(axis=0).tolist()), tuple(s or 1.0 for s in wide.std(axis=0).tolist())


def _channel_figures(x: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation a channel of (N, C, ...), in two passes of float64 sums."""
    axes = (0, *range(2, x.ndim))
    view = (1, -1) + (1,) * (x.ndim - 2)
    count = x.size // x.shape[1]
    blocks = range(0, len(x), _CHUNK)
    mean = sum(x[i : i + _CHUNK].sum(axis=axes, dtype=np.float64) for i in blocks) / count
    square = sum(((x[i : i + _CHUNK] - mean.reshape(view)) ** 2).sum(axis=axes) for i in blocks)
    std = np.sqrt(square / count)
    std[std <= 1e-7 * np.abs(mean)] = 0.0  # rounding of a constant channel is no signal
    return tuple(mean.tolist()), tuple(std.tolist())


def _constant_rows(x: np.ndarray) -> int:
    flat = x.reshape(len(x), -1)
    return int((flat == flat[:, :1]).all(axis=1).sum()) if flat.shape[1] > 1 else 0


def _fit_columns(table: Table) -> tuple[tuple[Column, ...], list[str]]:
    names, split = table.names, table.numeric.shape[1]
    numeric = [_fit_numeric(names[i], table.numeric[:, i]) for i in range(split)]
    texts = [_fit_text(names[split + i], table.categorical[:, i]) for i in range(len(names) - split)]
    dropped = [c.name for c in (*numeric, *texts) if not c.keep]
    notes = []
    if dropped:
        shown = ", ".join(dropped[:5]) + (" ..." if len(dropped) > 5 else "")
        notes.append(f"X: {len(dropped)} columns are constant or differ in every row and are left out: {shown}")
    return (*numeric, *texts), notes


def _fit_numeric(name: str, values: np.ndarray) -> Column:
    gaps = np.isnan(values)
    if gaps.all():
        return Column(name, "numeric", keep=False)
    median = float(np.median(values[~gaps]))
    filled = np.where(gaps, median, values)
    mean, std = float(filled.mean()), float(filled.std())
    constant = std <= 1e-12 * abs(mean) or not np.isfinite(std)
    return Column(name, "numeric", not constant, median, mean, 1.0 if constant else std, bool(gaps.any()))


def _fit_text(name: str, values: np.ndarray) -> Column:
    levels, counts = np.unique(values, return_counts=True)
    useless = len(levels) == 1 or len(levels) == len(values)
    ranked = sorted(zip((-counts).tolist(), levels.tolist(), strict=True))[:MOST_LEVELS]
    return Column(name, "categorical", not useless, levels=() if useless else tuple(sorted(v for _, v in ranked)))


def _numeric_features(column: Column, values: np.ndarray, block: np.ndarray) -> None:
    gaps = np.isnan(values)
    if column.keep:
        filled = np.where(gaps, column.median, values)
        block[:, 0] = np.clip((filled - column.mean) / column.std, -CLIP, CLIP)
    if column.flag:
        block[:, -1] = gaps


def _text_features(column: Column, values: np.ndarray, block: np.ndarray) -> None:
    levels = np.array(column.levels)
    places = np.searchsorted(levels, values).clip(max=len(levels) - 1)
    places = np.where(levels[places] == values, places, len(levels))
    block[np.arange(len(values)), places] = 1.0
