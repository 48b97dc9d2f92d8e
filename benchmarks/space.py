"""Speed of the space language, per CPU second: samples, mutations and canonical keys.

    python benchmarks/space.py

The NAS-Bench-201 cell and DARTS (two cells of four nodes, each taking two of its earlier nodes). Exit code 1 when a
figure is below its bar.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch.nn

from searchitect import nets
from searchitect.seeds import stream
from searchitect.space import OUTPUTS, Space, lazy, one_of, subset

L = lazy(torch.nn)
M = lazy(nets)

BARS = {  # per CPU second
    ("NB201 cell", "samples"): 25_000,
    ("NB201 cell", "mutations"): 25_000,
    ("NB201 cell", "keys"): 5_000,
    ("DARTS", "samples"): 5_000,
    ("DARTS", "mutations"): 5_000,
    ("DARTS", "keys"): 2_000,
}


def nb201_cell(width: int = 16) -> Space:
    """Six edges, five operations each."""

    def rcb(kernel: int) -> object:
        conv = L.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)
        return L.Sequential(L.ReLU(), conv, L.BatchNorm2d(width))

    edges = [
        one_of(none=M.Zero(), skip=L.Identity(), conv1=rcb(1), conv3=rcb(3), pool=L.AvgPool2d(3, 1, 1))
        for _ in range(6)
    ]
    return Space(M.Cell(edges), name="NB201 cell")


def darts(width: int = 16) -> Space:
    """Normal and reduction cell in five layers, tied."""

    def op(stride: int) -> object:
        return one_of(
            max3=L.MaxPool2d(3, stride, 1), avg3=L.AvgPool2d(3, stride, 1), skip=M.Skip(stride),
            sep3=M.Depthwise(3, stride, twice=True), sep5=M.Depthwise(5, stride, twice=True),
            dil3=M.Depthwise(3, stride, 2), dil5=M.Depthwise(5, stride, 2),
        )  # fmt: skip

    def genes(name: str, reduce: bool) -> list[object]:
        def edge(j: int) -> object:
            return M.Edge(j, op(2 if reduce and j < 2 else 1))

        return [subset(**{f"from{j}": edge(j) for j in range(n)}, k=2, name=f"{name}.{n}") for n in range(2, 6)]

    normal, reduction = genes("normal", False), genes("reduce", True)
    stem = L.Sequential(L.LazyConv2d(3 * width, 3, padding=1, bias=False), L.LazyBatchNorm2d())
    cells = [
        M.TwoInputCell(width, normal),
        M.TwoInputCell(2 * width, reduction),
        M.TwoInputCell(2 * width, normal, True),
        M.TwoInputCell(4 * width, reduction),
        M.TwoInputCell(4 * width, normal, True),
    ]
    head = L.Sequential(L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS))
    return Space(M.TwoInputChain(stem, cells, head), name="DARTS")


def per_second(action: Callable[[int], object], seconds: float = 0.5, tries: int = 3) -> float:
    """The best of `tries` runs: calls per CPU second."""
    best, i = 0.0, 0
    for _ in range(tries):
        first, started = i, time.process_time()
        while (spent := time.process_time() - started) < seconds:
            for _ in range(50):
                action(i)
                i += 1
        best = max(best, (i - first) / spent)
    return best


def figures(space: Space, seconds: float = 0.5) -> dict[str, float]:
    """Calls per CPU second of each move; stream making is part of sampling and mutating."""
    pool = [space.sample(stream(0, i, "pool")) for i in range(5_000)]
    return {
        "samples": per_second(lambda i: space.sample(stream(0, i, "sample")), seconds),
        "mutations": per_second(lambda i: space.mutate(pool[i % 5_000], stream(0, i, "mutate")), seconds),
        "keys": per_second(lambda i: space.key(pool[i % 5_000]), seconds),
    }


def main() -> int:
    """Print the table; 1 when a bar is missed."""
    missed = 0
    print(f"{'space':<12}{'what':<12}{'per second':>12}{'bar':>10}")
    for space in (nb201_cell(), darts()):
        for what, figure in figures(space).items():
            bar = BARS[space.name, what]
            missed += figure < bar
            print(f"{space.name:<12}{what:<12}{figure:>12,.0f}{bar:>10,}{'' if figure >= bar else '   below the bar'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
