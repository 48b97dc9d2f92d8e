"""Several goals: how much of the table's own front a search has found, as a share of hypervolume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchitect.bench.compare import Plan, Trace
from searchitect.bench.table import Table
from searchitect.records import goals
from searchitect.strategies import pareto

MARGIN = 0.1  # the reference lies so much of the front's range beyond its worst values


class Front:
    """The front of a table by the goals of a plan (their full fidelity), among the rows that keep its limits.

    Goals are scaled so that the front spans 0 to 1 in each; the reference point is 1.1 in all. The score column has
    no part in this: it judges one number, not a front.
    """

    def __init__(self, table: Table, plan: Plan) -> None:
        aims = table.objectives(plan.objectives)
        losses = [table.losses(o.metric) * (1 if o.direction == table.columns[o.metric].direction else -1)
                  for o in goals(aims)]  # fmt: skip
        values = np.stack(losses, axis=1)
        kept = table.keeps(aims) & np.isfinite(values).all(axis=1)
        best = values[kept][_efficient(values[kept])]
        low, span = best.min(axis=0), np.ptp(best, axis=0)
        self.values = (values - low) / np.where(span > 0, span, 1.0)
        self.kept = kept
        self.size = len(np.unique(best, axis=0))
        self.reference = [1.0 + MARGIN] * values.shape[1]
        self.whole = self._volume(np.flatnonzero(kept))

    def share(self, trace: Trace, told: int | None = None) -> float:
        """The hypervolume of what a search had found after so many evaluations, over that of the table's front."""
        rows = np.unique(np.asarray(trace.rows[:told], dtype=np.int64))
        rows = rows[rows >= 0]
        return self._volume(rows[self.kept[rows]]) / self.whole

    def _volume(self, rows: Sequence[int] | np.ndarray) -> float:
        return pareto.hypervolume([tuple(p) for p in self.values[rows].tolist()], self.reference)


def _efficient(values: np.ndarray) -> np.ndarray:
    """Which rows no other row dominates."""
    order = np.lexsort(values.T[::-1])
    kept = np.zeros(len(values), dtype=bool)
    front = np.empty((0, values.shape[1]))
    for i in order:  # whoever dominates a row comes before it
        if not ((front <= values[i]).all(axis=1) & (front < values[i]).any(axis=1)).any():
            kept[i] = True
            front = np.vstack([front, values[i]])
    return kept
