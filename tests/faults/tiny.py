"""A tiny study that can be driven, killed and resumed. Its trainings only draw a few numbers and sleep.

Each execution of a trial leaves its number in `ran.txt` of the study's folder.
"""

import time
from pathlib import Path

import torch
import torch.nn as nn

from searchitect import Space, lazy, one_of, repeat, resume, search

L = lazy(nn)


def block():
    return one_of(L.Linear(4, 4), L.Sequential(L.Linear(4, 4), L.ReLU()), L.Tanh(), L.Identity())


SPACE = Space(L.Sequential(repeat(block, 1, 5), L.Linear(4, one_of(*range(1, 33)))))


def evaluator(seconds=0.03, steps=1):
    """A training of so many steps. What it returns depends on the weights and on a draw: on all seeds."""

    def evaluate(model, trial):
        with open(trial.folder / "ran.txt", "a") as file:
            file.write(f"{trial.number}\n")
        score = float(sum(p.abs().sum() for p in model.parameters())) + float(torch.rand(()))
        for step in range(steps):
            time.sleep(seconds)
            trial.report(step, score=score / (steps - step))
            if trial.should_stop():
                break
        return score

    return evaluate


def drive(folder, seconds=0.03, steps=1, **options):
    """Begin the study in this folder, or go on with it."""
    evaluate = evaluator(seconds, steps)
    if (Path(folder) / "study.db").exists():
        keep = {k: options[k] for k in ("trials", "executor", "workers") if k in options}
        return resume(folder, evaluate=evaluate, space=SPACE, **keep)
    return search(
        SPACE, evaluate=evaluate, sample=(4,), objectives="max score", path=str(folder), threads=1,
        **{"strategy": "regularized-evolution", "finalize": False, **options},
    )  # fmt: skip


def executions(folder):
    """The numbers of the trials in the order in which they were begun."""
    path = Path(folder) / "ran.txt"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []
