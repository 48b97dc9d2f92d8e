"""Probe trainings: what one epoch costs here, measured before anything is planned."""

from __future__ import annotations

import itertools
import logging
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from searchitect.errors import BuildError, StudyFailedError, TrialError
from searchitect.evaluators.base import Outcome, Task
from searchitect.executors import Executor, Failed
from searchitect.seeds import derive, stream
from searchitect.session.preparing import Prepared
from searchitect.session.tasks import failure_line, run_tasks
from searchitect.space import Architecture
from searchitect.strategies.base import Setting, led_to_limits

log = logging.getLogger(__name__)

SAMPLES = 100
TRIES = 1_000
LED = 10
LONG_ENOUGH = 1.0  # seconds of an epoch from which the warm-up no longer matters


class Probed(NamedTuple):
    """What the probe trainings said.

    candidate, baseline: seconds of one epoch of an average network of the space, and of the baseline.
    sampled: multiply-accumulates of random feasible networks, from small to large; () where they are not known.
    points: (multiply-accumulates, seconds of one epoch) of the networks that were trained.
    baseline_macs: of the hand-made network, where it is one of the space; else 0.
    """

    candidate: float
    baseline: float
    sampled: tuple[int, ...] = ()
    points: tuple[tuple[int, float], ...] = ()
    baseline_macs: int = 0


def typical_architectures(prepared: Prepared, parts: int = 2) -> list[Architecture]:
    """One of each part of random feasible architectures, which are sorted by MACs: the one whose MACs are nearest to
    the mean of its part (the first of each, where costs are unknown); fewer where there are fewer.

    Their mean is the mean of all, and seconds are about a line over MACs: so they take, on average, the mean of all
    seconds, which is what a number of trials takes in all. Where a few are many times larger than most, a median
    promised three times the trials that came. Several err less than one: equal MACs may take half as long again.
    """
    return _typical(_with_macs(prepared), parts)


def _with_macs(prepared: Prepared) -> list[tuple[int, Architecture]]:
    found = [(_macs(prepared, architecture), architecture) for architecture in _some_feasible(prepared)]
    return sorted(found, key=lambda one: one[0])


def _macs(prepared: Prepared, architecture: Architecture) -> int:
    """0 where they are not known."""
    try:
        return prepared.costs.of(architecture).macs if prepared.costs is not None else 0
    except (BuildError, TrialError):
        return 0


def _typical(found: list[tuple[int, Architecture]], parts: int) -> list[Architecture]:
    bounds = [len(found) * i // parts for i in range(parts + 1)]
    chosen = []
    for start, stop in itertools.pairwise(bounds):
        part = found[start:stop]
        if part:
            mean = statistics.fmean(macs for macs, _ in part)
            chosen.append(part[min(range(len(part)), key=[abs(macs - mean) for macs, _ in part].__getitem__)][1])
    return list(dict.fromkeys(chosen))


def _some_feasible(prepared: Prepared) -> list[Architecture]:
    """At most `SAMPLES` random feasible architectures; where no random one is, some that were led to the limits."""
    space, seed = prepared.space, prepared.settings.seed
    drawn = (space.sample(stream(seed, i, "probe")) for i in range(TRIES))
    found = list(itertools.islice(filter(prepared.feasible, drawn), SAMPLES))
    if not found:
        limits = Setting(space, prepared.objectives, seed, feasible=prepared.feasible, excess=prepared.excess)
        sources = [stream(seed, i, "limits") for i in range(LED)]
        led = [led_to_limits(limits, source, space.sample(source)) for source in sources]
        found = [architecture for architecture in led if architecture is not None]
    if not found:
        raise StudyFailedError(
            f"none of {TRIES:,} random architectures keeps the limits, nor do mutations lead to one: loosen a limit "
            "or widen the space"
        )
    return found


def probe(prepared: Prepared, executor: Executor, interrupted: Callable[[], bool]) -> Probed:
    """Train average networks of the space and the baseline side by side, for an epoch.

    The first epoch also warms up, so what took less than a second is measured again over four; where everything did,
    with four networks of the space instead of two. Raises StudyFailedError when nothing can be trained at all.
    """
    seed, sampled = derive(prepared.settings.seed, "probe"), _with_macs(prepared)
    few = _probes(prepared, _typical(sampled, 2), seed)
    seconds = _measured(executor, few, 1, interrupted)
    if not interrupted() and any(s is not None and s <= LONG_ENOUGH for s in seconds):
        if all(s is not None and s <= LONG_ENOUGH for s in seconds):
            few = _probes(prepared, _typical(sampled, 4), seed)
            seconds = _measured(executor, few, 4, interrupted)
        else:
            quick = [i for i, s in enumerate(seconds) if s is not None and s <= LONG_ENOUGH]
            again = _measured(executor, [few[i] for i in quick], 4, interrupted)
            for i, found in zip(quick, again, strict=True):
                seconds[i] = found or seconds[i]
    return _probed(sampled, few, seconds)


def _probes(prepared: Prepared, architectures: list[Architecture], seed: int) -> list[tuple[int, Task]]:
    """Multiply-accumulates and training of each, the baseline last."""
    found = [(_macs(prepared, one), Task(-1, one.decisions, seed, 1)) for one in architectures]
    macs, baseline = 0, found[0][1]
    if prepared.baseline_architecture is not None:
        macs = _macs(prepared, prepared.baseline_architecture)
        baseline = msgspec.structs.replace(baseline, decisions=prepared.baseline_architecture.decisions)
    elif prepared.baseline_factory is not None:
        baseline = msgspec.structs.replace(baseline, decisions={}, network="baseline")
    return [*found, (macs, baseline)]


def _probed(
    sampled: Sequence[tuple[int, Architecture]], probes: Sequence[tuple[int, Task]], seconds: Sequence[float | None]
) -> Probed:
    fallback = max([s for s in seconds if s is not None], default=1.0)
    candidates = [s for s in seconds[:-1] if s]
    points = [(macs, s) for (macs, _), s in zip(probes, seconds, strict=True) if macs and s]
    return Probed(
        statistics.fmean(candidates) if candidates else fallback, seconds[-1] or fallback,
        tuple(macs for macs, _ in sampled if macs), tuple(points), probes[-1][0],
    )  # fmt: skip


def _measured(
    executor: Executor, probes: Sequence[tuple[int, Task]], epochs: int, interrupted: Callable[[], bool]
) -> list[float | None]:
    """Seconds of an epoch of each; None for one that failed."""
    tasks = [msgspec.structs.replace(task, epochs=epochs) for _, task in probes]
    outcomes = run_tasks(executor, tasks, interrupt=interrupted)
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            log.warning("a probe training failed: %s", failure_line(outcome))
    measured = [o.seconds / o.epochs if isinstance(o, Outcome) and o.epochs else None for o in outcomes]
    if all(s is None for s in measured) and not interrupted():
        failed = next(o for o in outcomes if isinstance(o, Failed))
        raise StudyFailedError(f"the probe trainings failed ({failure_line(failed)})\n{failed.traceback}".rstrip())
    return measured
