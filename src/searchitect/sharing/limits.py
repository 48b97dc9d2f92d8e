"""The architecture of the largest shares that keeps a hard limit."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping

from torch import Tensor

from searchitect.errors import SpaceError
from searchitect.nets.gates import SubsetGate
from searchitect.nets.supernets import Supernet
from searchitect.seeds import stream
from searchitect.sharing.logits import weighed
from searchitect.space import Architecture

TRIED = 20_000  # architectures looked at before giving up


def within(
    net: Supernet, first: Architecture, shares: Mapping[str, Tensor], feasible: Callable[[Architecture], bool]
) -> Architecture:
    """`first` if it is feasible, else the feasible one that gives up the least, log p summed over its decisions.

    A subset counts by the shares of its members where they have some. Best-first search over single changes: exact
    where decisions do not depend on each other and `first` is the one of the largest shares; where they do, what
    becomes active is drawn. Raises SpaceError when nothing feasible is found.
    """
    if feasible(first):
        return first
    weights = {name: [math.log(max(p, 1e-12)) for p in share.tolist()] for name, share in shares.items()}
    labels = weighed(net, members=True)
    subsets = {gate.name for gate in net.gates if isinstance(gate, SubsetGate)}

    def score(architecture: Architecture) -> float:
        total = 0.0
        for name, value in architecture.decisions.items():
            chosen = str(value).split("+") if name in subsets else [value]
            total += sum(weights[name][labels[name].index(label)] for label in chosen if name in weights)
        return total

    draws = stream(0, 0, "within limits")
    seen = {first}
    heap = [(-score(first), 0, first)]
    while heap and len(seen) < TRIED:
        _, _, architecture = heapq.heappop(heap)
        if feasible(architecture):
            return architecture
        for other in net.space.neighbours(architecture, draws):
            if other not in seen:
                seen.add(other)
                heapq.heappush(heap, (-score(other), len(seen), other))
    raise SpaceError(
        f"no architecture that keeps the limits was found near the one that the search prefers ({len(seen):,} tried): "
        "loosen a limit, or give the method a penalty on that cost"
    )
