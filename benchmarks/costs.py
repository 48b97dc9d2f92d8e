"""Analytic costs per CPU second, on the cells of NAS-Bench-201 and DARTS (bar: 2,000 on one core).

Run: python benchmarks/costs.py
"""

from __future__ import annotations

import time

from searchitect.nets import Costs, build
from searchitect.space import Space
from searchitect.spaces import load_space


def rate(space: Space, shape: tuple[int, ...], n: int) -> float:
    architectures = [space.sample(i) for i in range(n)]
    costs = Costs(space, shape, 10)
    start = time.process_time()
    for architecture in architectures:
        costs.of(architecture)
    return n / (time.process_time() - start)


def building(space: Space, shape: tuple[int, ...], n: int = 20) -> float:
    build(space, space.sample(0), shape, outputs=10)
    start = time.process_time()
    for i in range(n):
        build(space, space.sample(i), shape, outputs=10)
    return (time.process_time() - start) / n


def main() -> None:
    rows = [("nb201", {}), ("nb201", {"cells": 1}), ("darts", {"cells": 8, "width": 16}), ("darts", {})]
    rows += [(name, {}) for name in ("cnn", "mobilenet", "transformer")]
    for name, options in rows:
        space, shape = load_space(name, **options), (3, 32, 32)
        print(f"{name:12} {options!s:30} {max(rate(space, shape, 3000) for _ in range(3)):8,.0f} costs/s", end="")
        print(f" {1e3 * building(space, shape):8.1f} ms to build")


if __name__ == "__main__":
    main()
