"""A table: what was measured for every architecture of a space, and what measuring it cost.

`Column` is one array with its unit and direction; `Rows` finds the row of an architecture; `Table` binds them
to a space. `Reading` is a table seen through objectives: metrics and cost of a row at a fidelity. It is all
that a simulated search may look at, so that the score column stays hidden from strategies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec import structs

from searchitect.errors import ArchitectureError, UsageError
from searchitect.evaluators.table import Step, TableEvaluator
from searchitect.records import Fidelity, Objective, goals, objectives
from searchitect.space import Architecture, Space


class Cost(NamedTuple):
    """Seconds that one measurement takes: `factor` times another column, or a constant where there is no column."""

    column: str | None
    factor: float


@dataclass(frozen=True, slots=True)
class Column:
    """One measured quantity.

    values: one number per row, or a curve (rows × epochs). A NaN was not measured.
    epochs: what the values were trained for; a curve has one entry per value. () where training plays no part.
    levels: columns that hold this quantity at single fidelities, by epochs, each trained from the start.
    known:  known before training, as the parameters are; limits on it are kept without asking for a measurement.
    """

    name: str
    direction: Literal["max", "min"]
    values: np.ndarray
    unit: str = ""
    epochs: tuple[int, ...] = ()
    levels: tuple[tuple[int, str], ...] = ()
    cost: Cost | None = None
    known: bool = False
    about: str = ""


class Rows:
    """The row of each architecture. Positions of the chosen values make one number, which names the row.

    table: row by number; None where the number is the row itself. Absent numbers are architectures without a row.
    """

    def __init__(self, order: Sequence[tuple[str, Sequence[Any]]], table: Mapping[int, int] | None, first: int) -> None:
        self.parts: dict[str, dict[Any, int]] = {}
        stride = 1
        for name, labels in reversed(order):
            self.parts[name] = {label: (i + first) * stride for i, label in enumerate(labels)}
            stride *= len(labels) + first
        self.table = table
        self.holes = table is not None and len(table) < stride

    def number(self, architecture: Architecture) -> int:
        """The number of an architecture of this space."""
        parts = self.parts
        return sum([parts[name][value] for name, value in architecture.decisions.items()])

    def find(self, architecture: Architecture) -> int:
        """The row, or -1 where there is none."""
        number = self.number(architecture)
        return number if self.table is None else self.table.get(number, -1)


@dataclass(slots=True)
class Table:
    """Columns over the architectures of a space.

    signal: the column that strategies see by default; score: the column that judges what they found.
    about, source, licence: for people.
    """

    name: str
    space: Space
    columns: dict[str, Column]
    rows: Rows
    signal: str
    score: str
    about: str = ""
    source: str = ""
    licence: str = ""
    count: int = field(init=False)
    _readings: dict[tuple[Objective, ...], Reading] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.count = len(next(iter(self.columns.values())).values)

    def reading(self, items: Sequence[Objective]) -> Reading:
        """The table seen through objectives; made once."""
        key = tuple(items)
        if key not in self._readings:
            self._readings[key] = Reading(self, items)
        return self._readings[key]

    def column(self, name: str) -> Column:
        """One column. Raises UsageError naming those that there are."""
        if name not in self.columns:
            raise UsageError(f"table {self.name} has no column {name!r}; it has {', '.join(self.columns)}")
        return self.columns[name]

    def row(self, architecture: Architecture) -> int:
        """The row of an architecture, or -1. Raises ArchitectureError for one of another space."""
        if architecture.space != self.space.fingerprint:
            self.space.validate(architecture)
        return self.rows.find(architecture)

    def feasible(self, architecture: Architecture) -> bool:
        """Whether the table has a row for it."""
        return self.rows.find(architecture) >= 0

    def objectives(self, texts: Sequence[str] = ()) -> tuple[Objective, ...]:
        """Read objectives over columns; a column's name alone takes the column's direction. Default: the signal.

        Raises UsageError for a column that is not there, and for the score, which no strategy may see (unless it
        is the signal as well: some tables have one measurement only).
        """
        whole = [f"{self.columns[t].direction} {t}" if t in self.columns else t for t in texts or [self.signal]]
        read = tuple(structs.replace(o, unit=self.column(o.metric).unit) for o in objectives(whole))
        for o in read:
            if o.metric == self.score and self.score != self.signal:
                raise UsageError(f"table {self.name}: {o.metric!r} judges what was found, so no strategy may see it")
        return read

    def measure(self, architecture: Architecture, texts: Sequence[str] = (), epochs: int = 0) -> dict[str, float]:
        """The objectives' numbers of one architecture, for a loop of your own (`Manual`).

        Raises ArchitectureError when the table has no row for it.
        """
        reading, row = self.reading(self.objectives(texts)), self.row(architecture)
        if row < 0:
            raise ArchitectureError(f"table {self.name} has no such architecture")
        return {name: values[row] for name, values in reading.levels[reading.level(Fidelity("table", epochs))].values}

    def evaluator(self, texts: Sequence[str] = ()) -> TableEvaluator:
        """The table as an evaluator, for whoever runs studies."""
        reading = self.reading(self.objectives(texts))
        steps = [Step(level.epochs, dict(level.values), level.seconds) for level in reading.levels]
        known = {name: column.values.tolist() for name, column in self.columns.items() if column.known}
        return TableEvaluator(
            self.name, self.space, self.row, steps, known, curve=reading.continues, objectives=reading.objectives
        )

    def losses(self, name: str) -> np.ndarray:
        """A column turned so that smaller is better; a curve gives its last value."""
        column = self.column(name)
        values = np.asarray(column.values if column.values.ndim == 1 else column.values[:, -1], dtype=np.float64)
        return values if column.direction == "min" else -values

    def optimum(self, items: Sequence[Objective] = ()) -> float:
        """The best score of any row that keeps the limits."""
        losses = np.where(self.keeps(items), self.losses(self.score), np.inf)
        best = float(np.nanmin(losses))
        return best if self.columns[self.score].direction == "min" else -best

    def keeps(self, items: Sequence[Objective]) -> np.ndarray:
        """Which rows keep all limits."""
        kept = np.ones(self.count, dtype=bool)
        for o in items:
            if o.limit is not None:
                losses = self.losses(o.metric) if self.column(o.metric).direction == "min" else -self.losses(o.metric)
                kept &= losses < o.limit if o.direction == "min" else losses > o.limit
        return kept


class Level(NamedTuple):
    """One fidelity: its epochs, each metric's values, and the seconds by row."""

    epochs: int
    values: list[tuple[str, list[float]]]
    seconds: list[float]


