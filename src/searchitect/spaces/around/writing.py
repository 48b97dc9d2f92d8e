"""`space_around`: a user's network as one point of a space of smaller and larger ones.

Edits: width of every layer that nothing holds, odd kernels one size down and up, activation, BatchNorm or none,
LayerNorm or RMSNorm, residual blocks left out, added or replaced by a depthwise one, plain layers left out or added.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from searchitect import nets
from searchitect.errors import SpaceError, UsageError
from searchitect.nets import build
from searchitect.space import Architecture, Space, lazy
from searchitect.spaces.around.grouping import Chain, chain
from searchitect.spaces.around.nodes import Writer
from searchitect.spaces.around.tracing import Step, steps
from searchitect.spaces.around.widths import widths
from searchitect.torchseeds import seeded_torch

FACTORS = (0.5, 0.75, 1.0, 1.5)
TOLERANCE = 1e-5


def space_around(
    model: nn.Module, sample: torch.Tensor | Sequence[int], *, factors: Iterable[float] = FACTORS, name: str = ""
) -> Space:
    """A space in which `model` is one architecture, its baseline; the model itself is not touched.

    model:   a network of plain torch modules, one tensor in and one out: sequential, residual, dense, inception,
             perceptron, transformer. Modules of your own are gone into; what cannot be is kept whole if it can be made
             anew from attributes named like its constructor's arguments.
    sample:  an input (B, ...), or the shape of one row.
    factors: widths that are offered, as shares of each one's own.

    The last layer gives as many outputs as the data ask for. `space.notes` lists what was not touched, and why; the
    baseline with copied weights (`with_weights`) is compared with the model before this returns. Raises SpaceError
    naming the line or module that stands in the way.
    """
    x = _example(sample)
    whole = _whole(model)
    order, last = steps(whole, x)
    tree = chain(order, last)
    writer = Writer(widths(order, last), tuple(factors))
    root = lazy(nn).Sequential(*writer.chain(tree, deep=True))
    title = name or type(model).__name__
    space = Space(root, name=f"around {title}", notes=writer.notes)
    chosen = space.trace(lambda decision: writer.baseline[decision.name])
    made = Space(root, name=space.name, baseline=chosen, notes=writer.notes)
    _check_same(made, whole, x, tree)
    return made


def with_weights(space: Space, model: nn.Module, sample: torch.Tensor | Sequence[int]) -> nn.Module:
    """The baseline of `space_around(model, sample)` as a network with the model's weights, in evaluation mode."""
    x = _example(sample)
    whole = _whole(model)
    order, last = steps(whole, x)
    return _carried(space, whole, x, chain(order, last))


def _whole(model: nn.Module) -> nn.Module:
    """A copy on the CPU in evaluation mode; a single layer of torch as a network of one."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"space_around takes a finished torch.nn.Module, got {type(model).__name__}")
    copied = copy.deepcopy(model).cpu().eval()
    single = type(model).__module__.startswith("torch.nn.") and not isinstance(model, nn.Sequential)
    return nn.Sequential(copied) if single else copied


def _example(sample: torch.Tensor | Sequence[int]) -> torch.Tensor:
    if isinstance(sample, torch.Tensor):
        if sample.dim() < 2 or not len(sample):
            raise UsageError(f"sample of shape {tuple(sample.shape)}: it needs a batch dimension with at least one row")
        x = sample.detach().cpu()[:2]
        return torch.cat([x, x]) if len(x) == 1 else x
    with seeded_torch(0):
        return torch.randn(2, *sample)


def _carried(space: Space, whole: nn.Module, x: torch.Tensor, tree: Chain) -> nn.Module:
    """Layers with weights stand in one order in the tree and in what is built from it."""
    with torch.no_grad():
        outputs = whole(x).shape[-1]
    network = build(space, Architecture(space.fingerprint, space.baseline), x, outputs=outputs).eval()
    ours = list(_weighted(network))
    theirs = [step for step in _leaves(tree) if step.table or any(True for _ in _state(step.module))]
    if len(ours) != len(theirs):
        raise SpaceError(f"the space has {len(ours)} layers with weights, the network {len(theirs)}")
    for module, step in zip(ours, theirs, strict=True):
        state = {"table": whole.get_parameter(step.table)} if step.table else step.module.state_dict()  # type: ignore[union-attr]
        own = module.state_dict()
        module.load_state_dict({key: value.reshape(own[key].shape) for key, value in state.items()})
    return network


def _check_same(space: Space, whole: nn.Module, x: torch.Tensor, tree: Chain) -> None:
    network = _carried(space, whole, x, tree)
    with torch.no_grad():
        wanted, got = whole(x), network(x)
    far = float((wanted - got).abs().max()) if wanted.shape == got.shape else float("inf")
    if not far <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise SpaceError(
            f"the network written as a space gives other outputs (by {far:.2g}): its forward does something that its "
            "steps do not show, such as changing a tensor in place; put that part into a module of its own"
        )


def _state(module: nn.Module | None) -> Iterable[torch.Tensor]:
    return () if module is None else module.state_dict().values()


def _weighted(module: nn.Module) -> Iterable[nn.Module]:
    """The layers with weights of a built network, an opaque module as one, in the order of the tree."""
    if isinstance(module, (nn.Sequential, nets.Residual, nets.Branches, nn.ModuleList)):
        for child in module.children():
            yield from _weighted(child)
    elif any(True for _ in _state(module)):
        yield module


def _leaves(tree: Chain) -> Iterable[Step]:
    for part in tree:
        if isinstance(part, Step):
            yield part
        else:
            for branch in part.branches:
                yield from _leaves(branch)
