"""Running a handful of tasks side by side and waiting for all: probes and the final trainings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from searchitect.evaluators.base import Outcome, Task
from searchitect.executors import Executor, Failed, Finished
from searchitect.records import Cause

FIRST_TICKET = 1_000_000_000  # above all trial numbers
RETRIES = 2


def run_tasks(
    executor: Executor, tasks: Sequence[Task], *, interrupt: Callable[[], bool] = lambda: False,
    each: Callable[[int], None] = lambda _done: None, time_limit: float | None = None, grace: float = 5.0,
) -> list[Outcome | Failed]:  # fmt: skip
    """The outcomes in the order of the tasks; a Failed where one failed (after retries for machine faults).

    When `interrupt` says so, running tasks are asked to stop and get `grace` seconds; what did not end is
    Failed("killed").
    """
    answers: dict[int, Outcome | Failed] = {}
    payloads: list[dict[str, Any]] = [msgspec.to_builtins(task) for task in tasks]
    attempts = dict.fromkeys(range(len(tasks)), 1)
    for i, payload in enumerate(payloads):
        executor.submit(FIRST_TICKET + i, payload, time_limit=time_limit)
    killing: float | None = None  # the monotonic clock from which what still runs is killed
    while len(answers) < len(tasks):
        for event in executor.wait(0.25):
            i = event.ticket - FIRST_TICKET
            if isinstance(event, Finished):
                answers[i] = msgspec.convert(event.result, Outcome)
                each(len(answers))
            elif isinstance(event, Failed):
                if event.retryable and attempts[i] <= RETRIES and killing is None:
                    attempts[i] += 1
                    executor.submit(event.ticket, payloads[i], time_limit=time_limit, attempt=attempts[i])
                    continue
                answers[i] = event
                each(len(answers))
        if interrupt() and killing is None:
            killing = time.monotonic() + grace
            for i in attempts:
                executor.stop(FIRST_TICKET + i)
        if killing is not None and time.monotonic() >= killing:
            for i in set(attempts) - set(answers):
                executor.kill(FIRST_TICKET + i)
    return [answers[i] for i in range(len(tasks))]


def failure_line(failed: Failed) -> str:
    """One line about a failed task."""
    cause = failed.cause if failed.cause in set(Cause) else "failed"
    return f"{cause}: {failed.message}"
