"""One driver, up to a thousand workers: how busy they are, in virtual time with real costs.

    python benchmarks/asynchrony.py [--quick] [--strategies a,b] [--workers N ...] [--disk-ms MS]

The study's own loop and store run with an executor whose workers only exist in virtual time. A task takes the
training time that NAS-Bench-201 gives for its architecture (12 epochs on CIFAR-10, 113 s in the mean over the table;
`valid_acc` with 12 and 200 epochs for those that promote). Whatever the driver does is charged to virtual time at
its measured CPU cost: ask, tell, canonical key, store; meanwhile workers that have ended wait. `--disk-ms` adds
that long for each transaction.

Utilisation = time that workers train / (workers × time until the last task was given out); each worker gets about
ten tasks. Bar: 97 % at 1,000 workers for evolution and ASHA. `limit` is the number of workers at which the driver
could hand out no more: mean training time / CPU time per trial, at the last tenth of the trials (strategies that
learn a model grow slower). Slow strategies end after `--cpu` CPU seconds, at the trials they got to. Exits with 1
below a bar.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from searchitect.bench import Table, load_table
from searchitect.engine.ledger import Ledger
from searchitect.engine.loop import Limits, Loop
from searchitect.engine.reuse import Reuse
from searchitect.executors import Event, Executor, Finished
from searchitect.records import Trial, objectives
from searchitect.space import Architecture
from searchitect.store import Store
from searchitect.strategies import STRATEGIES, Setting, make_strategy

WORKERS = (10, 100, 1000)
TASKS = 10  # per worker
BAR, HELD = 0.97, ("regularized-evolution", "asha")
PROMOTING = {
    "asha": {"rungs": [12, 200]},
    "hyperband": {"rungs": [12, 200]},
    "successive-halving": {"rungs": [12, 200]},
}


class Virtual(Executor):
    """Workers in virtual time. The clock is the driver's CPU time plus what it waited for workers."""

    def __init__(self, table: Table, texts: list[str], slots: int, cpu: float, disk: float) -> None:
        self.slots, self.cpu, self.disk = slots, cpu, disk
        self.space, self.find = table.space, table.row
        self.reading = table.reading(table.objectives(texts))
        self.running: list[tuple[float, int, int, int]] = []  # a heap of (end, ticket, row, level)
        self.busy: list[tuple[float, float]] = []
        self.waited = 0.0
        self.last = self.began = time.process_time()
        self.given: list[float] = []  # CPU time at each submission

    def clock(self) -> float:
        """Virtual seconds since the beginning."""
        return time.process_time() - self.began + self.waited

    def start(self, function: Any) -> None: ...

    def submit(
        self, ticket: int, payload: Mapping[str, Any], *, time_limit: float | None = None, attempt: int = 1
    ) -> None:
        row = self.find(Architecture(self.space.fingerprint, payload["decisions"]))
        level, now = payload["level"], self.clock()
        end = now + self.reading.levels[level].seconds[row]
        self.busy.append((now, end))
        self.given.append(time.process_time() - self.began)
        self.last = now
        heapq.heappush(self.running, (end, ticket, row, level))

    def wait(self, timeout: float | None) -> list[Event]:
        """Let virtual time pass until the next end; then all that have ended."""
        self.waited += self.disk + max(0.0, self.running[0][0] - self.clock())
        found: list[Event] = []
        now = self.clock()
        while self.running and self.running[0][0] <= now:
            _, ticket, row, level = heapq.heappop(self.running)
            metrics = {name: values[row] for name, values in self.reading.levels[level].values}
            found.append(Finished(ticket, {"metrics": metrics, "seconds": self.reading.levels[level].seconds[row]}))
        return found

    def interrupted(self) -> bool:
        """Whether the CPU seconds are used up."""
        return time.process_time() - self.began > self.cpu

    def stop(self, ticket: int) -> None: ...

    def kill(self, ticket: int) -> None: ...

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self, grace: float = 0.0) -> None: ...

    def utilisation(self) -> float:
        trained = sum(min(end, self.last) - begin for begin, end in self.busy)
        return trained / (self.slots * self.last)


def never_equal(space: Any) -> Reuse:
    """Keys are computed, as in a study, but no two trials share one: a thousand workers would soon know the table."""
    reuse = Reuse(space, "bench")
    key = reuse.key
    reuse.key = lambda proposal, number: f"{key(proposal, number)}/{number}"  # type: ignore[method-assign]
    return reuse


def run(name: str, workers: int, cpu: float, disk: float) -> tuple[float, float, float, int, float]:
    """(utilisation, CPU ms per trial in all, the same over the last tenth, trials, seconds of a training)."""
    table = load_table("nb201-cifar10")
    texts = ["valid_acc"] if name in PROMOTING else ["valid_acc_12ep"]
    executor = Virtual(table, texts, workers, cpu, disk)
    reading, aims = executor.reading, objectives(f"max {texts[0]}")
    strategy = make_strategy(name, Setting(table.space, aims, 0, reading.fidelity), dict(PROMOTING.get(name, {})))

    def payload(trial: Trial, _incumbent: Trial | None) -> dict[str, Any]:
        return {"decisions": trial.architecture.decisions, "level": reading.level(trial.proposal.fidelity)}

    with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "s", {"name": "bench"}) as store:
        ledger = Ledger(table.space, store, strategy, aims, never_equal(table.space), 0, clock=executor.clock)
        limits = Limits(trials=TASKS * workers)
        loop = Loop(ledger, executor, payload, limits, interrupt=executor.interrupted, clock=executor.clock)
        executor.began = time.process_time()
        loop.run()
    given = executor.given
    tenth = max(1, len(given) // 10)
    late = (given[-1] - given[-1 - tenth]) / tenth if len(given) > tenth else given[-1] / len(given)
    trained = sum(end - begin for begin, end in executor.busy) / len(given)
    return executor.utilisation(), 1e3 * given[-1] / len(given), 1e3 * late, len(given), trained


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="evolution and ASHA with 1,000 workers only")
    parser.add_argument("--strategies", help="names with commas (default: all)")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=WORKERS, help="numbers of workers (default: 10 100 1000)"
    )
    parser.add_argument("--cpu", type=float, default=60.0, help="CPU seconds after which a run ends")
    parser.add_argument("--disk-ms", type=float, default=0.0, help="time of each transaction's sync")
    given = parser.parse_args()
    names = given.strategies.split(",") if given.strategies else list(HELD) if given.quick else list(STRATEGIES)
    below = False
    print(f"{'strategy':22} {'workers':>7} {'trials':>7} {'utilisation':>11} {'ms/trial':>9} {'late':>7} {'limit':>9}")
    for name in names:
        for workers in (1000,) if given.quick else given.workers:
            share, cost, late, trials, mean = run(name, workers, given.cpu, given.disk_ms / 1e3)
            print(
                f"{name:22} {workers:7,} {trials:7,} {share:11.1%} {cost:9.2f} {late:7.2f} {1e3 * mean / late:9,.0f}",
                flush=True,
            )
            below = below or (name in HELD and share < BAR)
    return int(below)


if __name__ == "__main__":
    sys.exit(main())
