"""Does a prior mean from a score pay in the Gaussian process? On NAS-Bench-201, CIFAR-10, over the same seeds.

    python benchmarks/prior_mean.py --seeds 30 --evaluations 60

Scores: the number of parameters in the table, and made-up ones: normal scores of the
12-epoch validation accuracy that the search sees, with noise that makes a stated rank correlation. The table holds no
zero-cost scores. "regret" is that of the 200-epoch test accuracy in percent, after a third, two thirds and all of the
evaluations, as mean and standard error.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata, spearmanr

from searchitect.bench import load_table
from searchitect.bench.simulation import Limit, Search, setting_of
from searchitect.bench.table import Table
from searchitect.space import Architecture
from searchitect.strategies import make_strategy

Score = Callable[[Sequence[Architecture]], Sequence[float]]


def made_up(table: Table, rho: float, seed: int) -> np.ndarray:
    """By row: a bivariate normal with the accuracy's normal scores, whose rank correlation is `rho` (Pearson 1907)."""
    pearson = 2 * np.sin(np.pi / 6 * rho)
    ranks = rankdata(-table.losses(table.signal), method="ordinal")
    true = ndtri(ranks / (table.count + 1))
    noise = np.random.default_rng(seed).normal(size=table.count)
    return pearson * true + np.sqrt(1 - pearson**2) * noise


def searches(
    table: Table, seeds: int, evaluations: int, values: Callable[[int], np.ndarray] | None
) -> dict[str, object]:
    aims = table.objectives()
    reading, losses = table.reading(aims), table.losses(table.score)
    regrets, agreement, began = [], [], time.process_time()
    for seed in range(seeds):
        setting, options = setting_of(table, aims, reading, seed), {}
        if values is not None:
            numbers, options = values(seed), {"prior": "score"}
            agreement.append(spearmanr(numbers, -table.losses(table.signal)).statistic)
            setting = setting._replace(score=lambda many, numbers=numbers: [numbers[table.row(a)] for a in many])
        search = Search(table, reading, aims, make_strategy("gaussian-process", setting, options), Limit(evaluations))
        search.run()
        run = search.result("gaussian-process", seed, 0.0)
        rows = [run.at(evaluations=evaluations * k // 3) for k in (1, 2, 3)]
        regrets.append(losses[rows] - np.nanmin(losses))
    error = np.std(regrets, axis=0, ddof=1) / seeds**0.5
    facts = {"regret": np.mean(regrets, axis=0).round(3).tolist(), "error": error.round(3).tolist()}
    spent = (time.process_time() - began) / seeds / evaluations
    return facts | {"rho": round(float(np.mean(agreement)), 3) if agreement else None, "ms": round(1000 * spent, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="nb201-cifar10")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=60)
    options = parser.parse_args()
    table = load_table(options.table)
    params = np.asarray(table.columns["params_m"].values, dtype=float)
    kinds: dict[str, Callable[[int], np.ndarray] | None] = {
        "no prior": None, "params_m": lambda _seed: params, "made up, 0.5": lambda seed: made_up(table, 0.5, seed),
        "made up, 0.8": lambda seed: made_up(table, 0.8, seed), "made up, 0": lambda seed: made_up(table, 0.0, seed),
    }  # fmt: skip
    for name, values in kinds.items():
        facts = searches(table, options.seeds, options.evaluations, values)
        print(json.dumps(vars(options) | {"score": name} | facts), flush=True)


if __name__ == "__main__":
    main()
