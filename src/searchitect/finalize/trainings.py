"""The trainings of the final stages: each is repeated once where it fails, and all end where the user wants an end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from searchitect.evaluators.base import Outcome, Soft, Task
from searchitect.finalize.context import FinalContext, Network
from searchitect.records import Trial
from searchitect.seeds import derive


class Interrupted(Exception):
    """The user wants an end; `found` is what was ready."""

    def __init__(self, found: list[Any]) -> None:
        super().__init__()
        self.found = found


class Dropped(Exception):
    """One network could not be trained."""


def architecture_of(trial: Trial) -> tuple[Network, Mapping[str, Any]]:
    """The network of a trial, as tasks name it."""
    return "architecture", trial.architecture.decisions


def training(
    network: tuple[Network, Mapping[str, Any]], number: int, seed: int, epochs: int,
    rows: Literal["train", "all"] = "train", save: Path | None = None, fold: int = 0,
    recipe: Mapping[str, Any] | None = None, soft: Soft | None = None,
) -> Task:  # fmt: skip
    """A training of stage A (scored on the rows that its fold holds out) or of stage B (its weights saved)."""
    kind, decisions = network
    saved = None if save is None else str(save)
    return Task(
        number, dict(decisions), seed, epochs, kind, rows, fold=fold, save=saved, recipe=dict(recipe or {}), soft=soft
    )  # fmt: skip


def trained(context: FinalContext, tasks: list[Task], metric: str | None) -> list[Outcome | str]:
    """The outcome of each task, or why it failed twice: once more with another seed, derived from its own."""
    found = _once(context, tasks, metric)
    again = [i for i, outcome in enumerate(found) if isinstance(outcome, str)]
    if again:
        context.progress(f"{len(again)} trainings failed and are repeated with other seeds")
        other = [msgspec.structs.replace(tasks[i], seed=derive(tasks[i].seed, "again")) for i in again]
        try:
            repeated = _once(context, other, metric)
        except Interrupted:
            raise Interrupted([o if isinstance(o, Outcome) else None for o in found]) from None
        for i, outcome in zip(again, repeated, strict=True):
            found[i] = outcome
    return found


def _once(context: FinalContext, tasks: list[Task], metric: str | None) -> list[Outcome | str]:
    if context.should_stop():
        raise Interrupted([None] * len(tasks))
    found = list(context.run(tasks))
    whole = [  # a function of the user's that was asked to stop may have cut its training short
        isinstance(o, Outcome) and not (o.stopped and (context.own_data or o.epochs < t.epochs))
        for o, t in zip(found, tasks, strict=True)
    ]
    if context.should_stop() and not all(whole):
        raise Interrupted([o if ready else None for o, ready in zip(found, whole, strict=True)])
    return [_checked(outcome, metric) for outcome in found]


def _checked(outcome: Any, metric: str | None) -> Outcome | str:
    if not isinstance(outcome, Outcome):
        return f"{getattr(outcome, 'cause', 'failed')}: {getattr(outcome, 'message', outcome)}"
    if metric is not None and not math.isfinite(outcome.metrics.get(metric, math.nan)):
        return f"not finite: {metric} is {outcome.metrics.get(metric, 'missing')}"
    return outcome
