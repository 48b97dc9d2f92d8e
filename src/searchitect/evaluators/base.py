"""What an evaluator is given and must give back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from searchitect.records import Objective
from searchitect.space import Scalar


class Live(Protocol):
    """What a running task may ask for; an executor's context fits."""

    device: str
    threads: int
    folder: Path | None

    def report(self, data: Mapping[str, Any]) -> None:
        """Send small plain data to the driver."""
        ...

    def should_stop(self) -> bool:
        """Whether to end at the next step."""
        ...


class Rival(msgspec.Struct, frozen=True):
    """The best trial of the same fidelity when a task begins: its number, and its goals turned so that smaller is
    better. Whoever does not beat it will never be the best, so that its weights are not worth a file."""

    number: int
    goals: tuple[Objective, ...]
    losses: tuple[float, ...]

    def beaten(self, number: int, metrics: Mapping[str, float]) -> bool:
        """Whether a trial with these metrics comes before the rival; limits are left to the study."""
        own = tuple(o.loss(metrics.get(o.metric, math.nan)) for o in self.goals)
        return (own, number) < (self.losses, self.number)


class Soft(msgspec.Struct, frozen=True):
    """A teacher's answers for each row that is trained on (`training.losses`): the safetensors file that holds them
    under "soft", their share of the loss, and their temperature."""

    path: str
    weight: float
    temperature: float


class Heir(msgspec.Struct, frozen=True):
    """Whose weights a trial begins with: the number of that trial, its decisions, and its file."""

    number: int
    decisions: dict[str, Scalar]
    path: str


class Task(msgspec.Struct, frozen=True):
    """One piece of work, as it crosses to a worker (through JSON).

    network:  "architecture" (see `decisions`), "baseline" (the user's factory), or "supernet": one epoch of the
              supernet, the one with number `epochs` (0: only measure what an epoch takes).
    rows:     "train" fits on the training rows and scores on the validation rows; "all" fits on both and
              scores nothing (test rows are the driver's alone).
    data:     share of the training rows.
    fold:     0 holds out the validation rows; n > 0 as many other rows of both parts (only where the data are ours).
    save:     where to write the trained weights (safetensors), or None.
    rival:    they are written only if this task's result is better (None: always).
    horizon:  epochs that the schedule is for, where this is only the beginning of a longer training; 0: `epochs`.
    start:    epochs that were trained before the pause, which the checkpoint should hold; 0: nothing was.
    checkpoint: where the state is kept and found again, or None.
    save_every: epochs between two writings of it (and after the last); 0: it is only read.
    seconds:  after that long no further epoch is begun, or None.
    recipe:   what is trained otherwise than the evaluator's recipe says, by the recipe's names; "dropout" is the rate
              of every dropout layer that the network has (only where the training is ours).
    soft:     a teacher to learn from, or None (only for all rows, and where the training is ours).
    heir:     the trial whose weights the network begins with (`evaluators.heirs`), or None: as drawn from the seed.
    supernet: the folder of the supernet whose weights an architecture inherits instead of being trained, or None.
    group:    rank, how many, and HOST:PORT of the first, where several processes train the network together, or None.
    """

    number: int
    decisions: dict[str, Scalar]
    seed: int
    epochs: int
    network: Literal["architecture", "baseline", "supernet"] = "architecture"
    rows: Literal["train", "all"] = "train"
    data: float = 1.0
    fold: int = 0
    save: str | None = None
    rival: Rival | None = None
    horizon: int = 0
    start: int = 0
    checkpoint: str | None = None
    save_every: int = 1
    seconds: float | None = None
    supernet: str | None = None
    group: tuple[int, int, str] | None = None
    recipe: dict[str, float | str | tuple[str, ...]] = {}
    soft: Soft | None = None
    heir: Heir | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What comes back: named numbers, the whole curve, and what it cost. `stopped`: cut short.

    Where a training was continued, `seconds` and `epochs` are those of this task alone.
    """

    metrics: dict[str, float]
    seconds: float
    epochs: int = 0
    curve: tuple[dict[str, float], ...] = ()
    device: str = "cpu"
    notes: tuple[str, ...] = ()
    stopped: bool = False
    epoch: dict[str, Any] | None = None  # of a supernet: a `records.Epoch` as plain data


class Evaluator(ABC):
    """A callable that runs in workers: `evaluator(payload, live)` with a `Task` and an `Outcome` as plain data.

    `kind` is the fidelity kind that it measures at. `describe()` is plain data that changes whenever results
    would: it becomes part of the key under which results are reused. `weights`: whether a trial leaves any.
    """

    kind: Literal["train", "function", "table", "inherited", "zero_cost"]
    weights: ClassVar[bool] = True

    @abstractmethod
    def run(self, task: Task, live: Live) -> Outcome:
        """Measure. Errors end the trial; those with a `cause` attribute say whose fault it is."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Plain data about what is measured and how."""

    def __call__(self, payload: Mapping[str, Any], live: Live) -> dict[str, Any]:
        """The face that executors call."""
        outcome: dict[str, Any] = msgspec.to_builtins(self.run(msgspec.convert(payload, Task), live))
        return outcome
