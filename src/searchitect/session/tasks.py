"""Running a handful of tasks side by side and waiting for all: probes and the final trainings."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from searchitect.evaluators.base import Outcome, Task
from searchitect.executors import Executor, Failed, Finished
from searchitect.records import Cause
from searchitect.session.pacing import Pace

FIRST_TICKET = 1_000_000_000  # above all trial numbers
RETRIES = 2


def run_tasks(
    executor: Executor, tasks: Sequence[Task], *, interrupt: Callable[[], bool] = lambda: False,
    each: Callable[[int], None] = lambda _done: None, time_limit: float | None = None, grace: float = 5.0,
    pace: Pace | None = None,
) -> list[Outcome | Failed]:  # fmt: skip
    """The outcomes in the order of the tasks; a Failed where one failed (after retries for machine faults).

    When `interrupt` says so, running tasks are asked to stop and get `grace` seconds; what did not end is
    Failed("killed"). With a `pace` tasks are handed out only as workers become free, as it then wants them.
    """
    answers: dict[int, Outcome | Failed] = {}
    payloads: dict[int, dict[str, Any]] = {}
    attempts: dict[int, int] = {}
    waiting = deque(range(len(tasks)))

    def hand_out() -> None:
        while waiting and (pace is None or len(attempts) - len(answers) < executor.slots):
            i = waiting.popleft()
            payloads[i] = msgspec.to_builtins(tasks[i] if pace is None else pace.begin(i))
            attempts[i] = 1
            executor.submit(FIRST_TICKET + i, payloads[i], time_limit=time_limit)

    def answered(i: int, answer: Outcome | Failed) -> None:
        answers[i] = answer
        if pace is not None:
            pace.ended(i, answer)
        each(len(answers))

    hand_out()
    killing: float | None = None  # the monotonic clock from which what still runs is killed
    while len(answers) < len(tasks):
        for event in executor.wait(0.25):
            i = event.ticket - FIRST_TICKET
            if isinstance(event, Finished):
                answered(i, msgspec.convert(event.result, Outcome))
            elif isinstance(event, Failed):
                if event.retryable and attempts[i] <= RETRIES and killing is None:
                    attempts[i] += 1
                    executor.submit(event.ticket, payloads[i], time_limit=time_limit, attempt=attempts[i])
                    continue
                answered(i, event)
        if killing is None:
            hand_out()
        if interrupt() and killing is None:
            killing = time.monotonic() + grace
            for i in attempts:
                executor.stop(FIRST_TICKET + i)
            answers |= {i: Failed(FIRST_TICKET + i, Cause.KILLED, "it had not begun") for i in waiting}
            waiting.clear()
        if killing is not None and time.monotonic() >= killing:
            for i in set(attempts) - set(answers):
                executor.kill(FIRST_TICKET + i)
    return [answers[i] for i in range(len(tasks))]


def failure_line(failed: Failed) -> str:
    """One line about a failed task."""
    cause = failed.cause if failed.cause in set(Cause) else "failed"
    return f"{cause}: {failed.message}"
