"""How well a table of operations tells the latency of networks that it has not seen (bar: within 10 %).

Run: OMP_NUM_THREADS=1 python benchmarks/latency.py [--spaces nb201 ...] [--seconds 60] [--json FILE]

For each space: the table is measured here, then networks drawn from other seeds are measured as a whole, in turns, and
compared with what the table tells. "pace" is the factor by which the machine is slower then than while the table was
measured, "error_paced" what is left of the error without it; "of_itself" is the error that the line knows of, from
networks left out one by one.
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
from scipy.stats import spearmanr

from searchitect.errors import SearchitectError
from searchitect.hardware import Predictor, measured, measured_table
from searchitect.nets import Costs, build
from searchitect.seeds import stream
from searchitect.spaces import load_space

SPACES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "nb201": ({"cells": 1}, (3, 32, 32)), "cnn": ({}, (1, 28, 28)), "mobilenet": ({}, (3, 32, 32)),
    "darts": ({"cells": 5, "width": 16}, (3, 32, 32)), "transformer": ({}, (3, 32, 32)), "macro": ({}, (3, 32, 32)),
}  # fmt: skip


def row(name: str, seconds: float, held_out: int) -> dict[str, Any]:
    options, shape = SPACES[name]
    space = load_space(name, **options)
    costs = Costs(space, shape, 10)
    began = time.perf_counter()
    table, line = measured_table(costs, seconds=seconds)
    took = time.perf_counter() - began
    predictor = Predictor(costs, table, line)
    architectures, i = list[Any](), 0
    while len(architectures) < held_out:
        architecture = space.sample(stream(1000, i, "held out"))
        i += 1
        try:
            costs.of(architecture)
        except SearchitectError:
            continue
        architectures.append(architecture)
    began = time.perf_counter()
    told = np.array([predictor(a) for a in architectures])
    each = (time.perf_counter() - began) / held_out * 1e3
    models = [build(space, a, shape, outputs=10) for a in architectures]
    timings = measured(models, shape, seconds=2.0)
    truth = np.array([t.ms for t in timings])
    error = np.abs(told - truth) / truth
    pace = float(np.median(truth / told))  # how much slower the machine has become since the table was measured
    paced = np.abs(pace * told - truth) / truth
    macs = np.array([costs.of(a).macs for a in architectures])
    return {
        "space": name, "operations": len(table), "seconds": round(took, 1), "ms": [round(float(x), 3) for x in
        (truth.min(), np.median(truth), truth.max())], "error": round(float(error.mean()), 4),
        "median_error": round(float(np.median(error)), 4), "worst": round(float(error.max()), 4),
        "within_10": round(float((error <= 0.1).mean()), 3), "of_itself": round(line.error, 4),
        "spearman": round(float(spearmanr(told, truth)[0]), 4),
        "spearman_macs": round(float(spearmanr(macs, truth)[0]), 4),
        "pace": round(pace, 3), "error_paced": round(float(paced.mean()), 4),
        "uncertainty": round(max(t.uncertainty for t in timings), 4), "predict_ms": round(each, 3),
        "threads": torch.get_num_threads(), "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="*", default=list(SPACES))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--held-out", type=int, default=20)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for name in asked.spaces:
        rows.append(row(name, asked.seconds, asked.held_out))
        print(json.dumps(rows[-1]), flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
