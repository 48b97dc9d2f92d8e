"""Training, validation and test rows: stratified, by whole groups or by time, keyed by a seed, checked for leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from searchitect.errors import DataError, UsageError
from searchitect.seeds import stream
from searchitect.training.table import Features, Table

if TYPE_CHECKING:
    from searchitect.training.data import RawData


class Kin(NamedTuple):
    """What so many rows are to each other: their `classes` (rows,), `groups` (rows,) that belong together, and whether
    they are in the order of time."""

    rows: int
    classes: np.ndarray | None = None
    groups: np.ndarray | None = None
    ordered: bool = False


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
    """Cut the rows by shares of all rows. A test part that was given apart stays as it is.

    Rows are held out at random and stratified by class; whole groups of them where the data have groups; the latest
    where they are ordered by time: training, then validation, then test. The same rows and seed always give the same
    cut. Raises DataError when a class is not in the training part or cannot be outside of it, or there are too few
    groups, UsageError for shares that leave nothing to train on.
    """
    test = 0.0 if raw.test is not None else test
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise UsageError(f"{name}={share!r} is not a share between 0 and 1")
    if validation + test >= 0.95 or validation == 0:
        raise UsageError(f"validation={validation} and test={test} leave too little; use for example 0.2 and 0.2")
    n = len(raw)
    stratified = raw.task == "classification" and raw.groups is None and not raw.ordered
    if stratified:
        _check_classes(raw.y, raw.classes or ())
    held = held_out(raw.kin(np.arange(n)), round(n * test), seed, "test", leave=2)
    rest = np.setdiff1d(np.arange(n), held)
    chosen = rest[held_out(raw.kin(rest), max(1, round(n * validation)), seed, "validation")]
    train = np.setdiff1d(rest, chosen)
    if raw.task == "classification" and not stratified and raw.kind != "stream":
        _check_seen(raw, train)
    found = Splits(train, chosen, np.arange(len(raw.test[1])) if raw.test is not None else held)
    return Splits(found.train, found.validation, found.test, (*_manner(raw, found), *_leaks(raw, found)))


def held_out(kin: Kin, size: int, seed: int, purpose: str, leave: int = 1) -> np.ndarray:
    """Positions of about `size` rows to be held out, as their kin asks for it: see `split`. Of groups, where there are
    some, at least `leave` are left."""
    if kin.ordered:
        return np.arange(kin.rows - size, kin.rows)
    if kin.groups is not None:
        return group_part(kin.groups, size, seed, purpose, leave)
    return stratified_part(kin.classes, kin.rows, size, seed, purpose)


def group_part(groups: np.ndarray, size: int, seed: int, purpose: str, leave: int = 1) -> np.ndarray:
    """Positions of whole groups, drawn at random, that together come as near to `size` rows as the draw allows: at
    least one group, and at least `leave` are left. Raises DataError when there are too few groups for that."""
    if size <= 0:
        return np.empty(0, np.int64)
    names, counts = np.unique(groups, return_counts=True)
    most = len(names) - leave
    if most < 1:
        raise DataError(
            f"{len(names)} groups are too few: training and each part that is held out need one of their own"
        )
    order = list(range(len(names)))
    stream(seed, len(names), f"split-{purpose}").shuffle(order)
    taken: list[int] = []
    total = 0
    for i in order:
        if len(taken) < most and abs(total + counts[i] - size) < abs(total - size):
            taken.append(i)
            total += int(counts[i])
    return np.flatnonzero(np.isin(groups, names[taken or [int(counts.argmin())]]))


def part(raw: RawData, splits: Splits, name: Literal["train", "validation", "test"]) -> tuple[Features, np.ndarray]:
    """The rows (x, y) of one part, wherever they are kept."""
    rows = getattr(splits, name)
    x, y = raw.test if name == "test" and raw.test is not None else (raw.x, raw.y)
    return x[rows], y[rows]


def kin_of_test(raw: RawData, splits: Splits) -> Kin:
    """What the test rows are to each other. The groups of a test part that was given apart may be unknown."""
    apart = raw.test is not None
    groups = raw.test_groups if apart or raw.groups is None else raw.groups[splits.test]
    return Kin(len(splits.test), None, groups, raw.ordered)


def _check_classes(y: np.ndarray, classes: tuple[str, ...]) -> None:
    values, counts = np.unique(y, return_counts=True)
    single = [classes[v] if v < len(classes) else str(v) for v, c in zip(values, counts, strict=True) if c < 2]
    if single:
        raise DataError(f"{len(single)} classes have one row only (for example {single[0]!r}): they cannot be in "
                        "training and in validation; remove these rows or join the classes")  # fmt: skip


def _manner(raw: RawData, splits: Splits) -> list[str]:
    """How the rows were cut, where not at random."""
    if raw.ordered:
        return [
            "rows are in the order of time: validation and test are the latest; the interval of the verdict takes "
            "stretches of the test period as its items"
        ]
    if raw.groups is None:
        return []
    parts = [len(np.unique(raw.groups[rows])) for rows in (splits.train, splits.validation)]
    tested = kin_of_test(raw, splits).groups
    if tested is None:
        how = "; the test part was given without groups, so the interval of the verdict takes its rows for independent"
    else:
        how = f", {len(np.unique(tested)):,} for test; the interval of the verdict takes them, not rows, as its items"
    return [f"whole groups were held out: {parts[0]:,} for training, {parts[1]:,} for validation{how}"]


def _check_seen(raw: RawData, train: np.ndarray) -> None:
    unseen = sorted(set(np.unique(raw.y).tolist()) - set(np.unique(raw.y[train]).tolist()))
    if unseen:
        label = raw.classes[unseen[0]] if raw.classes else str(unseen[0])
        how = "later" if raw.ordered else "in other groups"
        raise DataError(f"class {label!r} has no row in the training part: all its rows are {how}; nothing can "
                        "be learned of it")  # fmt: skip


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
