"""A latency table of a space, measured on this device: networks run as a whole, each module timed in its place.

An operation alone, run again and again, finds its weights in the nearest cache; in a network it does not. So times are
taken where operations stand, over random networks chosen so that together they hold what the space has.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from searchitect.errors import BuildError, TrialError, UsageError
from searchitect.hardware.clock import fastest, pass_of, passes, rows, warm
from searchitect.hardware.operations import Operation, Tally, operation
from searchitect.hardware.predicting import Line, Predictor, fitted, operations, plan_of
from searchitect.hardware.table import Entry, LatencyTable
from searchitect.nets.building import build_known
from searchitect.nets.cost import Costs
from searchitect.nets.parts import Part, Shape
from searchitect.seeds import stream
from searchitect.space import Architecture, Plan
from searchitect.training.meters import evaluating

DRAWN = 300  # random networks, from which those are chosen that are run
FEWEST, ENOUGH, MOST = 3, 20, 60  # networks that are run: also when time is short, when all is seen, and at most
OFTEN = 3  # networks that are to hold an operation
PASSES = 5  # of a network in one turn; the first is left out
TURNS = 6


def measured_table(
    costs: Costs, *, seed: int = 0, seconds: float = 60.0, device: str | torch.device = "cpu",
    threads: int | None = None, allowed: Callable[[Architecture], bool] = lambda _: True,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[LatencyTable, Line]:  # fmt: skip
    """The table of a space and the line from its sums onto whole networks, one row a pass.

    allowed: the networks of interest. stop: asked before each network. threads: of torch while measuring; None:
    as it is. The caller sees to it that nothing else runs. Each network is run in turns, plain and with all modules
    timed; what timing itself takes is in the line, which is fitted to the plain ones, with its error on networks it was
    not fitted to.
    Raises UsageError when no network of the space can be built.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        return _measured(
            costs, torch.device(device), chosen(costs, seed, allowed, end := time.monotonic() + seconds), end, stop
        )
    finally:
        torch.set_num_threads(before)


def _measured(
    costs: Costs, device: torch.device, architectures: Iterable[Architecture], end: float, stop: Callable[[], bool]
) -> tuple[LatencyTable, Line]:
    x = rows(costs.shape, 1, device)
    times: defaultdict[Operation, list[float]] = defaultdict(list)
    whole: list[tuple[Architecture, float]] = []
    for architecture in architectures:
        if whole and (stop() or (len(whole) >= FEWEST and time.monotonic() > end)):
            break
        ms, found = _run(costs, architecture, x, device, end)
        whole.append((architecture, ms))
        for one, own in found.items():
            times[one].append(own)
    table = LatencyTable(
        [Entry(o.name, statistics.median(ms), o.macs, o.numbers) for o, ms in times.items()], _name(device)
    )
    predictor = Predictor(costs, table)
    return table, fitted([predictor.counted(a) for a, _ in whole], [ms for _, ms in whole])


def chosen(costs: Costs, seed: int, allowed: Callable[[Architecture], bool], end: float) -> Iterator[Architecture]:
    """Networks to run: each time the one that holds most of what was run fewer than three times."""
    drawn: dict[Architecture, set[str]] = {}
    half = (time.monotonic() + end) / 2
    for i in range(DRAWN):
        architecture = costs.space.sample(stream(seed, i, "latency"))
        try:
            if architecture not in drawn and allowed(architecture):
                drawn[architecture] = {one.name for one in operations(costs, architecture)}
        except (BuildError, TrialError):
            continue
        if len(drawn) >= FEWEST and time.monotonic() > half:
            break
    if not drawn:
        raise UsageError(f"latency: none of {DRAWN} random networks of the space can be built and keeps its limits")
    seen: Counter[str] = Counter()

    def new(architecture: Architecture) -> int:
        return sum(OFTEN - seen[name] for name in drawn[architecture] if seen[name] < OFTEN)

    for number in range(min(MOST, len(drawn))):
        best = max(drawn, key=new)
        if number >= ENOUGH and not new(best):
            return
        seen.update(drawn.pop(best))
        yield best


