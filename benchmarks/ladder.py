"""The ladder of costs against plain evolution against random search: time to reach what random needs all its time for.

    python benchmarks/ladder.py --data FOLDER [--only SET] [--method NAME] [--seeds 3] [--minutes 20] [--table]

Each cell searches `minutes` on two workers, in the space that `auto` takes for a set of 10,000 images, all with the
same full training of `EPOCHS` epochs and without a final comparison. `ladder`: scores of untrained networks (synflow)
say which of 1,000 are tried first, trainings begin with one epoch and the best third goes on (ASHA), a Gaussian process
proposes, equivalents are never trained twice. `evolution` and `random` train every proposal in full. Compared are
validation accuracies after full trainings, over wall time from the beginning of the study. What is done is kept in
docs/results/ladder/SET-METHOD-SEED.json and not run again; `--table` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from results import KINDS, SETS, write

from searchitect import search

MINUTES, WORKERS, SEEDS, EPOCHS = 20.0, 2, 3, 8
OUT = Path(__file__).parent.parent / "docs" / "results" / "ladder"
IMAGES = ("cifar-10-10k", "fashion-mnist-10k")
METHODS: dict[str, dict[str, Any]] = {
    "random": {"strategy": "random"},
    "evolution": {"strategy": "regularized-evolution"},
    "ladder": {
        "strategy": "asha", "strategy_options": {"inner": "gaussian-process", "min_epochs": 1}, "screen": "synflow"
    },
}  # fmt: skip


def cell(name: str, method: str, seed: int, minutes: float, folder: Path) -> dict[str, Any]:
    """One search, and the best full training so far over its seconds."""
    source, load = (SETS | KINDS)[name](folder), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as runs:
        began = time.time()
        study = search(path=Path(runs) / "study", budget=f"{60 * minutes:.0f}s", workers=WORKERS, seed=seed,
                       epochs=EPOCHS, finalize=False, **METHODS[method], **source)  # fmt: skip
        full = [t for t in study.trials if t.value("accuracy") is not None and t.proposal.fidelity.epochs == EPOCHS]
        best, trace = 0.0, []
        for trial in sorted(full, key=lambda t: t.finished or 0.0):
            accuracy = trial.value("accuracy") or 0.0
            if accuracy > best:
                best = accuracy
                trace.append([round((trial.finished or began) - began, 1), accuracy])
        summary = study.summary()
    return {
        "set": name, "method": method, "seed": seed, "minutes": minutes, "epochs": EPOCHS, "trace": trace,
        "trials": summary["trials"], "full": len(full), "space": summary.get("space_size"), "load_before": load,
        "load_after": os.getloadavg()[0],
    }  # fmt: skip


def reached(trace: list[list[float]], accuracy: float) -> float | None:
    """Seconds until a full training had this accuracy."""
    return next((seconds for seconds, value in trace if value >= accuracy), None)


def table(cells: list[dict[str, Any]]) -> str:
    """Best accuracy, and the share of the time after which the final accuracy of random search with the same seed was
    reached (–: never)."""
    lines = ["| data | method | seeds | best validation accuracy % | full trainings | share of the time |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name in IMAGES:
        final = {c["seed"]: c["trace"][-1][1] for c in cells if c["set"] == name and c["method"] == "random"}
        for method in METHODS:
            own = [c for c in cells if c["set"] == name and c["method"] == method and c["trace"]]
            if not own:
                continue
            best = [100 * c["trace"][-1][1] for c in own]
            shares = []
            for c in own:
                if c["seed"] in final:
                    seconds = reached(c["trace"], final[c["seed"]])
                    shares.append("–" if seconds is None else f"{seconds / (60 * c['minutes']):.2f}")
            lines.append(
                f"| {name} | {method} | {len(own)} | {statistics.fmean(best):.2f} | "
                f"{statistics.fmean(c['full'] for c in own):.0f} | {', '.join(shares)} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, seed by seed, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--only", choices=IMAGES)
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    for seed in range(given.seeds):
        for name in [given.only] if given.only else IMAGES:
            for method in [given.method] if given.method else METHODS:
                path = given.out / f"{name}-{method}-{seed}.json"
                if not path.is_file() and not given.table:
                    write(path, cell(name, method, seed, given.minutes, given.data))
    print(table([json.loads(path.read_text()) for path in sorted(given.out.glob("*.json"))]))


if __name__ == "__main__":
    main()
