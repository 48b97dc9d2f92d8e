"""From weights to an architecture: what a gradient method has found.

Rule: the option with the largest weight at each gate, search-only options left out. A subset takes the k
members with the largest strength: its own weight, if members have weights (PC-DARTS' edges), times the largest
weight of the gates below it. Where a member holds one gate, as an edge of DARTS does, this is DARTS' rule:
the two edges whose strongest operation is strongest (Liu et al. 2019, section 2.4). Several gates below one
member count as the product of their largest weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from searchitect.errors import UsageError
from searchitect.nets.gates import ChoiceGate, Gate, SubsetGate
from searchitect.space import Architecture, Decision, Scalar

if TYPE_CHECKING:
    from searchitect.nets.supernets import Supernet

Weights = Mapping[str, torch.Tensor]


def derive(net: Supernet, weights: Weights, values: Mapping[str, Scalar]) -> Architecture:
    """The architecture of the largest weights (module docstring); equal ones: the first.

    weights: as for `Supernet.mix`, after the softmax. Where places have weights of their own, their mean counts.
    values:  decisions that are fixed. Raises UsageError when an active decision has neither.
    """
    gates = {gate.name: gate for gate in reversed(net.gates)}

    def decide(decision: Decision) -> Scalar:
        if decision.name in values:
            decision.check(values[decision.name])
            return values[decision.name]
        gate = gates.get(decision.name)
        if isinstance(gate, SubsetGate):
            return _members(net, gate, weights)
        numbers = _numbers(net, decision.name, weights)
        if numbers is None or decision.labels is None:
            raise UsageError(
                f"decision {decision.name!r} has no weights: give a tensor for it, or its value in "
                f"values={{{decision.name!r}: ...}}"
            )
        return decision.labels[_first_largest(numbers[: decision.n])]

    return net.space.architecture(net.space.trace(decide))


def _members(net: Supernet, gate: SubsetGate, weights: Weights) -> str:
    own = _numbers(net, gate.name, weights) or [1.0] * gate.n
    strength = [own[i] * _strongest_below(net, member, weights) for i, member in enumerate(gate.members)]
    k = len(gate.combinations[0])
    order = sorted(range(gate.n), key=lambda i: -strength[i])[:k]  # stable: the first of equal ones
    return "+".join(str(gate.labels[i]) for i in sorted(order))


def _strongest_below(net: Supernet, member: nn.Module, weights: Weights) -> float:
    product = 1.0
    for gate in _top_gates(member):
        numbers = _numbers(net, gate.name, weights)
        if numbers is not None:
            product *= max(numbers[: gate.n - gate.search_only] if isinstance(gate, ChoiceGate) else numbers)
    return product


def _top_gates(module: nn.Module) -> list[Gate]:
    """The gates of a module that lie in no other gate, each decision once."""
    if isinstance(module, Gate):
        return [module]
    found = {gate.name: gate for child in module.children() for gate in _top_gates(child)}
    return list(found.values())


def _numbers(net: Supernet, name: str, weights: Weights) -> list[float] | None:
    if name in weights:
        return weights[name].detach().tolist()
    placed = [weights[gate.place].detach() for gate in net.gates if gate.name == name and gate.place in weights]
    return torch.stack(placed).mean(0).tolist() if placed else None


def _first_largest(numbers: list[float]) -> int:
    return max(range(len(numbers)), key=lambda i: numbers[i])


def extreme(net: Supernet, *, largest: bool) -> Architecture:
    """The largest or smallest architecture: by value where values are ordered, else by weights of the options."""
    sign = 1 if largest else -1
    gates = {gate.name: gate for gate in reversed(net.gates)}

    def decide(decision: Decision) -> Scalar:
        if decision.labels is None:
            return decision.high if largest else decision.low
        if decision.ordered:
            return (max if largest else min)(decision.labels)  # type: ignore[type-var]
        gate = gates.get(decision.name)
        if isinstance(gate, ChoiceGate):
            counts = [_count(candidate) for candidate in gate.candidates][: decision.n]
        elif isinstance(gate, SubsetGate):
            members = [_count(member) for member in gate.members]
            counts = [sum(members[i] for i in combination) for combination in gate.combinations]
        else:
            return decision.labels[0]
        return decision.labels[max(range(decision.n), key=lambda i: sign * counts[i])]

    return net.space.architecture(net.space.trace(decide))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
