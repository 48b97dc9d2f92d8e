"""What the mean of the weights and a teacher are worth: hand-made networks of the ready spaces, by validation data.

    python benchmarks/finetune.py --seeds 10

For each data set that ships along, each seed holds out another fifth of the rows and trains the space's hand-made
network with the usual recipe four times: as it is, with average="ema", with average="swa", and taught by three networks
of other seeds (half of the loss, temperature 4). Printed: the mean, and the mean of the paired differences with a 95 %
interval (Student's t with the variance of Nadeau and Bengio 2003, as the trainings share rows). Nothing was chosen by
these numbers. About a minute of computing for each seed of digits, two seconds for the tables.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import replace

import numpy as np
from msgspec.structs import replace as changed
from scipy.special import stdtrit

from searchitect.nets import build
from searchitect.seeds import derive
from searchitect.session.budget import usual_epochs
from searchitect.space import Space
from searchitect.spaces import load_space
from searchitect.training import Recipe, TrainData, fit, load, predict, prepare, recipe_for
from searchitect.training.losses import soft_targets
from searchitect.training.split import held_out
from searchitect.training.terms import Goal

SETS = {"digits": ("cnn", "accuracy"), "breast_cancer": ("mlp", "accuracy"), "diabetes": ("mlp", "rmse")}
SHARE = 0.25  # rows held out for one row that is trained on


def trained(space: Space, data: TrainData, recipe: Recipe, epochs: int, seed: int, metric: str) -> tuple[object, float]:
    """The trained hand-made network and its value on the rows that were held out."""
    architecture = space.architecture(space.baseline)
    model = build(space, architecture, data.sample, outputs=data.outputs, seed=derive(seed, "weights"))
    found = fit(model, data, recipe, epochs=epochs, seed=derive(seed, "training"), goal=Goal(metrics=(metric,)))
    return model, found.metrics[metric]


def one_seed(name: str, seed: int) -> dict[str, float]:
    """The value of each way of training, on the same rows held out and from the same weights."""
    kind, metric = SETS[name]
    raw = load(name)
    rows = np.arange(len(raw))
    held = held_out(raw.kin(rows), len(rows) // 5, seed, "finetune")
    data, _ = prepare(raw, np.setdiff1d(rows, held), held)
    space = load_space(kind, **({"size": data.sample[-1]} if kind == "cnn" else {}))
    recipe = recipe_for(raw.kind, len(data.x))
    epochs = usual_epochs(len(data.x), recipe.batch_size)
    values = {
        way: trained(space, data, changed(recipe, average=way), epochs, seed, metric)[1]
        for way in ("none", "ema", "swa")
    }
    others = [trained(space, data, recipe, epochs, derive(seed, "teacher", i), metric)[0] for i in range(3)]
    answers = soft_targets([predict(model, data.x) for model in others], raw.task, 4.0)  # type: ignore[arg-type]
    taught = replace(data, soft=answers, soft_weight=0.5, temperature=4.0)
    return values | {"taught": trained(space, taught, recipe, epochs, seed, metric)[1]}


def table(name: str, found: list[dict[str, float]]) -> list[str]:
    """A row for each way."""
    lines, n = [], len(found)
    for way in found[0]:
        mean = statistics.fmean(one[way] for one in found)
        gains = [one[way] - one["none"] for one in found]
        half = float(stdtrit(n - 1, 0.975)) * math.sqrt((1 / n + SHARE) * statistics.variance(gains))
        gain = "" if way == "none" else f"{statistics.fmean(gains):+.4f} ({statistics.fmean(gains) - half:+.4f} to "
        gain += "" if way == "none" else f"{statistics.fmean(gains) + half:+.4f})"
        lines.append(f"| {name}, {SETS[name][1]} | {way} | {mean:.4f} | {gain} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", choices=list(SETS), action="append", help="one of the data sets; may be repeated")
    chosen = parser.parse_args()
    print("| data | how | mean | difference to the usual recipe |\n|---|---|---|---|", flush=True)
    for name in chosen.data or SETS:
        print("\n".join(table(name, [one_seed(name, seed) for seed in range(chosen.seeds)])), flush=True)


if __name__ == "__main__":
    main()
