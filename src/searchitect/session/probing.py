"""Probe trainings: what one epoch costs here, measured before anything is planned."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable
from itertools import islice
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


def typical_architectures(prepared: Prepared) -> list[Architecture]:
    """Of random feasible architectures two: those whose MACs are nearest to the mean of the smaller and of the larger
    half (the first of each, where costs are unknown); one where there is only one.

    Their mean is the mean of all, and seconds are about a line over MACs: so they take, on average, the mean of all
    seconds, which is what a number of trials takes in all. Where a few are many times larger than most, a median
    promised three times the trials that came. Two err less than one: equal MACs may take half as long again.
    """
    return _typical(_with_macs(prepared))


def _with_macs(prepared: Prepared) -> list[tuple[int, Architecture]]:
    found = [(_macs(prepared, architecture), architecture) for architecture in _some_feasible(prepared)]
    return sorted(found, key=lambda one: one[0])


def _macs(prepared: Prepared, architecture: Architecture) -> int:
    """0 where they are not known."""
    try:
        return prepared.costs.of(architecture).macs if prepared.costs is not None else 0
    except (BuildError, TrialError):
        return 0


def _typical(found: list[tuple[int, Architecture]]) -> list[Architecture]:
    chosen = []
    for half in filter(None, (found[: len(found) // 2], found[len(found) // 2 :])):
        mean = statistics.fmean(macs for macs, _ in half)
        at = min(range(len(half)), key=[abs(macs - mean) for macs, _ in half].__getitem__)
        chosen.append(half[at][1])
    return list(dict.fromkeys(chosen))


def _some_feasible(prepared: Prepared) -> list[Architecture]:
    """At most `SAMPLES` random feasible architectures; where no random one is, some that were led to the limits."""
    space, seed = prepared.space, prepared.settings.seed
    drawn = (space.sample(stream(seed, i, "probe")) for i in range(TRIES))
    found = list(islice(filter(prepared.feasible, drawn), SAMPLES))
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
    """Train average networks of the space and the baseline side by side.

    Short epochs are measured again over four, since the first one also warms up. Raises StudyFailedError
    when nothing can be trained at all.
    """
    seed = derive(prepared.settings.seed, "probe")
    sampled = _with_macs(prepared)
    architectures = _typical(sampled)
    typical = [Task(-1, architecture.decisions, seed, 1) for architecture in architectures]
    baseline, baseline_macs = typical[0], 0
    if prepared.baseline_architecture is not None:
        baseline = msgspec.structs.replace(baseline, decisions=prepared.baseline_architecture.decisions)
        baseline_macs = _macs(prepared, prepared.baseline_architecture)
    elif prepared.baseline_factory is not None:
        baseline = msgspec.structs.replace(baseline, decisions={}, network="baseline")
    measured = _measured(executor, [*typical, baseline], interrupted)
    fallback = max([seconds for seconds in measured if seconds is not None], default=1.0)
    candidates = [seconds for seconds in measured[:-1] if seconds]
    macs = [*(_macs(prepared, architecture) for architecture in architectures), baseline_macs]
    points = [(n, seconds) for n, seconds in zip(macs, measured, strict=True) if n and seconds]
    return Probed(
        statistics.fmean(candidates) if candidates else fallback, measured[-1] or fallback,
        tuple(n for n, _ in sampled if n), tuple(points), baseline_macs,
    )  # fmt: skip


def _measured(executor: Executor, tasks: list[Task], interrupted: Callable[[], bool]) -> list[float | None]:
    """Seconds of an epoch of each; None for one that failed."""
    measured: list[float | None] = [None] * len(tasks)
    for epochs in (1, 4):
        outcomes = run_tasks(
            executor, [msgspec.structs.replace(task, epochs=epochs) for task in tasks], interrupt=interrupted
        )
        for i, outcome in enumerate(outcomes):
            if isinstance(outcome, Outcome) and outcome.epochs:
                measured[i] = outcome.seconds / outcome.epochs
            elif isinstance(outcome, Failed):
                log.warning("a probe training failed: %s", failure_line(outcome))
        known = [seconds for seconds in measured if seconds is not None]
        if not known and not interrupted():
            failed = next(o for o in outcomes if isinstance(o, Failed))
            raise StudyFailedError(f"the probe trainings failed ({failure_line(failed)})\n{failed.traceback}".rstrip())
        if interrupted() or min(known) > LONG_ENOUGH:
            break
    return measured
