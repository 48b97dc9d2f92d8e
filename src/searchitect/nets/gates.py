"""Gates: the places of a supernet where one of several modules is chosen, or all are weighed.

A gate does not know what it is used for. It asks the `Run` of its supernet, which says what happens to its
input: one option, a weighted sum of options, or whatever function a method brings (`Supernet.run`).

Shapes: B batch, C channels, ... any further sizes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from searchitect.errors import UsageError
from searchitect.nets.blocks import Zero
from searchitect.space import Scalar

Combine = Callable[..., Any]  # (gate, *inputs) → output


class Shares(NamedTuple):
    """The weights of one gate: one zero-dimensional tensor for each option, and the same as numbers."""

    tensors: Sequence[torch.Tensor]
    numbers: Sequence[float]


class Run:
    """What a supernet is doing: shared by all its gates and sized layers, set for the length of one pass.

    combine: what a gate does with its input.
    chosen:  for a path, the position of the chosen option by the name of the decision.
    values:  the values of decisions that are not gates (widths, kernels, ...).
    shares:  for a mixed pass, the weights by the name or the place of a gate.
    around:  set once for a supernet: how the gates of choices meet their input, `around(gate, inner, *inputs)`.
    whole:   functions that run whole cells, by class (`Supernet.whole`).
    """

    def __init__(self, around: Combine | None = None) -> None:
        self.around = around
        self.whole: dict[type[nn.Module], Callable[..., Any]] = {}
        self.rest()

    def rest(self) -> None:
        """Between two passes."""
        self.combine: Combine = idle
        self.chosen: Mapping[str, int] = {}
        self.values: Mapping[str, Scalar] = {}
        self.shares: Mapping[str, Shares] = {}
        self.surveys: Any = None  # the dry run that is going on (`allocation.py`)


def idle(gate: Gate, *_inputs: Any) -> Any:
    """What a gate does when nothing was said. Raises UsageError."""
    raise UsageError(
        f"the gate {gate.name!r} does not know what to run: call the supernet as net(x, architecture), "
        "net.mix(x, weights) or net.run(x, combine)"
    )


def follow(gate: Gate, *inputs: Any) -> Any:
    """Run the chosen option only."""
    return gate.pick(gate.run.chosen[gate.name], *inputs)


def weigh(gate: Gate, *inputs: Any) -> Any:
    """The weighted sum of the options, each with its share; a fixed value in `values` picks one option."""
    run = gate.run
    shares = shares_for(gate)
    if shares is not None:
        return gate.blend(shares, *inputs)
    if gate.name in run.values:
        return gate.pick(gate.position(run.values[gate.name]), *inputs)
    if isinstance(gate, SubsetGate):
        return gate.outputs(*inputs)
    raise UsageError(
        f"decision {gate.name!r} has no weights: give mix() a tensor of {gate.n} numbers for it, or one option "
        f"in values={{{gate.name!r}: ...}}"
    )


def shares_for(gate: Gate) -> Shares | None:
    """The weights of a gate in this mixed pass: those of its place, else those of its decision."""
    return gate.run.shares.get(gate.place) or gate.run.shares.get(gate.name)


class Gate(nn.Module, ABC):
    """One place where a decision among modules is taken. Tied places are gates of one `name`.

    name:   of the decision. place: the dotted path of this gate inside the supernet, different for each gate.
    labels: what weights stand for, in order: the options of the decision, then its search-only ones; for a
            subset its members, not the combinations of them. n: how many.
    """

    def __init__(self, name: str, labels: Sequence[Scalar], run: Run) -> None:
        super().__init__()
        self.name, self.labels, self.run = name, tuple(labels), run
        self.n = len(self.labels)
        self.place = ""

    def forward(self, *inputs: Any) -> Any:
        return self.run.combine(self, *inputs)

    @abstractmethod
    def pick(self, position: int, *inputs: Any) -> Any:
        """The output of the option at this position of the decision's values; nothing else is run."""

    @abstractmethod
    def outputs(self, *inputs: Any) -> list[Any]:
        """The output of every option, in the order of `labels`."""

    @abstractmethod
    def blend(self, shares: Shares, *inputs: Any) -> Any:
        """The outputs weighed by `shares`; an option whose share is exactly zero is not run."""

    @abstractmethod
    def position(self, value: Scalar) -> int:
        """The position of a value of the decision."""

    def extra_repr(self) -> str:
        return f"{self.name!r}, {', '.join(map(str, self.labels))}"


class ChoiceGate(Gate):
    """Exactly one of the candidates; `search_only` of them, the last ones, can be weighed but not picked."""

    def __init__(
        self, name: str, labels: Sequence[Scalar], candidates: Sequence[nn.Module], run: Run, search_only: int = 0
    ) -> None:
        super().__init__(name, labels, run)
        self.candidates = nn.ModuleList(candidates)
        self.search_only = search_only
        self._zeros = [isinstance(candidate, Zero) for candidate in candidates]

    def forward(self, *inputs: Any) -> Any:
        run = self.run
        if run.around is None:
            return run.combine(self, *inputs)
        return run.around(self, lambda *changed: run.combine(self, *changed), *inputs)

    def pick(self, position: int, *inputs: Any) -> Any:
        return self.candidates[position](*inputs)

    def outputs(self, *inputs: Any) -> list[Any]:
        return [candidate(*inputs) for candidate in self.candidates]

    def blend(self, shares: Shares, *inputs: Any) -> Any:
        run = self.not_zeros(live_options(self, shares))
        return weighted_sum(self, shares, ((i, self.candidates[i](*inputs)) for i in run))

    def not_zeros(self, live: Sequence[int]) -> Sequence[int]:
        """Zeros add nothing, and their share gets no gradient by it: they are run only when they are alone."""
        return [i for i in live if not self._zeros[i]] or live[:1]

    def position(self, value: Scalar) -> int:
        return self.labels.index(value)


