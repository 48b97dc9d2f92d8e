"""How fast the store is: durable trials per CPU second, opening and loading, cost of a report.

    python benchmarks/store.py [trials]

A trial is queue + start + finish + told, grouped in one commit that is on disk before the next begins.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace

from searchitect.records import Fidelity, Measurement, Proposal, State, Trial
from searchitect.space import Architecture
from searchitect.store import Store


def proposal(number: int, decisions: int = 6) -> Trial:
    names = {f"cell.edge{i}": f"conv{(number + i) % 5}" for i in range(decisions)}
    architecture = Architecture("0123456789abcdef", names)
    return Trial(number, Proposal(architecture, Fidelity(epochs=12), draw=number), key=f"{number:032x}", seed=number)


def drive(store: Store, first: int, trials: int, decisions: int) -> None:
    store.queue([proposal(first, decisions)])
    for number in range(first, first + trials):
        running = store.start(number, worker=0)
        result = Measurement({"accuracy": 0.1 + number * 1e-7, "loss": 0.25}, seconds=1.5, epochs=12)
        with store.transaction():
            store.finish(replace(running, state=State.DONE, measurement=result), running.attempts)
            store.told(number)
            store.queue([proposal(number + 1, decisions)])


def drive_once(store: Store, first: int, trials: int, decisions: int) -> None:
    for number in range(first, first + trials):
        with store.transaction():
            store.queue([proposal(number, decisions)])
            running = store.start(number, worker=0)
            result = Measurement({"accuracy": 0.1 + number * 1e-7, "loss": 0.25}, seconds=1.5, epochs=12)
            store.finish(replace(running, state=State.DONE, measurement=result), running.attempts)
            store.told(number)


def main(trials: int = 5000) -> None:
    for decisions in (6, 28):
        for name, driver in (("one commit", drive_once), ("two commits", drive)):
            with tempfile.TemporaryDirectory(dir=".") as place:
                with Store.create(Path(place) / "study", {}) as store:
                    wall, cpu = time.perf_counter(), time.process_time()
                    driver(store, 0, trials, decisions)
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                print(
                    f"{decisions} decisions, {name} a trial: {trials / cpu:,.0f} trials per CPU second, "
                    f"{trials / wall:,.0f} per second of wall clock"
                )
    with tempfile.TemporaryDirectory(dir=".") as place:
        folder = Path(place) / "study"
        with Store.create(folder, {}) as store:
            for total in (5_000, 100_000):
                with store.transaction():
                    first = sum(store.count().values())
                    drive_once(store, first, total - first, 6)
                wall = time.perf_counter()
                with Store.open(folder) as reader:
                    loaded = len(reader.trials())
                print(f"open and load {loaded:,} trials: {time.perf_counter() - wall:.3f} s")
            store.queue([proposal(total)])
            store.start(total, worker=0)
            wall = time.perf_counter()
            for step in range(2000):
                store.report(total, 1, step, {"loss": 0.5, "accuracy": 0.75})
            print(f"a report: {(time.perf_counter() - wall) / 2000 * 1e6:.0f} µs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
