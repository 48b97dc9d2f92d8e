"""How often does the verdict err, and how often does it see a true difference?

    python benchmarks/verdict.py [repeats]        two networks: every cell, simulated
    python benchmarks/verdict.py --pipeline [N]   the whole of it: finalists chosen by validation, then the verdict
    python benchmarks/verdict.py --groups [N]     test items in groups, and in the order of time
    python benchmarks/verdict.py --real [FILE]    40 times one network against itself, really trained; goes on with FILE

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

from searchitect.finalize.blocks import by_groups, in_time
from searchitect.finalize.intervals import Interval, paired
from searchitect.seeds import derive

ACCURACY = 0.9
MODELS = {"same": (0.90, 0.0), "other": (0.83, 0.07)}  # shares of the latent variance: difficulty, architecture
CHURN = 0.0623  # share of items on which two seeds of one network disagree, in both models
SIZES, SPREADS, SEEDS = (360, 2_000, 10_000), (0.002, 0.004, 0.008), (3, 5)
_NUMBERS = 2_000_000  # latent numbers at a time


def simulate(
    rng: np.random.Generator, n: int, spread: float, seeds: int, model: str, gains: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong (repeats, seeds, n) of a winner, whose true accuracy is higher by `gains` (repeats,), and of a
    baseline."""
    repeats = len(gains)
    shared, own = (np.float32(v) for v in MODELS[model])
    difficulty = rng.standard_normal((repeats, 1, n), dtype=np.float32) * np.sqrt(shared)
    sides = []
    for accuracy in (ACCURACY + gains.reshape(-1, 1, 1), np.full((repeats, 1, 1), ACCURACY)):
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
        found = paired(*simulate(rng, n, spread, seeds, model, np.full(now, gain)))
        better += int((found.low > 0).sum())
        worse += int((found.high < 0).sum())
        done += now
    return better / repeats, worse / repeats


