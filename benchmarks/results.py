"""The whole path on six real sets, settings fixed beforehand: baseline, random control, winner, tuned winner.

    python benchmarks/results.py --data FOLDER [--group kinds] [--only NAME] [--table]

FOLDER holds letter.npz, splice_dna.npz, ucr_japanesevowels.npz and california_housing.npz (arrays x_*_train, y_train,
x_*_test, y_test); digits ship with scikit-learn, Fashion-MNIST is read where Debian's package puts it. Each set has
`BUDGET` on two workers with seed 0: half of the search is random search, a sixth of all is for tuning winner and
baseline alike. What is done is kept in docs/results/NAME.json and not run again; a study that was interrupted goes on.
`--table` prints the table of all that is there.

`--group kinds` is a second group, of `SHORT` each: every other kind of data on a real set, with the space that `auto`
takes, and no random search and no tuning beside it: what someone has who gives data and five minutes.
FOLDER also holds cifar10_batch1.npz and cifar10_test.npz, pneumoniamnist.npz, adult.npz, fsdd_logmel.npz, trec6.npz,
tinyshakespeare.npz and etth1.npz for it; its results stand in docs/results/kinds/.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from searchitect import resume, search

BUDGET, TUNE, WORKERS, SEED = "8m", 0.17, 2, 0
SHORT = "5m"
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


def cifar(folder: Path) -> Source:
    """The first 10,000 images, stored as packed differences of colours and of neighbours."""

    def images(name: str) -> tuple[np.ndarray, np.ndarray]:
        with np.load(folder / name) as z:
            packed = np.frombuffer(lzma.decompress(z["xz"].tobytes()), np.uint8).reshape(3, -1, 32, 32)
            y = z["y"]
        q = packed.cumsum(2, dtype=np.uint8).cumsum(3, dtype=np.uint8)
        return np.stack([q[1] + q[0], q[0], q[2] + q[0]], -1), y

    return {"data": images("cifar10_batch1.npz"), "test_data": images("cifar10_test.npz")}


def xrays(folder: Path) -> Source:
    """Training and validation together; the official test part."""
    with np.load(folder / "pneumoniamnist.npz") as z:
        x, y = (np.concatenate([z[f"{k}_train"], z[f"{k}_val"]]) for k in "xy")
        return {"data": (x, y.reshape(-1)), "test_data": (z["x_test"], z["y_test"].reshape(-1))}


def adult(folder: Path) -> Source:
    """Six numbers and eight categories, these as text."""
    import pandas as pd

    with np.load(folder / "adult.npz") as z:
        names = [*(f"number{i}" for i in range(z["x_num_train"].shape[1])),
                 *(f"category{i}" for i in range(z["x_cat_train"].shape[1]))]  # fmt: skip
        parts = []
        for part in ("train", "test"):
            numbers, codes = z[f"x_num_{part}"], z[f"x_cat_{part}"].astype(str)
            columns = [*numbers.T, *codes.T]
            parts.append((pd.DataFrame(dict(zip(names, columns, strict=True))), z[f"y_{part}"]))
    return {"data": parts[0], "test_data": parts[1]}


def digits_spoken(folder: Path) -> Source:
    """Forty bands over 64 frames."""
    with np.load(folder / "fsdd_logmel.npz") as z:
        parts = [(z[f"x_{part}"].astype(np.float32), z[f"y_{part}"]) for part in ("train", "test")]
    return {"data": parts[0], "test_data": parts[1], "layout": "NTC"}


def questions(folder: Path) -> Source:
    """Texts of different length."""

    def part(z: Any, name: str) -> tuple[list[np.ndarray], np.ndarray]:
        return np.split(z[f"tokens_{name}"], z[f"offsets_{name}"][1:-1]), z[f"y_{name}"]

    with np.load(folder / "trec6.npz") as z:
        return {"data": part(z, "train"), "test_data": part(z, "test")}


def plays(folder: Path) -> Source:
    """A stream of letters: the last 100,000 to train and validate, the next 60,000 to test."""
    with np.load(folder / "tinyshakespeare.npz") as z:
        return {"data": z["train"][-100_000:], "test_data": z["test"][:60_000], "layout": "S:64"}


def hours(folder: Path) -> Source:
    """96 hours of seven series, and the oil temperature 24 hours later; standardised by the training months."""
    with np.load(folder / "etth1.npz") as z:
        values, bounds = z["values"], z["bounds"].tolist()
    values = (values - values[: bounds[1]].mean(0)) / values[: bounds[1]].std(0)

    def part(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        ends = range(max(start, 96), stop - 24, 4)
        return np.stack([values[i - 96 : i].T for i in ends]), np.array([values[i + 23, -1] for i in ends])

    return {"data": part(0, bounds[2]), "test_data": part(bounds[2], bounds[3]), "layout": "NCT", "ordered": True,
            "task": "regression"}  # fmt: skip


KINDS = {  # beside images, tables and sequences of the first group
    "cifar-10-10k": cifar,
    "pneumonia-mnist": xrays,
    "adult": adult,
    "spoken-digits": digits_spoken,
    "trec-6": questions,
    "tiny-shakespeare": plays,
    "etth1-24h": hours,
}
GROUPS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "whole": (SETS, "", {"budget": BUDGET, "control": "random", "tune": TUNE}),
    "kinds": (KINDS, "kinds", {"budget": SHORT}),
}


def run(name: str, source: Source, group: str = "whole") -> dict[str, Any]:
    """One cell: the study, or the rest of it, and what came out as plain data."""
    _, inside, options = GROUPS[group]
    folder = RUNS / inside / name
    began, load = time.time(), os.getloadavg()[0]
    if (folder / "study.db").is_file():
        own = {k: source[k] for k in ("data", "test_data") if k in source and not isinstance(source[k], str)}
        study = resume(folder, **own)
    else:
        study = search(path=folder, workers=WORKERS, seed=SEED, **options, **source)
    found = study.summary()
    keep = ("trials", "seconds", "verdict", "comparisons", "recipes", "strategy", "space_size", "finalised", "forecast")
    environment = {k: study.meta["environment"].get(k) for k in ("cpu", "cores", "torch", "python")}
    return {
        "set": name, **options, "seed": SEED, "workers": WORKERS, "took": time.time() - began,
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


def shown(verdict: dict[str, Any], side: dict[str, Any] | None) -> str:
    """Mean and interval of one side."""
    if side is None:
        return "–"
    scale, digits = (100, 2) if verdict["metric"] == "accuracy" else (1, 4)
    middle, low, high = (f"{scale * side[k]:.{digits}f}" for k in ("mean", "low", "high"))
    return f"{middle} ({low} to {high})"


def row(cell: dict[str, Any]) -> list[str]:
    """One line of the table of the first group."""
    verdict, others = cell["verdict"], cell["comparisons"]
    control, untuned = others.get("control"), others.get("untuned")
    usual = untuned["baseline"] if untuned else verdict["winner"]
    return [
        *begins(cell), shown(verdict, verdict["baseline"]), shown(verdict, control["baseline"] if control else None),
        shown(verdict, usual), shown(verdict, verdict["winner"]) if untuned else "usual recipe kept",
        words(verdict), control["words"] if control else "–", *ends(cell),
    ]  # fmt: skip


def short_row(cell: dict[str, Any]) -> list[str]:
    """One line of the table of the kinds of data."""
    verdict = cell["verdict"]
    scores = [shown(verdict, verdict[side]) for side in ("baseline", "winner")]
    return [*begins(cell), cell["space"], *scores, words(verdict), *ends(cell)]


def begins(cell: dict[str, Any]) -> list[str]:
    """Data and metric."""
    metric = cell["verdict"]["metric"]
    return [cell["set"], metric + " %" * (metric == "accuracy")]


def words(verdict: dict[str, Any]) -> str:
    """The sentence without the chance of a new training."""
    return str(verdict["sentence"]).partition("; trained anew")[0]


def ends(cell: dict[str, Any]) -> list[str]:
    """Seeds a side, epochs of the final trainings, trials and seconds."""
    numbers = cell["verdict"]["winner"]["n"], cell["epochs"], cell["trials"]["done"], round(cell["seconds"]["active"])
    return [str(number) for number in numbers]


LAST = ("seeds", "epochs", "trials", "s")
TABLES = {
    "whole": (row, ("data", "metric", "baseline, tuned", "random search", "winner", "winner, tuned", "verdict",
                    "against random", *LAST)),
    "kinds": (short_row, ("data", "metric", "space", "baseline", "winner", "verdict", *LAST)),
}  # fmt: skip


def table_of(cells: list[dict[str, Any]], group: str) -> str:
    """As Markdown."""
    line, columns = TABLES[group]
    rows = [columns, ["---"] * len(columns), *(line(cell) for cell in cells if cell["verdict"])]
    return "\n".join(f"| {' | '.join(one)} |" for one in rows)


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=False, default=Path("data"))
    parser.add_argument("--group", choices=GROUPS, default="whole")
    parser.add_argument("--only", choices=[*SETS, *KINDS])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    sets, inside, _ = GROUPS[given.group]
    if given.only is not None and given.only not in sets:
        parser.error(f"--only {given.only}: group {given.group} has {', '.join(sets)}")
    for name in [given.only] if given.only else sets:
        path = OUT / inside / f"{name}.json"
        if not path.is_file() and not given.table:
            write(path, run(name, sets[name](given.data), given.group))
    cells = [json.loads(path.read_text()) for name in sets if (path := OUT / inside / f"{name}.json").is_file()]
    print(table_of(cells, given.group))


if __name__ == "__main__":
    main()
