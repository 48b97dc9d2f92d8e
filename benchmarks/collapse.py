"""How plain DARTS collapses to skip connections on NAS-Bench-201, and when the guard would have stopped it.

    python benchmarks/collapse.py --data cifar10.npz --out collapse.json

First order, the published settings (SGD 0.025 with a cosine, Adam for the architecture, batches of 64), on 5,000
images of a CIFAR-10 file: half for the weights, half for the architecture, 1,000 others only measured on. There are
far fewer steps than the published 50 × 390, so the architecture's rate is raised by as much, as in every short search
here; --lr says otherwise. The guard only watches; afterwards it is asked at which epoch it would have stopped, and
what it would have returned. "table" is the test accuracy of the derived cell after 200 epochs in the published table.
One line of JSON-ready numbers after each epoch; the same command goes on where it was cut. CPU time is of this process.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from searchitect.bench.loading import load_table
from searchitect.records import Epoch
from searchitect.sharing import Start, SupernetSearch, guard
from searchitect.spaces import load_space
from searchitect.spaces.nb201 import OPERATIONS, RESNET
from searchitect.training import Recipe, TrainData, load, prepare

HELD = 1000  # images that are only measured on


def images(source: str, rows: int, side: int | None = None, held: int | None = None) -> TrainData:
    """So many training rows and `held` others of a source of images, always the same ones; `side` pixels a side."""
    held = HELD if held is None else held
    raw = load(source, limit_train=rows + held, seed=0)
    order = np.random.default_rng(0).permutation(len(raw.x))
    data = prepare(raw, np.sort(order[:rows]), np.sort(order[rows : rows + held]))[0]
    if side is None:
        return data
    assert data.x_eval is not None
    return replace(data, x=adaptive_avg_pool2d(data.x, side), x_eval=adaptive_avg_pool2d(data.x_eval, side))


def started(method: str, data: TrainData, epochs: int, options: dict[str, Any], width: int = 8) -> SupernetSearch:
    """A supernet of one cell a stage."""
    space = load_space("nb201", cells=1, width=width)
    start = Start(space, data.sample, data.outputs, 0, epochs, Recipe(batch_size=64), options)
    return SupernetSearch(method, start, data)


def line(epoch: Epoch, table: Any, cpu: float) -> dict[str, Any]:
    """What is kept of an epoch."""
    skip = OPERATIONS.index("skip_connect")
    shares = list(epoch.gates.values())
    row = table.row(table.space.architecture(epoch.derived))
    return {
        "epoch": epoch.number, "skip_share": sum(s[skip] for s in shares) / len(shares),
        "weights_share": sum(s[2] + s[3] for s in shares) / len(shares), "skips": epoch.guard["skips"],
        "derived": epoch.derived, "table": float(table.column("test_acc_200ep").values[row]), "losses": epoch.losses,
        "accuracy": epoch.metrics["accuracy"], "guard": epoch.guard, "cpu_seconds": round(cpu, 1),
    }  # fmt: skip


def warned(rows: list[dict[str, Any]], epochs: int) -> dict[str, Any]:
    """What the guard says to these epochs: when it would have stopped, why, and what it would have returned."""
    watcher = guard.Guard(hand_made=list(RESNET.values()).count("skip_connect"))
    for i, row in enumerate(rows):
        seen = row["guard"]
        found = guard.Look(int(seen["skips"]), int(seen["chosen"]), seen["parameter_free"])
        why, back = watcher.see(found, row["epoch"] / epochs)
        if why:
            kept = rows[max(0, i - back)]
            return {"stopped": row["epoch"], "why": why, "returned": kept["derived"], "table": kept["table"]}
    return {"stopped": None, "table": rows[-1]["table"]}


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10: an .npz with x and y, or the folder of its files")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; the supernet is kept beside it")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--lr", type=float, help="of the architecture; left out, 3e-4 raised for few steps")
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    options = {"guard": False} | ({} if given.lr is None else {"lr": given.lr})
    search = started("darts", images(given.data, given.rows), given.epochs, options)
    kept = given.out.with_suffix(".state")
    rows = json.loads(given.out.read_text())["epochs"] if search.load(kept) else []
    rows, table, spent = rows[: search.done], load_table("nb201-cifar10"), sum(r["cpu_seconds"] for r in rows)
    for number in range(search.done + 1, given.epochs + 1):
        began = time.process_time()
        epoch = search.epoch(number)
        assert epoch is not None
        rows.append(line(epoch, table, time.process_time() - began))
        spent += rows[-1]["cpu_seconds"]
        body = {"rows": given.rows, "of": given.epochs, "lr": search.method.logits.optimizer.param_groups[0]["lr"],
                "cpu_seconds": round(spent, 1), "guard": warned(rows, given.epochs), "epochs": rows}  # fmt: skip
        given.out.write_text(json.dumps(body, indent=1))  # before the state: a cut between both repeats an epoch
        search.save(kept)
        last = rows[-1]
        print(f"epoch {number}: {last['skips']:.0f} skips of 6, share {last['skip_share']:.3f}, "
              f"table {last['table']:.2f} %, {last['cpu_seconds']:.0f} s", flush=True)  # fmt: skip
    print(json.dumps(warned(rows, given.epochs)))


if __name__ == "__main__":
    main()
