"""Engine overhead: trials per CPU second with an instant objective, in memory and on disk.

    python benchmarks/engine.py [--quick]

Space A: 6 decisions of 5 options (as in NAS-Bench-201), space B: 28 such decisions. Bars: 25,000 ask/tell per
CPU second on A and 12,000 on B in memory, 5,000 for NSGA-II with two goals and a limit, 3,000 for policies that
factorise (with the LSTM: shown, 1,000 trials at most); 2,000 durable trials (each
finished trial synced to disk, canonical key and reuse look-up included), 1,000 where nothing is ever proposed twice, so
that no result is reused. Canonical keys are left out in memory: what is
not proposed twice is compared by its decisions. Strategies with a model have benchmarks of their own. Strategies that
never repeat themselves get at most half of a space. Exits with 1 below a bar. CPU seconds of this process, median of
three rounds.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from searchitect.engine.ledger import Ledger
from searchitect.engine.loop import Limits, Loop
from searchitect.engine.reuse import Reuse
from searchitect.executors import Executor, Finished
from searchitect.records import Measurement, State, Trial, objectives
from searchitect.space import Layer, Space, one_of
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy

GOALS = objectives("accuracy")
MODEL_FREE: dict[str, dict[str, object]] = {  # name → options
    "random": {}, "regularized-evolution": {}, "exhaustive": {"largest": 5**28},
    "local-search": {"distinct": "identical"}, "nsga2": {},
}  # fmt: skip
SEVERAL = {"nsga2": objectives(["accuracy", "min cost", "cost < 900"])}
POLICIES: dict[str, dict[str, object]] = {
    "reinforce": {}, "ppo": {}, "reinforce, LSTM": {"policy": "lstm"}, "ppo, LSTM": {"policy": "lstm"},
}  # fmt: skip
BARS = {"nsga2": 5_000, "reinforce": 3_000, "ppo": 3_000, "reinforce, LSTM": 0, "ppo, LSTM": 0}  # where not the space's
ONCE = {"exhaustive", "local-search", "nsga2"}  # do not propose anything twice


def cells(edges: int) -> Space:
    ops = ("none", "skip", "conv1", "conv3", "pool")
    return Space(
        Layer("bench.Cell", {"edges": [one_of(**{op: Layer(f"bench.{op}", {}) for op in ops}) for _ in range(edges)]})
    )


def value_of(number: int) -> float:
    return (number * 7919 % 1000) / 1000


def in_memory(space: Space, name: str, trials: int) -> float:
    options = {**MODEL_FREE, **POLICIES}[name]
    strategy = make_strategy(name.partition(",")[0], Setting(space, SEVERAL.get(name, GOALS), 0), options)
    began = time.process_time()
    for number in range(trials):
        (proposal,) = strategy.ask(1)
        metrics = {"accuracy": value_of(number), "cost": 1000 * value_of(3 * number + 1)}
        strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement(metrics)))
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
        strategy = make_strategy(name, Setting(space, GOALS, 0), MODEL_FREE[name])
        ledger = Ledger(space, store, strategy, GOALS, Reuse(space, "bench"), 0)
        loop = Loop(ledger, executor, lambda *_: {}, Limits(trials=trials))
        began = time.process_time()
        loop.run()
        return len(ledger.trials) / (time.process_time() - began)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="1,000 trials only")
    counts = (1_000,) if parser.parse_args().quick else (100, 1_000, 100_000)
    below = False
    print(f"{'':38}{'trials':>8}{'per CPU s':>12}{'bar':>9}")
    for label, space, bar in (("A, 6 decisions", cells(6), 25_000), ("B, 28 decisions", cells(28), 12_000)):
        for name in (*MODEL_FREE, *POLICIES):
            for count in counts[:2] if "LSTM" in name else counts:
                count = min(count, space.size.finite // 2) if name in ONCE else count
                rate = statistics.median(in_memory(space, name, count) for _ in range(3))
                least = BARS.get(name, bar)
                below |= rate < least
                print(f"{label:16}{name:22}{count:8,}{rate:12,.0f}{least:9,}", flush=True)
    for name in MODEL_FREE:
        rate = statistics.median(durable(cells(6), name, 1_000) for _ in range(3))
        least = 1_000 if name in ONCE else 2_000
        below |= rate < least
        print(f"{'A, durable':16}{name:22}{1_000:8,}{rate:12,.0f}{least:9,}")
    return int(below)


if __name__ == "__main__":
    sys.exit(main())
