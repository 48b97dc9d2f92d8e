"""At equal wall time on two cores: ours, the same search led by others, and other tools. Settings fixed beforehand.

    python benchmarks/peers.py --data FOLDER [--peer NAME] [--set NAME] [--seeds 3] [--table]

Each cell has `BUDGET` seconds after its imports, from raw rows to a network that predicts the test rows, which nobody
sees before. `auto` is ours as it comes; `optuna-tpe` and `random` search the same space with the same training, finals
included. `mlp` is scikit-learn's MLPClassifier or MLPRegressor, refitted by the best of successive-halving random
searches, one after the other while there is time. `autokeras` is asked where it is installed (Keras on torch; it knows
no time limit, so its search is interrupted). `boosting` is HistGradientBoosting as it comes: no network, and no search,
but what a table should be held against. What is done is kept in docs/results/peers/ and not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from results import SETS, Source, adult, write

BUDGET, WORKERS, SEEDS = 60.0, 2, 3
OUT = Path(__file__).parent.parent / "docs" / "results" / "peers"
DATA = {
    "digits": SETS["digits"], "letter": SETS["letter"], "splice": SETS["splice"],
    "california-housing": SETS["california-housing"], "adult": adult,
}  # fmt: skip
LAST = 1.1  # a round of successive halving is begun where there is time for so many times the last one


def flat(source: Source) -> tuple[Any, np.ndarray, Any, np.ndarray]:
    """Training and test rows as tables; a frame stays one."""
    if source["data"] == "digits":
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        x, y = load_digits(return_X_y=True)
        x, held, y, held_y = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
        return x, y, held, held_y
    (x, y), (held, held_y) = source["data"], source["test_data"]
    if isinstance(x, np.ndarray) and x.ndim > 2:
        x, held = x.reshape(len(x), -1), held.reshape(len(held), -1)
    return x, y, held, held_y


def scored(source: Source, predicted: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy, or the root of the mean squared error."""
    if source.get("task") == "regression":
        return float(np.sqrt(np.mean((np.asarray(predicted).reshape(-1) - truth) ** 2)))
    return float(np.mean(np.asarray(predicted).reshape(-1) == truth))


def ours(strategy: str) -> Callable[..., dict[str, Any]]:
    """A study whose finals and bundle are part of the budget; the mean test score of what it hands over."""

    def cell(name: str, source: Source, seed: int) -> dict[str, Any]:
        from searchitect import search

        images = ("layout",) if name == "splice" else ()
        own = {key: source[key] for key in ("task", *images) if key in source}
        x, y, held, held_y = flat(source)
        if name == "digits":
            x, held = x.reshape(-1, 8, 8), held.reshape(-1, 8, 8)
        if name == "splice":
            (x, _), (held, _) = source["data"], source["test_data"]
        with tempfile.TemporaryDirectory() as folder:
            study = search(data=(x, y), test_data=(held, held_y), budget=f"{BUDGET:.0f}s", workers=WORKERS, seed=seed,
                           strategy=strategy, path=Path(folder) / "study", **own)  # fmt: skip
            found = study.summary()
            return {"score": found["verdict"]["winner"]["mean"], "tried": found["trials"]["done"],
                    "verdict": found["verdict"]["sentence"]}  # fmt: skip

    return cell


def columns(x: Any) -> Any:
    """Numbers standardised, categories as zeros and ones."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if isinstance(x, np.ndarray):
        return StandardScaler()
    numbers = make_column_selector(dtype_include="number")
    others = make_column_selector(dtype_exclude="number")
    return make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), others))


def mlp(name: str, source: Source, seed: int) -> dict[str, Any]:
    """Rounds of successive halving over 16 random settings each; the best of all is fitted on all training rows."""
    from scipy.stats import loguniform
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline

    began = time.monotonic()
    regression = source.get("task") == "regression"
    x, y, held, held_y = flat(source)
    network = (MLPRegressor if regression else MLPClassifier)(max_iter=60, random_state=seed)
    whole = make_pipeline(columns(x), network)
    kind = "mlpregressor" if regression else "mlpclassifier"
    widths = [(w,) * depth for w in (32, 64, 128, 256) for depth in (1, 2, 3)]
    space = {
        f"{kind}__hidden_layer_sizes": widths, f"{kind}__alpha": loguniform(1e-6, 1e-1),
        f"{kind}__learning_rate_init": loguniform(3e-4, 1e-2), f"{kind}__activation": ["relu", "tanh"],
        f"{kind}__batch_size": [64, 128, 256],
    }  # fmt: skip
    best, tried, took, fit, number = None, 0, 0.0, 0.0, 0
    while best is None or LAST * took + fit < BUDGET - (time.monotonic() - began):
        since = time.monotonic()
        rounds = HalvingRandomSearchCV(
            whole, space, n_candidates=16, factor=3, min_resources=max(200, len(y) // 27), cv=3, n_jobs=WORKERS,
            random_state=1_000 * seed + number, refit=True,
        ).fit(x, y)  # fmt: skip
        took, fit, number = time.monotonic() - since, max(fit, rounds.refit_time_), number + 1
        tried += sum(rounds.n_candidates_)
        if best is None or rounds.best_score_ > best.best_score_:
            best = rounds
    return {"score": scored(source, best.predict(held), held_y), "tried": tried}


def boosting(name: str, source: Source, seed: int) -> dict[str, Any]:
    """As it comes; categories as such."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    x, y, held, held_y = flat(source)
    if not isinstance(x, np.ndarray):
        kinds = {c: x[c].astype("category").dtype for c in x.columns if x[c].dtype == object}
        x, held = x.astype(kinds), held.astype(kinds)
    if source.get("task") == "regression":
        model = HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=seed)
    else:
        model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)
    return {"score": scored(source, model.fit(x, y).predict(held), held_y), "tried": 1}


