"""Milliseconds of operations: a table that is measured here or read from a file, and what it says of the unknown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from searchitect.errors import DataError, UsageError
from searchitect.hardware.operations import Operation

LARGEST = 64 << 20  # bytes of a file
FEWEST = 3  # operations of a kind from which others of it are told
HOW = "operation,ms as CSV with these names in its first line, or JSON as `LatencyTable.write` makes it"


class Entry(msgspec.Struct, frozen=True):
    """One operation, by the name that `operations.operation` gives it."""

    operation: str
    ms: float
    macs: int = 0
    numbers: int = 0


class LatencyTable:
    """Milliseconds by operation. `device` says in words where they were measured.

    An operation that is not in it is told from those of its kind (else from all) by a + b · macs + c · numbers with
    a, b, c >= 0, fitted by least squares of the relative error, where the table knows these two of enough operations;
    `knows` says whether it is in the table. Raises UsageError for times below 0.
    """

    def __init__(self, entries: Iterable[Entry], device: str = "") -> None:
        self.entries = {entry.operation: entry for entry in entries}
        self.device = device
        wrong = next((e for e in self.entries.values() if not (math.isfinite(e.ms) and e.ms >= 0)), None)
        if wrong is not None:
            raise UsageError(f"latency table: {wrong.operation} takes {wrong.ms!r} ms; a time is a number of 0 or more")
        self._fits: dict[str, tuple[float, float, float] | None] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def knows(self, operation: Operation) -> bool:
        """Whether this very operation is in the table."""
        return operation.name in self.entries

    def ms(self, operation: Operation) -> float:
        """Milliseconds of an operation. Raises UsageError where neither it nor one of its kind is known."""
        found = self.entries.get(operation.name)
        if found is not None:
            return found.ms
        fit = self._fit(operation.kind) or self._fit("")
        if fit is None:
            raise UsageError(
                f"the latency table has no entry for {operation.name}, and too few with macs and numbers to tell it "
                "from: add it (searchitect.hardware.measured_table lists the operations of a space)"
            )
        return fit[0] + fit[1] * operation.macs + fit[2] * operation.numbers

    def _fit(self, kind: str) -> tuple[float, float, float] | None:
        if kind not in self._fits:
            rows = [e for e in self.entries.values() if e.numbers > 0 and e.ms > 0 and kind in ("", _kind(e.operation))]
            self._fits[kind] = _fit(rows) if len(rows) >= FEWEST else None
        return self._fits[kind]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {"format": 1, "unit": "ms", "device": self.device, "operations": msgspec.to_builtins(self._sorted())}

    def _sorted(self) -> list[Entry]:
        return [self.entries[name] for name in sorted(self.entries)]

    def write(self, path: str | Path) -> Path:
        """Write it as JSON, or as CSV where the name ends so."""
        path = Path(path)
        if path.suffix == ".csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(Entry.__struct_fields__)
            writer.writerows(msgspec.structs.astuple(entry) for entry in self._sorted())
            path.write_text(text.getvalue(), encoding="utf-8")
        else:
            path.write_text(json.dumps(self.plain(), indent=1), encoding="utf-8")
        return path

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> LatencyTable:
        """From plain data, as `plain` gives it. Raises DataError."""
        try:
            if plain["format"] != 1 or plain.get("unit", "ms") != "ms":
                raise DataError(f"latency table: format {plain['format']!r} in {plain.get('unit')!r} is not known")
            return cls(msgspec.convert(plain["operations"], list[Entry]), str(plain.get("device", "")))
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise DataError(f"this is no latency table ({error}); write {HOW}") from None

    @classmethod
    def read(cls, path: str | Path) -> LatencyTable:
        """From a file. Raises DataError that names it."""
        path = Path(path)
        try:
            if path.stat().st_size > LARGEST:
                raise DataError(f"{path} is larger than 64 MB, which is no latency table")
            text = path.read_text(encoding="utf-8-sig")
            if path.suffix == ".csv":
                return cls(_csv(text), f"{path.name}")
            return cls.of(json.loads(text))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read: {error}; write {HOW}") from None
        except (DataError, UsageError) as error:
            raise DataError(f"{path}: {error}") from None


def _csv(text: str) -> list[Entry]:
    reader = csv.DictReader(io.StringIO(text))
    if not {"operation", "ms"} <= set(reader.fieldnames or ()):
        raise DataError(f"its first line is {reader.fieldnames}; write {HOW}")
    return [
        Entry(row["operation"], float(row["ms"]), int(row.get("macs") or 0), int(row.get("numbers") or 0))
        for row in reader
    ]  # fmt: skip


def _kind(name: str) -> str:
    return name.partition("(")[0]


def _fit(rows: list[Entry]) -> tuple[float, float, float]:
    from scipy.optimize import nnls

    times = np.array([e.ms for e in rows])
    facts = np.array([[1.0, e.macs, e.numbers] for e in rows])
    scale = np.maximum(np.abs(facts).max(axis=0), 1.0)  # of one size, else the solver loses digits
    found, _ = nnls(facts / scale / times[:, None], np.ones(len(rows)))
    a, b, c = (found / scale).tolist()
    return a, b, c
