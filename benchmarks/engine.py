"""Engine overhead: trials per CPU second with an instant objective, in memory and on disk.

    python benchmarks/engine.py [--quick]

Space A: 6 decisions of 5 options (as in NAS-Bench-201), space B: 28 such decisions. Bars: 25,000 ask/tell per
CPU second on A and 12,000 on B in memory; 2,000 durable trials (each finished trial synced to disk, canonical
key and reuse look-up included). Exits with 1 below a bar. CPU seconds of this process, median of three rounds.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from searchitect.executors import Executor, Finished
from searchitect.loop import Limits, Loop
from searchitect.records import Measurement, State, Trial, objectives
from searchitect.reuse import Reuse
from searchitect.space import Layer, Space, one_of
from searchitect.store import Store
from searchitect.strategies import STRATEGIES, Setting, make_strategy

GOALS = objectives("accuracy")


def cells(edges: int) -> Space:
    ops = ("none", "skip", "conv1", "conv3", "pool")
    return Space(
        Layer("bench.Cell", {"edges": [one_of(**{op: Layer(f"bench.{op}", {}) for op in ops}) for _ in range(edges)]})
    )


def value_of(number: int) -> float:
    return (number * 7919 % 1000) / 1000


def in_memory(space: Space, name: str, trials: int) -> float:
    strategy = make_strategy(name, Setting(space, GOALS, 0))
    began = time.process_time()
    for number in range(trials):
        (proposal,) = strategy.ask(1)
        strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement({"accuracy": value_of(number)})))
    return trials / (time.process_time() - began)


class Instant(Executor):
    """Finishes every ticket at once."""

    slots = 1

    def start(self, function: Callable) -> None:
        self.tickets: list[int] = []

    def submit(self, ticket: int, payload: dict, *, time_limit: float | None = None, attempt: int = 1) -> None:
        self.tickets.append(ticket)

    def wait(self, timeout: float | None) -> list[Finished]:
        done = [Finished(t, {"metrics": {"accuracy": value_of(t)}, "seconds": 0.0}) for t in self.tickets]
        self.tickets = []
        return done

    def stop(self, ticket: int) -> None: ...

    def kill(self, ticket: int) -> None: ...

    def exclusive(self) -> None: ...

    def close(self, grace: float = 0.0) -> None: ...


def durable(space: Space, name: str, trials: int) -> float:
    with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "s", {"name": "bench"}) as store:
        executor = Instant()
        executor.start(print)
        strategy = make_strategy(name, Setting(space, GOALS, 0))
        loop = Loop(
            space, store, strategy, executor, GOALS, lambda _trial: {}, Reuse(space, "bench"), Limits(trials=trials), 0
        )
        began = time.process_time()
        loop.run()
        return len(loop.trials) / (time.process_time() - began)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="1,000 trials only")
    counts = (1_000,) if parser.parse_args().quick else (100, 1_000, 100_000)
    below = False
    print(f"{'':34}{'trials':>8}{'per CPU s':>12}{'bar':>9}")
    for label, space, bar in (("A, 6 decisions", cells(6), 25_000), ("B, 28 decisions", cells(28), 12_000)):
        for name in STRATEGIES:
            for count in counts:
                rate = statistics.median(in_memory(space, name, count) for _ in range(3))
                below |= rate < bar
                print(f"{label:16}{name:18}{count:8,}{rate:12,.0f}{bar:9,}")
    for name in STRATEGIES:
        rate = statistics.median(durable(cells(6), name, 1_000) for _ in range(3))
        below |= rate < 2_000
        print(f"{'A, durable':16}{name:18}{1_000:8,}{rate:12,.0f}{2_000:9,}")
    return int(below)


if __name__ == "__main__":
    sys.exit(main())
