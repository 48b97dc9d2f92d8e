"""One network against itself, really trained: `python benchmarks/verdict.py --real [FILE]`, 40 comparisons.

Each comparison draws other training and test rows of digits or of the letter data (`letter.npz` in the folder that
SEARCHITECT_DATA names; digits alone without it), trains the hand-made network of the usual space three times as
"winner" and three times as "baseline", each with a seed of its own, and asks for the verdict. Nothing differs, so
"better" and "worse" should come in 5 of 100. A JSON line a comparison is added to FILE; those in it are not run again.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from searchitect.finalize.items import item_values
from searchitect.finalize.verdict import compare
from searchitect.nets import build
from searchitect.seeds import derive, stream
from searchitect.spaces import auto
from searchitect.training import RawData, fit, load, predict, prepare, recipe_for

COMPARISONS, SEEDS, EPOCHS = 40, 3, 8
ROWS = {"digits": (900, 897), "letter": (3_000, 6_000)}  # trained on, tested on


def raw_of(name: str) -> RawData:
    """All rows of a set."""
    if name == "digits":
        return load("digits")
    with np.load(Path(os.environ["SEARCHITECT_DATA"]) / "letter.npz") as z:
        x, y = (np.concatenate([z[f"{key}_train"], z[f"{key}_test"]]) for key in ("x_num", "y"))
    return load((x.astype(np.float64), y))


def comparison(raw: RawData, name: str, number: int, epochs: int = EPOCHS) -> dict[str, Any]:
    """The verdict on rows and seeds that are this number's own."""
    order = list(range(len(raw)))
    stream(number, 0, f"real-{name}").shuffle(order)
    train, test = ROWS[name]
    rows, held = np.sort(order[:train]), np.sort(order[train : train + test])
    space, _ = auto(raw.kind, raw.shape, train, 600.0)
    hand_made = space.architecture(space.baseline)
    data, preprocess = prepare(raw, rows)
    x, y = preprocess.apply(raw.x[held]), raw.y[held]
    right = item_values("accuracy", "classification")
    assert right is not None
    began, sides = time.process_time(), []
    for side in ("winner", "baseline"):
        values = []
        for s in range(SEEDS):
            seed = derive(number, side, s)
            model = build(space, hand_made, data.sample, outputs=raw.outputs, seed=derive(seed, "weights"))
            fit(model, data, recipe_for(raw.kind, train), epochs=epochs, seed=seed)
            values.append(right(predict(model, x).numpy(), y))
        sides.append(np.stack(values))
    verdict = compare(sides[0], sides[1], metric="accuracy", direction="max")
    assert verdict.baseline is not None
    return {
        "data": name, "number": number, "words": verdict.words, "difference": verdict.difference, "low": verdict.low,
        "high": verdict.high, "superiority": verdict.superiority, "winner": list(verdict.winner.values),
        "baseline": list(verdict.baseline.values), "cpu_seconds": round(time.process_time() - began, 2),
    }  # fmt: skip


def main(file: str = "benchmarks/verdict-real.jsonl") -> None:
    """Run what is missing, then say what came out."""
    torch.set_num_threads(1)
    path = Path(file)
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    names = ["digits", "letter"] if "SEARCHITECT_DATA" in os.environ else ["digits"]
    known = {(row["data"], row["number"]) for row in done}
    raws = {name: raw_of(name) for name in names}
    for i in range(COMPARISONS):
        name = names[i % len(names)]
        if (name, i) not in known:
            done.append(comparison(raws[name], name, i))
            with path.open("a") as out:
                out.write(json.dumps(done[-1]) + "\n")
    for name in dict.fromkeys(row["data"] for row in done):
        own = [row for row in done if row["data"] == name]
        accuracy = np.mean([row["winner"] + row["baseline"] for row in own])
        print(f"{name}: {len(own)} comparisons at {accuracy:.1%}, {dict(Counter(row['words'] for row in own))}")
    seen = sum(row["words"] != "cannot tell" for row in done)
    chance = binomtest(seen, len(done), 0.06, alternative="greater").pvalue
    print(f"{seen} of {len(done)} say better or worse; so many or more come by chance at 6 %: {chance:.2f}; "
          f"{sum(row['cpu_seconds'] for row in done):.0f} s of computing")  # fmt: skip
