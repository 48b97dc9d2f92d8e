"""The costs of a supernet's options: every option of every gate is run on its own input, and noted."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from searchitect.errors import UsageError
from searchitect.nets.gates import ChoiceGate, DepthGate, Gate, SubsetGate
from searchitect.nets.sized import Instances
from searchitect.nets.supernets import Supernet
from searchitect.sharing.logits import weighed
from searchitect.sharing.penalty import CostTable, Metric, Place
from searchitect.space import Scalar

REPEATS = 5  # timings of one module; the median counts

Needs = dict[str, frozenset[Scalar]]


def cost_table(net: Supernet, metric: Metric) -> CostTable:
    """Run every option of every gate on its own input and note what it costs, what lies in gates below it left out.

    latency_ms: the median of a few runs of one sample without gradients, on the device of the supernet. Where gates
    see a part of the channels (PC-DARTS), the cost is that of the part. Raises UsageError for another metric.
    """
    if metric not in ("params", "macs", "latency_ms"):
        raise UsageError(f"penalty={metric!r} is not known; write params, macs or latency_ms")
    meter = _Meter(metric)
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            values = {d.name: d.labels[-1] for d in net.space.decisions if not d.modules and d.labels is not None}
            net.run(_sample(net), meter.measure, values)
    finally:
        net.train(training)
    needs = conditions(net)
    places = [Place(g.name, tuple(meter.costs[g]), needs[g]) for g in net.gates if g in meter.costs]
    subsets = {g.name: len(g.combinations[0]) for g in net.gates if isinstance(g, SubsetGate)}
    return CostTable(metric, places, weighed(net, members=True), subsets)


class _Meter:
    """What stands for every gate of a supernet in the one pass that measures."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.costs: dict[Gate, list[float]] = {}
        self.widest: dict[Gate, int] = {}
        self.below = [0.0]  # what gates below the module at hand have taken: it is theirs
        self.again = False  # whether a module is run again, only to be timed

    def measure(self, gate: Gate, *inputs: Any) -> Any:
        """Costs of one gate, and its output."""
        if isinstance(gate, SubsetGate):
            return gate.outputs(*inputs)
        if self.again:
            before, began = self.below[-1], time.perf_counter()
            output = gate.pick(self.widest[gate], *inputs)
            _wait(inputs)
            self.below[-1] = before + (time.perf_counter() - began) * 1e3  # with what gates below it added
            return output
        if isinstance(gate, DepthGate):
            outputs, costs, spent = self._copies(gate, *inputs)
        else:
            assert isinstance(gate, ChoiceGate)
            runs = [self._one(option, *inputs) for option in gate.candidates]
            outputs, costs, spent = [r[0] for r in runs], [r[1] for r in runs], sum(r[2] for r in runs)
        self.costs[gate] = costs
        self.widest[gate] = max(range(gate.n), key=lambda i: _numbers(outputs[i]))
        self.below[-1] += spent
        return outputs[self.widest[gate]]

    def _copies(self, gate: DepthGate, x: Any) -> tuple[list[Any], list[float], float]:
        outputs, costs, spent = [x], [0.0], 0.0
        for copy in gate.copies:
            output, own, all_of_it = self._one(copy, outputs[-1])
            outputs.append(output)
            costs.append(costs[-1] + own)
            spent += all_of_it
        return outputs[gate.low :], costs[gate.low :], spent

    def _one(self, module: nn.Module, *inputs: Any) -> tuple[Any, float, float]:
        """The output of a module, its own cost, and the same with that of the gates in it."""
        self.below.append(0.0)
        if self.metric == "macs":
            with FlopCounterMode(display=False) as counter:
                output = module(*inputs)
            total = counter.get_total_flops() / 2
        else:
            output = module(*inputs)
            total = float(sum(p.numel() for p in module.parameters()))
        below = self.below.pop()
        if self.metric == "latency_ms":
            return output, *self._timed(module, *inputs)
        return output, max(total - below, 0.0), total

    def _timed(self, module: nn.Module, *inputs: Any) -> tuple[float, float]:
        own, whole = [], []
        self.again = True
        try:
            for _ in range(REPEATS):
                self.below.append(0.0)
                began = time.perf_counter()
                module(*inputs)
                _wait(inputs)
                whole.append((time.perf_counter() - began) * 1e3)
                own.append(max(whole[-1] - self.below.pop(), 0.0))
        finally:
            self.again = False
        return statistics.median(own), statistics.median(whole)


def _numbers(output: Any) -> int:
    return output.numel() if isinstance(output, Tensor) else 0


def conditions(net: Supernet) -> dict[Gate, Needs]:
    """For every gate the labels of the decisions around it that bring it in."""
    found: dict[Gate, Needs] = {}

    def walk(module: nn.Module, needs: Needs) -> None:
        if isinstance(module, Gate):
            found[module] = needs
        for child, more in _inside(module):
            walk(child, {**needs, **{n: needs[n] & labels if n in needs else labels for n, labels in more.items()}})

    walk(net.root, {})
    return found


def _inside(module: nn.Module) -> list[tuple[nn.Module, Needs]]:
    """The modules in a module, and what brings each of them in."""
    if isinstance(module, ChoiceGate):
        return [(c, _one_of(module, module.labels[i : i + 1])) for i, c in enumerate(module.candidates)]
    if isinstance(module, SubsetGate):
        return [(m, _one_of(module, module.labels[i : i + 1])) for i, m in enumerate(module.members)]
    if isinstance(module, DepthGate):
        counts = [int(count) for count in module.labels]  # type: ignore[arg-type]
        return [(c, _one_of(module, [n for n in counts if n > i])) for i, c in enumerate(module.copies)]
    if isinstance(module, Instances):
        pairs = zip(module.instances, module.combinations, strict=True)
        return [(m, {name: frozenset([value]) for name, value in c.items()}) for m, c in pairs]
    return [(child, {}) for child in module.children()]


def _one_of(gate: Gate, labels: Any) -> Needs:
    return {gate.name: frozenset(labels)}


def _wait(inputs: tuple[Any, ...]) -> None:
    if any(isinstance(x, Tensor) and x.is_cuda for x in inputs):
        torch.cuda.synchronize()


def _sample(net: Supernet) -> Tensor:
    like = next(net.parameters(), net.sample)
    return net.sample.to(like.device, like.dtype if net.sample.is_floating_point() else None)
