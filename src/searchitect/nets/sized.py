"""Layers of a supernet whose arguments hold decisions: one set of sliced weights, or one layer for each value.

All three classes give the layer of an architecture by the values of its decisions. In a mixed pass with
weights for such a decision, the output is the sum over its values, as at a gate.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from searchitect.errors import BuildError, UsageError
from searchitect.nets import slices
from searchitect.nets.gates import Run
from searchitect.space import Decision, Scalar
from searchitect.torchseeds import seeded_torch

Values = Mapping[str, Scalar]


class Recipe(Protocol):
    """How a layer is made for given values of its decisions (`assembly.py`)."""

    place: str
    decisions: tuple[Decision, ...]
    fixed: dict[str, Scalar]  # by an instance around it

    def make(self, values: Values) -> nn.Module:
        """The layer. Raises UsageError when a decision has no value, BuildError when it cannot be."""

    def arguments(self, values: Values) -> dict[str, Any]:
        """Its plain arguments, None for each module among them. Raises `Open` when a decision has no value."""

    def combinations(self) -> list[dict[str, Scalar]] | None:
        """Every combination of values that the arguments can have; None when there are too many to keep."""


class SizedLayer(nn.Module, ABC):
    """A layer whose arguments hold decisions, or whose input has no fixed size."""

    def __init__(self, recipe: Recipe, run: Run) -> None:
        super().__init__()
        self.recipe, self.run = recipe, run
        self.names = tuple(decision.name for decision in recipe.decisions)

    def forward(self, *inputs: Any) -> Any:
        run = self.run
        if run.surveys is not None:
            return run.surveys.sized(self, *inputs)
        if run.shares and any(name in run.shares for name in self.names):
            return self._blend(*inputs)
        return self.at(run.values, *inputs)

    @abstractmethod
    def at(self, values: Values, *inputs: Any) -> Any:
        """The output for these values of the decisions."""

    def _blend(self, *inputs: Any) -> torch.Tensor:
        """Σ over the values of the weighed decisions, each with the product of its shares."""
        run = self.run
        weighed = [decision for decision in self.recipe.decisions if decision.name in run.shares]
        total: torch.Tensor | None = None
        for positions in itertools.product(*(range(decision.n) for decision in weighed)):
            shares = [run.shares[d.name].tensors[i] for d, i in zip(weighed, positions, strict=True)]
            if any(run.shares[d.name].numbers[i] == 0.0 for d, i in zip(weighed, positions, strict=True)):
                continue
            chosen = {d.name: d.labels[i] for d, i in zip(weighed, positions, strict=True)}  # type: ignore[index]
            y = self.at({**run.values, **chosen}, *inputs)
            share = shares[0] if len(shares) == 1 else torch.stack(shares).prod()
            if total is not None and total.shape != y.shape:
                raise UsageError(
                    f"decision {weighed[0].name!r} changes the shape of {self.recipe.place!r} "
                    f"({tuple(total.shape)}, {tuple(y.shape)}): its values cannot be weighed; give one in values={{}}"
                )
            term = share.to(y.dtype) * y
            total = term if total is None else total + term
        if total is None:
            raise UsageError(f"all weights of {weighed[0].name!r} are zero: one value at least must have a share")
        return total

    def extra_repr(self) -> str:
        return ", ".join(self.names)


class Elastic(SizedLayer):
    """One set of weights, as large as any architecture needs; each architecture uses a part (see `slices.py`).

    What runs is the layer itself, made once for each set of values and each shape of input (a *shell*), with
    views of the common weights in the place of its own.
    """

    def __init__(self, recipe: Recipe, run: Run) -> None:
        super().__init__(recipe, run)
        self._kinds: dict[str, slices.Kind] = {}
        self._shells: dict[Any, _Shell] = {}
        self._trials: dict[Any, nn.Module] = {}  # during the dry run: layers with weights of their own
        self._needed: dict[str, slices.Shape] = {}

    def at(self, values: Values, *inputs: Any) -> Any:
        (x,) = inputs
        key = (*(values.get(name) for name in self.names), x.shape[1:])
        shell = self._shells.get(key)
        if shell is None:
            shell = self._shells[key] = self._shell(values, x)
        return shell(self, x)

    def trial(self, values: Values, x: torch.Tensor) -> tuple[Any, bool]:
        """In the dry run: the output of a layer with weights of its own, and whether it is larger than all before."""
        key = (*(values.get(name) for name in self.names), x.shape[1:])
        if key in self._trials:
            return self._trials[key](x), False
        module = self.recipe.make(values).train(self.training)
        y = module(x)  # may fail: remembered only if not
        self._trials[key] = module
        grown = False
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            shape = tuple(tensor.shape)
            known = self._needed.get(name)
            self._needed[name] = shape if known is None else slices.largest([known, shape])
            grown |= known != self._needed[name]
        return y, grown

    def settle(self) -> None:
        """After the dry run: allocate what the layers that were tried need together.

        Raises BuildError when none was.
        """
        if not self._trials:
            raise BuildError(f"'{self.recipe.place}': never received an input, so its width is unknown")
        seen: dict[str, list[torch.Tensor]] = {}
        learned: set[str] = set()
        for module in self._trials.values():
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                seen.setdefault(name, []).append(tensor)
                self._kinds[name] = slices.kind_of(module, name)
                learned |= {name} if isinstance(tensor, nn.Parameter) else set()
        for name, tensors in seen.items():
            start = slices.started(self._needed[name], tensors)
            if name in learned:
                self.register_parameter(_attribute(name), nn.Parameter(start))
            else:
                self.register_buffer(_attribute(name), start)
        self._trials = {}

    def part(self, name: str, shape: slices.Shape, whole: torch.Tensor | None = None) -> torch.Tensor:
        """The part of the common tensor `name` (or of one like it) that a layer with this shape uses."""
        tensor = getattr(self, _attribute(name)) if whole is None else whole
        cut = slices.cut(self._kinds[name], tuple(tensor.shape), shape)
        return tensor if cut is None else cut(tensor)

    def tensor(self, name: str) -> torch.Tensor:
        """The common tensor that stands for `name` of the layer."""
        found: torch.Tensor = getattr(self, _attribute(name))
        return found

    def _shell(self, values: Values, x: torch.Tensor) -> _Shell:
        with seeded_torch(0), torch.no_grad():
            module = self.recipe.make(values).eval()
            module(torch.zeros(1, *x.shape[1:], dtype=torch.float32 if x.is_floating_point() else x.dtype))
        try:
            return _Shell(self, module)
        except (ValueError, KeyError) as error:
            raise BuildError(
                f"'{self.recipe.place}': an input of shape {tuple(x.shape[1:])} needs more than the dry run "
                f"allocated ({error}): give supernet() a sample of this size"
            ) from None


class _Shell:
    """A layer without weights of its own, and where it gets them from."""

    def __init__(self, owner: Elastic, module: nn.Module) -> None:
        self.module = module
        self.slots: list[tuple[dict[str, Any], str, bool, str, slices.Cut | None]] = []
        for path, part in module.named_modules():
            for learned, table in ((True, part._parameters), (False, part._buffers)):
                for leaf, tensor in table.items():
                    if tensor is not None:
                        name = f"{path}.{leaf}" if path else leaf
                        cut = slices.cut(owner._kinds[name], tuple(owner.tensor(name).shape), tuple(tensor.shape))
                        self.slots.append((table, leaf, learned, _attribute(name), cut))
                        table[leaf] = None

    def __call__(self, owner: Elastic, x: torch.Tensor) -> Any:
        module = self.module
        if module.training is not owner.training:
            module.train(owner.training)
        parameters, buffers = owner._parameters, owner._buffers
        try:
            for table, leaf, learned, attribute, cut in self.slots:
                whole = parameters[attribute] if learned else buffers[attribute]
                table[leaf] = whole if cut is None else cut(whole)  # type: ignore[arg-type]
            return module(x)
        finally:
            for table, leaf, *_ in self.slots:
                table[leaf] = None


class Instances(SizedLayer):
    """One layer for each combination of values, each with weights and parts of its own."""

    def __init__(self, recipe: Recipe, run: Run, combinations: list[dict[str, Scalar]]) -> None:
        super().__init__(recipe, run)
        self.combinations = combinations
        self.instances = nn.ModuleList(recipe.make(values) for values in combinations)
        self._known: dict[Any, nn.Module] = {}

    def at(self, values: Values, *inputs: Any) -> Any:
        return self.instance(values)(*inputs)

    def instance(self, values: Values) -> nn.Module:
        """The layer for these values. Raises UsageError when one is missing."""
        key = tuple(values.get(name) for name in self.names)
        found = self._known.get(key)
        if found is None:
            # decisions that are not active in a combination are not part of it: whatever they are is ignored
            fits = [all(values.get(n, _NONE) == v for n, v in c.items()) for c in self.combinations]
            if not any(fits):
                raise UsageError(
                    f"'{self.recipe.place}' needs a value for each of {', '.join(map(repr, self.names))}: give them in "
                    "values={...}"
                )
            found = self._known[key] = self.instances[fits.index(True)]
        return found


class PerPath(SizedLayer):
    """A layer without weights, made anew for the values of each architecture (real numbers, long ranges)."""

    def __init__(self, recipe: Recipe, run: Run) -> None:
        super().__init__(recipe, run)
        self._made: tuple[Any, list[nn.Module]] = None, []

    def at(self, values: Values, *inputs: Any) -> Any:
        key = tuple(values.get(name) for name in self.names)
        if key != self._made[0] or not self._made[1]:
            with seeded_torch(0):
                self._made = key, [self.recipe.make(values)]
        (module,) = self._made[1]
        if module.training is not self.training:
            module.train(self.training)
        y = module(*inputs)
        if next(itertools.chain(module.parameters(), module.buffers()), None) is not None:
            raise BuildError(
                f"'{self.recipe.place}' ({type(module).__name__}) has weights, and {', '.join(map(repr, self.names))} "
                f"can be more than {LIMIT} things there, which cannot share them: offer a few values by one_of(...), "
                "or leave the decision to a search without a supernet"
            )
        return y


LIMIT = 64  # combinations of values that get a layer each
_NONE = object()


def _attribute(name: str) -> str:
    return name.replace(".", "__")
