"""SPOS: the supernet is trained along paths drawn uniformly; which path is best is asked afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
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
    With `sandwich=n` a step trains the largest path, the smallest and n uniform ones between (Yu and Huang 2019,
    "Universally Slimmable Networks and Improved Training Techniques", section 3), for spaces of widths, depths and
    kernels; with `distil=True` all but the largest learn its outputs instead of the targets (section 4, in place).
    Where we differ: the search afterwards may be any strategy of this package, not only their evolution. Gradients of
    the paths of a sandwich are averaged, so that the rate means the same as elsewhere.
    Cost: one path forward and backward per step, or n + 2.

    Options: `drawn` = how many random paths are compared when an architecture is asked for in between; `sandwich` = 0
    for single paths; `distil`.
    """

    bilevel = False
    mixes = False

    def __init__(self, setup: Setup, drawn: int = 10, sandwich: int = 0, distil: bool = False) -> None:
        need("drawn", drawn, drawn >= 1, "1 or more")
        need("sandwich", sandwich, sandwich >= 0, "0 or more: how many paths between the largest and the smallest")
        need("distil", distil, not distil or sandwich > 0, "False without a sandwich: give sandwich=2 or so")
        need("distil", distil, not distil or setup.step is None, "False with step=, which hides the outputs")
        need("distil", distil, not distil or setup.each is not None, "False with loss=: a teacher's answers need ours")
        self.setup, self.drawn, self.sandwich, self.distil = setup, drawn, sandwich, distil

    def weights_step(self, batch: Batch, draw: int, progress: float) -> Tensor:
        if self.sandwich:
            return self._sandwich(batch, draw)
        architecture = self.setup.net.space.sample(stream(draw, 0, "path"))
        loss = self.setup.of(self.setup.path(architecture), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _sandwich(self, batch: Batch, draw: int) -> Tensor:
        """The mean loss of the largest path, some uniform ones and the smallest."""
        net, seen = self.setup.net, []
        between = [net.space.sample(stream(draw, i, "path")) for i in range(self.sandwich)]
        others = [*between, net.smallest()]
        largest = self.setup.path(net.largest())

        def watched(x: Tensor) -> Tensor:
            seen.append(largest(x))
            return seen[-1]

        total = torch.zeros((), device=batch.x.device)
        for network in (watched, *map(self.setup.path, others)):
            if self.distil and seen:
                loss = self.setup.taught(network, batch, seen[0].detach())
            else:
                loss = self.setup.of(network, batch)
            loss = loss / (len(others) + 1)
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
