"""What a Ray cluster costs and survives, measured on one machine with two processors.

    python benchmarks/scale.py overhead      # 200 trials of 50 ms on two slots, the whole loop (bar: 15 ms each)
    python benchmarks/scale.py chaos         # hosts killed with SIGKILL every 4 to 8 trials (bar: 1.25 of the time)
    python benchmarks/scale.py nodes         # a second raylet killed in mid-run, with all that ran there
    python benchmarks/scale.py together      # one network trained by two processes, and by one: accuracies
    python benchmarks/scale.py driver        # completions per CPU second with the durable store (bar: 2,000)
    python benchmarks/scale.py tasks         # the same short tasks as Ray tasks, and by our hosts

`benchmarks/scale_simulation.py` asks what 10 to 10,000 workers would do. Exits with 1 when a bar is missed. The load
average is printed, since other load makes every figure worse.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch.nn as nn

from engine import GOALS, cells, durable
from searchitect import Space, lazy, search
from searchitect.engine.ledger import Ledger
from searchitect.engine.loop import Limits, Loop
from searchitect.engine.reuse import Reuse
from searchitect.evaluators.base import Outcome, Task
from searchitect.executors import Executor, Finished, Started, make, system
from searchitect.executors.ray_cluster import Cluster, load_ray
from searchitect.session.preparing import Given, prepare
from searchitect.session.tasks import run_tasks
from searchitect.settings import Settings
from searchitect.space import one_of
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy

L = lazy(nn)
OVERHEAD_MS, SURVIVAL, DRIVER = 15.0, 1.25, 2000


def space() -> Space:
    """Eight layers; enough architectures that hardly any comes twice."""
    return Space(L.Sequential(*[one_of(L.ReLU(), L.Tanh(), L.GELU(), L.SiLU(), L.ELU()) for _ in range(7)],
                              L.Linear(4, 1)))  # fmt: skip


class Nap:
    """A trial that sleeps, and notes when it begins and ends: one line each in a file."""

    def __init__(self, seconds: float, file: str | None = None) -> None:
        self.seconds, self.file = seconds, file

    def __call__(self, model: nn.Module, trial: Any) -> float:
        self.note("began", trial.number)
        time.sleep(self.seconds)
        self.note("ended", trial.number)
        return 1.0

    def note(self, what: str, number: int) -> None:
        if self.file is not None:
            with open(self.file, "a", encoding="ascii") as file:
                file.write(f"{what} {number} {time.time()}\n")


def study(folder: Path, nap: Nap, trials: int, **options: Any) -> list[float]:
    """Run a search; when its trials were finished."""
    found = search(
        space(), evaluate=nap, sample=(4,), objectives="max score", trials=trials, workers=2, threads=1,
        strategy="random", finalize=False, path=folder, **options,
    )  # fmt: skip
    return sorted(t.finished for t in found.trials if t.source is None and t.finished is not None)


def overhead(trials: int) -> bool:
    """Milliseconds of a 50 ms trial beyond the ideal, between the first finished trials and the last."""
    beyond = {}
    for where, options in (("processes", {}), ("ray", {"ray": "local"})):
        with tempfile.TemporaryDirectory() as folder:
            ends = study(Path(folder) / "s", Nap(0.05), trials, **options)[8:]
        beyond[where] = ((ends[-1] - ends[0]) / (len(ends) - 1) * 2 - 0.05) * 1e3
        print(f"{where}: {beyond[where]:.2f} ms beyond ideal for each of {trials} trials of 50 ms", flush=True)
    return beyond["ray"] <= OVERHEAD_MS


def hosts() -> list[psutil.Process]:
    """The host processes of our own Ray."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith("ray::Host"):
                found.append(process)
    return found


