"""What a policy is: a distribution over architectures, drawn decision by decision, that can climb a gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from searchitect.errors import UsageError
from searchitect.space import Architecture, Draws, Space

Floats = npt.NDArray[np.float64]
Weighted = Sequence[tuple[Architecture, float]]


class Sample(NamedTuple):
    """An architecture drawn from a policy and the logarithm of the probability that it had."""

    architecture: Architecture
    log_prob: float


class Policy(ABC):
    """A distribution p(a) over the architectures of a space. Concrete policies are final.

    An architecture is drawn one active decision after the other, each given those before it, so that
    log p(a) is the sum over the active decisions of a; decisions that are not active have no part in it.
    What a decision's options are, is said in `categories.py` (bins for Floats and for long ranges).

    A user of policies turns rewards into weights and calls `ascend`; that is all that policy-gradient methods
    need. REINFORCE weighs log p(a) with the advantage, PPO with the advantage times the probability ratio where it
    is not clipped (that product times the gradient of log p is the gradient of its objective).

    A policy is a function of (space, seed, options, calls of `ascend` and `restore`): drawing changes nothing.
    """

    @abstractmethod
    def __init__(self, space: Space, seed: int, **options: Any) -> None: ...

    @abstractmethod
    def sample(self, draws: Draws) -> Sample:
        """One architecture; all randomness comes from `draws` (a stream of `searchitect.seeds`)."""

    @abstractmethod
    def log_probs(self, architectures: Sequence[Architecture]) -> Floats:
        """log p of each architecture, -inf where it has an option that is masked: shape (B,).

        Over a space without Floats the probabilities of all architectures add up to 1; with Floats, those of all
        combinations of bins. Raises ArchitectureError when a decision is missing or has a value that is not its own.
        """

    @abstractmethod
    def entropies(self, architectures: Sequence[Architecture]) -> Floats:
        """The entropies of the decisions along each architecture's path, added up: shape (B,), in nats.

        By the chain rule the mean over samples of the policy is the policy's entropy; in a space without conditions
        a factorised policy gives that number exactly for every architecture.
        """

    @abstractmethod
    def gradient(self, weighted: Weighted, entropy: float = 0.0) -> dict[str, Floats]:
        """The gradient, by parameter, of sum_i w_i log p(a_i) + entropy · mean_i S(a_i).

        S is the entropy along the path (see `entropies`); which decisions are active is held fixed in it. An
        architecture with a masked option cannot be drawn whatever is learned: it has no part in either sum.
        """

    @abstractmethod
    def ascend(self, weighted: Weighted, entropy: float = 0.0) -> None:
        """One step of the optimizer along `gradient`. Raises UsageError for a weight that is not finite."""

    @abstractmethod
    def snapshot(self) -> dict[str, Floats]:
        """Copies of all that `ascend` changes, by name: parameters as in `gradient`, and the optimizer's state."""

    @abstractmethod
    def restore(self, snapshot: Mapping[str, Floats]) -> None:
        """Go back to a snapshot of a policy over the same space with the same options, else UsageError."""


def check_snapshot(given: Mapping[str, Floats], own: Mapping[str, Floats]) -> None:
    """Raises UsageError unless a snapshot has the names and shapes of the policy's own."""
    for name in sorted(given.keys() | own.keys()):
        found = f"shape {given[name].shape}" if name in given else "nothing"
        expected = f"shape {own[name].shape}" if name in own else "nothing"
        if found != expected:
            raise UsageError(
                f"the snapshot has {found} under {name!r} where this policy has {expected}: restore into a policy "
                "over the same space with the same options"
            )
