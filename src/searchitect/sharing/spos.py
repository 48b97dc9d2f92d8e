"""SPOS: the supernet is trained along paths drawn uniformly; which path is best is asked afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from searchitect.seeds import stream
from searchitect.sharing.method import Batch, Method, Setup, need
from searchitect.sharing.uniform import best_drawn, uniform_shares
from searchitect.space import Architecture


class Spos(Method):
    """Single-path one-shot search.

    Idea: training the weights and choosing the architecture are two things: train with one uniform path a step,
    then search with any strategy over inherited weights.
    Source: Guo et al. 2020, "Single Path One-Shot Neural Architecture Search with Uniform Sampling", equations 7
    and 8; BatchNorm statistics are estimated anew for each architecture (section 3.4).
    Where we differ: the search afterwards may be any strategy of this package, not only their evolution.
    Cost: one path forward and backward per step.

    Options: `drawn` = how many random paths are compared when an architecture is asked for in between.
    """

    bilevel = False
    mixes = False

    def __init__(self, setup: Setup, drawn: int = 10) -> None:
        need("drawn", drawn, drawn >= 1, "1 or more")
        self.setup, self.drawn = setup, drawn

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        architecture = self.setup.net.space.sample(stream(draw, 0, "path"))
        loss = self.setup.of(self.setup.path(architecture), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def shares(self) -> dict[str, Tensor]:
        return uniform_shares(self.setup.net)

    def derive(self, judge: Callable[[Architecture], float]) -> Architecture:
        return best_drawn(self.setup, self.drawn, judge)

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        pass
