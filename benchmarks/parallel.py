"""What the whole loop costs with two workers: store, strategy, messages and all.

    python benchmarks/parallel.py [--quick]

Two figures: milliseconds per 50 ms trial beyond the ideal (bar 3), and trials of two workers for one of a single
worker with short trainings on the processor (bar 1.8, two idle cores needed: the load is printed). The first is for a
network of eight layers; for one layer it is given beside it, to show what making the modules adds.
Start-up is left out: time runs from the first finished trial to the last. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch.nn import functional as F

from searchitect import Space, lazy, one_of, search
from searchitect.study import Study

L = lazy(nn)
OVERHEAD_MS, SPEED_UP = 3.0, 1.8


def single() -> Space:
    """One layer; enough architectures that hardly any comes twice, all of nearly one cost."""
    return Space(L.Linear(4, one_of(*range(1, 2001))))


def eight() -> Space:
    """Eight layers; enough architectures that hardly any comes twice, all of one cost."""
    layers = [one_of(L.ReLU(), L.Tanh(), L.GELU(), L.SiLU(), L.ELU()) for _ in range(7)]
    return Space(L.Sequential(*layers, L.Linear(4, 1)))


def nap(model: nn.Module, trial: Any) -> float:
    time.sleep(0.05)
    return 1.0


def train(model: nn.Module, trial: Any) -> float:
    """A small convolutional network on random images, some 80 ms."""
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(2304, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    x, y = torch.rand(64, 1, 16, 16), torch.zeros(64, dtype=torch.long)
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def seconds_per_trial(space: Space, evaluate: Any, workers: int, trials: int) -> float:
    """From the first finished trial to the last, by the times in the study."""
    with tempfile.TemporaryDirectory() as folder:
        study: Study = search(
            space, evaluate=evaluate, sample=(4,), objectives="max score", trials=trials, workers=workers, threads=1,
            strategy="random", finalize=False, path=Path(folder) / "s",
        )  # fmt: skip
        ends = sorted(t.finished for t in study.trials if t.source is None and t.finished is not None)
    settled = ends[2 * workers :]  # the first ones share the processor with the start of the workers
    return (settled[-1] - settled[0]) / (len(settled) - 1)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer trials")
    trials = 60 if parser.parse_args().quick else 240
    print(f"load average {os.getloadavg()[0]:.2f} on {len(os.sched_getaffinity(0))} cores")
    beyond, least = ((seconds_per_trial(make(), nap, 2, trials) * 2 - 0.05) * 1e3 for make in (eight, single))
    print(f"two workers, trials of 50 ms: {beyond:.2f} ms beyond ideal for each (bar {OVERHEAD_MS:g}); {least:.2f} "
          "with a network of one layer")  # fmt: skip
    one, two = (seconds_per_trial(eight(), train, workers, trials) for workers in (1, 2))
    print(f"short trainings: {one * 1e3:.1f} ms with one worker, {two * 1e3:.1f} ms with two: {one / two:.2f} times "
          f"the trials (bar {SPEED_UP:g}); load average {os.getloadavg()[0]:.2f}")  # fmt: skip
    return int(beyond > OVERHEAD_MS or one / two < SPEED_UP)


if __name__ == "__main__":
    sys.exit(main())