def autokeras(name: str, source: Source, seed: int) -> dict[str, Any]:
    """Its search of tables or of images until time is up, then its best network."""
    import autokeras as ak
    import keras

    began = time.monotonic()
    x, y, held, held_y = flat(source)
    if not isinstance(x, np.ndarray):
        x, held = x.to_numpy(), held.to_numpy()
    regression = source.get("task") == "regression"
    if name == "digits":
        x, held = x.reshape(-1, 8, 8, 1), held.reshape(-1, 8, 8, 1)
        kind = ak.ImageClassifier
    else:
        kind = ak.StructuredDataRegressor if regression else ak.StructuredDataClassifier

    class Clock(keras.callbacks.Callback):
        """Ends the search as Ctrl-C would."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if time.monotonic() - began > BUDGET:
                raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        made = kind(max_trials=1_000, seed=seed, directory=folder, overwrite=True)
        with contextlib.suppress(KeyboardInterrupt):
            made.fit(x, y, verbose=0, callbacks=[Clock()])
        trials = [t for t in made.tuner.oracle.trials.values() if t.status == "COMPLETED"]
        if not trials:
            return {"score": None, "tried": 0}
        return {"score": scored(source, made.predict(held, verbose=0), held_y), "tried": len(trials)}


PEERS: dict[str, Callable[..., dict[str, Any]]] = {
    "auto": ours("auto"), "optuna-tpe": ours("optuna-tpe"), "random": ours("random"), "mlp": mlp,
    "autokeras": autokeras, "boosting": boosting,
}  # fmt: skip
HAS_SEEDS = {name: name != "boosting" for name in PEERS}


def cell(peer: str, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """One cell, in this process."""
    source, load = DATA[name](folder), os.getloadavg()[0]
    began = time.monotonic()
    found = PEERS[peer](name, source, seed)
    return {
        "peer": peer, "set": name, "seed": seed, "budget": BUDGET, "seconds": round(time.monotonic() - began, 1),
        "metric": "rmse" if source.get("task") == "regression" else "accuracy", "load_before": load, **found,
    }  # fmt: skip


def table(cells: list[dict[str, Any]]) -> str:
    """Mean and spread of the test score over seeds, a row for each set."""
    lines = [f"| data | metric | {' | '.join(PEERS)} |", "|---" * (len(PEERS) + 2) + "|"]
    for name in DATA:
        own = [c for c in cells if c["set"] == name]
        if not own:
            continue
        row = [name, own[0]["metric"] + (" %" if own[0]["metric"] == "accuracy" else "")]
        for peer in PEERS:
            scores = [c["score"] for c in own if c["peer"] == peer and c["score"] is not None]
            scale, digits = (100, 2) if own[0]["metric"] == "accuracy" else (1, 4)
            spread = f" ± {scale * statistics.stdev(scores):.{digits}f}" if len(scores) > 1 else ""
            row.append(f"{scale * statistics.fmean(scores):.{digits}f}{spread} ({len(scores)})" if scores else "–")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, each cell in a process of its own, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument("--set", choices=DATA)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="Print what is there.")
    parser.add_argument("--one", nargs=3, metavar=("PEER", "SET", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(cell(given.one[0], given.one[1], int(given.one[2]), given.data)))
        return
    for seed in range(given.seeds):
        for name in [given.set] if given.set else DATA:
            for peer in [given.peer] if given.peer else PEERS:
                path = OUT / f"{name}-{peer}-{seed}.json"
                missing = peer == "autokeras" and importlib.util.find_spec("autokeras") is None
                if given.table or path.is_file() or missing or (seed and not HAS_SEEDS[peer]):
                    continue
                command = [sys.executable, __file__, "--data", str(given.data), "--one", peer, name, str(seed)]
                environment = {**os.environ, "KERAS_BACKEND": "torch"}
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
                if done.returncode:
                    print(f"{path.stem} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                    continue
                write(path, json.loads(done.stdout.strip().splitlines()[-1]))
    print(table([json.loads(path.read_text()) for path in sorted(OUT.glob("*.json"))]))


if __name__ == "__main__":
    main()
