"""Small studies for the command line's tests: made-up plain data, and files written through the real store."""

from searchitect.engine.observer import Progress
from searchitect.records import Cause, Failure, Fidelity, Measurement, Proposal, State, Trial
from searchitect.space import Architecture
from searchitect.store import Store

SUMMARY = {
    "name": "digits-cnn-1", "path": "runs/digits-cnn-1", "state": "finished", "space_size": 15625,
    "strategy": "random", "objectives": ["accuracy"],
    "trials": {"done": 12, "failed": 1, "reused": 0, "attempts": 13, "pruned": 0, "running": 0, "queued": 0},
    "seconds": {"search": 121.3, "finalize": 52.9, "budget": 180.0, "active": 174.6},
    "best": {"number": 7, "architecture": {"depth": 3}, "validation": {"accuracy": 0.9722}, "epochs": 12},
    "verdict": {"metric": "accuracy", "winner": {"mean": 0.98, "low": 0.97, "high": 0.99, "n": 3}, "baseline": None,
                "difference": None, "low": None, "high": None, "words": "better",
                "sentence": "better than the baseline by 1.3 points (0.4 to 2.3)"},
    "bundle": "runs/digits-cnn-1/best", "report": "runs/digits-cnn-1/report.html", "stopped": "budget",
}  # fmt: skip

PLAN = {
    "name": "digits-cnn-1", "path": "runs/digits-cnn-1", "seed": 0, "objectives": ["accuracy", "latency_ms < 2"],
    "space": {"name": "cnn", "size": "15,625", "decisions": 6},
    "strategy": {"name": "random", "options": {}, "why": "few trials"},
    "evaluator": {"kind": "train", "epochs": 12},
    "data": {"source": "digits", "kind": "image", "task": "classification", "shape": [1, 8, 8],
             "classes": list("0123456789"), "splits": {"train": 1077, "validation": 360, "test": 360},
             "notes": ["a note"]},
    "baseline": {"kind": "architecture"}, "budget_seconds": 180.0, "trials_limit": None, "workers": 2, "threads": 1,
}  # fmt: skip


def trial(number=0, accuracy=0.9, state=State.DONE, **changes):
    """One trial."""
    proposal = Proposal(
        Architecture("space-1", {"depth": 1 + number, "kernel": 3}), Fidelity("train", 5), number, origin="sample"
    )
    measured = Measurement(
        {"accuracy": accuracy, "loss": 0.25}, 3.0, 5, curve=({"accuracy": 0.5}, {"accuracy": accuracy})
    )
    values = {"measurement": measured if state is State.DONE else None, "state": state} | changes
    return Trial(number, proposal, **values)


def failed(number, message="ValueError: \x1b[31mkernel 7\x1b[0m is too large"):
    """One failed trial with a traceback."""
    failure = Failure(Cause.USER_CODE, message, f"Traceback (most recent call last):\n{message}")
    return trial(number, state=State.FAILED, failure=failure)


def progress(done=3, best=None, phase="search", **changes):
    """What the loop tells after an event."""
    return Progress(phase, done, best=best, **({"elapsed": 10.0, "left": 50.0} | changes))


def write_study(folder, trials=(), **meta):
    """A study in a folder, closed."""
    plain = {
        **PLAN,
        "format": 1,
        "name": folder.name,
        "created": 1.79e9,
        "version": "0.1.0",
        "objectives": ["accuracy"],
    }
    plain["space"] = {**PLAN["space"], "finite": "15625", "continuous": 0, "json": "{}", "drawing": "Sequential"}
    with Store.create(folder, plain | meta) as store:
        for one in trials:
            store.queue([one])
            running = store.start(one.number, worker=0)
            store.finish(one, running.attempts)
    return folder
