"""What a weight-sharing method is: how gates are set in a weights step, and how it learns which option is best."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from searchitect.errors import UsageError
from searchitect.nets.gates import Combine
from searchitect.nets.supernets import Supernet
from searchitect.sharing.penalty import Penalty
from searchitect.space import Architecture

Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs, y) → scalar
Step = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]  # (network, x, y) → scalar


class Batch(NamedTuple):
    """Rows x (B, ...), their targets y (B, ...), and how much each counts (B), 1 in the mean; None stands for ones."""

    x: Tensor
    y: Tensor
    weights: Tensor | None = None

    def parts(self, n: int) -> list[Batch]:
        """The batch in n parts of about the same number of rows."""
        split = [None if t is None else t.tensor_split(n) for t in self]
        return [Batch(*(None if t is None else t[i] for t in split)) for i in range(n)]  # type: ignore[arg-type]


@dataclass
class Setup:
    """What a method works on.

    loss:      of outputs and targets, a scalar.
    optimizer: of the supernet's weights (SGD); an unrolled step looks at its momentum and weight decay.
    penalty:   the expected cost as a term of the architecture's loss, or None.
    seed:      for the start of the architecture's own parameters.
    steps:     of the whole search, for temperatures that follow its progress.
    step:      of a network (a path or a mixture, as a function of x), x and y, a scalar; None for the loss alone.
    each:      of outputs and targets, what `loss` is the mean of, (B,): for rows that count differently and for
               teachers; None where the loss is the user's own.
    share:     of a batch that goes through in parts, so that the gradients of the parts add up to that of the batch.
    """

    net: Supernet
    loss: Loss
    optimizer: torch.optim.SGD
    penalty: Penalty | None
    seed: int
    steps: int
    step: Step | None = None
    each: Loss | None = None
    share: float = 1.0

    def path(self, architecture: Architecture) -> Callable[[Tensor], Tensor]:
        """One path of the supernet, as a network."""
        return lambda x: self.net(x, architecture)

    def of(self, network: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        """What one batch costs a path or a mixture."""
        if self.step is not None:
            loss = self.step(network, batch.x, batch.y)
        elif batch.weights is None:
            loss = self.loss(network(batch.x), batch.y)
        else:
            assert self.each is not None
            loss = (batch.weights * self.each(network(batch.x), batch.y)).mean()
        return loss if self.share == 1.0 else self.share * loss

    def taught(self, network: Callable[[Tensor], Tensor], batch: Batch, answers: Tensor) -> Tensor:
        """What it costs to give other outputs than these answers (B, outputs) of a teacher: cross-entropy with its
        softmax for classes, the usual distance else."""
        assert self.each is not None
        targets = answers.reshape(batch.y.shape) if batch.y.is_floating_point() else answers.softmax(1)
        each = self.each(network(batch.x), targets)
        return self.share * (each if batch.weights is None else batch.weights * each).mean()


class Method(ABC):
    """One method over one supernet. Concrete methods are final; shared steps are functions and `logits.Logits`.

    All randomness follows from the `draw` (an integer) that a step is given, so that a search that goes on from a
    checkpoint is the same as one that was never cut.
    """

    bilevel = True  # whether half of the rows are kept for architecture steps
    mixes = True  # whether outputs of different options are added up, which must have one shape then

    @abstractmethod
    def __init__(self, setup: Setup, **options: Any) -> None: ...

    @staticmethod
    def around(**_options: Any) -> Combine | None:
        """What stands between a gate and its input in the supernet of this method (`nets.supernet`)."""
        return None

    @abstractmethod
    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        """The loss of one batch, detached; its gradient is left in the weights' `.grad`, and in nothing else.

        progress: share of the search that is done, from 0 to 1.
        """

    def architecture_step(self, train: Batch, search: Batch, draw: int, progress: float, lr: float) -> Tensor | None:
        """Learn from one batch of the architecture's rows; the weights do not change and get no gradients.

        lr: of the weights now. Returns the loss, or None where the method has no architecture step.
        """
        return None

    @abstractmethod
    def shares(self) -> dict[str, Tensor]:
        """How much of each option the method would take now, by decision: (O,), summing to 1."""

    @abstractmethod
    def derive(self, judge: Callable[[Architecture], float]) -> Architecture:
        """The architecture that comes out now. `judge` gives the loss of one with inherited weights, for methods that
        compare a few."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All that steps change, by name."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state of the same method over the same space."""


def need(option: str, value: Any, holds: bool, allowed: str) -> None:
    """Raises UsageError unless what an option needs holds."""
    if not holds:
        raise UsageError(f"{option}={value!r} is not allowed: it must be {allowed}")
