"""What a search over a supernet begins with, and the options that all methods have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from searchitect.errors import UsageError
from searchitect.sharing.method import need
from searchitect.space import Architecture, Space
from searchitect.training import Recipe
from searchitect.training.own import USUAL, Own


class Start(msgspec.Struct, frozen=True):
    """What a search over a supernet begins with.

    sample:  shape of one row. outputs: what OUTPUTS in the space stands for.
    epochs:  of the whole search, for rates and temperatures that follow its progress.
    options: of the method, and of the loop (those in `Loop`).
    own:     the user's loss or step, in the place of the usual loss of the task.
    feasible: hard limits on what is derived, or None.
    hand_made: an architecture by hand, whose skips the guard takes for no collapse; None for none.
    """

    space: Space
    sample: tuple[int, ...]
    outputs: int
    seed: int
    epochs: int
    recipe: Recipe
    options: dict[str, Any] = {}
    device: str = "cpu"
    own: Own = USUAL
    feasible: Callable[[Architecture], bool] | None = None
    hand_made: Architecture | None = None


class Loop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the loop, the same for all methods. Rates are those of DARTS (Liu et al. 2019, appendix A.1.1).

    lr_weights, lr_end, momentum, decay_weights, clip: SGD of the weights, its rate falling by a cosine.
    batch_size: None for that of the recipe. accumulate: parts in which a batch goes through the network.
    checkpoint: whether options keep nothing for the backward pass and run again there (`memory.py`).
    fast: whether cells are run as a whole (`nets.mixed`); the same up to rounding, in less time and memory. Not with
    `checkpoint`.
    penalty, penalty_weight: a cost ("params", "macs" or "latency_ms") as a term of the architecture's loss.
    guard: whether to stop before a collapse. allowed_skips: in one cell; None for the rule of `guard`. hessian: whether
    to compute the largest curvature after each epoch (some twenty double passes over one batch).

    Raises UsageError for values that make no sense.
    """

    lr_weights: float = 0.025
    lr_end: float = 0.001
    momentum: float = 0.9
    decay_weights: float = 3e-4
    clip: float = 5.0
    batch_size: int | None = None
    accumulate: int = 1
    checkpoint: bool = False
    fast: bool = True
    penalty: Literal["params", "macs", "latency_ms"] | None = None
    penalty_weight: float = 0.1
    guard: bool = True
    allowed_skips: int | None = None
    hessian: bool = False

    def __post_init__(self) -> None:
        for name in ("lr_weights", "clip"):
            need(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in ("lr_end", "decay_weights", "penalty_weight"):
            need(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        need("momentum", self.momentum, 0 <= self.momentum < 1, "from 0 to below 1")
        need("accumulate", self.accumulate, self.accumulate >= 1, "1 or more")
        need("batch_size", self.batch_size, self.batch_size is None or self.batch_size >= 2, "2 or more, or None")
        need("allowed_skips", self.allowed_skips, (self.allowed_skips or 0) >= 0, "0 or more, or None")


LOOP = Loop.__struct_fields__


def loop_of(method: str, options: dict[str, Any]) -> tuple[Loop, dict[str, Any]]:
    """The loop's options and, what is left, those of the method. Raises UsageError."""
    try:
        loop = msgspec.convert({k: v for k, v in options.items() if k in LOOP}, Loop)
    except (msgspec.ValidationError, UsageError) as error:
        raise UsageError(f"{method}: {error}") from error
    return loop, {k: v for k, v in options.items() if k not in LOOP}
