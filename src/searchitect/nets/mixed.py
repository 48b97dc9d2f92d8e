"""Whole cells of a supernet in one go: every node is Σ over its edges Σ over options of share · option(state).

`speed_up(net)` has mixtures and single paths of a supernet run the cells of `nets.cells` this way, with the supernet's
own modules: nothing is copied, names, checkpoints and inheritance stay as they are. In training mode

- of each state once: ReLU, poolings and their BatchNorm, the grids that make dilation disappear;
- all 1×1 convolutions into a node with their BatchNorm and shares as one sum of products (`folded`);
- share times BatchNorm as BatchNorm with the share in its scale; zeros not at all;
- depthwise convolutions with their fast backward pass (`depthwise`), everything in channels_last.

Known options: `Zero`, identity, average and max pooling with or without BatchNorm, ReLU + convolution + BatchNorm
(`SameConv`), ReLU + depthwise + 1×1 + BatchNorm once or twice (`Depthwise`). Any other option, and one with a hook or
a forward pass of its own, runs as it is. The result equals the plain one up to rounding, also when it is
differentiated twice; gradients for shares alone (`autograd.grad`) cost no gradients of kernels. Cells run as they are
written in evaluation mode, in automatic mixed precision, where inputs are not images or so small that it does
not pay, and in a supernet made with `around`.

Shapes: B batch, C channels, H W.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from searchitect.nets.cells import Cell, Edge, Members, TwoInputCell
from searchitect.nets.gates import ChoiceGate, Run, SubsetGate, follow, live_options, shares_for
from searchitect.nets.mixing import Source, Step, convolved, node, total, watched
from searchitect.nets.normed import gated_norm
from searchitect.nets.supernets import Supernet

Scale = torch.Tensor | None  # a scalar; None is 1


# Numbers in a state (B·C·H·W) from which on the fast way is the faster one, measured on cells of both published
# spaces with 8 to 64 channels (torch 2.13, AVX2): below, the many small steps cost more than they save.
MIXTURE, PATH = 1 << 16, 1 << 17


def speed_up(net: Supernet, *, always: bool = False) -> None:
    """Run the cells of a supernet as a whole from now on, in mixtures and along paths, where it pays (or always)."""
    net.whole(Cell, partial(cell, always=always))
    net.whole(TwoInputCell, partial(two_input_cell, always=always))


def cell(module: Cell, run: Run, x: torch.Tensor, *, always: bool = False) -> torch.Tensor:
    """The output of a `Cell`: (B, C, H, W) → the shape its edges give."""
    if not _suits(module, run, x) or not (always or _pays(run, x.numel())):
        return _plain(module, x)
    learning = any(share.requires_grad for shares in run.shares.values() for share in shares.tensors)
    sources, edges = [Source(x, sparing=learning)], iter(module.edges)
    for _ in range(1, module.nodes):
        steps = [step for source in sources for step in _steps(next(edges), source, run, None)]
        sources.append(Source(node(steps), sparing=learning))
    return sources[-1].x


def two_input_cell(
    module: TwoInputCell, run: Run, older: torch.Tensor, newer: torch.Tensor, *, always: bool = False
) -> torch.Tensor:
    """The output of a `TwoInputCell`: (B, C0, H, W), (B, C1, H, W) → (B, nodes·C, H', W')."""
    numbers = newer[:, 0].numel() * module.older_norm.num_features  # in a state
    if not _suits(module, run, newer) or not (always or _pays(run, numbers)):
        return _plain(module, older, newer)
    sources = [Source(x) for x in _inputs(module, older, newer)]
    for inner in module.nodes:
        edges = _edges(inner, run)
        if edges is None:
            sources.append(Source(total(inner([source.x for source in sources]))))
            continue
        steps = [step for edge, scale in edges for step in _steps(edge.op, sources[edge.source], run, scale)]
        sources.append(Source(node(steps)))
    return torch.cat([source.x for source in sources[2:]], dim=1)


def _inputs(module: TwoInputCell, older: torch.Tensor, newer: torch.Tensor) -> list[torch.Tensor]:
    """What `module.inputs` gives, in a form that is cheap to differentiate twice."""
    parts = [*module.older, module.older_norm, *module.newer]
    known = all(type(part) in (nn.ReLU, nn.Conv2d, nn.BatchNorm2d) and not watched(part) for part in parts)
    if not known or not all(part.training for part in parts):
        return module.inputs(older, newer)
    convs = [part for part in module.older if isinstance(part, nn.Conv2d)]
    older = torch.relu(older)
    seen = [older]
    if len(convs) == 2:
        seen.append(nn.functional.pad(older[:, :, 1:, 1:], (0, 1, 0, 1)))
    halves = [convolved(conv, x) for conv, x in zip(convs, seen, strict=True)]
    _, conv, norm = module.newer
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    ends = convolved(conv, torch.relu(newer))
    return [gated_norm(None, module.older_norm, torch.cat(halves, dim=1)), gated_norm(None, norm, ends)]


def _plain(module: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = module(*inputs)
    return y


def _suits(module: nn.Module, run: Run, x: torch.Tensor) -> bool:
    """Training, on images with more than one value per channel, in one precision."""
    if not module.training or run.around is not None or x.dim() != 4 or x.numel() == x.shape[1]:
        return False
    return not torch.is_autocast_enabled(x.device.type)


def _pays(run: Run, numbers: int) -> bool:
    """Whether a state of so many numbers is large enough; shares of zero may leave a mixture a single path."""
    single = run.combine is follow or all(
        sum(number != 0.0 for number in shares.numbers) <= 1 for shares in run.shares.values()
    )
    return numbers >= (PATH if single else MIXTURE)


def _edges(inner: nn.Module, run: Run) -> list[tuple[Edge, Scale]] | None:
    """The edges into a node of a two-input cell and their weights; None for a node that is made otherwise."""
    if type(inner) is Members:
        members: Sequence[nn.Module] = list(inner.members)
        scales: Sequence[Scale] = [None] * len(members)
    elif type(inner) is SubsetGate:
        members, scales = _members(inner, run)
    else:
        return None
    edges = [member for member in members if type(member) is Edge]
    return list(zip(edges, scales, strict=True)) if len(edges) == len(members) else None


def _members(gate: SubsetGate, run: Run) -> tuple[list[nn.Module], list[Scale]]:
    shares = None if run.combine is follow else shares_for(gate)
    if shares is not None:
        wanted: Sequence[int] = live_options(gate, shares)
        return [gate.members[i] for i in wanted], [_scale(shares.numbers[i], shares.tensors[i]) for i in wanted]
    if run.combine is follow:
        wanted = gate.combinations[run.chosen[gate.name]]
    elif gate.name in run.values:
        wanted = gate.combinations[gate.position(run.values[gate.name])]
    else:
        wanted = range(gate.n)
    return [gate.members[i] for i in wanted], [None] * len(wanted)


def _steps(edge: nn.Module, source: Source, run: Run, scale: Scale) -> list[Step]:
    """The operations that run on one edge, with their shares."""
    if type(edge) is not ChoiceGate:
        return [Step(source, edge, scale)]
    if run.combine is follow:
        return [Step(source, edge.candidates[run.chosen[edge.name]], scale)]
    shares = shares_for(edge)
    if shares is None:  # the gate itself knows what is fixed, and what is missing
        return [Step(source, edge, scale)]
    steps = []
    for i in edge.not_zeros(live_options(edge, shares)):
        share = _scale(shares.numbers[i], shares.tensors[i])
        steps.append(Step(source, edge.candidates[i], share if scale is None else _times(scale, share)))
    return steps


def _scale(number: float, share: torch.Tensor) -> Scale:
    return None if number == 1.0 and not share.requires_grad else share


def _times(scale: torch.Tensor, share: Scale) -> torch.Tensor:
    return scale if share is None else scale * share
