"""From opening a study of 5,000 trials to its next proposal, imports left out. The bar is 2 seconds.

    python benchmarks/resume.py [trials]

Each strategy has its state rebuilt by replaying the study. Exits with 1 above the bar.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from searchitect import Manual
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import STRATEGIES

BAR = 2.0


def cell() -> Space:
    """Six decisions of five options, as in NAS-Bench-201."""
    ops = ("none", "skip", "conv1", "conv3", "pool")
    edges = [one_of(**{op: Layer(f"bench.{op}", {}) for op in ops}) for _ in range(6)]
    return Space(Layer("bench.Cell", {"edges": edges}))


def make(folder: Path, strategy: str, trials: int) -> None:
    """A study of so many measured trials, in one transaction."""
    with Manual(cell(), "max score", folder, strategy=strategy) as study, study.store.transaction():
        for trial in study.take(trials):
            study.tell(trial, score=(trial.number * 7919 % 1000) / 1000)


def seconds_to_first_proposal(folder: Path, strategy: str) -> float:
    """Open, replay, ask."""
    began = time.perf_counter()
    with Manual(cell(), "max score", folder, strategy=strategy) as study:
        trial = study.ask()
        seconds = time.perf_counter() - began
    assert trial is not None
    return seconds


def main() -> int:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name in STRATEGIES:
            make(Path(folder) / name, name, trials)
            seconds = seconds_to_first_proposal(Path(folder) / name, name)
            worst = max(worst, seconds)
            print(f"{name:24}{trials:8,} trials: {seconds:.2f} s to the first proposal (bar {BAR:g} s)")
    return int(worst > BAR)


if __name__ == "__main__":
    sys.exit(main())
