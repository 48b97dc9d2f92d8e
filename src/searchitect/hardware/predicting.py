"""A number for an architecture before it is built: the sum of its operations, moved onto what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from searchitect.errors import ArchitectureError, BuildError, TrialError
from searchitect.hardware.operations import Operation, Tally, operation
from searchitect.hardware.table import LatencyTable
from searchitect.nets.cost import Costs
from searchitect.nets.parts import Part, Shape
from searchitect.space import Architecture, Plan

FEWEST = 6  # measured networks from which a line with two slopes is fitted; below that it is one factor


class Line(msgspec.Struct, frozen=True):
    """a + b · sum + c · operations: what is measured as a whole, from the sum over the table and how many there are.

    error, worst: mean and largest relative error on `networks` that the line was not fitted to.
    """

    a: float = 0.0
    b: float = 1.0
    c: float = 0.0
    error: float = 0.0
    worst: float = 0.0
    networks: int = 0


class Counted(NamedTuple):
    """The sum of an architecture's operations in the table, and their number."""

    ms: float
    operations: float


class Predictor:
    """A number for every architecture of a space, such as milliseconds of one row on a device: deterministic, in
    a few milliseconds (`predict_ms` in benchmarks/latency.py). Made of a table of operations and the line onto what was
    measured.

    Raises what `Costs.of` raises, for architectures that cannot be built.
    """

    def __init__(self, costs: Costs, table: LatencyTable, line: Line = Line()) -> None:  # noqa: B008 - it is frozen
        self.table, self.line = table, line
        self._costs = costs
        self._sum = Tally(costs.probe, lambda *of: table.ms(operation(*of)))
        self._number = Tally(costs.probe, lambda *_: 1.0)

    def __call__(self, architecture: Architecture) -> float:
        """The prediction; never below zero."""
        counted = self.counted(architecture)
        return max(self.line.a + self.line.b * counted.ms + self.line.c * counted.operations, 0.0)

    def counted(self, architecture: Architecture) -> Counted:
        """What the line is applied to."""
        plan, shape = self._plan(architecture), self._costs.shape
        try:
            return Counted(self._sum.total(plan, shape), self._number.total(plan, shape))
        except RecursionError:
            raise BuildError("nested too deeply to be built") from None

    def unknown(self, architecture: Architecture) -> list[Operation]:
        """Its operations that are not in the table."""
        return [one for one in operations(self._costs, architecture) if not self.table.knows(one)]

    def _plan(self, architecture: Architecture) -> Plan:
        return plan_of(self._costs, architecture)


class Law(NamedTuple):
    """What a predictor is made of: it crosses to workers, and is kept in a study."""

    table: LatencyTable
    line: Line = Line()

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {"table": self.table.plain(), "line": msgspec.to_builtins(self.line)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Law:
        """From plain data, as `plain` gives it."""
        return cls(LatencyTable.of(plain["table"]), msgspec.convert(plain["line"], Line))


def attach(costs: Costs, laws: Mapping[str, Law]) -> None:
    """Let these metrics be known beforehand, like parameters."""
    costs.predicted = {name: Predictor(costs, law.table, law.line) for name, law in laws.items()}


def plan_of(costs: Costs, architecture: Architecture) -> Plan:
    """The plan of an architecture. Raises BuildError for a value in the space that cannot be computed."""
    try:
        return costs.space.plan(architecture, costs.outputs)
    except ArchitectureError as error:
        raise BuildError(str(error)) from error


def operations(costs: Costs, architecture: Architecture) -> list[Operation]:
    """All operations of an architecture, in no order, as often as they occur."""
    found: list[Operation] = []

    def own(plan: Plan, shape: Shape, part: Part, macs: int) -> float:
        found.append(operation(plan, shape, part, macs))
        return 0.0

    Tally(costs.probe, own, remember=False).total(plan_of(costs, architecture), costs.shape)
    return found


def fitted(counted: Sequence[Counted], values: Sequence[float]) -> Line:
    """The line onto measured values by least squares of the relative error, with the error of each network where the
    line is fitted to the others (so that it is an honest one). One factor alone where there are few networks.
    """
    facts, truth = np.array(counted, dtype=float), np.asarray(values, dtype=float)
    if len(truth) < 2:
        factor = float(truth[0] / facts[0, 0]) if len(truth) and facts[0, 0] > 0 else 1.0
        return Line(b=factor)
    errors = []
    for i in range(len(truth)):
        rest = np.arange(len(truth)) != i
        a, b, c = _solve(facts[rest], truth[rest])
        errors.append(abs(a + b * facts[i, 0] + c * facts[i, 1] - truth[i]) / truth[i])
    a, b, c = _solve(facts, truth)
    return Line(a, b, c, float(np.mean(errors)), float(np.max(errors)), len(truth))


def _solve(facts: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """a, b, c. Ridge towards one factor for all: slopes that the data do not tell apart stay small."""
    factor = float(np.median(truth / np.maximum(facts[:, 0], 1e-12)))
    if len(truth) < FEWEST:
        return 0.0, factor, 0.0
    columns = np.column_stack([np.ones(len(truth)), facts[:, 0], facts[:, 1]])
    scale = np.maximum(columns.mean(axis=0), 1e-12)
    rows = columns / scale / truth[:, None] * truth.mean()
    left = (truth - factor * facts[:, 0]) / truth * truth.mean()
    slope = np.linalg.solve(rows.T @ rows + 1e-3 * len(truth) * np.eye(3), rows.T @ left) / scale
    return float(slope[0]), float(factor + slope[1]), float(slope[2])


def sound(predict: Callable[[Architecture], Any], architecture: Architecture) -> bool:
    """Whether an architecture can be predicted: it fits together and the user's classes do not fail."""
    try:
        predict(architecture)
    except (BuildError, TrialError):
        return False
    return True
