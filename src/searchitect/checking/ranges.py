"""The range of what a space's networks cost: quantiles of a sample, ends found by climbing, milliseconds here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from searchitect.checking.choices import variants
from searchitect.errors import BuildError, TrialError
from searchitect.hardware import measured
from searchitect.nets import Cost, Costs, build
from searchitect.seeds import stream
from searchitect.space import Architecture

STEPS = 300  # costs counted on the way to one end
TIMED = 5  # networks whose latency is measured
SECONDS = 1.5  # at most, for all networks together


class Range(NamedTuple):
    """min and max are the smallest and largest found, median that of the sample."""

    min: float
    median: float
    max: float


class Latency(NamedTuple):
    """Milliseconds of one row on this machine's CPU. uncertainty: the widest half interval over its median."""

    range: Range
    values: tuple[float, ...]
    uncertainty: float


def ranges(costs: Costs, known: Sequence[tuple[Architecture, Cost]], seed: int, climb: bool) -> dict[str, Range]:
    """The range of each cost over valid networks. `climb`: the sample is not all there is, so look for the ends."""
    found = {}
    for metric in Cost._fields:
        values = [getattr(cost, metric) for _, cost in known]
        low, high = min(values), max(values)
        if climb:
            low, high = (_end(costs, known, metric, sign, seed) for sign in (1, -1))
        found[metric] = Range(low, statistics.median(values), high)
    return found


def _end(costs: Costs, known: Sequence[tuple[Architecture, Cost]], metric: str, sign: int, seed: int) -> float:
    """The smallest (sign 1) or largest (-1) cost: from the best of the sample, one decision at a time, twice."""
    architecture, best = min(((a, float(sign * getattr(c, metric))) for a, c in known), key=lambda pair: pair[1])
    draws, counted = stream(seed, sign, f"check {metric}"), 0
    for _ in range(2):
        for decision in costs.space.decisions:
            if decision.name not in architecture.decisions:
                continue
            for other in variants(costs.space, architecture, decision, draws):
                if counted >= STEPS:
                    return float(sign * best)
                counted += 1
                try:
                    value = float(sign * getattr(costs.of(other), metric))
                except (BuildError, TrialError):
                    continue
                if value < best:
                    architecture, best = other, value
    return float(sign * best)


def latency(costs: Costs, known: Sequence[tuple[Architecture, Cost]]) -> Latency:
    """Milliseconds of networks from the fewest to the most MACs of the sample, by `hardware.clock`.

    One row, evaluation mode, as many threads as torch has here; within a few seconds.
    """
    ordered = [a for a, _ in sorted(known, key=lambda pair: pair[1].macs)]
    chosen = [ordered[round(i * (len(ordered) - 1) / (TIMED - 1))] for i in range(TIMED)]
    networks = [build(costs.space, a, costs.shape, outputs=costs.outputs) for a in dict.fromkeys(chosen)]
    timings = measured(networks, costs.shape, seconds=SECONDS / len(networks))
    values = tuple(one.ms for one in timings)
    spread = max(one.uncertainty for one in timings)
    return Latency(Range(min(values), statistics.median(values), max(values)), values, spread)
