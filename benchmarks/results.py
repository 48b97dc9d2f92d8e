"""The whole path on six real sets, settings fixed beforehand: baseline, random control, winner, tuned winner.

    python benchmarks/results.py --data FOLDER [--only NAME] [--table]

FOLDER holds letter.npz, splice_dna.npz, ucr_japanesevowels.npz and california_housing.npz (arrays x_*_train, y_train,
x_*_test, y_test); digits ship with scikit-learn, Fashion-MNIST is read where Debian's package puts it. Each set has
`BUDGET` on two workers with seed 0: half of the search is random search, a sixth of all is for tuning winner and
baseline alike. What is done is kept in docs/results/NAME.json and not run again; a study that was interrupted goes on.
`--table` prints the table of all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from searchitect import resume, search

BUDGET, TUNE, WORKERS, SEED = "8m", 0.17, 2, 0
FASHION = "/usr/share/datasets/fashion-mnist"
OUT = Path(__file__).parent.parent / "docs" / "results"
RUNS = Path(__file__).parent.parent / "runs" / "results"
Source = dict[str, Any]


def table(folder: Path, name: str, **more: Any) -> Source:
    """A set of numbers with its own test part."""
    with np.load(folder / f"{name}.npz") as z:
        return {"data": (z["x_num_train"], z["y_train"]), "test_data": (z["x_num_test"], z["y_test"]), **more}


def splice(folder: Path) -> Source:
    """Letters of DNA as eight channels of zeros and ones."""
    with np.load(folder / "splice_dna.npz") as z:
        x = {part: np.eye(8, dtype=np.float32)[z[f"x_{part}"]].transpose(0, 2, 1) for part in ("train", "test")}
        return {"data": (x["train"], z["y_train"]), "test_data": (x["test"], z["y_test"]), "layout": "NCT"}


def vowels(folder: Path) -> Source:
    """Twelve coefficients over time, zeros at the end."""
    with np.load(folder / "ucr_japanesevowels.npz") as z:
        return {"data": (z["x_train"], z["y_train"]), "test_data": (z["x_test"], z["y_test"]), "layout": "NCT"}


def housing(folder: Path) -> Source:
    """Prices in 100,000 dollars."""
    with np.load(folder / "california_housing.npz") as z:
        parts = [(z[f"x_num_{part}"], z[f"y_{part}"] / 1e5) for part in ("train", "test")]
    return {"data": parts[0], "test_data": parts[1], "task": "regression"}


SETS = {
    "digits": lambda _folder: {"data": "digits"},
    "fashion-mnist-10k": lambda _folder: {"data": FASHION, "limit_train": 10_000},
    "letter": lambda folder: table(folder, "letter"),
    "splice": splice,
    "japanese-vowels": vowels,
    "california-housing": housing,
}


def run(name: str, source: Source) -> dict[str, Any]:
    """One cell: the study, or the rest of it, and what came out as plain data."""
    folder = RUNS / name
    began, load = time.time(), os.getloadavg()[0]
    if (folder / "study.db").is_file():
        own = {k: source[k] for k in ("data", "test_data") if k in source and not isinstance(source[k], str)}
        study = resume(folder, **own)
    else:
        study = search(path=folder, budget=BUDGET, workers=WORKERS, seed=SEED, control="random", tune=TUNE, **source)
    found = study.summary()
    keep = ("trials", "seconds", "verdict", "comparisons", "recipes", "strategy", "space_size", "finalised")
    environment = {k: study.meta["environment"].get(k) for k in ("cpu", "cores", "torch", "python")}
    return {
        "set": name, "budget": BUDGET, "tune": TUNE, "seed": SEED, "workers": WORKERS, "took": time.time() - began,
        "load_before": load, "load_after": os.getloadavg()[0], "environment": environment,
        "space": study.meta["space"]["name"], "epochs": dict(study.meta.get("winner") or {}).get("epochs"),
    } | {k: found[k] for k in keep}  # fmt: skip


def write(path: Path, cell: dict[str, Any]) -> None:
    """The whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(cell, file, indent=1)
    shutil.move(file.name, path)
    path.chmod(0o644)


def row(cell: dict[str, Any]) -> str:
    """One line of the table."""
    verdict, others = cell["verdict"], cell["comparisons"]
    share = verdict["metric"] == "accuracy"

    def score(side: dict[str, Any] | None) -> str:
        if side is None:
            return "–"
        scale, digits = (100, 2) if share else (1, 4)
        middle, low, high = (f"{scale * side[k]:.{digits}f}" for k in ("mean", "low", "high"))
        return f"{middle} ({low} to {high})"

    control, untuned = others.get("control"), others.get("untuned")
    usual = untuned["baseline"] if untuned else verdict["winner"]
    cells = [
        cell["set"], verdict["metric"] + (" %" if share else ""), score(verdict["baseline"]),
        score(control["baseline"]) if control else "–", score(usual),
        score(verdict["winner"]) if untuned else "usual recipe kept", verdict["sentence"],
        control["words"] if control else "–", f"{cell['trials']['done']}", f"{cell['seconds']['active']:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


COLUMNS = (
    "data", "metric", "baseline, tuned", "random search", "winner", "winner, tuned", "verdict", "against random",
    "trials", "s",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=False, default=Path("data"))
    parser.add_argument("--only", choices=SETS)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    for name in [given.only] if given.only else SETS:
        path = OUT / f"{name}.json"
        if not path.is_file() and not given.table:
            write(path, run(name, SETS[name](given.data)))
    cells = [json.loads(path.read_text()) for name in SETS if (path := OUT / f"{name}.json").is_file()]
    print(HEAD, *(row(cell) for cell in cells if cell["verdict"]), sep="\n")


if __name__ == "__main__":
    main()