class DepthGate(Gate):
    """The first few of the copies, one after the other; the options are the allowed counts, in order."""

    def __init__(self, name: str, counts: Sequence[int], copies: Sequence[nn.Module], run: Run) -> None:
        super().__init__(name, counts, run)
        self.copies = nn.ModuleList(copies)
        self.low = counts[0]

    def pick(self, position: int, *inputs: Any) -> Any:
        (x,) = inputs
        for i in range(self.low + position):
            x = self.copies[i](x)
        return x

    def outputs(self, *inputs: Any) -> list[Any]:
        (x,) = inputs
        found = [x]
        for copy in self.copies:
            found.append(copy(found[-1]))
        return found[self.low :]

    def blend(self, shares: Shares, *inputs: Any) -> Any:
        live = live_options(self, shares)

        def terms() -> Any:
            (x,) = inputs
            for count in range(self.low + live[-1] + 1):
                x = self.copies[count - 1](x) if count else x
                if count - self.low in live:
                    yield count - self.low, x

        return weighted_sum(self, shares, terms())

    def position(self, value: Scalar) -> int:
        return self.labels.index(value)


class SubsetGate(Gate):
    """k of the members, each with the same input; gives the list of their outputs, as `Members` does.

    Weighed, it gives the outputs of all members, each times its share: the weights of edges.
    """

    def __init__(
        self, name: str, labels: Sequence[str], members: Sequence[nn.Module], combinations: Sequence[Sequence[int]],
        run: Run,
    ) -> None:  # fmt: skip
        super().__init__(name, labels, run)
        self.members = nn.ModuleList(members)
        self.combinations = [tuple(combination) for combination in combinations]

    def pick(self, position: int, *inputs: Any) -> list[Any]:
        return [self.members[i](*inputs) for i in self.combinations[position]]

    def outputs(self, *inputs: Any) -> list[Any]:
        return [member(*inputs) for member in self.members]

    def blend(self, shares: Shares, *inputs: Any) -> list[Any]:
        return [_scaled(shares, i, self.members[i](*inputs)) for i in live_options(self, shares)]

    def position(self, value: Scalar) -> int:
        return self.combinations.index(tuple(self.labels.index(label) for label in str(value).split("+")))


class Whole(nn.Module):
    """A cell that may be run as a whole, mixed or along a path: by a function from `Run.whole`, else as it is."""

    def __init__(self, module: nn.Module, run: Run) -> None:
        super().__init__()
        self.module, self.run = module, run

    def forward(self, *inputs: Any) -> Any:
        run = self.run
        rule = run.whole.get(type(self.module)) if run.combine in (weigh, follow) else None
        return self.module(*inputs) if rule is None else rule(self.module, run, *inputs)


def shares_of(name: str, weight: torch.Tensor) -> Shares:
    """The weights (O,) of a decision. Raises UsageError for another shape."""
    if weight.dim() != 1:
        raise UsageError(f"weights of {name!r} have shape {tuple(weight.shape)}: give one number for each option (O,)")
    return Shares(weight.unbind(), weight.detach().tolist())


def live_options(gate: Gate, shares: Shares) -> list[int]:
    """The options with a share; the first one when there is none at all."""
    if len(shares.numbers) != gate.n:
        raise UsageError(
            f"decision {gate.name!r} has {gate.n} options ({', '.join(map(str, gate.labels))}), "
            f"but its weights have {len(shares.numbers)} numbers"
        )
    return [i for i, number in enumerate(shares.numbers) if number != 0.0] or [0]


def _scaled(shares: Shares, i: int, y: torch.Tensor) -> torch.Tensor:
    share = shares.tensors[i]
    return y if shares.numbers[i] == 1.0 and not share.requires_grad else share.to(y.dtype) * y


def weighted_sum(gate: Gate, shares: Shares, terms: Any) -> torch.Tensor:
    """Σ share_i · output_i over (i, output) pairs. Raises UsageError when the outputs differ in shape."""
    total: torch.Tensor | None = None
    for i, y in terms:
        if not isinstance(y, torch.Tensor):
            raise UsageError(
                f"option {gate.labels[i]!r} of {gate.name!r} gives {type(y).__name__}: only tensors add up"
            )
        if total is None:
            total = _scaled(shares, i, y)
        elif y.shape != total.shape:
            raise UsageError(
                f"option {gate.labels[i]!r} of decision {gate.name!r} gives shape {tuple(y.shape)}, the ones before it "
                f"{tuple(total.shape)}: only outputs of one shape can be weighed"
            )
        else:
            total = torch.addcmul(total, y, shares.tensors[i].to(y.dtype))
    assert total is not None
    return total
