"""Uniform choices: what methods without preferences show, and paths that use every option equally often."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from searchitect.nets.supernets import Supernet
from searchitect.seeds import stream
from searchitect.sharing.method import Setup
from searchitect.space import Architecture, Decision, Scalar, Space
from searchitect.space.moves import draw_value


def uniform_shares(net: Supernet) -> dict[str, Tensor]:
    """The same share for every option of every gate; none for options that exist in the search only."""
    found = {}
    for name, labels in net.decisions().items():
        n = net.space.by_name[name].n
        found[name] = torch.tensor([1.0 / n] * n + [0.0] * (len(labels) - n))
    return found


def best_drawn(setup: Setup, drawn: int, judge: Callable[[Architecture], float]) -> Architecture:
    """The best of a few random paths, always the same ones in one search."""
    space = setup.net.space
    return min(dict.fromkeys(space.sample(stream(setup.seed, i, "derive")) for i in range(drawn)), key=judge)


def fair_paths(space: Space, draw: int) -> list[Architecture]:
    """As many paths as the widest decision has options; each decision takes its options in a random order, so that
    each of m options is on exactly one of m paths (FairNAS, algorithm 1). Decisions with fewer options go round."""
    widest = max((d.n for d in space.decisions if d.modules), default=1)
    orders: dict[str, list[int]] = {}
    for i, decision in enumerate(space.decisions):
        orders[decision.name] = list(range(decision.n)) if decision.labels is not None else []
        stream(draw, i, "fair").shuffle(orders[decision.name])
    numbers = stream(draw, len(space.decisions), "fair")

    def path(turn: int) -> Architecture:
        def decide(decision: Decision) -> Scalar:
            if decision.labels is None:
                return draw_value(decision, numbers)
            order = orders[decision.name]
            return decision.labels[order[turn % len(order)]]

        return Architecture(space.fingerprint, space.trace(decide))

    return [path(turn) for turn in range(widest)]
