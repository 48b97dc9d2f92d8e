"""Hypervolume after 200 evaluations on NAS-Bench-201: nsga2 against Optuna's NSGA-II and random search.

    python benchmarks/hypervolume.py [--seeds 30] [--evaluations 200] [--option KEY=VALUE ...]

Accuracy (12-epoch validation) against a cost: latency on a GPU, on a phone, and FLOPs; CIFAR-10 and CIFAR-100. What is
optimised is what is reported; no test column is read. The figure is the hypervolume in parts of that of the true
front; its reference point is the worst of the true front in each goal, 10 % of its range further. Optuna's sampler
runs with its defaults over one categorical distribution per edge. Same seeds; paired Wilcoxon test; exits with 1 where
nsga2 is not better than both (one-sided, 5 %).
"""

import argparse
import json
import sys
import time

import numpy as np
from scipy.stats import wilcoxon

from searchitect.bench import load_table
from searchitect.bench.simulation import Limit, simulate
from searchitect.bench.table import Table
from searchitect.space import Architecture
from searchitect.strategies.pareto import hypervolume, ranks

SIGNAL = "valid_acc_12ep"
COSTS = ("latency_1080ti_ms", "latency_pixel2_ms", "flops_m")
TABLES = ("nb201-cifar10", "nb201-cifar100")


def goals_of(table: Table, cost: str) -> np.ndarray:
    """(rows, 2), smaller is better."""
    return np.stack([-table.columns[SIGNAL].values, table.columns[cost].values], 1).astype(float)


def reference_of(goals: np.ndarray) -> tuple[list[float], float]:
    """The reference point and the hypervolume of the true front."""
    rank = np.array(ranks([(0.0, tuple(g)) for g in goals.tolist()]))
    front = goals[rank == 0]
    reference = (front.max(0) + 0.1 * (front.max(0) - front.min(0))).tolist()
    return reference, hypervolume([tuple(g) for g in front.tolist()], reference)


def ours(table: Table, name: str, cost: str, evaluations: int, seed: int, options: dict) -> np.ndarray:
    """The rows that one of our strategies evaluates."""
    aims = [f"max {SIGNAL}", f"min {cost}"]
    return simulate(table, name, Limit(evaluations), seed=seed, objectives=aims, options=options).rows


def optuna_rows(table: Table, cost: str, evaluations: int, seed: int) -> np.ndarray:
    """The rows that Optuna's NSGA-II evaluates with its defaults."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=optuna.samplers.NSGAIISampler(seed=seed))
    space, goals, rows = table.space, goals_of(table, cost), []
    spread = {d.name: optuna.distributions.CategoricalDistribution(d.labels) for d in space.decisions}
    for _ in range(evaluations):
        trial = study.ask(spread)
        row = table.row(Architecture(space.fingerprint, dict(trial.params)))
        rows.append(row)
        study.tell(trial, goals[row].tolist())
    return np.array(rows)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--option", action="append", default=[], help="of nsga2, KEY=VALUE")
    parser.add_argument("--no-optuna", action="store_true")
    args = parser.parse_args()
    options = {}
    for text in args.option:
        key, _, value = text.partition("=")
        options[key] = json.loads(value) if value[:1] in "0123456789" else value
    missed = False
    print(f"share of the true front's hypervolume, {args.evaluations} evaluations, {args.seeds} seeds; {options}")
    for name in TABLES:
        table = load_table(name)
        for cost in COSTS:
            goals = goals_of(table, cost)
            reference, whole = reference_of(goals)
            rivals = ["nsga2", "random"] + ([] if args.no_optuna else ["optuna"])
            found = {rival: np.zeros(args.seeds) for rival in rivals}
            began = time.process_time()
            for seed in range(args.seeds):
                for rival in rivals:
                    if rival == "optuna":
                        rows = optuna_rows(table, cost, args.evaluations, seed)
                    else:
                        rows = ours(table, rival, cost, args.evaluations, seed, options if rival == "nsga2" else {})
                    found[rival][seed] = hypervolume([tuple(g) for g in goals[rows].tolist()], reference) / whole
            line = f"{name:15}{cost:19}"
            for rival in rivals:
                line += f"  {rival} {found[rival].mean():.4f} ± {found[rival].std(ddof=1):.4f}"
            for rival in rivals[1:]:
                p = wilcoxon(found["nsga2"], found[rival], alternative="greater").pvalue
                missed |= p >= 0.05
                line += f"  p({rival}) {p:.2g}"
            print(f"{line}  {time.process_time() - began:.0f} s", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
