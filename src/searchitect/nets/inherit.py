"""A path's weights as a stand-alone network, and BatchNorm statistics of its own.

The stand-alone network is what `build` makes; its module tree and that of the supernet are walked side by
side, each gate replaced by what the architecture chooses there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from searchitect.errors import BuildError, UsageError
from searchitect.nets.gates import ChoiceGate, DepthGate, SubsetGate, Whole
from searchitect.nets.sized import Elastic, Instances, PerPath
from searchitect.space import Architecture, Scalar

if TYPE_CHECKING:
    from searchitect.nets.supernets import Supernet


class Pair(NamedTuple):
    """A tensor of the stand-alone network and where it comes from.

    name:  of the tensor in the stand-alone network. own: that tensor. whole: the supernet's tensor.
    part:  takes `whole`, or a tensor like it (its gradient), to what the stand-alone network has.
    """

    name: str
    own: torch.Tensor
    whole: torch.Tensor
    part: Callable[[torch.Tensor], torch.Tensor]


class _Choices(NamedTuple):
    positions: dict[str, int]
    values: dict[str, Scalar]


def pairs(net: Supernet, architecture: Architecture, alone: nn.Module) -> Iterator[Pair]:
    """Every parameter and buffer of a path's stand-alone network, with its origin in the supernet.

    Raises BuildError when the two are not made alike.
    """
    positions = net.positions(architecture)
    yield from _walk(net.root, alone, _Choices(positions, architecture.decisions), "")


def inherit(net: Supernet, architecture: Architecture, alone: nn.Module) -> None:
    """Copy a path's weights and buffers into its stand-alone network."""
    with torch.no_grad():
        for pair in pairs(net, architecture, alone):
            pair.own.copy_(pair.part(pair.whole))


def _walk(part: nn.Module, alone: nn.Module, choices: _Choices, path: str) -> Iterator[Pair]:
    part = _chosen(part, choices)
    if isinstance(part, Elastic):
        yield from _sliced(part, alone, path)
        return
    if isinstance(part, PerPath):
        return
    children = _children(part, choices)
    tables = ((alone._parameters, part._parameters), (alone._buffers, part._buffers))
    for mine, theirs in tables:
        for leaf, own in mine.items():
            if own is not None:
                whole = theirs.get(leaf)
                if whole is None or whole.shape != own.shape:
                    raise _unlike(path + leaf, own, whole)
                yield Pair(path + leaf, own, whole, _all_of_it)
    for name, child in alone.named_children():
        if name not in children:
            raise _unlike(path + name, child, None)
        yield from _walk(children[name], child, choices, f"{path}{name}.")


def _chosen(part: nn.Module, choices: _Choices) -> nn.Module:
    """What stands in the place of a gate."""
    while True:
        if isinstance(part, ChoiceGate):
            part = part.candidates[choices.positions[part.name]]
        elif isinstance(part, Whole):
            part = part.module
        elif isinstance(part, Instances):
            part = part.instance(choices.values)
        else:
            return part


def _children(part: nn.Module, choices: _Choices) -> dict[str, nn.Module]:
    if isinstance(part, DepthGate):
        count = part.low + choices.positions[part.name]
        return {str(i): part.copies[i] for i in range(count)}
    if isinstance(part, SubsetGate):
        members = [part.members[i] for i in part.combinations[choices.positions[part.name]]]
        return {"members": nn.ModuleList(members)}
    return dict(part.named_children())


def _sliced(part: Elastic, alone: nn.Module, path: str) -> Iterator[Pair]:
    for name, own in (*alone.named_parameters(), *alone.named_buffers()):
        shape = tuple(own.shape)

        def cut(whole: torch.Tensor, name: str = name, shape: tuple[int, ...] = shape) -> torch.Tensor:
            return part.part(name, shape, whole)

        try:
            whole = part.tensor(name)
            cut(whole)
        except (AttributeError, ValueError):
            raise _unlike(path + name, own, None) from None
        yield Pair(path + name, own, whole, cut)


def _all_of_it(whole: torch.Tensor) -> torch.Tensor:
    return whole


def _unlike(name: str, own: Any, whole: Any) -> BuildError:
    found = "nothing" if whole is None else f"shape {tuple(whole.shape)}"
    asked = f"shape {tuple(own.shape)}" if isinstance(own, torch.Tensor) else type(own).__name__
    return BuildError(
        f"{name}: the stand-alone network has {asked} here, the supernet {found}; a class of your own must keep the "
        "modules it is given under the same names, whatever they are"
    )


def reestimate(model: nn.Module, batches: Iterable[torch.Tensor]) -> nn.Module:
    """Set BatchNorm statistics to the plain mean over batches (B, ...); everything else is in evaluation mode.

    Needed before weights that were trained in a supernet are judged: its statistics are those of many paths
    (Guo et al. 2020, SPOS, section 3.4). Mean and variance are averages of each batch's own, variances unbiased,
    as torch keeps them. Returns the model in evaluation mode; raises UsageError without batches.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    seen = 0
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: the plain mean over all batches
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                seen += 1
                if norms:
                    model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()
    if not seen:
        raise UsageError("BatchNorm statistics need at least one batch, got none")
    return model


def recalibrate(net: Supernet, architecture: Architecture, batches: Iterable[torch.Tensor]) -> nn.Module:
    """A path's stand-alone network with inherited weights and BatchNorm statistics of its own (`reestimate`).

    The supernet is left as it is. Cost: one build, one copy of the path's weights, one forward for each batch.
    """
    return reestimate(net.path(architecture), batches)