def _run(
    costs: Costs, architecture: Architecture, x: torch.Tensor, device: torch.device, end: float
) -> tuple[float, dict[Operation, float]]:
    """Milliseconds of a network, and of each of its operations by itself (what is in it left out)."""
    plan = plan_of(costs, architecture)
    network, made = build_known(plan, costs.shape, targets=costs.space.targets, outputs=costs.outputs)
    network.to(device)
    named = _named(costs, plan)
    by_module = {module: named[id(one)] for module, one in made if id(one) in named}
    run = pass_of(network, x)
    plain: list[float] = []
    taken: defaultdict[Operation, list[float]] = defaultdict(list)
    with evaluating(network):
        warm(run)
        for turn in range(TURNS):
            if turn and time.monotonic() > end:
                break
            plain.append(fastest(passes(run, PASSES)[1:]) * 1e3)
            for one, values in _timed(by_module, run).items():
                taken[one].append(min(values))
    for shapes in named.values():  # a module that is never called takes no time
        for one in shapes.values():
            taken.setdefault(one, [0.0])
    return statistics.median(plain), {one: statistics.median(v) for one, v in taken.items()}


def _named(costs: Costs, plan: Plan) -> dict[int, dict[Shape, Operation]]:
    """The operations of a plan's modules by the id of their plan and the shape of their input."""
    found: defaultdict[int, dict[Shape, Operation]] = defaultdict(dict)

    def own(one: Plan, shape: Shape, part: Part, macs: int) -> float:
        found[id(one)][shape] = operation(one, shape, part, macs)
        return 0.0

    Tally(costs.probe, own, remember=False).total(plan, costs.shape)
    return found


def _timed(by_module: dict[nn.Module, dict[Shape, Operation]], run: Callable[[], None]) -> dict[Operation, list[float]]:
    """Milliseconds of each operation in some passes: of each call by itself, what is called in it left out."""
    found: defaultdict[Operation, list[float]] = defaultdict(list)
    with _clocked(by_module, found):
        run()
        found.clear()
        for _ in range(PASSES - 1):
            run()
    return found


@contextmanager
def _clocked(by_module: dict[nn.Module, dict[Shape, Operation]], found: dict[Operation, list[float]]) -> Iterator[None]:
    """Inside, every call of one of these modules leaves its time in `found`."""
    below = [0.0]

    def clocked(forward: Callable[..., Any], names: dict[Shape, Operation]) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            below.append(0.0)
            begun = time.perf_counter()
            output = forward(*inputs)
            _wait(output)
            spent = (time.perf_counter() - begun) * 1e3
            inner = below.pop()
            one = names.get(_shape(inputs))
            below[-1] += inner if one is None else spent  # what has no name here belongs to what called it
            if one is not None:
                found.setdefault(one, []).append(max(spent - inner, 0.0))
            return output

        return call

    for module, names in by_module.items():
        module.forward = clocked(module.forward, names)
    try:
        yield
    finally:
        for module in by_module:
            del module.forward


def _wait(output: Any) -> None:
    if isinstance(output, torch.Tensor) and output.is_cuda:
        torch.cuda.synchronize(output.device)


def _shape(inputs: Sequence[Any]) -> Shape:
    if len(inputs) == 1 and isinstance(inputs[0], torch.Tensor):
        return tuple(inputs[0].shape[1:])
    several = inputs[0] if len(inputs) == 1 else inputs
    return tuple(tuple(x.shape[1:]) for x in several if isinstance(x, torch.Tensor))


def _name(device: torch.device) -> str:
    threads = f", {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}" * (device.type == "cpu")
    return f"this {device.type}{threads}, torch {torch.__version__}"
