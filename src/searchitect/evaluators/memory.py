"""How many rows of a batch a network may see at a time, so that its training fits into memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from searchitect.nets import Cost, Costs

LEAST = 2  # rows at a time: batch normalisation needs as many
SHARE = 0.8  # of what is free, for the trainings of all workers


def fewer(rows: int) -> int | None:
    """Half as many rows at a time; None where there is no fewer."""
    return None if rows <= LEAST else max(rows // 2, LEAST)


def rows_at_a_time(costs: Costs, cost: Cost, batch: int, room_mb: float | None) -> int | None:
    """So many rows at a time that activations, weights, gradients and the optimizer's moments fit into the room by the
    tables of costs; None for the whole batch. What they need beyond that shows when it is tried."""
    rows: int | None = None
    while room_mb is not None and costs.training_mb(cost, rows or batch) > room_mb:
        less = fewer(rows or batch)
        if less is None:
            break
        rows = less
    return rows


def told(rows: int, batch: int, why: str) -> str:
    """What a trial notes of it."""
    return f"{why}: {rows} of {batch} rows at a time, gradients summed over the batch (BatchNorm sees {rows} rows)"


def room_mb(limit_mb: float | None, workers: int, machine_mb: float) -> float | None:
    """Megabytes for one training: the limit of a worker, else its part of what is free on this machine (and in the
    control group that holds us); None where nobody knows."""
    if limit_mb is not None:
        return limit_mb
    free = [amount for amount in (machine_mb, _available_mb()) if amount > 0]
    return SHARE * min(free) / workers if free else None


def _available_mb(meminfo: Path = Path("/proc/meminfo")) -> float:
    with suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