class Reading:
    """A table seen through objectives. Levels ascend in epochs; the last one is the full fidelity.

    `continues`: a measurement at a higher level goes on from a lower one and pays the difference (curves).
    """

    def __init__(self, table: Table, items: Sequence[Objective]) -> None:
        self.objectives = tuple(items)
        names = list(dict.fromkeys(o.metric for o in items))
        columns = [table.column(name) for name in names]
        parts = {c.name: _levels(table, c) for c in columns}
        timed = sorted({e for c in columns for e, _, _ in parts[c.name] if e}) or [0]
        self.continues = any(c.values.ndim == 2 for c in columns)
        self.charged = any(seconds is not None for name in names for _, _, seconds in parts[name])
        self.levels = [self._level(table, parts, epochs) for epochs in timed]
        self.goal = goals(items)[0]

    def _level(self, table: Table, parts: dict[str, list[Any]], epochs: int) -> Level:
        values, seconds = [], np.zeros(table.count)
        for name, found in parts.items():
            _, numbers, took = max((p for p in found if p[0] <= epochs), default=found[0], key=_epochs)
            values.append((name, numbers.tolist()))
            if took is not None:
                seconds = np.maximum(seconds, took)
        return Level(epochs, values, (seconds if self.charged else seconds + 1.0).tolist())

    @property
    def fidelity(self) -> Fidelity:
        """The full fidelity of this table; 0 epochs where there is only one, so that nothing can be shortened."""
        return Fidelity("table", self.levels[-1].epochs if len(self.levels) > 1 else 0)

    def curve(self, row: int, level: int) -> tuple[dict[str, float], ...]:
        """What a training reports up to a level, one point for each level below it too."""
        points = self.levels[: level + 1]
        return tuple({"step": float(p.epochs), **{name: values[row] for name, values in p.values}} for p in points)

    def level(self, fidelity: Fidelity) -> int:
        """The lowest level with at least the epochs asked for, else the last; 0 epochs mean the full fidelity.

        Raises UsageError for a share of the data or a resolution, which tables do not have.
        """
        if fidelity.data != 1.0 or fidelity.resolution is not None:
            raise UsageError("tables know fidelities by epochs only: no share of the data, no resolution")
        last = len(self.levels) - 1
        if fidelity.epochs == 0:
            return last
        return next((i for i, level in enumerate(self.levels) if level.epochs >= fidelity.epochs), last)


def _epochs(part: tuple[int, Any, Any]) -> int:
    return part[0]


def _levels(table: Table, column: Column) -> list[tuple[int, np.ndarray, np.ndarray | None]]:
    """(epochs, values, seconds or None) of one column, ascending."""
    if column.levels:
        parts = [(epochs, *_levels(table, table.column(name))[-1][1:]) for epochs, name in column.levels]
        return sorted(parts, key=_epochs)
    seconds = _seconds(table, column)
    if column.values.ndim == 1:
        return [(column.epochs[0] if column.epochs else 0, column.values, None if seconds is None else seconds[:, -1])]
    return [
        (epochs, column.values[:, i], None if seconds is None else seconds[:, i])
        for i, epochs in enumerate(column.epochs)
    ]


def _seconds(table: Table, column: Column) -> np.ndarray | None:
    """Seconds (rows × levels): time in all up to each level; a time for the whole curve is shared out by epochs."""
    if column.cost is None:
        return None
    if column.cost.column is None:
        whole = np.full((table.count, 1), column.cost.factor)
    else:
        whole = np.asarray(table.column(column.cost.column).values, dtype=np.float64) * column.cost.factor
        whole = whole[:, None] if whole.ndim == 1 else whole
    if column.values.ndim == 2 and whole.shape[1] == 1:
        whole = whole * (np.asarray(column.epochs, dtype=np.float64) / column.epochs[-1])
    return whole
