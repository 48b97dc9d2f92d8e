"""How often does the verdict err, and how often does it see a true difference? Prints both tables.

    python benchmarks/verdict.py [repeats]

Each network is trained with S seeds and tested on n items. An item is answered correctly when a latent number, partly
the item's difficulty (shared by all networks), partly the architecture's own view of it, partly chance, lies below a
threshold; each seed has its own, so that its true accuracy is 90 % plus a normal shift with the stated spread.
"same" is one architecture against itself: two of its seeds disagree on 6.2 % of the items. "other" are two
architectures of equal accuracy, which disagree on 8.1 % (two small networks on Fashion-MNIST: 7.6 and 10.1 % at 82 %).
"""

from __future__ import annotations

import math
import sys
import time

import numpy as np
from scipy import stats

from searchitect.finalize.intervals import paired
from searchitect.seeds import derive

ACCURACY = 0.9
MODELS = {"same": (0.90, 0.0), "other": (0.83, 0.07)}  # shares of the latent variance: difficulty, architecture
CHURN = 0.0623  # share of items on which two seeds of one network disagree, in both models
SIZES, SPREADS, SEEDS = (360, 2_000, 10_000), (0.002, 0.004, 0.008), (3, 5)
_NUMBERS = 2_000_000  # latent numbers at a time


def simulate(
    rng: np.random.Generator, repeats: int, n: int, spread: float, seeds: int, model: str = "other", gain: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong (repeats, seeds, n) of a winner, whose true accuracy is higher by `gain`, and of a baseline."""
    shared, own = (np.float32(v) for v in MODELS[model])
    difficulty = rng.standard_normal((repeats, 1, n), dtype=np.float32) * np.sqrt(shared)
    sides = []
    for accuracy in (ACCURACY + gain, ACCURACY):
        latent = rng.standard_normal((repeats, seeds, n), dtype=np.float32)
        latent *= np.sqrt(1 - shared - own)
        latent += difficulty
        if own:
            latent += rng.standard_normal((repeats, 1, n), dtype=np.float32) * np.sqrt(own)
        shifted = accuracy + spread * rng.standard_normal((repeats, seeds, 1))
        sides.append(latent < stats.norm.ppf(shifted.clip(0.01, 0.999)).astype(np.float32))
    return sides[0], sides[1]


def rates(repeats: int, n: int, spread: float, seeds: int, model: str, gain: float = 0.0) -> tuple[float, float]:
    """Shares of "better" and of "worse" in many simulated comparisons."""
    rng = np.random.default_rng(derive(0, "verdict", n, str(spread), seeds, model, str(gain)))
    better = worse = done = 0
    while done < repeats:
        now = min(repeats - done, max(1, _NUMBERS // (n * seeds)))
        found = paired(*simulate(rng, now, n, spread, seeds, model, gain))
        better += int((found.low > 0).sum())
        worse += int((found.high < 0).sum())
        done += now
    return better / repeats, worse / repeats


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 1_200
    start, worst = time.perf_counter(), 0.0
    print(f'No true difference: "better" or "worse" in per cent of {repeats:,} comparisons (nominal 5)')
    print("model    items  spread  seeds  better  worse   both")
    for model in MODELS:
        for n in SIZES:
            for spread in SPREADS:
                for seeds in SEEDS:
                    up, down = rates(repeats, n, spread, seeds, model)
                    worst = max(worst, up + down)
                    print(f"{model:6} {n:7,} {100 * spread:7.1f} {seeds:6} {100 * up:7.1f} {100 * down:6.1f} "
                          f"{100 * (up + down):6.1f}", flush=True)  # fmt: skip
    print(f"highest: {100 * worst:.1f} (standard error of one figure: {100 * math.sqrt(0.05 * 0.95 / repeats):.1f})")
    print('\nOne true point, 10,000 items, 5 seeds, spread 0.4 points: "better" in per cent')
    shown = math.sqrt(0.004**2 - CHURN / 2 / 10_000)  # chance on the items adds to what is seen of the seeds
    for model in MODELS:
        for what, spread in (("of the true accuracies", 0.004), ("of the test scores", shown)):
            print(
                f"{model:6} spread {what:24} {100 * rates(repeats, 10_000, spread, 5, model, 0.01)[0]:5.1f}", flush=True
            )
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
