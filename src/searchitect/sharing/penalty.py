"""What options cost, and the expected cost of a mixture as a term that gradients pass through.

A table has one number for each option of each decision, summed over its places: weights, multiply-accumulates of one
sample, or milliseconds measured on this device. The expected cost under shares p is Σ over decisions and options of
p · cost (ProxylessNAS, Cai et al. 2019, equation 5; FBNet, Wu et al. 2019, equation 4). Costs outside of gates are
the same for all and left out; what lies below an option counts as its own decision, not twice.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from searchitect.errors import UsageError
from searchitect.nets.gates import ChoiceGate, DepthGate, Gate
from searchitect.nets.supernets import Supernet
from searchitect.space import Architecture

Metric = Literal["params", "macs", "latency_ms"]
REPEATS = 5  # timings of one option; the median counts


class CostTable:
    """The cost of every option, by decision, in the unit of the metric. Made by `cost_table`."""

    def __init__(self, metric: str, costs: Mapping[str, list[float]], labels: Mapping[str, tuple[Any, ...]]) -> None:
        self.metric, self.costs, self.labels = metric, dict(costs), dict(labels)

    def of(self, architecture: Architecture) -> float:
        """The sum over the decisions of an architecture."""
        total = 0.0
        for name, value in architecture.decisions.items():
            if name in self.costs and value in self.labels[name]:
                total += self.costs[name][self.labels[name].index(value)]
        return total

    def expected(self, shares: Mapping[str, Tensor]) -> Tensor:
        """Σ p · cost, differentiable in the shares (O,)."""
        total = torch.zeros(())
        for name, costs in self.costs.items():
            if name in shares:
                total = total + (shares[name] * shares[name].new_tensor(costs)).sum()
        return total


class Penalty:
    """`weight` times the expected cost, as a share of that of the even mixture: 1 · weight at the start.

    So the weight means the same whatever the unit; the loss of a classifier is about log(classes) at the start.
    """

    def __init__(self, table: CostTable, weight: float) -> None:
        if not weight >= 0:
            raise UsageError(f"penalty_weight={weight!r} must be 0 or more")
        self.table, self.weight = table, weight
        even = sum(sum(costs) / len(costs) for costs in table.costs.values() if costs)
        self.unit = even if even > 0 else 1.0

    def __call__(self, shares: Mapping[str, Tensor]) -> Tensor:
        """The term for a mixture."""
        return self.weight * self.table.expected(shares) / self.unit

    def of(self, architecture: Architecture) -> float:
        """The term for one architecture."""
        return self.weight * self.table.of(architecture) / self.unit


def cost_table(net: Supernet, metric: Metric) -> CostTable:
    """Run every option of every gate once (for "latency_ms" a few times) on its own input, and note what it costs.

    Raises UsageError for another metric.
    """
    if metric not in ("params", "macs", "latency_ms"):
        raise UsageError(f"penalty={metric!r} is not known; write params, macs or latency_ms")
    costs = {gate.name: [0.0] * gate.n for gate in net.gates if isinstance(gate, (ChoiceGate, DepthGate))}
    inner: list[float] = [0.0]  # what gates below the one at hand have taken; theirs is not counted twice

    def measure(gate: Gate, *inputs: Any) -> Any:
        if gate.name not in costs:
            return gate.outputs(*inputs)
        found: Any = None
        spent = 0.0
        for i in range(gate.n):
            inner.append(0.0)
            output, cost = _one(gate, i, metric, inputs)
            below = inner.pop()
            costs[gate.name][i] += max(cost - below, 0.0)
            spent += cost
            if found is None or (isinstance(output, Tensor) and output.numel() > found.numel()):
                found = output
        inner[-1] += spent
        return found

    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            values = {d.name: d.labels[-1] for d in net.space.decisions if not d.modules and d.labels is not None}
            net.run(_sample(net), measure, values)
    finally:
        net.train(training)
    return CostTable(metric, costs, {gate.name: gate.labels for gate in net.gates})


def _one(gate: Gate, i: int, metric: Metric, inputs: tuple[Any, ...]) -> tuple[Any, float]:
    option = _modules(gate, i)
    if metric == "params":
        return _run(gate, i, inputs), float(sum(p.numel() for m in option for p in m.parameters()))
    if metric == "macs":
        with FlopCounterMode(display=False) as counter:
            output = _run(gate, i, inputs)
        return output, counter.get_total_flops() / 2
    output = _run(gate, i, inputs)  # the first run pays for what is set up once
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        _run(gate, i, inputs)
        _wait(inputs)
        times.append((time.perf_counter() - began) * 1e3)
    return output, statistics.median(times)


def _modules(gate: Gate, i: int) -> list[nn.Module]:
    if isinstance(gate, DepthGate):
        return list(gate.copies[: gate.low + i])
    assert isinstance(gate, ChoiceGate)
    return [gate.candidates[i]]


def _run(gate: Gate, i: int, inputs: tuple[Any, ...]) -> Any:
    x: Any = inputs
    for module in _modules(gate, i):
        x = (module(*x),)
    return x[0] if isinstance(x, tuple) and len(x) == 1 else x


def _wait(inputs: tuple[Any, ...]) -> None:
    if any(isinstance(x, Tensor) and x.is_cuda for x in inputs):
        torch.cuda.synchronize()


def _sample(net: Supernet) -> Tensor:
    like = next(net.parameters(), net.sample)
    return net.sample.to(like.device, like.dtype if net.sample.is_floating_point() else None)
