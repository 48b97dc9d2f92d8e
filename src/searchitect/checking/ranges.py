"""The range of what a space's networks cost: quantiles of a sample, ends found by climbing, milliseconds here."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from searchitect.checking.choices import variants
from searchitect.errors import BuildError, TrialError
from searchitect.nets import Cost, Costs, build
from searchitect.seeds import stream
from searchitect.space import Architecture
from searchitect.training.meters import evaluating

STEPS = 300  # costs counted on the way to one end
TIMED = 5  # networks whose latency is measured
ROUNDS, WARM = 15, 3
PRECISE = 0.05  # half of the interval over the median: then measuring ends
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
    """Milliseconds of networks from the fewest to the most MACs of the sample, measured in turns.

    Protocol: three runs to warm up, then one run of each network a round, until the 95 % interval of every median is
    within 5 %, or 2 s are over. One row, evaluation mode, as many threads as torch has here.
    """
    ordered = [a for a, _ in sorted(known, key=lambda pair: pair[1].macs)]
    chosen = [ordered[round(i * (len(ordered) - 1) / (TIMED - 1))] for i in range(TIMED)]
    networks = [build(costs.space, a, costs.shape, outputs=costs.outputs).eval() for a in dict.fromkeys(chosen)]
    x = torch.linspace(-1, 1, math.prod(costs.shape)).reshape(1, *costs.shape)
    times = measure(networks, x)
    medians = tuple(statistics.median(row) * 1e3 for row in times)
    return Latency(Range(min(medians), statistics.median(medians), max(medians)), medians, max(map(half_width, times)))


def measure(networks: Sequence[nn.Module], x: torch.Tensor) -> list[list[float]]:
    """Seconds of each network, in turns."""
    times: list[list[float]] = [[] for _ in networks]
    begun, rounds = time.perf_counter(), 0
    for network in networks:
        with evaluating(network):
            for _ in range(WARM):
                network(x)
    while rounds < ROUNDS or (max(map(half_width, times)) > PRECISE and time.perf_counter() - begun < SECONDS):
        rounds += 1
        for network, row in zip(networks, times, strict=True):
            with evaluating(network):
                start = time.perf_counter()
                network(x)
                row.append(time.perf_counter() - start)
        if time.perf_counter() - begun > 2 * SECONDS:
            break
    return times


def half_width(times: Sequence[float]) -> float:
    """Half of the 95 % interval of the median, over the median: order statistics n/2 ± 0.98 √n (binomial)."""
    ordered, n = sorted(times), len(times)
    reach = 0.98 * math.sqrt(n)
    low, high = max(0, math.floor(n / 2 - reach)), min(n - 1, math.ceil(n / 2 + reach))
    return (ordered[high] - ordered[low]) / 2 / statistics.median(ordered)