class Killer(threading.Thread):
    """Kills one host at random whenever so many trials as drawn have ended."""

    def __init__(self, file: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self.file, self.draw, self.killed, self.over = file, random.Random(seed), 0, False

    def run(self) -> None:
        due = self.draw.randint(4, 8)
        while not self.over:
            time.sleep(0.02)
            ended = 0
            with contextlib.suppress(FileNotFoundError):
                ended = self.file.read_text().count("ended")
            if ended >= due and (alive := hosts()):
                self.draw.choice(alive).send_signal(signal.SIGKILL)
                self.killed += 1
                due = ended + self.draw.randint(4, 8)


def books(folder: Path, file: Path, trials: int) -> str:
    """What the store and the workers say of each other; AssertionError when something was lost or run again."""
    with Store.open(folder) as store:
        stored = store.trials()
    states = Counter(str(trial.state.value) for trial in stored)
    assert states == {"done": trials}, states
    recorded = {trial.number: trial.finished for trial in stored}
    lines = [line.split() for line in file.read_text().splitlines()]
    began = Counter(int(number) for what, number, _ in lines if what == "began")
    late = [n for what, n, when in lines if what == "began" and float(when) > recorded[int(n)]]
    assert not late, f"run again after they had ended: {late}"
    again = sum(began.values()) - trials
    return f"{trials} done, none lost, none begun after it was recorded; {again} were begun again"


def chaos(trials: int, seconds: float) -> bool:
    """The same search twice: left alone, and with hosts killed."""
    took, killed = {}, 0
    for kind in ("left alone", "killed"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "log"
            killer = Killer(file, seed=0)
            began = time.monotonic()
            if kind == "killed":
                killer.start()
            study(Path(folder) / "s", Nap(seconds, str(file)), trials, ray="local")
            took[kind], killer.over, killed = time.monotonic() - began, True, killer.killed
            print(f"{kind}: {took[kind]:.1f} s; {books(Path(folder) / 's', file, trials)}", flush=True)
    ratio = took["killed"] / took["left alone"]
    print(f"{killed} hosts killed, one every 4 to 8 trials of {seconds:g} s: {ratio:.3f} times the time")
    return ratio <= SURVIVAL


def nodes(trials: int, seconds: float) -> bool:
    """A cluster of two raylets with two processors each, and two slots; the one that has a host is killed."""
    load_ray()
    from ray.cluster_utils import Cluster as Raylets

    took = {}
    for kind in ("left alone", "raylet killed"):
        raylets = Raylets(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        second = raylets.add_node(num_cpus=2)
        raylets.wait_for_nodes()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "log"
            timer = threading.Timer(trials * seconds / 4, raylets.remove_node, (second,), {"allow_graceful": False})
            if kind != "left alone":
                timer.start()
            began = time.monotonic()
            study(Path(folder) / "s", Nap(seconds, str(file)), trials, ray=raylets.address)
            took[kind] = time.monotonic() - began
            print(f"{kind}: {took[kind]:.1f} s; {books(Path(folder) / 's', file, trials)}", flush=True)
        raylets.shutdown()
    ratio = took["raylet killed"] / took["left alone"]
    print(f"a raylet killed in mid-run: {ratio:.3f} times the time")
    return ratio <= SURVIVAL


def nap(payload: Any, context: Any) -> dict[str, Any]:
    time.sleep(payload["seconds"])
    return {"metrics": {"accuracy": 0.5}, "seconds": 0.0}


def warmed(executor: Executor) -> None:
    """Wait until all hosts have done something."""
    seen: set[int] = set()
    ticket = 0
    while len(seen) < executor.slots:
        for _ in range(executor.slots):
            ticket -= 1
            executor.submit(ticket, {"seconds": 0.5})
        while events := executor.wait(None):
            seen |= {event.worker for event in events if isinstance(event, Started)}


def messages(executor: Executor, tasks: int) -> float:
    """Milliseconds of the driver for the messages of an empty task: median of five rounds."""
    costs = []
    for _ in range(5):
        began = time.process_time()
        for ticket in range(tasks):
            executor.submit(ticket, {"seconds": 0.0, "decisions": {"a": 1, "b": 2}})
        while executor.wait(None):
            pass
        costs.append((time.process_time() - began) / tasks * 1e3)
    return statistics.median(costs)


def recorded(executor: Executor, trials: int) -> float:
    """Empty trials that the study's loop has measured and stored, per CPU second of this process."""
    with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "s", {"name": "bench"}) as store:
        strategy = make_strategy("regularized-evolution", Setting(cells(6), GOALS, 0), {})
        ledger = Ledger(cells(6), store, strategy, GOALS, Reuse(cells(6), "bench"), 0)
        loop = Loop(ledger, executor, lambda *_: {"seconds": 0.0}, Limits(trials=trials))
        began = time.process_time()
        loop.run()
        return ledger.measured / (time.process_time() - began)


def driver(trials: int) -> bool:
    """Completions per CPU second of the driver, all its threads counted: loop and store alone, and all on Ray."""
    alone = statistics.median(durable(cells(6), "regularized-evolution", 1000) for _ in range(3))
    print(f"loop and durable store alone: {alone:,.0f} completions per CPU second", flush=True)
    rates = {}
    for slots in (2, 16):
        with make("ray", address="local", workers=slots, cpus=min(1.0, system.cores() / slots), preload=()) as executor:
            executor.start(nap)
            warmed(executor)
            cost = messages(executor, trials)
            rates[slots] = statistics.median(recorded(executor, trials) for _ in range(3))
        print(f"{slots} slots: messages of a trial {cost:.3f} ms; {rates[slots]:,.0f} trials recorded per CPU second, "
              f"loop, store and messages together (bar {DRIVER:,})", flush=True)  # fmt: skip
    return min(rates.values()) >= DRIVER


def tasks(trials: int) -> bool:
    """50 ms of sleep, two at a time: as Ray tasks, as Ray tasks that have a process each, and by our hosts."""
    cluster = Cluster("local")
    ray = cluster.ray
    rows = []
    for name, options in (("Ray tasks", {}), ("Ray tasks, a new process for each", {"max_calls": 1})):
        sleep = ray.remote(num_cpus=1, **options)(lambda seconds: time.sleep(seconds))
        ray.get([sleep.remote(0.5) for _ in range(4)])
        cpu, began = time.process_time(), time.monotonic()
        flying = [sleep.remote(0.05) for _ in range(2)]
        for number in range(trials):
            _, flying = ray.wait(flying)
            flying += [sleep.remote(0.05)] * (number < trials - 2)
        rows.append((name, time.monotonic() - began, time.process_time() - cpu))
    with make("ray", address="local", workers=2, preload=()) as executor:
        executor.start(nap)
        warmed(executor)
        cpu, began, done = time.process_time(), time.monotonic(), 0
        for ticket in range(trials):
            executor.submit(ticket, {"seconds": 0.05})
        while events := executor.wait(None):
            done += sum(isinstance(event, Finished) for event in events)
        rows.append(("our hosts", time.monotonic() - began, time.process_time() - cpu))
        assert done == trials
    cluster.close()
    for name, seconds, cpu in rows:
        beyond = (seconds / trials * 2 - 0.05) * 1e3
        print(f"{name}: {beyond:.1f} ms beyond ideal, {cpu / trials * 1e3:.2f} ms of the driver's CPU for each")
    return True


def together(seeds: int) -> bool:
    """Accuracies of the hand-made network on digits, trained by one process and by two, same global batch."""
    prepared = prepare(Settings(data="digits", ray="local", devices_per_trial=2, workers=1), Given())
    assert prepared.baseline_architecture is not None
    decisions = prepared.baseline_architecture.decisions
    found = {}
    for hosts in (1, 2):
        with make("ray", address="local", workers=1, hosts=hosts, preload=("torch",)) as executor:
            executor.start(prepared.evaluator)
            tasks = [Task(seed, decisions, seed, 20) for seed in range(seeds)]
            outcomes = run_tasks(executor, tasks)
        found[hosts] = [o.metrics["accuracy"] for o in outcomes if isinstance(o, Outcome)]
        assert len(found[hosts]) == seeds, outcomes
        mean, spread = statistics.mean(found[hosts]), statistics.stdev(found[hosts])
        print(
            f"{hosts} processes, {seeds} seeds, 20 epochs: accuracy {mean:.2%}, standard deviation {spread:.2%}",
            flush=True,
        )
    differences = [a - b for a, b in zip(found[2], found[1], strict=True)]
    mean, error = statistics.mean(differences), statistics.stdev(differences) / seeds**0.5
    print(f"difference {mean:+.2%}, standard error {error:.2%}")
    return abs(mean) <= 2 * error + 1e-3


def main() -> int:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("what", choices=["overhead", "chaos", "nodes", "driver", "tasks", "together"])
    parser.add_argument("--trials", type=int)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a trial, where hosts are killed")
    given = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.2f} on {len(os.sched_getaffinity(0))} cores")
    measures: dict[str, Callable[[], bool]] = {
        "together": lambda: together(given.trials or 5),
        "overhead": lambda: overhead(given.trials or 200), "driver": lambda: driver(given.trials or 1000),
        "tasks": lambda: tasks(given.trials or 200),
        "chaos": lambda: chaos(given.trials or 40, given.seconds),
        "nodes": lambda: nodes(given.trials or 30, given.seconds),
    }  # fmt: skip
    return int(not measures[given.what]())


if __name__ == "__main__":
    sys.exit(main())
