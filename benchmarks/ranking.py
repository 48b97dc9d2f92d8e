"""How well inherited weights rank the cells of NAS-Bench-201: Kendall's τ with the published accuracies.

    python benchmarks/ranking.py --data cifar10.npz --out ranking --methods spos,fairnas,darts,gdas

A supernet of one cell a stage and 8 channels (16 and five cells in the table) is trained on 30,000 images of CIFAR-10
at half of their resolution, by each method; then 200 random cells are measured with its weights on --held other images,
and compared with their 200-epoch test accuracies. Intervals are of a bootstrap over the cells. As comparison: τ of the
number of parameters. Epochs are as many as fit into --seconds of CPU time, by the first one (measured cells not
counted); one file for each method, written after each cell, and the same command goes on where it was cut.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from collapse import images, started

from searchitect.bench.loading import load_table
from searchitect.sharing.ranking import agreement
from searchitect.training import TrainData

CELLS = 200
MOST_EPOCHS = 200
OPTIONS = {"spos": {"drawn": 1}, "fairnas": {"drawn": 1}, "darts": {"guard": False}, "gdas": {"guard": False}}


def epochs_in(method: str, data: TrainData, seconds: float, options: dict[str, Any]) -> int:
    """How many epochs take so many seconds of CPU time, by one of them."""
    probe = started(method, data, 1, options)
    began = time.process_time()
    probe.epoch(1)
    return max(1, min(MOST_EPOCHS, int(seconds / (time.process_time() - began))))


def measure(method: str, data: TrainData, seconds: float, out: Path, lr: float | None = None) -> dict[str, Any]:
    """Train and rank; everything that is done is in the file."""
    options: dict[str, Any] = OPTIONS[method] | ({} if lr is None else {"lr_weights": lr})
    table = load_table("nb201-cifar10")
    kept = out / f"{method}.state"
    path = out / f"{method}.json"
    body: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if not body:
        epochs = epochs_in(method, data, seconds, options)
        body = {"method": method, "rows": len(data.x), "side": data.sample[-1], "epochs": epochs, "lr": lr,
                "held": len(data.x_eval), "cpu": 0.0, "inherited": [], "real": [], "params": []}  # fmt: skip
    search = started(method, data, body["epochs"], options)
    search.load(kept)
    for number in range(search.done + 1, body["epochs"] + 1):
        began = time.process_time()
        epoch = search.epoch(number)
        assert epoch is not None
        search.save(kept)
        body["cpu"] += time.process_time() - began
        path.write_text(json.dumps(body))
        print(f"{method}: epoch {number} of {body['epochs']}, loss {epoch.losses['train']:.3f}", flush=True)
    for i in range(len(body["inherited"]), CELLS):
        cell = table.space.sample(i)
        row = table.row(cell)
        metrics = search.measure(search.start.space.architecture(cell.decisions))
        body["inherited"].append(metrics["accuracy"])
        body["real"].append(float(table.column("test_acc_200ep").values[row]))
        body["params"].append(float(table.column("params_m").values[row]))
        path.write_text(json.dumps(body))
    return body


def main() -> None:
    """Measure, and print a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10: an .npz with x and y, or the folder of its files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures and the supernets")
    parser.add_argument("--methods", default="spos,fairnas,darts,gdas")
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--side", type=int, default=16, help="pixels a side (32 in the file)")
    parser.add_argument("--seconds", type=float, default=240.0, help="CPU time of the epochs of each method")
    parser.add_argument("--held", type=int, default=1000, help="other images, on which cells are measured")
    parser.add_argument("--lr", type=float, help="of the weights, at the beginning (0.025)")
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    given.out.mkdir(parents=True, exist_ok=True)
    data = images(given.data, given.rows, given.side, given.held)
    for method in given.methods.split(","):
        body = measure(method, data, given.seconds, given.out, given.lr)
        found, sizes = agreement(body["inherited"], body["real"]), agreement(body["params"], body["real"])
        print(f"{method}: τ {found.tau:.3f} ({found.low:.3f} to {found.high:.3f}) on {found.n} cells, "
              f"{body['epochs']} epochs, {body['cpu']:.0f} s of CPU time; parameters alone {sizes.tau:.3f} "
              f"({sizes.low:.3f} to {sizes.high:.3f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
