"""The dry run of a supernet: every candidate runs, so that lazy and sliced layers learn how large they must be.

One pass with all values at their largest, then one for each other value, the rest at their largest; a value that
makes some layer larger than before (a smaller stride before a flat layer) becomes the largest, and all is done
again around it. In a pass each gate runs all of its candidates and gives on the widest output; where the candidates
differ in shape, further passes give on each of the other shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from searchitect.errors import BuildError, TrialError, UsageError
from searchitect.nets.assembly import Assembly, Open
from searchitect.nets.building import _failure, _unsized
from searchitect.nets.gates import Gate, Run, SubsetGate, shares_of, weighted_sum
from searchitect.nets.sized import Elastic, Instances, SizedLayer
from searchitect.space import Decision, Plan, Scalar, Space

Values = dict[str, Scalar]
VALUES = 8  # of one decision that are tried
ROUNDS = 3


class Survey:
    """What the passes of a dry run have met."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.shapes: dict[Gate, list[Any]] = {}  # of each gate's options, as first met
        self.ran: set[nn.Module] = set()  # instances
        self.prefer: dict[Gate, Any] = {}  # shapes to give on in the present pass
        self.grown = False  # whether a sliced layer was larger than ever

    def gate(self, gate: Gate, *inputs: Any) -> Any:
        """Run all options and give on the widest output, or the preferred one."""
        outputs = gate.outputs(*inputs)
        shapes = [shape_of(output) for output in outputs]
        self.shapes.setdefault(gate, shapes)
        if isinstance(gate, SubsetGate):
            return outputs[: len(gate.combinations[0])]
        wanted = self.prefer.get(gate)
        if wanted in shapes:
            return outputs[shapes.index(wanted)]
        return max(outputs, key=_width)

    def sized(self, layer: SizedLayer, *inputs: Any) -> Any:
        """Run the layer for the values of the present pass."""
        if isinstance(layer, Instances):
            self.ran.add(layer.instance(self.run.values))
        if isinstance(layer, Elastic):
            output, grown = layer.trial(self.run.values, *inputs)
            self.grown |= grown
            return output
        return layer.at(self.run.values, *inputs)

    @property
    def uneven(self) -> list[Gate]:
        """The gates of choices and depths whose options differ in shape."""
        return [g for g, shapes in self.shapes.items() if not isinstance(g, SubsetGate) and len(set(shapes)) > 1]


def run_all(gate: Gate, *inputs: Any) -> Any:
    """Every option runs; their mean goes on, the widest output where they differ in shape, all outputs of a subset."""
    outputs = gate.outputs(*inputs)
    if isinstance(gate, SubsetGate):
        return outputs
    if len({shape_of(output) for output in outputs}) > 1 or not isinstance(outputs[0], torch.Tensor):
        return max(outputs, key=_width)
    share = torch.full((len(outputs),), 1.0 / len(outputs), device=outputs[0].device, requires_grad=True)
    return weighted_sum(gate, shares_of(gate.name, share), enumerate(outputs))


def allocate(root: nn.Module, assembly: Assembly, x: torch.Tensor) -> Survey:
    """Run every candidate of a supernet and settle its sizes; `x` is one input (1, ...).

    Raises BuildError naming what does not fit, TrialError when a class of the user's fails.
    """
    run, space = assembly.run, assembly.space
    survey = Survey(run)
    largest = {decision.name: largest_value(decision) for decision in space.decisions if not decision.modules}
    root.eval()
    _dry_pass(root, x, assembly, survey, largest, {})
    if survey.uneven and not assembly.elastic:
        return survey  # to be assembled anew with sliced layers
    for _ in range(ROUNDS):
        before = dict(largest)
        for changes in passes(root, space, largest):
            survey.grown = False
            _dry_pass(root, x, assembly, survey, largest, changes)
            if survey.grown and len(changes) == 1:
                largest |= changes
        if largest == before:
            break
    for turn in range(1, 1 + max((len(set(survey.shapes[gate])) for gate in survey.uneven), default=0)):
        shapes = {gate: sorted(set(survey.shapes[gate]), key=str) for gate in survey.uneven}
        survey.prefer = {gate: found[turn % len(found)] for gate, found in shapes.items()}
        _dry_pass(root, x, assembly, survey, largest, {})
    for module in root.modules():
        if isinstance(module, Elastic):
            module.settle()
    check_all_ran(root, survey)
    return survey


