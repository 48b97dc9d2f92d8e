"""What an architecture costs, from its plan alone: parameters, multiply-accumulates, training memory.

Layers of `torch.nn` and our blocks are looked up in tables; a class of the user's is built once per input
shape, run on the CPU under torch's flop counter, and remembered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from searchitect.errors import ArchitectureError, BuildError, TrialError
from searchitect.nets.block_costs import BLOCK_COSTS
from searchitect.nets.building import build_plan
from searchitect.nets.layer_costs import LAYER_COSTS
from searchitect.nets.parts import Part, Shape, Walk, numbers, place
from searchitect.space import Architecture, Plan, Space

BYTES = 4  # float32
STATES = 4  # per weight: the weight, its gradient and the optimizer's two moments


class Cost(NamedTuple):
    """params: learnable numbers. macs: multiply-accumulates of one sample, forward. memory_mb: see `Costs`."""

    params: int
    macs: int
    memory_mb: float


class Limit(Protocol):
    """What `feasible` needs of an objective."""

    @property
    def metric(self) -> str:
        """Name of the metric."""

    def excess(self, value: float) -> float:
        """How far the value is from keeping the limit; 0 where it does, and for a goal."""


class Costs:
    """The costs of a space's architectures for one input shape; nothing is built, answers are remembered.

    `predicted` are numbers by name that somebody else tells of an architecture beforehand, such as `latency_ms`; limits
    on them are kept like the others.

    sample_shape: one input without the batch, for example (C, H, W).
    outputs:      what OUTPUTS in the space stands for.
    batch:        samples per training step, for `memory_mb`: MB (10^6 bytes) of float32 activations that
                  stay for the backward pass, plus weights, gradients and two moments of the optimizer.
    """

    def __init__(
        self, space: Space, sample_shape: Iterable[int], outputs: int | None = None, *, batch: int = 128
    ) -> None:
        self.space = space
        self.shape: Shape = tuple(sample_shape)
        self.outputs = outputs
        self.batch = batch
        self._walk = Walk(LAYER_COSTS | BLOCK_COSTS, self.probe)
        self._probed: dict[Any, Part] = {}
        self.predicted: dict[str, Callable[[Architecture], float]] = {}

    def of(self, architecture: Architecture) -> Cost:
        """The cost of one architecture, which must belong to the space.

        Raises BuildError, naming the place, when a layer does not fit its input, and TrialError when a
        class of the user's fails as it is probed.
        """
        try:
            plan = self.space.plan(architecture, self.outputs)
        except ArchitectureError as error:  # a value computed in the space, such as `width // ratio`
            raise BuildError(str(error)) from error
        try:
            part = self._walk(plan, self.shape)
        except RecursionError:
            raise BuildError(f"{place(plan)}: nested too deeply to be built") from None
        self._walk.settle()
        kept = part.kept
        if part.keeps_input:
            kept += numbers(self.shape)
        if part.keeps_output:
            kept += numbers(part.shape)
        return Cost(part.params, part.macs, BYTES * (kept * self.batch + STATES * part.params) / 1e6)

    def training_mb(self, cost: Cost, rows: int) -> float:
        """`memory_mb` of a cost with so many rows in the network at a time instead of `batch`."""
        fixed = BYTES * STATES * cost.params / 1e6
        return fixed + (cost.memory_mb - fixed) * rows / self.batch

    def feasible(self, architecture: Architecture, objectives: Iterable[Limit] = ()) -> bool:
        """Whether the architecture fits together and keeps every limit on params, macs, memory_mb and what is
        predicted, and those that the space declares.

        What cannot be known without running the user's failing code counts as feasible: the trial will
        then fail with its true cause.
        """
        return self.space.allows(architecture) and self._beyond(architecture, objectives) == 0.0

    def excess(self, architecture: Architecture, objectives: Iterable[Limit] = ()) -> float:
        """How far an architecture is from being `feasible`: 0 where it is, infinity where it does not fit together.

        Else the sum over the limits of what is beyond each, as a share of it, and 1 for each function that says no.
        """
        refused = sum(not one.allows(architecture) for one in self.space.limits if not one.metric)
        return refused + self._beyond(architecture, objectives)

    def _beyond(self, architecture: Architecture, objectives: Iterable[Limit]) -> float:
        """`excess` by numbers alone."""
        try:
            known = self.numbers(architecture)
        except BuildError:
            return math.inf
        except TrialError:
            return 0.0
        limits = (*self.space.cost_limits, *objectives)
        return sum(o.excess(known[o.metric]) for o in limits if o.metric in known)

    def numbers(self, architecture: Architecture) -> dict[str, float]:
        """Everything that is known beforehand, by the names of metrics."""
        cost = self.of(architecture)
        known = {"params": float(cost.params), "macs": float(cost.macs), "memory_mb": cost.memory_mb}
        return known | {name: tell(architecture) for name, tell in self.predicted.items()}

    def probe(self, plan: Plan, shape: Shape) -> Part:
        """The cost of a module that no table knows, found once."""
        name = _frozen(plan), shape
        if name not in self._probed:
            self._probed[name] = probe(plan, shape, self.space.targets, self.outputs)
        return self._probed[name]


def probe(plan: Plan, shape: Shape, targets: dict[str, Any], outputs: int | None) -> Part:
    """The cost of a module that no table knows: built, and run once on zeros.

    Raises BuildError when it does not fit, TrialError when the user's code fails.
    """
    x = torch.zeros(1, *shape)
    try:
        module = build_plan(plan, x, targets=targets, outputs=outputs)
    except TrialError:
        try:  # perhaps it wants whole numbers, as token ids
            x = torch.zeros(1, *shape, dtype=torch.long)
            module = build_plan(plan, x, targets=targets, outputs=outputs)
        except TrialError:
            x = torch.zeros(1, *shape)
            module = build_plan(plan, x, targets=targets, outputs=outputs)
    module.eval()  # with gradients on: torch's fused inference paths are not counted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(x)
    kept = _Kept(module)
    with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
        result = module(x)
    params = sum(p.numel() for p in module.parameters())
    return Part(_shape(result), params, counter.get_total_flops() // 2, kept.numbers())


class _Kept:
    """Collects what autograd saves, each storage once, parameters and buffers apart."""

    def __init__(self, module: nn.Module) -> None:
        self.own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
        self.held: dict[int, torch.Tensor] = {}

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage().data_ptr()
        if storage not in self.own:
            self.held[storage] = tensor
        return tensor

    def numbers(self) -> int:
        """In units of 4 bytes."""
        return sum(t.untyped_storage().nbytes() for t in self.held.values()) // BYTES


def _shape(result: Any) -> Shape:
    if isinstance(result, torch.Tensor):
        return tuple(result.shape[1:])
    if isinstance(result, (list, tuple)):
        return tuple(_shape(one) for one in result)
    return ()


def _frozen(value: Any) -> Any:
    """A plan as nested tuples, to be looked up by what it says rather than by which object it is."""
    if isinstance(value, Plan):
        return value.target, tuple((name, _frozen(arg)) for name, arg in value.args.items())
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _frozen(item)) for key, item in value.items())
    return type(value), value
