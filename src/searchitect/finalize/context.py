"""What the final stages are lent by the driver of a study, and what they give back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from searchitect.evaluators.base import Outcome, Soft, Task
from searchitect.finalize.blocks import Blocks
from searchitect.finalize.items import ItemValues
from searchitect.finalize.others import Also
from searchitect.finalize.standings import Standing
from searchitect.records import Trial, Verdict

Network = Literal["architecture", "baseline"]


@dataclass(frozen=True)
class FinalContext:
    """What the driver of a study lends to the stages.

    metric, direction: the first objective. folder: where weights of stage B are written.
    run:          trains tasks side by side; an `Outcome`, or any object with `cause` and `message`, for each, in order.
    load:         the network in eval mode with the weights of a file: (network, decisions, path).
    predict_test: raw outputs (N, ...) on the test part; with `targets()` the only way to test data.
    items:        (outputs, y) → (N,) for a metric that is a mean over items, else None.
    score:        (outputs, y) → number, for any other metric.
    baseline:     (network, decisions) of the hand-made network, or None.
    reads_before: how often test data were read in this study so far.
    same_network: whether two trials are one network, be it written differently.
    is_baseline:  whether a finalist is the baseline's network; it is not trained twice then.
    left:         seconds until the final trainings must have ended; None for no limit.
    held_out:     validation rows for one training row.
    usual_recipe: how networks are trained, with the shape of one row in `sample`; tuning changes it.
    dropouts:     whether a network has dropout layers.
    soften:       writes down what a teacher of these networks says of all rows; None: nobody teaches.
    tuning_seconds: worker seconds that tuning may take, for both networks together; None for no limit.
    blocks:       test items that are not independent: groups, or stretches of time; None where they all are.
    also:         metrics that are shown beside the verdict's.
    own_data:     every number comes from the user's own function; load, predict_test, targets and score are not called.
    """

    seed: int
    metric: str
    direction: Literal["max", "min"]
    folder: Path
    run: Callable[[list[Task]], Sequence[Any]]
    load: Callable[[Network, Mapping[str, Any], Path], nn.Module]
    predict_test: Callable[[nn.Module], np.ndarray]
    targets: Callable[[], np.ndarray]
    score: Callable[[np.ndarray, np.ndarray], float]
    note: Callable[[str, dict[str, Any]], None]
    items: ItemValues | None = None
    baseline: tuple[Network, Mapping[str, Any]] | None = None
    progress: Callable[[str], None] = lambda _text: None
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = lambda: 0.0
    reads_before: int = 0
    is_baseline: Callable[[Trial], bool] = lambda _trial: False
    same_network: Callable[[Trial, Trial], bool] = lambda a, b: a.architecture == b.architecture
    usual_recipe: Mapping[str, Any] = field(default_factory=dict)
    sample: tuple[int, ...] = ()
    dropouts: Callable[[Network, Mapping[str, Any]], bool] = lambda _network, _decisions: True
    soften: Callable[[Iterable[nn.Module]], Soft] | None = None
    tuning_seconds: float | None = None
    left: Callable[[], float | None] = lambda: None
    held_out: float = 0.0
    blocks: Blocks | None = None
    also: tuple[Also, ...] = ()
    own_data: bool = False


@dataclass
class FinalResult:
    """What came out. `weights` is the file of the winner's first seed in stage B (no validation rows are left there to
    choose by). `outputs`, `runs` and `files` of stage B are lists over seeds under "winner" and "baseline"; with the
    raw test outputs other metrics need no second read. Beside them there may be "control" (the best of the search
    beside the strategy) and "untuned" (the winner with the usual recipe); `comparisons` are the winner's verdicts
    against these two, `recipes` what tuning changed for "winner" and "baseline", `tuning` its trials as plain data.
    With an ensemble `members` are side and trial of each of its networks, the winner first, the others being the sides
    "member" and a trial's number; its outputs are under "ensemble", its comparisons with the single baseline and with
    the winner under "ensemble" and "alone". `soft` is what the teacher said, `teachers` the numbers of its trials."""

    standings: list[Standing]
    epochs: int
    control: list[Standing] = field(default_factory=list)
    comparisons: dict[str, Verdict] = field(default_factory=dict)
    metrics: dict[str, Verdict] = field(default_factory=dict)  # winner and baseline by other metrics
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    tuning: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    members: list[tuple[str, Trial]] = field(default_factory=list)
    soft: Soft | None = None
    teachers: list[int] = field(default_factory=list)
    winner: Trial | None = None
    weights: Path | None = None
    verdict: Verdict | None = None
    finalised: bool = False
    reason: str = ""  # why it was not finalised
    no_baseline: str = ""  # why there is no baseline in the verdict
    same: bool = False  # the winner is the baseline
    outputs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    runs: dict[str, list[Outcome]] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
