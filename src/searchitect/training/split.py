"""Training, validation and test rows: stratified, keyed by a seed, and checked for leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from searchitect.errors import DataError, UsageError
from searchitect.seeds import stream
from searchitect.training.table import Features, Table

if TYPE_CHECKING:
    from searchitect.training.data import RawData


@dataclass(frozen=True, eq=False)
class Splits:
    """Sorted row numbers. `test` counts in the test part where one was given apart, else in the data.

    Use `part` to get rows without caring about that.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    notes: tuple[str, ...] = ()


def split(raw: RawData, seed: int, *, validation: float = 0.2, test: float = 0.2) -> Splits:
    """Cut the rows by shares of all rows, stratified by class. A test part that was given apart stays as it is.

    The same rows and seed always give the same cut. Raises DataError when a class is too small to be in the
    training part and outside of it, UsageError for shares that leave nothing to train on.
    """
    test = 0.0 if raw.test is not None else test
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise UsageError(f"{name}={share!r} is not a share between 0 and 1")
    if validation + test >= 0.95 or validation == 0:
        raise UsageError(f"validation={validation} and test={test} leave too little; use for example 0.2 and 0.2")
    n = len(raw)
    strata = raw.y if raw.task == "classification" else None
    if strata is not None:
        _check_classes(strata, raw.classes or ())
    held = stratified_part(strata, n, round(n * test), seed, "test")
    rest = np.setdiff1d(np.arange(n), held)
    inner = None if strata is None else strata[rest]
    chosen = rest[stratified_part(inner, len(rest), max(1, round(n * validation)), seed, "validation")]
    train = np.setdiff1d(rest, chosen)
    found = Splits(train, chosen, np.arange(len(raw.test[1])) if raw.test is not None else held)
    return Splits(found.train, found.validation, found.test, tuple(_leaks(raw, found)))


def part(raw: RawData, splits: Splits, name: Literal["train", "validation", "test"]) -> tuple[Features, np.ndarray]:
    """The rows (x, y) of one part, wherever they are kept."""
    rows = getattr(splits, name)
    x, y = raw.test if name == "test" and raw.test is not None else (raw.x, raw.y)
    return x[rows], y[rows]


def _check_classes(y: np.ndarray, classes: tuple[str, ...]) -> None:
    values, counts = np.unique(y, return_counts=True)
    single = [classes[v] if v < len(classes) else str(v) for v, c in zip(values, counts, strict=True) if c < 2]
    if single:
        raise DataError(f"{len(single)} classes have one row only (for example {single[0]!r}): they cannot be in "
                        "training and in validation; remove these rows or join the classes")  # fmt: skip


def stratified_part(strata: np.ndarray | None, n: int, size: int, seed: int, purpose: str) -> np.ndarray:
    """`size` of `n` row numbers, sorted; in proportion to the strata, and never the whole of a stratum.

    Shares are rounded by largest remainder, so their sum is `size` wherever the strata allow it.
    """
    if size <= 0:
        return np.empty(0, np.int64)
    groups = [np.arange(n)] if strata is None else [np.flatnonzero(strata == v) for v in np.unique(strata)]
    exact = [len(g) * size / n for g in groups]
    take = [min(int(e), len(g) - 1) for e, g in zip(exact, groups, strict=True)]
    order = sorted(range(len(groups)), key=lambda i: (take[i] - exact[i], i))
    while sum(take) < min(size, n - len(groups)):  # one round, but for strata too small to give more
        for i in order:
            take[i] += take[i] + 1 < len(groups[i]) and sum(take) < size
    picked = []
    for i, (group, k) in enumerate(zip(groups, take, strict=True)):
        rows = group.tolist()
        stream(seed, i, f"split-{purpose}").shuffle(rows)
        picked.extend(rows[:k])
    return np.sort(np.array(picked, dtype=np.int64))


def row_hashes(x: Features) -> list[int]:
    """One number a row; equal rows have equal numbers (within this process)."""
    if isinstance(x, Table):
        return [hash((a.tobytes(), b.tobytes())) for a, b in zip(*x.parts(), strict=True)]
    return [hash(row.tobytes()) for row in x]


def _leaks(raw: RawData, splits: Splits) -> list[str]:
    """Rows outside the training part that also occur inside it."""
    inside = set(row_hashes(part(raw, splits, "train")[0]))
    notes = []
    for name in ("validation", "test"):
        count = sum(h in inside for h in row_hashes(part(raw, splits, name)[0]))
        if count:
            notes.append(f"{count:,} of {len(getattr(splits, name)):,} {name} rows also occur in training (a leak: the "
                         f"figures on {name} data are too good)")  # fmt: skip
    return notes