def superiority(repeats: int, n: int, spread: float, seeds: int, model: str) -> tuple[np.ndarray, np.ndarray]:
    """True gains from -5 to 5 points: the probability of superiority that was said, and whether one new training of
    each network was truly so."""
    rng = np.random.default_rng(derive(0, "superiority", n, str(spread), seeds, model))
    gains = rng.uniform(-0.05, 0.05, repeats)
    size = max(1, _NUMBERS // (n * seeds))
    said = [
        paired(*simulate(rng, n, spread, seeds, model, gains[i : i + size])).superiority
        for i in range(0, repeats, size)
    ]
    new = gains + spread * (rng.standard_normal(repeats) - rng.standard_normal(repeats))
    return np.concatenate(said), new > 0


# -- items that are not independent ------------------------------------------------------------------------


def grouped(repeats: int, count: int, per_group: int, icc: float) -> tuple[float, float]:
    """Shares of "better" or "worse" with nothing to find, items taken alone and by group. Groups have from one to twice
    `per_group` items; `icc` is the share of the architecture's own view that a group's items have in common."""
    wrong, rng = np.zeros(2), np.random.default_rng(derive(0, "groups", count, per_group, str(icc)))
    for _ in range(repeats):
        groups = np.repeat(np.arange(count), rng.integers(1, 2 * per_group, count))
        difficulty, sides = rng.normal(size=len(groups)) * math.sqrt(0.83), []
        for _ in range(2):
            own = math.sqrt(icc) * rng.normal(size=count)[groups] + math.sqrt(1 - icc) * rng.normal(size=len(groups))
            chance = rng.normal(size=(3, len(groups)))
            latent = difficulty + math.sqrt(0.07) * own + math.sqrt(0.10) * chance
            sides.append(latent < stats.norm.ppf(ACCURACY + 0.004 * rng.normal(size=(3, 1))))
        wrong += [_seen(paired(*sides)), _seen(paired(*sides, blocks=by_groups(groups)))]
    return wrong[0] / repeats, wrong[1] / repeats


def timed(repeats: int, n: int, memory: float) -> tuple[float, float]:
    """The same for items in the order of time, where the architecture's own view is remembered from one item to the
    next with this correlation."""
    from scipy.signal import lfilter

    wrong, rng = np.zeros(2), np.random.default_rng(derive(0, "time", n, str(memory)))
    for _ in range(repeats):
        difficulty, sides = rng.normal(size=n) * math.sqrt(0.83), []
        for _ in range(2):
            noise = rng.normal(size=n + 200) * math.sqrt(1 - memory**2)
            own = lfilter([1], [1, -memory], noise)[200:]
            latent = difficulty + math.sqrt(0.07) * own + math.sqrt(0.10) * rng.normal(size=(3, n))
            sides.append(latent < stats.norm.ppf(ACCURACY + 0.004 * rng.normal(size=(3, 1))))
        wrong += [_seen(paired(*sides)), _seen(paired(*sides, blocks=in_time(n)))]
    return wrong[0] / repeats, wrong[1] / repeats


def _seen(found: Interval) -> bool:
    return bool(found.low > 0 or found.high < 0)


# -- pages -------------------------------------------------------------------------------------------------


def pairs(repeats: int) -> None:
    """Two networks, every cell."""
    worst = 0.0
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
    print("\nProbability of superiority: what was said, and how often a new training was truly ahead")
    said, came = superiority(2 * repeats, 2_000, 0.004, 3, "other")
    for low in np.arange(0, 1, 0.1):
        inside = (said >= low) & (said < low + 0.1)
        print(f"{low:4.1f} to {low + 0.1:3.1f}: said {said[inside].mean():5.2f}, came {came[inside].mean():5.2f} "
              f"({inside.sum():,})")  # fmt: skip


def pipeline(repeats: int) -> None:
    """Finalists chosen by validation, then the verdict, with the code of the final stages."""
    from verdict_pipeline import study  # beside this file

    print(f"No true difference among all architectures: per cent of {repeats:,} studies")
    print("baseline     items  spread  seeds  kept  better  worse   both")
    for own, name in ((True, "given"), (False, "finalist")):
        for n in SIZES:
            for spread in SPREADS:
                for seeds in SEEDS:
                    words = [study(n, spread, seeds, i, own) for i in range(repeats)]
                    kept, up, down = (100 * words.count(w) / repeats for w in ("kept", "better", "worse"))
                    print(f"{name:10} {n:7,} {100 * spread:6.1f} {seeds:6} {kept:6.1f} {up:7.1f} {down:6.1f} "
                          f"{up + down:6.1f}", flush=True)  # fmt: skip


def dependent(repeats: int) -> None:
    """Test items in groups, and in the order of time."""
    print(f'No true difference: "better" or "worse" in per cent of {repeats:,} comparisons, 3 seeds')
    print("groups  items in each  in common   items alone  by group")
    for count in (5, 10, 20, 50):
        for per_group in (10, 50):
            for icc in (0.0, 0.3, 0.9):
                alone, by = grouped(repeats, count, per_group, icc)
                print(f"{count:6} {per_group:14} {icc:10.1f} {100 * alone:13.1f} {100 * by:9.1f}", flush=True)
    print(" items  correlation of neighbours   items alone  by stretch of time")
    for n in (360, 2_000):
        for memory in (0.0, 0.5, 0.9, 0.98):
            alone, by = timed(repeats, n, memory)
            print(f"{n:6,} {memory:26.2f} {100 * alone:13.1f} {100 * by:19.1f}", flush=True)


def main() -> None:
    which = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].startswith("--") else ""
    rest = sys.argv[2:] if which else sys.argv[1:]
    start = time.perf_counter()
    if which == "--real":
        from verdict_real import main as real  # beside this file

        real(*rest)
    else:
        pages = {"": (pairs, 1_200), "--pipeline": (pipeline, 400), "--groups": (dependent, 1_000)}
        page, usual = pages[which]
        page(int(rest[0]) if rest else usual)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