def _dry_pass(
    root: nn.Module, x: torch.Tensor, assembly: Assembly, survey: Survey, largest: Values, changes: Values
) -> None:
    run = assembly.run
    run.combine, run.surveys, run.values = survey.gate, survey, {**largest, **changes}
    try:
        with torch.no_grad():
            root(x)
    except (MemoryError, RecursionError, torch.OutOfMemoryError, UsageError):
        raise
    except Exception as error:
        failure = error if isinstance(error, TrialError) else _failure(assembly.maker.where(error) or _ROOT, error)
        if not (changes or survey.prefer) or not isinstance(failure, BuildError):
            raise failure from error
        met = ", ".join(f"{name}={value!r}" for name, value in changes.items()) or "a narrower option of a gate"
        raise BuildError(
            f"{failure} (in the supernet, with {met}): a layer that is not sliced sees inputs of several shapes; give "
            "it its size as an argument, which makes one instance for each value, or fix the decision in the space"
        ) from error
    finally:
        run.rest()


_ROOT = Plan("the supernet", {}, "")


def largest_value(decision: Decision) -> Scalar:
    """The largest of ordered values, else the first."""
    if decision.labels is None:
        return decision.high
    return max(decision.labels) if decision.ordered else decision.labels[0]  # type: ignore[type-var]


def passes(root: nn.Module, space: Space, largest: Values) -> list[Values]:
    """What is changed in each further pass.

    Each value of each decision, and each combination of values that has a layer of its own, occurs with everything
    else at its largest, since that is what sizes are. Layers without weights share passes.
    """
    alone = list(_single_values(space, largest))
    together: list[Values] = []
    for layer in root.modules():
        if isinstance(layer, Instances):
            for values, instance in zip(layer.combinations, layer.instances, strict=True):
                simple = not any(isinstance(part, (Gate, SizedLayer)) for part in instance.modules())
                simple = simple and next(instance.parameters(), None) is None
                (together if simple else alone).append({**layer.recipe.fixed, **values})
        elif isinstance(layer, Elastic) and layer.recipe.decisions:
            alone += _extremes(layer, largest)
    distinct = {tuple(sorted(values.items())): values for values in alone}
    return [*merged(together), *distinct.values()]


def _single_values(space: Space, largest: Values) -> Iterator[Values]:
    for decision in space.decisions:
        if not decision.modules:
            labels = [decision.low, decision.high] if decision.labels is None else list(decision.labels)
            if len(labels) > VALUES:  # of a long range, some values that are spread over it
                labels = [labels[i * (len(labels) - 1) // (VALUES - 1)] for i in range(VALUES)]
            yield from ({decision.name: label} for label in labels if label != largest[decision.name])


def _extremes(layer: Elastic, largest: Values) -> Iterator[Values]:
    """Combinations that make an argument larger than the largest values do: `width // ratio` with a small ratio."""
    recipe = layer.recipe
    names = [decision.name for decision in recipe.decisions]
    best: dict[str, tuple[Any, Values]] = {}
    for values in recipe.combinations() or ():
        for argument, number in recipe.arguments(values).items():
            if isinstance(number, int) and (argument not in best or number > best[argument][0]):
                best[argument] = number, values
    try:
        usual = recipe.arguments({name: largest[name] for name in names})
    except Open:  # pragma: no cover - all values are there
        return
    for argument, (number, values) in best.items():
        if number > usual[argument]:
            yield {**recipe.fixed, **values}


def merged(wanted: list[Values]) -> list[Values]:
    """Few passes that contain all wanted values: each goes into the first pass that does not contradict it."""
    found: list[Values] = []
    for values in wanted:
        for changes in found:
            if all(changes.get(name, value) == value for name, value in values.items()):
                changes.update(values)
                break
        else:
            found.append(dict(values))
    return found


def check_all_ran(root: nn.Module, survey: Survey) -> None:
    """Raises BuildError naming a gate, an option or a layer that no pass has run."""
    for module in root.modules():
        if isinstance(module, Gate) and module not in survey.shapes:
            raise BuildError(
                f"decision {module.name!r}: its options never ran in the dry run; the module around it does not use "
                "all of its parts, so leave it out there"
            )
        if isinstance(module, Instances):
            for values, instance in zip(module.combinations, module.instances, strict=True):
                if instance not in survey.ran:
                    raise BuildError(f"'{module.recipe.place}' never ran with {values}: leave this combination out")
        if _unsized(module):
            raise BuildError(f"a {type(module).__name__} of the supernet never received an input: leave it out")


def shape_of(output: Any) -> Any:
    """The shape without the batch; of a list, those of its members."""
    if isinstance(output, torch.Tensor):
        return tuple(output.shape[1:])
    return tuple(shape_of(one) for one in output) if isinstance(output, (list, tuple)) else ()


def _width(output: Any) -> tuple[int, int]:
    if isinstance(output, torch.Tensor):
        return (output.shape[1] if output.dim() > 1 else 0), output.numel()
    members = [_width(one) for one in output] if isinstance(output, (list, tuple)) else []
    return sum(width for width, _ in members), sum(size for _, size in members)
