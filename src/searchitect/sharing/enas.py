"""ENAS: a recurrent policy draws paths of the supernet and is rewarded by how well they do with shared weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from searchitect.policies.lstm import LstmPolicy
from searchitect.seeds import stream
from searchitect.sharing.method import Batch, Method, Setup, need
from searchitect.space import Architecture


class Enas(Method):
    """Efficient neural architecture search by parameter sharing.

    Idea: weights are trained along paths drawn from a policy; the policy climbs the expected reward of its paths.
    Source: Pham et al. 2018, "Efficient Neural Architecture Search via Parameter Sharing", section 2.2: REINFORCE
    with a moving average as baseline (decay 0.95 in their code), entropy weight 1e-4, temperature 5, tanh constant
    2.5; at the end a few architectures are drawn and the best by shared weights is taken.
    Where we differ: the reward is minus the loss of the batch instead of its accuracy (it has a value for
    regression too, and is less coarse); policy steps alternate with weights steps instead of following an epoch.
    Cost: a weights step is one path, a policy step `samples` forward passes and one step of the LSTM.

    Options: `samples` = paths per policy step; `decay` of the baseline; `entropy`; `lr` of the policy's Adam;
    `drawn` = how many are compared at the end.
    """

    mixes = False

    def __init__(
        self, setup: Setup, samples: int = 2, decay: float = 0.95, entropy: float = 1e-4, lr: float = 3.5e-3,
        drawn: int = 10,
    ) -> None:  # fmt: skip
        need("samples", samples, samples >= 1, "1 or more")
        need("drawn", drawn, drawn >= 1, "1 or more")
        need("decay", decay, 0 <= decay < 1, "from 0 to below 1")
        self.setup, self.samples, self.decay, self.entropy, self.drawn = setup, samples, decay, entropy, drawn
        self.policy = LstmPolicy(setup.net.space, setup.seed, lr=lr, temperature=5.0, tanh_constant=2.5)
        self.baseline: float | None = None

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        architecture = self.policy.sample(stream(draw, 0, "path")).architecture
        loss = self.setup.of(self.setup.path(architecture), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def architecture_step(self, train: Batch, search: Batch, draw: int, progress: float, lr: float) -> Tensor | None:
        weighted, total = [], torch.zeros(())
        for i in range(self.samples):
            architecture = self.policy.sample(stream(draw, i, "policy")).architecture
            with torch.no_grad():
                loss = self.setup.of(self.setup.path(architecture), search)
                charged = loss if self.setup.penalty is None else loss + self.setup.penalty.of(architecture)
            reward = -float(charged)
            self.baseline = reward if self.baseline is None else self.decay * self.baseline + (1 - self.decay) * reward
            weighted.append((architecture, (reward - self.baseline) / self.samples))
            total = total + loss.cpu() / self.samples
        if all(math.isfinite(weight) for _, weight in weighted):  # else the loop says what happened
            self.policy.ascend(weighted, self.entropy)
        return total

    def shares(self) -> dict[str, Tensor]:
        """How often each option is among 64 draws (the policy has no shares of its own: choices depend on others)."""
        decisions = self.setup.net.decisions()
        counts = {name: torch.zeros(len(labels)) for name, labels in decisions.items()}
        for i in range(64):
            for name, value in self.policy.sample(stream(self.setup.seed, i, "shares")).architecture.decisions.items():
                if name in decisions:
                    counts[name][decisions[name].index(value)] += 1
        return {name: count / count.sum().clamp_min(1.0) for name, count in counts.items()}

    def derive(self, judge: Callable[[Architecture], float]) -> Architecture:
        candidates = [self.policy.sample(stream(self.setup.seed, i, "derive")).architecture for i in range(self.drawn)]
        return min(dict.fromkeys(candidates), key=judge)

    def state(self) -> dict[str, Tensor]:
        found = {f"policy.{name}": torch.from_numpy(np.array(value)) for name, value in self.policy.snapshot().items()}
        if self.baseline is not None:
            found["baseline"] = torch.tensor([self.baseline], dtype=torch.float64)
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        kept = {n.removeprefix("policy."): t.cpu().numpy() for n, t in state.items() if n.startswith("policy.")}
        self.policy.restore(kept)
        self.baseline = float(state["baseline"]) if "baseline" in state else None
