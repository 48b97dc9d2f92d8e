"""How fast the machine trains, by the trials of a study: other work on it comes and goes."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Sequence

from searchitect.records import Trial

LATEST = 6  # trials by which the machine's speed is judged
MOST_CROWDED = 4.0
GIVES_WAY = 0.6
NOTICEABLE = 1.1  # below, it is not said to have changed


class Speed:
    """How long an epoch of each trial takes now: what it took then, times how much slower the machine has become.

    Seconds of an epoch are a line over multiply-accumulates, fitted to the trials before the latest; the machine is as
    much slower as the median of the latest `LATEST` is above that line. Where sizes are not known, or there are too few
    trials, nothing is concluded. A machine that became faster changes nothing: that may not last.
    """

    def __init__(self, trials: Iterable[Trial]) -> None:
        known = [(t.finished or 0.0, t, m) for t in trials if (m := t.value("macs")) and t.source is None]
        own = [(trial, macs) for _, trial, macs in sorted(known, key=lambda k: (k[0], k[1].number))]
        own = [(trial, macs) for trial, macs in own if epoch_seconds(trial) > 0]
        before, latest = own[:-LATEST], own[-LATEST:]
        self.latest = {trial.number for trial, _ in latest}
        self.slower = 1.0
        if len(before) >= LATEST:
            line = _line([macs for _, macs in before], [epoch_seconds(trial) for trial, _ in before])
            found = statistics.median(epoch_seconds(trial) / line(macs) for trial, macs in latest)
            self.slower = max(1.0, found) if found > NOTICEABLE else 1.0

    def epoch(self, trial: Trial) -> float:
        """Seconds of an epoch of this trial's network on all training rows, were it trained now."""
        return epoch_seconds(trial) * (1.0 if trial.number in self.latest else self.slower)


def _line(x: Sequence[float], y: Sequence[float]) -> Callable[[float], float]:
    """Least squares; a slope or a beginning below zero is none. Never below the least of y."""
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    square = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / square if square > 0 else 0.0
    slope = max(slope, 0.0)
    if mean_y < slope * mean_x:
        slope = mean_y / mean_x
    return lambda a: max(mean_y + slope * (a - mean_x), min(y))


def epoch_seconds(trial: Trial) -> float:
    """Seconds of one epoch on all training rows, by what this trial took."""
    measured = trial.measurement
    if measured is None:
        return 0.0
    return measured.seconds / max(measured.epochs, 1) / trial.proposal.fidelity.data


def crowded(workers: int) -> float:
    """How many times longer one process takes beside what else this machine does, by the load of the last minute.

    Our own `workers` are part of that load, and idle when bundle and report are written: `load - workers` others and
    this process share the cores; other work also ends, waits or gives way, hence the power (bundle and report took 6 to
    12 s at a load of 8 on two cores, 16 to 19 s at 17, where 4 s are computing). 1 where there is room, or where the
    load is not told (Windows); 4 at most.
    """
    try:
        load = os.getloadavg()[0]
    except (OSError, AttributeError):
        return 1.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return float(min(max((load - workers + 1) / cores, 1.0) ** GIVES_WAY, MOST_CROWDED))
