"""Does searching level by level pay? Strategies alone and one level at a time, over the same seeds and evaluations.

    python benchmarks/levels.py --seeds 100 --evaluations 150

Where: "macro": NAS-Bench-Macro, whose eight layers are three stages (levels: layers 0-1, 2-4, 5-7); "fcnet": a table of
FC-Net (levels: units and activations, dropouts, training); "scripted": macro × stage × cell, 14 decisions, 19 million
architectures, where a level's best options depend on the level above (`worth`). Turns of 25 trials, 10 random ones
first, everything else by default. "regret" is that of the score column, or of `worth`, after a third, two thirds and
all of the evaluations, as mean and standard error.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from searchitect.bench import load_table
from searchitect.bench.simulation import Limit, Search, setting_of
from searchitect.errors import SpaceError
from searchitect.records import Measurement, State, Trial, objectives
from searchitect.space import Architecture, Layer, Space, named, one_of
from searchitect.strategies import Setting, Strategy, make_strategy

Levels = list[list[str]] | None
LEVELS: dict[str, Levels] = {
    "macro": [["layer0", "layer1"], ["layer2", "layer3", "layer4"], ["*"]],
    "fcnet": [["n_units*", "activation*"], ["dropout*"], ["*"]],
    "scripted": None,
}
TABLES = {"macro": "macro-cifar10", "fcnet": "fcnet-protein"}
INNER = ("random", "local-search", "regularized-evolution")


def scripted() -> Space:
    """Two macro decisions, two stages of two, a cell of four operations in each stage."""

    def stage(name: str) -> Layer:
        cell = named("cell", Layer("toy.Cell", {f"op{i}": one_of(*"abcd") for i in range(4)}))
        return named(name, Layer("toy.Stage", {"cell": cell, "width": one_of(8, 16, 32), "stride": one_of(1, 2)}))

    macro = {"depth": one_of(1, 2, 3, 4), "act": one_of("relu", "gelu"), "s0": stage("s0"), "s1": stage("s1")}
    return Space(Layer("toy.Net", macro))


def worth(architecture: Architecture) -> float:
    """One point for each of 14 decisions that is right; which width is right depends on the depth, and which operation
    on the stage's stride. The best has 14."""
    chosen = architecture.decisions
    depth, total = int(chosen["depth"] or 0), float(chosen["depth"] == 3) + float(chosen["act"] == "gelu")
    for s in (0, 1):
        stride = int(chosen[f"s{s}.stride"] or 0)
        total += (chosen[f"s{s}.width"] == (32, 16, 16, 8)[depth - 1]) + (stride == 2)
        total += sum(chosen[f"s{s}.cell.op{i}"] == "abcd"[(i + stride) % 4] for i in range(4))
    return total


def on_table(where: str, make: Callable[[Setting], Strategy], evaluations: int, seed: int) -> list[float]:
    table = load_table(TABLES[where])
    aims = table.objectives()
    reading, losses = table.reading(aims), table.losses(table.score)
    search = Search(table, reading, aims, make(setting_of(table, aims, reading, seed)), Limit(evaluations))
    search.run()
    run = search.result(where, seed, 0.0)
    return [float(losses[run.at(evaluations=evaluations * k // 3)] - np.nanmin(losses)) for k in (1, 2, 3)]


def on_script(space: Space, make: Callable[[Setting], Strategy], evaluations: int, seed: int) -> list[float]:
    strategy, found = make(Setting(space, objectives("max score"), seed)), [0.0]
    for number in range(evaluations):
        try:
            (proposal,) = strategy.ask(1)
        except SpaceError:
            break
        value = worth(proposal.architecture)
        strategy.tell(Trial(number, proposal, State.DONE, Measurement({"score": value})))
        found.append(max(found[-1], value))
    return [14.0 - found[min(evaluations * k // 3, len(found) - 1)] for k in (1, 2, 3)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--evaluations", type=int, default=150)
    options = parser.parse_args()
    space = scripted()
    for where, levels in LEVELS.items():
        for inner in INNER:
            for by_level in (False, True):

                def make(
                    setting: Setting, inner: str = inner, by_level: bool = by_level, levels: Levels = levels
                ) -> Strategy:
                    own = {"inner": inner, "levels": levels}
                    return make_strategy("level-by-level", setting, own) if by_level else make_strategy(inner, setting)

                began = time.process_time()
                regrets = [
                    on_script(space, make, options.evaluations, seed) if where == "scripted"
                    else on_table(where, make, options.evaluations, seed)
                    for seed in range(options.seeds)
                ]  # fmt: skip
                error = np.std(regrets, axis=0, ddof=1) / options.seeds**0.5
                print(json.dumps(vars(options) | {
                    "where": where, "inner": inner, "level by level": by_level,
                    "regret": np.mean(regrets, axis=0).round(4).tolist(), "error": error.round(4).tolist(),
                    "cpu_seconds": round(time.process_time() - began, 1),
                }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
