"""Milliseconds of networks on this device, by a protocol that says how sure it is."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from searchitect.errors import UsageError
from searchitect.training.meters import evaluating

PRECISE = 0.05  # half of the interval over the median: then measuring ends
FEWEST, LEAST, MOST = 3, 9, 400  # turns: where time is up, where it is not, and at most
TURN = 4e-3  # seconds of one turn at least; its first pass brings the weights back into the caches and is left out
PASSES = 3  # of a turn at least
WARM = 0.03  # seconds of warming up at least
LATE = 1e-5  # seconds of waiting for a core from which a pass was interrupted


class Timing(NamedTuple):
    """A median with its 95 % interval, and from how many turns it comes. All in milliseconds."""

    ms: float
    low: float
    high: float
    turns: int

    @property
    def uncertainty(self) -> float:
        """Half of the interval over the median."""
        return (self.high - self.low) / 2 / self.ms if self.ms > 0 else 0.0


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """A distribution-free interval of the median: two order statistics, by the binomial distribution (Conover 1999,
    section 3.2). The ends of the sample where it is too small for the confidence.
    """
    ordered, n = sorted(values), len(values)
    tail, below = (1 - confidence) / 2, 0.0
    for k in range(n // 2 + 1):  # below = P(fewer than k + 1 of n values are under the median)
        below += math.comb(n, k) * 0.5**n
        if below > tail:
            k = max(k - 1, 0)
            return ordered[k], ordered[n - 1 - k]
    return ordered[0], ordered[-1]


def timing(turns: Sequence[float]) -> Timing:
    """What turns (milliseconds) say together."""
    return Timing(statistics.median(turns), *median_interval(turns), len(turns))


def in_turns(
    runs: Sequence[Callable[[], Any]], *, precision: float = PRECISE, seconds: float = 5.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:  # fmt: skip
    """Time several functions in turns, so that what else the machine does meets all of them alike.

    A turn is some passes of one function, and its number is the fastest of them: what comes from outside only ever
    adds. Passes during which other processes had the core do not count, where the system tells (`waited`).
    Turns are more alone than passes: the interval of their median is not made narrow by a burst of load that slows
    twenty passes in a row. It ends when every interval is within `precision` of its median, or after `seconds` (but
    never before 3 turns of each).
    """
    if not runs:
        return []
    counts = [warm(run, clock) for run in runs]
    turns: list[list[float]] = [[] for _ in runs]
    end = clock() + seconds
    for number in range(MOST):
        if number >= FEWEST and clock() >= end:
            break
        if number >= LEAST and all(timing(row).uncertainty <= precision for row in turns):
            break
        for run, count, row in zip(runs, counts, turns, strict=True):
            row.append(fastest(passes(run, count, clock)[1:]) * 1e3)
    return [timing(row) for row in turns]


def warm(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> int:
    """Warm up; the passes of one turn, by what a warm pass takes."""
    begun, found = clock(), passes(run, 3, clock)
    while clock() - begun < WARM:
        found += passes(run, 1, clock)
    usual = max(min(one.wall for one in found), 1e-7)
    return 1 + max(PASSES, math.ceil(TURN / usual))


class Pass(NamedTuple):
    """Seconds of one call, and those around it in which the thread was ready to run but others had its core."""

    wall: float
    waited: float


def passes(run: Callable[[], Any], count: int, clock: Callable[[], float] = time.perf_counter) -> list[Pass]:
    """Call a function so many times."""
    found, counter = [], waited if clock is time.perf_counter else float
    before = counter()
    for _ in range(count):
        begun = clock()
        run()
        taken, after = clock() - begun, counter()
        found.append(Pass(taken, after - before))
        before = after
    return found


def fastest(found: Sequence[Pass]) -> float:
    """The fastest of the passes that nobody interrupted; where each was, the median of what is left of them."""
    whole = [one.wall for one in found if one.waited < LATE]
    return min(whole) if whole else statistics.median(max(one.wall - one.waited, 0.0) for one in found)


def waited() -> float:
    """Seconds that this thread has waited for a core since it began, by Linux' scheduler; 0 where nobody counts."""
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
            return int(file.read(100).split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def rows(sample: Sequence[int] | Tensor, batch: int, device: str | torch.device) -> Tensor:
    """An input (B, ...) of so many rows: that of a sample (1, ...), or numbers from -1 to 1 in the shape of one row."""
    if isinstance(sample, Tensor):
        row = sample[0]
    else:
        row = torch.linspace(-1, 1, math.prod(sample)).reshape(*sample)
    return row.to(device).expand(batch, *row.shape).contiguous()


def measured(
    models: Iterable[nn.Module], sample: Sequence[int] | Tensor, *, batch: int = 1, device: str | torch.device = "cpu",
    precision: float = PRECISE, seconds: float = 5.0, threads: int | None = None,
) -> list[Timing]:  # fmt: skip
    """Milliseconds of one forward pass of `batch` rows in evaluation mode, for several networks in turns.

    sample:  the shape of one row, or a tensor (1, ...). threads: of torch while it is measured; None: as it is.
    The caller sees to it that nothing else runs.
    """
    if batch < 1 or not precision > 0 or not seconds > 0:
        raise UsageError(f"measured: batch={batch}, precision={precision}, seconds={seconds}: all must be above 0")
    x, before, models = rows(sample, batch, device), torch.get_num_threads(), list(models)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with ExitStack() as stack:
            for model in models:
                stack.enter_context(evaluating(model))
            runs = [pass_of(model, x) for model in models]
            return in_turns(runs, precision=precision, seconds=seconds * max(len(runs), 1))
    finally:
        torch.set_num_threads(before)


def pass_of(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """One pass of a network as a function that returns when it is done."""
    cuda = x.is_cuda

    def run() -> None:
        model(x)
        if cuda:
            torch.cuda.synchronize(x.device)

    return run
