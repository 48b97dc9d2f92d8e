"""One study's end, simulated: all architectures are equal in truth, validation chooses a winner, the test part judges.

The final stages are the real ones; only training and data are made up, as in `verdict.py`. `verdict.py --pipeline`
counts what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import stats

from searchitect.evaluators.base import Outcome, Task
from searchitect.finalize.context import FinalContext
from searchitect.finalize.planning import Means, Wishes, plan_finals
from searchitect.finalize.stages import run_stages
from searchitect.records import Fidelity, Measurement, Proposal, State, Trial
from searchitect.seeds import derive
from searchitect.space import Architecture

ACCURACY = 0.9
DIFFICULTY, OWN = 0.83, 0.07  # shares of the latent variance; the rest is chance
FINALISTS = 4


def study(n: int, spread: float, seeds: int, number: int, own_baseline: bool = True) -> str:
    """The word of one study's verdict, or "kept" where the hand-made network gave way to nothing.

    own_baseline: the baseline is a network of the user's, which is no finalist; else it is the first of the finalists.
    There are as many validation rows in each fold as test rows.
    """
    rng = np.random.default_rng(derive(number, "pipeline", n, str(spread), seeds, own_baseline))
    folds = [rng.standard_normal(n, dtype=np.float32) for _ in range(seeds + 1)]  # difficulties; the last is the test

    views: dict[tuple[int, int], np.ndarray] = {}  # what an architecture thinks of the rows of a fold

    def right(network: int, fold: int) -> np.ndarray:
        if (network, fold) not in views:
            views[network, fold] = rng.standard_normal(n, dtype=np.float32)
        chance = rng.standard_normal(n, dtype=np.float32)
        latent = np.sqrt(DIFFICULTY) * folds[fold] + np.sqrt(OWN) * views[network, fold]
        latent += np.sqrt(1 - DIFFICULTY - OWN) * chance
        return np.asarray(latent < stats.norm.ppf(ACCURACY + spread * rng.standard_normal()), np.float64)

    def run(tasks: list[Task]) -> list[Outcome]:
        return [
            Outcome({"accuracy": float(right(task.number, task.fold).mean())} if task.rows == "train" else {}, 1.0, 3)
            for task in tasks
        ]

    def load(network: str, decisions: Mapping[str, Any], path: Path) -> Any:
        return SimpleNamespace(number=-1 if network == "baseline" else int(decisions["width"]))

    trials = [
        Trial(k, Proposal(Architecture("null", {"width": k}), Fidelity("train", 3)), State.DONE,
              Measurement({"accuracy": ACCURACY}, 1.0)) for k in range(FINALISTS)
    ]  # fmt: skip
    context = FinalContext(
        seed=number, metric="accuracy", direction="max", folder=Path(), run=run, load=load,
        predict_test=lambda model: right(model.number, seeds), targets=lambda: np.zeros(n),
        score=lambda outputs, _: float(outputs.mean()), note=lambda *_: None, items=lambda outputs, _: outputs,
        baseline=("baseline", {}) if own_baseline else ("architecture", {"width": 0}), held_out=1 / 3,
        is_baseline=lambda trial: not own_baseline and trial.number == 0,
    )  # fmt: skip
    plan = plan_finals(trials, Means(None, lambda *_: 1.0, 1), Wishes(3, seeds), seed=number)
    result = run_stages(context, plan)
    assert result.verdict is not None, result.reason
    return "kept" if result.same else result.verdict.words
