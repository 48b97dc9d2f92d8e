"""Whether all options of a space's decisions can be weighed: asked before training, not found in the middle of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from searchitect.errors import BuildError, UsageError
from searchitect.nets.allocation import shape_of
from searchitect.nets.assembly import Assembly
from searchitect.nets.gates import Gate, Run, SubsetGate
from searchitect.nets.sized import SizedLayer
from searchitect.space import Decision, Scalar


def check_mixable(root: nn.Module, assembly: Assembly, x: torch.Tensor, values: Mapping[str, Scalar]) -> None:
    """Raises UsageError naming the first open decision whose options differ in shape, at a gate or in a layer."""
    run = assembly.run
    training = root.training
    check = _MixCheck(run)
    run.combine, run.surveys, run.values = check.gate, check, dict(values)
    root.eval()
    try:
        with torch.no_grad():
            root(x)
    finally:
        run.rest()
        root.train(training)


class _MixCheck:
    """A pass in which every gate gives on the sum of its options, and every sized layer runs all of its values."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def gate(self, gate: Gate, *inputs: Any) -> Any:
        if gate.name in self.run.values:
            return gate.pick(gate.position(self.run.values[gate.name]), *inputs)
        outputs = gate.outputs(*inputs)
        if isinstance(gate, SubsetGate):
            return outputs
        self._alike(gate.name, gate.labels, outputs)
        return outputs[-1]

    def sized(self, layer: SizedLayer, *inputs: Any) -> Any:
        recipe = layer.recipe
        fixed = {name: self.run.values[name] for name in layer.names if name in self.run.values}
        open_ones = [decision for decision in recipe.decisions if decision.name not in fixed]
        if not open_ones:
            return layer.at(fixed, *inputs)
        first = open_ones[0]
        combinations = recipe.combinations()
        if combinations is None:
            raise UsageError(_refusal(first, "has too many values to run them all"))
        combinations = [c for c in combinations if all(c.get(name, v) == v for name, v in fixed.items())]
        try:
            outputs = [layer.at(values, *inputs) for values in combinations]
        except (RuntimeError, ValueError, BuildError) as error:
            raise UsageError(_refusal(first, f"changes sizes: {error}")) from error
        self._alike_values(combinations, outputs)
        return outputs[-1]

    @staticmethod
    def _alike(name: str, labels: Any, outputs: list[Any]) -> None:
        shapes = [shape_of(output) for output in outputs]
        for label, shape in zip(labels, shapes, strict=True):
            if shape != shapes[0]:
                raise UsageError(
                    f"decision {name!r} cannot be weighed: option {labels[0]!s} gives shape {shapes[0]}, option "
                    f"{label!s} {shape}. Use a single-path method (spos, enas), or fix it: values={{{name!r}: ...}}"
                )

    @staticmethod
    def _alike_values(combinations: list[dict[str, Scalar]], outputs: list[Any]) -> None:
        shapes = [shape_of(output) for output in outputs]
        for i, j in itertools.combinations(range(len(shapes)), 2):
            changed = [name for name in combinations[j] if combinations[i].get(name) != combinations[j][name]]
            if shapes[i] != shapes[j] and len(changed) == 1:
                _MixCheck._alike(
                    changed[0], [c[changed[0]] for c in (combinations[i], combinations[j])], [outputs[i], outputs[j]]
                )


def _refusal(decision: Decision, why: str) -> str:
    return (
        f"decision {decision.name!r} cannot be weighed, it {why}. Use a single-path method (spos, enas), or fix it: "
        f"values={{{decision.name!r}: ...}} (allowed is {decision.allowed()})"
    )
