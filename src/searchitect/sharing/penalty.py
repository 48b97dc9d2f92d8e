"""What options cost, and the expected cost of a mixture as a term that gradients pass through.

A table has one number for each option at each place: weights, multiply-accumulates of one sample, or milliseconds
measured on this device. The expected cost under shares p is the sum over places and options of p · cost, times the
chance that the place is there at all (ProxylessNAS, Cai et al. 2019, equation 5; FBNet, Wu et al. 2019, equation 4):
for an option below another one its share, for a member of a subset k of n, or k times its weight where it has one.
So it is the mean over architectures drawn option by option from p, exactly. Costs outside of gates are the same for
all and left out, and so are those of values inside layers (a kernel), which are taken as their last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from searchitect.errors import UsageError
from searchitect.space import Architecture, Scalar

Metric = Literal["params", "macs", "latency_ms"]


class Place(NamedTuple):
    """One gate: the costs of its options, and which labels of the decisions around it bring it in."""

    name: str
    costs: tuple[float, ...]
    needs: Mapping[str, frozenset[Scalar]]


class CostTable:
    """The cost of every option at every place, in the unit of the metric. Made by `costing.cost_table`.

    labels:  of each decision, in the order of its shares. subsets: how many members a subset takes.
    """

    def __init__(
        self, metric: str, places: Sequence[Place], labels: Mapping[str, tuple[Scalar, ...]],
        subsets: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.metric, self.places, self.labels, self.subsets = metric, list(places), dict(labels), dict(subsets or {})

    def of(self, architecture: Architecture) -> float:
        """The sum over the places that an architecture has."""
        chosen = architecture.decisions
        total = 0.0
        for name, costs, needs in self.places:
            if name in chosen and all(self._met(chosen.get(n), n, allowed) for n, allowed in needs.items()):
                total += costs[self.labels[name].index(chosen[name])]
        return total

    def _met(self, value: Scalar, name: str, allowed: frozenset[Scalar]) -> bool:
        return bool(allowed & set(str(value).split("+"))) if name in self.subsets else value in allowed

    def expected(self, shares: Mapping[str, Tensor]) -> Tensor:
        """The mean over architectures drawn from shares (O,), differentiable in them."""
        total = torch.zeros(())
        for name, costs, needs in self.places:
            if name in shares:
                term = (shares[name] * shares[name].new_tensor(costs)).sum()
                for other, allowed in needs.items():
                    term = term * self._chance(other, allowed, shares)
                total = total + term
        return total

    def _chance(self, name: str, allowed: frozenset[Scalar], shares: Mapping[str, Tensor]) -> Tensor | float:
        k, n = self.subsets.get(name), len(self.labels[name])
        if name not in shares:
            return len(allowed) * (k or 1) / n
        found = shares[name][[i for i, label in enumerate(self.labels[name]) if label in allowed]].sum()
        return found if k is None else (k * found).clamp_max(1.0)


class Penalty:
    """`weight` times the expected cost, as a share of that of the even mixture: 1 · weight at the start.

    So the weight means the same whatever the unit; the loss of a classifier is about log(classes) at the start.
    """

    def __init__(self, table: CostTable, weight: float) -> None:
        if not weight >= 0:
            raise UsageError(f"penalty_weight={weight!r} must be 0 or more")
        self.table, self.weight = table, weight
        names = {name for name, _, needs in table.places for name in (name, *needs)} - set(table.subsets)
        even = float(table.expected({name: torch.full((n := len(table.labels[name]),), 1.0 / n) for name in names}))
        self.unit = even if even > 0 else 1.0

    def __call__(self, shares: Mapping[str, Tensor]) -> Tensor:
        """The term for a mixture."""
        return self.weight * self.table.expected(shares) / self.unit

    def of(self, architecture: Architecture) -> float:
        """The term for one architecture."""
        return self.weight * self.table.of(architecture) / self.unit
