"""Made-up studies, written through the real store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from searchitect.records import Cause, Failure, Fidelity, Measurement, Proposal, State, Trial
from searchitect.report.snapshot import Snapshot, assemble
from searchitect.seeds import stream
from searchitect.space import Architecture
from searchitect.store import Note, Store

START = 1_790_000_000.0
FIVE_EPOCHS = Fidelity("train", 5)


def trial(
    number: int,
    accuracy: float | None = None,
    *,
    ended: float | None = None,
    fidelity: Fidelity = FIVE_EPOCHS,
    state: State | None = None,
    decisions: dict[str, Any] | None = None,
    failure: Failure | None = None,
    source: int | None = None,
    seconds: float = 10.0,
    curve: Sequence[dict[str, float]] = (),
    **metrics: float,
) -> Trial:
    """A trial that ended `ended` seconds (10 a trial) after START; DONE with a value, else FAILED."""
    values = metrics if accuracy is None else {"accuracy": accuracy, **metrics}
    finished = START + (10.0 * (number + 1) if ended is None else ended)
    done = state is State.DONE or (state is None and accuracy is not None)
    measured = values and state not in (State.QUEUED, State.RUNNING)
    if not done and state is None:
        state, failure = State.FAILED, failure or Failure(Cause.NOT_FINITE, "the loss is nan in epoch 1")
    over = state not in (State.QUEUED, State.RUNNING)
    return Trial(
        number,
        Proposal(Architecture("space-1", decisions or {"depth": 1 + number % 4}), fidelity, number, origin="sample"),
        state or State.DONE,
        Measurement(values, seconds, fidelity.epochs, curve=tuple(curve)) if measured else None,
        failure,
        attempts=0 if state is State.QUEUED or source is not None else 1,
        source=source,
        started=finished - 10.0 if over else None,
        finished=finished if over else None,
    )


def meta(**changes: Any) -> dict[str, Any]:
    """What a study knows before its first trial."""
    return {
        "format": 1,
        "name": "digits",
        "created": START,
        "seed": 0,
        "version": "0.1.0",
        "space": {
            "name": "cnn",
            "fingerprint": "space-1",
            "json": "{}",
            "size": "15,625",
            "finite": 15625,
            "continuous": 0,
            "decisions": 6,
            "drawing": "Sequential\n├─ one of\n└─ Linear(10)",
        },
        "objectives": ["accuracy"],
        "strategy": {"name": "evolution", "options": {"population": 16}, "why": "the budget allows about 60 trials"},
        "evaluator": {
            "kind": "train",
            "recipe": {"optimizer": "adamw", "lr": 0.003, "batch": 64},
            "metrics": ["accuracy"],
            "epochs": 12,
        },
        "data": {
            "source": "digits",
            "kind": "image",
            "task": "classification",
            "shape": [1, 8, 8],
            "classes": [str(i) for i in range(10)],
            "splits": {"train": 1077, "validation": 360, "test": 360},
            "notes": [],
        },
        "budget_seconds": 180.0,
        "trials_limit": None,
        "workers": 2,
        "threads": 1,
        "executor": "processes",
        "environment": {
            "python": "3.13.1",
            "torch": "2.13.0",
            "numpy": "2.3.0",
            "platform": "Linux-6.1-x86_64",
            "cpu": "Intel Xeon",
            "cores": 2,
            "AWS_SECRET_ACCESS_KEY": "hunter2",
        },
        "command": "searchitect search --data digits --budget 3m --workers 2 --seed 0",
        **changes,
    }


def verdict(**changes: Any) -> dict[str, Any]:
    """A verdict as it is stored."""
    return {
        "metric": "accuracy",
        "winner": {"mean": 0.9828, "low": 0.9769, "high": 0.9887, "n": 3, "values": [0.9806, 0.9833, 0.9845]},
        "baseline": {"mean": 0.9694, "low": 0.9611, "high": 0.9777, "n": 3, "values": [0.9667, 0.9694, 0.9722]},
        "difference": 0.0134,
        "low": 0.0041,
        "high": 0.0227,
        "words": "better",
        "test_items": 360,
        "level": 0.95,
        "method": "paired over test items, seed part t-corrected",
        "sentence": "The found network is better than the baseline by 1.34 points (0.41 to 2.27).",
        **changes,
    }


def finished_meta(**changes: Any) -> dict[str, Any]:
    """What a study knows at its end."""
    drawing = (
        "Sequential\n├─ Conv2d(32, kernel 3)\n├─ Residual\n│  ├─ Conv2d(32, kernel 5)\n│  └─ Identity\n└─ Linear(10)"
    )
    about = meta(
        seconds={"search": 121.3, "finalize": 52.9, "budget": 180.0, "active": 174.6},
        stopped="budget",
        winner={
            "architecture": {"depth": 3, "kernel": 5},
            "trial": 7,
            "epochs": 12,
            "validation": {"accuracy": 0.985},
            "params": 48_210,
            "macs": 1_250_000,
            "latency_ms": 0.84,
            "key": "k",
            "drawing": drawing,
        },
        finalists=[
            {
                "trial": 7,
                "architecture": {"depth": 3, "kernel": 5},
                "validation": [0.98, 0.985, 0.99],
                "mean": 0.985,
                "low": 0.9726,
                "high": 0.9974,
                "chosen": True,
            },
            {
                "trial": 3,
                "architecture": {"depth": 4, "kernel": 3},
                "validation": [0.975, 0.98, 0.985],
                "mean": 0.98,
                "low": 0.9676,
                "high": 0.9924,
                "chosen": False,
            },
        ],
        baseline={"kind": "architecture", "params": 23_946, "macs": 400_000},
        verdict=verdict(),
        bundle="best",
        finalised=True,
    )
    return {**about, **changes}


def many(count: int, seed: int = 0, **extra: Any) -> list[Trial]:
    """A search's trials: better with time, some failed, some reused."""
    draw = stream(seed, 0, "fake study")
    trials: list[Trial] = []
    for n in range(count):
        decisions = {
            "depth": 1 + draw.below(4),
            "kernel": draw.pick((3, 5, 7)),
            "block": draw.pick(("conv", "residual", "mixer")),
            "stem/width": draw.pick((16, 32, 64)),
            "dropout": round(draw.uniform(0, 0.5), 4),
        }
        depth, kernel = decisions["depth"], decisions["kernel"]
        goal = (
            0.90 + 0.015 * depth + (0.012 if kernel == 5 else 0.0) + 0.01 * draw.normal() - 0.3 * (draw.below(9) == 0)
        )
        goal = min(0.995, goal)
        size = 8000.0 * depth * kernel * (1 + draw.unit())
        curve = [
            {"epoch": float(e), "accuracy": goal * (1 - 0.6 * 0.6**e), "train_loss": 1.5 * 0.7**e} for e in range(1, 13)
        ]
        if draw.below(12) == 0 and n > 2:
            boom = Failure(
                Cause.USER_CODE,
                "ValueError: kernel 7 is larger than the input",
                'Traceback (most recent call last):\n  File "model.py", line 3\nValueError: kernel 7',
            )
            trials.append(
                trial(n, failure=boom, state=State.FAILED, decisions=decisions, fidelity=Fidelity("train", 12))
            )
            continue
        reuse = next(
            (t.number for t in trials if draw.below(40) == 0 and t.state is State.DONE and t.source is None), None
        )
        if reuse is not None:
            old = trials[reuse]
            trials.append(
                trial(
                    n,
                    old.value("accuracy"),
                    source=reuse,
                    decisions=old.architecture.decisions,
                    fidelity=old.proposal.fidelity,
                    params=old.value("params") or 0.0,
                    seconds=0.0,
                )
            )
            continue
        trials.append(
            trial(
                n,
                goal,
                decisions=decisions,
                fidelity=Fidelity("train", 12),
                params=size,
                latency_ms=size / 40000,
                curve=curve,
                seconds=4 + 6 * draw.unit(),
                **extra,
            )
        )
    return trials


def write(
    folder: Path, about: dict[str, Any], trials: Sequence[Trial], notes: Sequence[tuple[str, dict[str, Any]]] = ()
) -> Path:
    """Store a study as a driver would."""
    with Store.create(folder, about) as store, store.transaction():
        store.queue([replace(t, attempts=0, measurement=None, failure=None) for t in trials])
        for t in trials:
            if t.source is None and t.state is not State.QUEUED:
                store.start(t.number, worker=0)
            if t.state not in (State.QUEUED, State.RUNNING):
                assert store.finish(t, t.attempts)
                store.told(t.number)
        for kind, body in notes:
            store.note(kind, body)
    return folder


def snapshot(
    about: dict[str, Any], trials: Sequence[Trial] = (), notes: Sequence[tuple[str, dict[str, Any]]] = ()
) -> Snapshot:
    """The same without a store."""
    return assemble(Path("runs/digits"), about, list(trials), [Note(kind, START, body) for kind, body in notes])
