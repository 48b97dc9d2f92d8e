"""Does shrinking the space pay? One strategy on a published table with and without it, over the same seeds.

    python benchmarks/shrinking.py --table nb201-cifar10 --strategy random --evaluations 500 --seeds 100

"regret" is that of the table's score column (in percent of accuracy) at a quarter, half and all of the evaluations, as
mean and standard error; "signal" the best value that the search itself saw. "lost" is the share of searches in which an
option of the best architecture by the score column was cut. --null shuffles the rows first, so that no option is better
than another: then the share of searches with any cut at all is to be at most 1 - confidence = 5 %.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np

from searchitect.bench import load_table
from searchitect.bench.simulation import Limit, Search, setting_of
from searchitect.bench.table import Table
from searchitect.strategies import make_strategy
from searchitect.strategies.shrinking import Shrinking


def shuffled(table: Table) -> Table:
    """The same values on other rows."""
    order = np.random.default_rng(0).permutation(table.count)
    columns = {n: replace(c, values=c.values[order]) for n, c in table.columns.items()}
    return Table(table.name, table.space, columns, table.rows, table.signal, table.score)


def searches(table: Table, strategy: str, evaluations: int, seeds: int, shrink: bool) -> dict[str, object]:
    aims = table.objectives()
    reading, losses, signal = table.reading(aims), table.losses(table.score), table.losses(table.signal)
    best = next(a for a in table.space.enumerate() if table.row(a) == int(np.nanargmin(losses))).decisions
    regrets, seen, cuts, lost, seconds = [], [], [], 0, time.process_time()
    for seed in range(seeds):
        setting = setting_of(table, aims, reading, seed)
        made = Shrinking(setting, strategy) if shrink else make_strategy(strategy, setting)
        search = Search(table, reading, aims, made, Limit(evaluations))
        search.run()
        run = search.result(strategy, seed, 0.0)
        rows = [run.at(evaluations=k) for k in (evaluations // 4, evaluations // 2, evaluations)]
        regrets.append(losses[rows] - np.nanmin(losses))
        seen.append(signal[rows])
        if shrink:
            found = [c.option for c in made.changes if c.kind == "cut"]
            cuts.append(len(found))
            lost += any(str(best.get(option.decision)) == option.text for option in found)
    error = np.std(regrets, axis=0, ddof=1) / seeds**0.5
    facts: dict[str, object] = {
        "shrink": shrink, "regret": np.mean(regrets, axis=0).round(3).tolist(), "error": error.round(3).tolist(),
        "signal": np.mean(seen, axis=0).round(3).tolist(), "cpu_seconds": round(time.process_time() - seconds, 1),
    }  # fmt: skip
    if shrink:
        facts |= {"cuts": round(float(np.mean(cuts)), 2), "with_cuts": int(np.count_nonzero(cuts)), "lost": lost}
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="nb201-cifar10")
    parser.add_argument("--strategy", default="random")
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--null", action="store_true")
    options = parser.parse_args()
    table = load_table(options.table)
    table = shuffled(table) if options.null else table
    for shrink in (True,) if options.null else (False, True):
        facts = searches(table, options.strategy, options.evaluations, options.seeds, shrink)
        print(json.dumps(vars(options) | facts), flush=True)


if __name__ == "__main__":
    main()
