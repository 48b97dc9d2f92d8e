"""A table's columns in one form, and what X may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of N rows: `numeric` (N, a) float64 with NaN for missing, `categorical` (N, b) text with "" for
    missing. `names` are the numeric ones, then the categorical ones."""

    numeric: np.ndarray
    categorical: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numeric)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self.numeric), self.numeric.shape[1] + self.categorical.shape[1]

    def __getitem__(self, rows: Any) -> Table:
        return Table(self.numeric[rows], self.categorical[rows], self.names)

    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """The two arrays."""
        return self.numeric, self.categorical


Features: TypeAlias = "np.ndarray | Table"
