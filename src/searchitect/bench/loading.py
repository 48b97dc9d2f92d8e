"""Reading tables: the shipped ones by name, a stranger's `.npz` by path. Nothing in a file can run.

A file holds arrays and one JSON text named `description`, or several of them in `{"tables": {name: ...}}` that
share arrays. docs/bench.md says what a description holds and shows how to write one.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from searchitect.bench.table import Column, Cost, Rows, Table
from searchitect.errors import DataError, SpaceError, UsageError, meant
from searchitect.space import Layer, Space, one_of

FOLDER = Path(__file__).parent / "tables"
TABLES: dict[str, str] = {
    "nb201-cifar10": "nb201.npz",
    "nb201-cifar100": "nb201.npz",
    "macro-cifar10": "macro.npz",
    "transnas-object": "transnas.npz",
    "transnas-scene": "transnas.npz",
    "transnas-jigsaw": "transnas.npz",
    "transnas-normal": "transnas.npz",
    "transnas-autoencoder": "transnas.npz",
    "graph-cora": "graph.npz",
    "graph-arxiv": "graph.npz",
    "fcnet-protein": "fcnet.npz",
    "fcnet-naval": "fcnet.npz",
}
WRONG = (  # what a file that is no table can raise
    KeyError, ValueError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError, OSError, EOFError,
    zipfile.BadZipFile, zlib.error, SpaceError,
)  # fmt: skip
LIMIT = 20_000_000  # rows, and architectures that are enumerated to find rows


def load_table(name: str | Path) -> Table:
    """A shipped table by its name, or one from FILE.npz (FILE.npz:TABLE where the file holds several).

    Raises UsageError for an unknown name and DataError for a file that is no table, saying what is wrong.
    """
    text = str(name)
    if text in TABLES:
        return _shipped(text)
    path, colon, inner = text.rpartition(":") if ".npz:" in text else (text, "", "")
    if not path.endswith(".npz"):
        near = meant(text, TABLES)
        raise UsageError(f"table {text!r} is not known{near}: write one of {', '.join(TABLES)}, or a path FILE.npz")
    if not Path(path).is_file():
        raise DataError(f"table {path}: there is no such file")
    return _read(Path(path), inner if colon else None)


@cache
def _shipped(name: str) -> Table:
    return _read(FOLDER / TABLES[name], name)


def _read(path: Path, name: str | None) -> Table:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            body = json.loads(str(arrays["description"]))
            return _table(body, arrays, name, path.stem)
    except WRONG as error:
        if isinstance(error, KeyError):
            raise DataError(f"table {path}: {error.args[0]!s:.200} is missing") from None
        raise DataError(f"table {path}: {error!s:.300}") from None


def _table(body: Mapping[str, Any], arrays: Mapping[str, np.ndarray], name: str | None, stem: str) -> Table:
    if body.get("format") != 1:
        raise ValueError(f"format {body.get('format')!r}: this version reads format 1")
    common = {k: v for k, v in body.items() if k != "tables"}
    if "tables" in body:
        several = body["tables"]
        if name is None or name not in several:
            raise ValueError(f"the file holds several tables: write FILE.npz:NAME with one of {', '.join(several)}")
        body = {**common, **several[name], "columns": {**common.get("columns", {}), **several[name]["columns"]}}
    space = _space(body, str(body.get("name", name or stem)))
    columns = {key: _column(key, body["columns"], arrays) for key in body["columns"]}
    count = _check(columns)
    signal, score = str(body["signal"]), str(body["score"])
    for role, column in (("signal", signal), ("score", score)):
        if column not in columns:
            raise ValueError(f"the {role} {column!r} is none of the columns: {', '.join(columns)}")
    rows = _rows(space, body, arrays, count)
    texts = {key: str(body.get(key, "")) for key in ("about", "source", "licence")}
    return Table(str(body.get("name", name or stem)), space, columns, rows, signal, score, **texts)


def _space(body: Mapping[str, Any], name: str) -> Space:
    if "space" in body:
        return Space.from_json(json.dumps(body["space"]), name=name)
    decisions = body["decisions"]
    if not isinstance(decisions, dict) or not all(isinstance(v, list) and v for v in decisions.values()):
        raise ValueError("'decisions' must map names to lists of labels, for example {\"kernel\": [3, 5]}")
    return Space(Layer("table.Network", {k: one_of(*v, tie=k) for k, v in decisions.items()}), name=name)


def _column(name: str, entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Column:
    entry = entries[name]
    known = {"array", "direction", "unit", "epochs", "levels", "cost", "known", "about"}
    if not name.isidentifier() or set(entry) - known:
        raise ValueError(f"column {name!r}: its name must be an identifier, and it takes {', '.join(sorted(known))}")
    if entry.get("direction") not in ("max", "min"):
        raise ValueError(f"column {name!r}: direction must be 'max' or 'min', got {entry.get('direction')!r}")
    levels = tuple(sorted((int(e), str(c)) for e, c in entry.get("levels", {}).items()))
    source = levels[-1][1] if levels else name
    values = arrays[str(entries[source].get("array", source))]
    if values.dtype.kind not in "fiu" or values.ndim not in (1, 2):
        raise ValueError(f"column {name!r}: needs numbers, one per row or rows × epochs, got {values.dtype}")
    given = entry.get("epochs", [])
    epochs = tuple(int(e) for e in (given if isinstance(given, list) else [given]))
    if list(epochs) != sorted(set(epochs)) or any(e < 1 for e in epochs):
        raise ValueError(f"column {name!r}: epochs must be whole numbers from 1 that ascend, got {given!r}")
    if values.ndim == 2 and len(epochs) != values.shape[1]:
        raise ValueError(f"column {name!r}: {values.shape[1]} values per row but {len(epochs)} epochs")
    return Column(
        name, entry["direction"], values, str(entry.get("unit", "")), epochs, levels, _cost(name, entry),
        entry.get("known") is True, str(entry.get("about", "")),
    )  # fmt: skip


def _cost(name: str, entry: Mapping[str, Any]) -> Cost | None:
    if "cost" not in entry:
        return None
    cost = entry["cost"]
    column, factor = (None, float(cost)) if isinstance(cost, (int, float)) else (cost["column"], cost.get("factor", 1))
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"column {name!r}: the cost must be above 0, got {factor}")
    return Cost(column, float(factor))


def _check(columns: Mapping[str, Column]) -> int:
    """The number of rows, the same in all columns; names in levels and costs must be columns."""
    counts = {len(c.values) for c in columns.values()}
    if len(counts) != 1 or not 0 < max(counts) <= LIMIT:
        raise ValueError(f"columns must have one number of rows, from 1 to {LIMIT:,}; got {sorted(counts)}")
    for c in columns.values():
        named = [n for _, n in c.levels] + ([c.cost.column] if c.cost and c.cost.column else [])
        for other in named:
            if other not in columns or columns[other].levels or columns[other] is c:
                raise ValueError(f"column {c.name!r} refers to {other!r}, which is no column with values of its own")
        paid = columns[c.cost.column].values if c.cost and c.cost.column else c.values
        if paid.ndim == 2 and paid.shape != c.values.shape:
            raise ValueError(f"column {c.name!r} and its cost need as many values per row")
        if c.levels and c.values.ndim != 1:
            raise ValueError(f"column {c.name!r}: levels are columns with one number per row")
    return counts.pop()


def _rows(space: Space, body: Mapping[str, Any], arrays: Mapping[str, np.ndarray], count: int) -> Rows:
    """How rows are found: "enumeration", "grid" (with an array `rows` where several share a row), or "codes"."""
    how = body.get("rows", "enumeration")
    if space.size.continuous:
        raise ValueError("the space has a real number among its decisions, so no table can list its architectures")
    order = [(d.name, list(d.labels or ())) for d in (space.by_name[n] for n in body.get("order", space.by_name))]
    if len(order) != len(space.decisions):
        raise ValueError(f"'order' must name all {len(space.decisions)} decisions once")
    total = math.prod(len(labels) for _, labels in order)
    if how == "codes":
        return Rows(order, _by_codes(order, arrays["codes"], count), 1)
    if how == "grid" or (how == "enumeration" and space.flat_total and "order" not in body):
        if how == "grid" and total != space.size.finite:
            raise ValueError("rows 'grid' needs a space in which every decision is always there; use 'codes'")
        table = _by_number(arrays[str(body["row_of"])], count, total) if "row_of" in body else None
        if table is None and total != count:
            raise ValueError(f"the space has {total:,} architectures, but there are {count:,} rows")
        return Rows(order, table, 0)
    if how != "enumeration":
        raise ValueError(f"rows {how!r}: write 'enumeration', 'grid' or 'codes'")
    if space.size.finite != count:
        raise ValueError(f"the space has {space.size.finite:,} architectures, but there are {count:,} rows")
    rows = Rows(order, {}, 1)
    return Rows(order, {rows.number(a): i for i, a in enumerate(space.enumerate())}, 1)


def _by_number(row_of: np.ndarray, count: int, total: int) -> dict[int, int]:
    if row_of.shape != (total,) or row_of.max(initial=-1) >= count:
        raise ValueError(f"'row_of' needs {total:,} numbers of rows below {count:,}, or -1")
    return {i: row for i, row in enumerate(row_of.tolist()) if row >= 0}


def _by_codes(order: Sequence[tuple[str, list[Any]]], codes: np.ndarray, count: int) -> dict[int, int]:
    """Rows by positions of labels (rows × decisions); -1 stands for a decision that is not there."""
    sizes = [len(labels) for _, labels in order]
    if codes.shape != (count, len(sizes)) or codes.dtype.kind not in "iu":
        raise ValueError(f"'codes' needs whole numbers, {count:,} rows × {len(sizes)} decisions; got {codes.shape}")
    if codes.min() < -1 or (codes >= np.array(sizes)).any():
        raise ValueError("'codes' holds a position that its decision does not have")
    stride, numbers = 1, [0] * count
    for i in reversed(range(len(sizes))):
        numbers = [n + (c + 1) * stride for n, c in zip(numbers, codes[:, i].tolist(), strict=True)]
        stride *= sizes[i] + 1
    table = {number: row for row, number in enumerate(numbers)}
    if len(table) < count:
        raise ValueError(f"{count - len(table):,} rows name an architecture that another row names too")
    return table
