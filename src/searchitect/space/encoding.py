"""Vectors of fixed length for models: one-hot for labels, a scaled number for ordered values, one active flag each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from searchitect.space.architecture import Architecture, Scalar
from searchitect.space.decision import Decision


def encode(decisions: Sequence[Decision], architecture: Architecture) -> list[float]:
    """The vector of an architecture. An inactive decision is all zeros, its flag included."""
    vector: list[float] = []
    for decision in decisions:
        active = decision.name in architecture.decisions
        vector.append(float(active))
        if decision.ordered:
            vector.append(_scaled(decision, architecture.decisions[decision.name]) if active else 0.0)
        else:
            chosen = decision.position(architecture.decisions[decision.name]) if active else -1
            vector += [float(i == chosen) for i in range(decision.n)]
    return vector


def features(decisions: Sequence[Decision]) -> list[str]:
    """The meaning of each entry of `encode`."""
    names: list[str] = []
    for decision in decisions:
        names.append(f"{decision.name} active")
        if decision.ordered:
            names.append(decision.name)
        else:
            names += [f"{decision.name}={label}" for label in decision.labels or ()]
    return names


def _scaled(decision: Decision, value: Scalar) -> float:
    number = float(value)  # type: ignore[arg-type]
    low, high = decision.low, decision.high
    if decision.kind == "choice":
        numbers = [float(v) for v in decision.labels or ()]  # type: ignore[arg-type]
        low, high = min(numbers), max(numbers)
    if decision.log:
        return (math.log(number) - math.log(low)) / (math.log(high) - math.log(low))
    return (number - low) / (high - low)
