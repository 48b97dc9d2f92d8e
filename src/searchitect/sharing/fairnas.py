"""FairNAS: every option of a decision gets one gradient before the weights move."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from searchitect.sharing.method import Batch, Method, Setup, need
from searchitect.sharing.uniform import best_drawn, fair_paths, uniform_shares
from searchitect.space import Architecture


class FairNas(Method):
    """Single-path training with strict fairness.

    Idea: paths drawn independently train some options more than others; here m paths that together use each of m
    options once give their gradients, and only then the weights take a step.
    Source: Chu, Zhang and Xu 2021, "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture
    Search", definition 1 and algorithm 1.
    Where we differ: gradients of the m paths are averaged instead of added up, so that the rate means the same as
    elsewhere; decisions with fewer options than the widest one go round, and nested decisions are fair as far as
    they are active.
    Cost: m paths forward and backward per step.

    Options: `drawn` = how many random paths are compared when an architecture is asked for in between.
    """

    bilevel = False
    mixes = False

    def __init__(self, setup: Setup, drawn: int = 10) -> None:
        need("drawn", drawn, drawn >= 1, "1 or more")
        self.setup, self.drawn = setup, drawn

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        paths = fair_paths(self.setup.net.space, draw)
        total = torch.zeros((), device=batch.x.device)
        for architecture in paths:
            loss = self.setup.of(self.setup.path(architecture), batch) / len(paths)
            loss.backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach()
        return total

    def shares(self) -> dict[str, Tensor]:
        return uniform_shares(self.setup.net)

    def derive(self, judge: Callable[[Architecture], float]) -> Architecture:
        return best_drawn(self.setup, self.drawn, judge)

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        pass
