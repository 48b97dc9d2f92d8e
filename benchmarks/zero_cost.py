"""Zero-cost scores on NAS-Bench-201: how they rank its cells, and what they cost.

    python benchmarks/zero_cost.py --data cifar10.npz --cells 50 --batch 64 --json

Untrained networks of random cells (16 channels, five cells a stage) see one batch of CIFAR-10. "spearman" is the rank
correlation with the published 200-epoch test accuracies, a cell without a score counting as the lowest; "milliseconds"
is CPU time of one score alone, mean over the first --timed cells, and "together_milliseconds" of the seven in SEVEN
over the same cells, building not counted. "combined" is the sum over jacob_cov and synflow of the logarithm of the rank
among the cells. --stored FILE names a table (.csv or .parquet) of published scores with a column arch_id: its cells are
taken instead, and "stored" is the rank correlation with its columns.
Rows are kept in --out and the same command goes on where it was cut.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from collapse import images
from scipy.stats import rankdata, spearmanr

from searchitect.bench.loading import load_table
from searchitect.nets import build
from searchitect.scores import SCORES, score
from searchitect.spaces import load_space
from searchitect.spaces.nb201 import EDGES, OPERATIONS

SEVEN = ("grad_norm", "snip", "plain", "fisher", "jacob_cov", "naswot", "synflow")
COMBINED = ("jacob_cov", "synflow")
THEIRS = {"jacob_cov": "jacov", "naswot": "nwot", "macs": "flops"}  # names in published tables
LOWEST = -1e300  # of a cell without a score, in ranks


def batch_of(source: str | None, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x (B, 3, 32, 32) and y (B,): images of a file, or noise where there is none."""
    if source is None:
        draws = torch.Generator().manual_seed(0)
        x, y = torch.randn(size, 3, 32, 32, generator=draws), torch.randint(10, (size,), generator=draws)
    else:
        data = images(source, size)
        x, y = data.x[:size], data.y[:size]
    return x.contiguous(memory_format=torch.channels_last), y


def milliseconds(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, names: tuple[str, ...]) -> float:
    """CPU time of these scores together."""
    began = time.process_time()
    score(model, x, y, names)
    return 1e3 * (time.process_time() - began)


def measure(given: argparse.Namespace, ids: list[int]) -> list[dict[str, Any]]:
    """One row for each cell; those that are in the file are taken from there."""
    space, table = load_space("nb201"), load_table(given.table)
    x, y = batch_of(given.data, given.batch)
    known = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    done = {row["id"]: row for row in known}
    for place, cell in enumerate(ids):
        if cell in done:
            continue
        digits = np.unravel_index(cell, (5,) * 6) if given.stored is None else given.operations[cell]
        chosen = dict(zip(EDGES, (OPERATIONS[i] for i in digits), strict=True))
        architecture = space.architecture(chosen)
        model = build(space, architecture, (3, 32, 32), outputs=10, seed=given.seed)
        model = model.to(memory_format=torch.channels_last)
        row: dict[str, Any] = {"id": cell, "accuracy": accuracy(table, chosen)}
        if place < given.timed:
            score(model, x, y, given.scores)  # warm
            row["together"] = milliseconds(model, x, y, SEVEN)
            row["alone"] = {name: milliseconds(model, x, y, (name,)) for name in given.scores}
        row["scores"], row["reasons"] = score(model, x, y, given.scores, seed=given.seed)
        done[cell] = row
        with given.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
    return [done[cell] for cell in ids]


def accuracy(table: Any, chosen: dict[str, str]) -> float:
    """The published accuracy of a cell."""
    return float(table.column("test_acc_200ep").values[table.row(table.space.architecture(chosen))])


def figures(rows: list[dict[str, Any]], names: tuple[str, ...], stored: Any) -> dict[str, Any]:
    """What the rows say, ready for JSON."""
    real = [row["accuracy"] for row in rows]
    values = {name: [row["scores"].get(name, LOWEST) for row in rows] for name in names}
    timed = [row for row in rows if "together" in row]
    found: dict[str, Any] = {"cells": len(rows)}
    for name in names:
        found[name] = {"spearman": _rounded(spearmanr(values[name], real).statistic),
                       "milliseconds": _mean([row["alone"][name] for row in timed]),
                       "without": sum(name in row["reasons"] for row in rows)}  # fmt: skip
        theirs = THEIRS.get(name, name)
        if stored is not None and theirs in stored:
            other = stored[theirs].replace([np.inf, -np.inf], np.nan).fillna(LOWEST)
            found[name]["stored"] = _rounded(spearmanr(values[name], other).statistic)
    if set(COMBINED) <= set(names):
        ranks = sum(np.log(rankdata(values[name]) / len(rows)) for name in COMBINED)
        found["combined"] = {"spearman": _rounded(spearmanr(ranks, real).statistic)}
    found["together_milliseconds"] = _mean([row["together"] for row in timed])
    return found


def _rounded(value: float) -> float:
    return round(float(value), 3)


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 1) if values else None


def read_stored(given: argparse.Namespace) -> Any:
    """The published scores of --dataset, and the operations of their cells from its columns op_* or --cells-of."""
    import pandas

    read = pandas.read_parquet if given.stored.suffix == ".parquet" else pandas.read_csv
    found = read(given.stored)
    if "dataset" in found:
        found = found[found.dataset == given.dataset]
    named = found if "op_0to1" in found else found.merge(pandas.read_parquet(given.cells_of), on="arch_id")
    columns = [f"op_{edge[0]}to{edge[2]}" for edge in EDGES]
    given.operations = {
        int(row.arch_id): [OPERATIONS.index(str(row[c])) for c in columns] for _, row in named.iterrows()
    }
    return found.drop_duplicates("arch_id").set_index("arch_id")


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="CIFAR-10: an .npz with x and y, or the folder of its files; left out, noise")
    parser.add_argument("--cells", type=int, default=50)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timed", type=int, default=20, help="cells of which the time is taken")
    parser.add_argument("--table", default="nb201-cifar10")
    parser.add_argument("--scores", default=",".join(SCORES))
    parser.add_argument("--stored", type=Path, help="published scores: .csv or .parquet with arch_id")
    parser.add_argument("--cells-of", type=Path, help="a .parquet with arch_id and op_0to1 ... op_2to3")
    parser.add_argument("--dataset", default="cifar10", help="rows of --stored with this value in `dataset`")
    parser.add_argument("--out", type=Path, default=None, help="file of rows; left out, a new temporary one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    given.scores = tuple(given.scores.split(","))
    if given.out is None:
        import tempfile

        given.out = Path(tempfile.mkdtemp()) / "rows.jsonl"
    stored = None if given.stored is None else read_stored(given)
    every = range(5**6) if stored is None else list(stored.index)
    ids = [int(i) for i in np.random.default_rng(given.seed).permutation(np.array(every))[: given.cells]]
    rows = measure(given, ids)
    found = figures(rows, given.scores, None if stored is None else stored.loc[ids])
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(name, value)


if __name__ == "__main__":
    main()
