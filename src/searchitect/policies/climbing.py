"""How far to go along a gradient: plain steps, or Adam's (Kingma and Ba 2015, Algorithm 1), uphill."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from searchitect.errors import UsageError
from searchitect.policies.base import Floats

OPTIMIZERS = ("sgd", "adam")
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Climber:
    """Turns gradients of shape (C,) into steps: lr · gradient ("sgd"), or Adam's with betas 0.9 and 0.999 ("adam")."""

    def __init__(self, size: int, lr: float, optimizer: str = "sgd") -> None:
        if optimizer not in OPTIMIZERS:
            raise UsageError(f"optimizer {optimizer!r} is not known: write one of {', '.join(OPTIMIZERS)}")
        if not (lr > 0 and math.isfinite(lr)):
            raise UsageError(f"a learning rate is a positive number, got lr={lr!r}")
        self.lr, self.optimizer = lr, optimizer
        self.steps = 0
        self.mean: Floats = np.zeros(size)
        self.square: Floats = np.zeros(size)

    def step(self, gradient: Floats) -> Floats:
        """What to add to the parameters."""
        if self.optimizer == "sgd":
            return self.lr * gradient
        self.steps += 1
        self.mean = BETA1 * self.mean + (1 - BETA1) * gradient
        self.square = BETA2 * self.square + (1 - BETA2) * gradient**2
        spread = np.sqrt(self.square / (1 - BETA2**self.steps)) + EPSILON
        step: Floats = self.lr / (1 - BETA1**self.steps) * self.mean / spread
        return step

    def snapshot(self) -> dict[str, Floats]:
        """The state; nothing for plain steps."""
        if self.optimizer == "sgd":
            return {}
        return {"adam.steps": np.array([float(self.steps)]), "adam.mean": self.mean, "adam.square": self.square}

    def restore(self, snapshot: Mapping[str, Floats]) -> None:
        """Go back to what `snapshot` gave."""
        if self.optimizer == "adam":
            self.steps = int(snapshot["adam.steps"][0])
            self.mean, self.square = snapshot["adam.mean"].copy(), snapshot["adam.square"].copy()
