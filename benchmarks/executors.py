"""What an executor costs: overhead of a short task, and what a second worker brings.

    python benchmarks/executors.py

Other load on the machine makes every figure worse; the load average is printed for that reason.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from searchitect.executors import Context, Finished, make


def nap(payload: Mapping[str, Any], context: Context) -> dict[str, Any]:
    time.sleep(payload["seconds"])
    return {"ok": True}


def train(payload: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """A small convolutional network on random images, a few steps."""
    import torch
    from torch import nn

    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(2304, 10))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    x, y = torch.rand(64, 1, 16, 16), torch.zeros(64, dtype=torch.long)
    for _ in range(payload["steps"]):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimiser.step()
    return {"loss": float(loss)}


def timed(function: Any, workers: int, tasks: int, payload: dict[str, Any]) -> float:
    with make("processes", workers=workers, threads=1) as executor:
        executor.start(function)
        for ticket in range(workers):
            executor.submit(-1 - ticket, payload)
        while executor.wait(None):
            pass
        began = time.perf_counter()
        for ticket in range(tasks):
            executor.submit(ticket, payload)
        done = 0
        while events := executor.wait(None):
            done += sum(isinstance(e, Finished) for e in events)
        assert done == tasks
        return time.perf_counter() - began


def main() -> None:
    print(f"load average {os.getloadavg()[0]:.2f} on {len(os.sched_getaffinity(0))} cores")
    for workers in (1, 2):
        seconds = timed(nap, workers, 100, {"seconds": 0.05})
        beyond = (seconds - 100 / workers * 0.05) / (100 / workers) * 1e3
        print(f"{workers} workers, 50 ms tasks: {beyond:.2f} ms beyond ideal")
    seconds = timed(nap, 1, 2000, {"seconds": 0.0})
    print(f"an empty task: {seconds / 2000 * 1e6:.0f} µs")
    began = time.perf_counter()
    one, two = (timed(train, workers, 60, {"steps": 40}) for workers in (1, 2))
    print(f"short trainings: one worker {one:.2f} s, two {two:.2f} s: {one / two:.2f} times the tasks")
    print(f"load average {os.getloadavg()[0]:.2f}; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
