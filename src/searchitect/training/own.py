"""What a training minimises, where the user says so: a loss of outputs and targets, or the whole of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from searchitect.errors import UsageError
from searchitect.training.identity import identity

Network = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Own:
    """The user's functions; each may be None, which stands for the usual one.

    loss: `loss(outputs, y) → scalar` of the outputs of a batch and its targets.
    step: `step(network, x, y) → scalar`: calls the network as often as it likes. It stands in the place of both.

    In a supernet the network is a path or a mixture of all paths. Gradients and optimisers stay ours.

    `identities` says which functions these are (`identity.py`). It is made once, here, before they run: so a worker
    knows them by what they were then, whatever they count or collect as they run.
    """

    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    step: Callable[[Network, Tensor, Tensor], Tensor] | None = None
    identities: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, function in self.given().items():
            if not callable(function):
                raise UsageError(f"{name}={function!r} is not a function; write def {name}({_SIGNATURE[name]}): ...")
        object.__setattr__(self, "identities", {name: identity(function) for name, function in self.given().items()})

    def given(self) -> dict[str, Any]:
        """Those that are given, by name."""
        return {name: f for name, f in (("loss", self.loss), ("step", self.step)) if f is not None}

    def checked(self) -> Own:
        """The same functions, which say what is wrong with what they return."""
        found = Own(
            None if self.loss is None else _Checked("loss", self.loss),
            None if self.step is None else _Checked("step", self.step),
        )
        object.__setattr__(found, "identities", self.identities)
        return found


USUAL = Own()
_SIGNATURE = {"loss": "outputs, y", "step": "network, x, y"}


@dataclass(frozen=True)
class _Checked:
    name: str
    function: Callable[..., Any]

    def __call__(self, *inputs: Any) -> Tensor:
        found = self.function(*inputs)
        if isinstance(found, Tensor) and found.numel() == 1 and (found.requires_grad or not torch.is_grad_enabled()):
            return found.reshape(())
        got = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        if isinstance(found, Tensor) and found.numel() == 1:
            got = "a number that no gradient leads back from"
        raise UsageError(
            f"{self.name}({_SIGNATURE[self.name]}) returned {got}; it must be one number as a tensor, made from what "
            "the network gives: take the mean over the batch"
        )
