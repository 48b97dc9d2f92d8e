"""One node of a mixed cell: operations on earlier states, grouped by what can be computed together.

Shapes: B batch, C channels, H W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import nn

from searchitect.nets.blocks import Zero
from searchitect.nets.convolutions import Geometry, convolution
from searchitect.nets.depthwise import depthwise, join, split
from searchitect.nets.folded import Term, folded_relus, folded_sum
from searchitect.nets.normed import gated_norm, normalised, remember
from searchitect.nets.operations import Depthwise, SameConv, Skip
from searchitect.nets.weighted import average, maximum, rectified, weighted_sum

_NARROW = 16  # a single 1×1 convolution with more channels is faster with a BatchNorm of its own
_CONV = [nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
_DEEP = [nn.ReLU, nn.Conv2d, nn.Conv2d, nn.BatchNorm2d]


_TWICE: ContextVar[bool] = ContextVar("_TWICE", default=False)


@contextmanager
def differentiated_twice() -> Iterator[None]:
    """Within, more is kept: what is made again would be differentiated again, too."""
    token = _TWICE.set(True)
    try:
        yield
    finally:
        _TWICE.reset(token)


class Source:
    """A state, and what several operations need of it, computed when first asked for.

    sparing: whether its ReLU is made again in the backward pass instead of being kept. That is worth it where the state
    itself is kept, as for the gradient of a gate that it is multiplied by.
    """

    def __init__(self, x: torch.Tensor, *, sparing: bool = False) -> None:
        self.x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
        self.before = self.x if sparing and not _TWICE.get() else None
        self._made: dict[Any, Any] = {}

    def relu(self) -> torch.Tensor:
        """(B, C, H, W)."""
        make = torch.relu if self.before is None else rectified
        relu: torch.Tensor = self._once("relu", lambda: make(self.x))
        return relu

    def grids(self) -> torch.Tensor:
        """The ReLU on its four grids, (4B, C, H/2, W/2)."""
        grids: torch.Tensor = self._once("grids", lambda: split(self.relu()))
        return grids

    def pooled(self, pool: nn.Module) -> torch.Tensor:
        """(B, C, H/stride, W/stride)."""
        pooled: torch.Tensor = self._once(repr(pool), lambda: _pooled(pool, self.x))
        return pooled

    def pooled_normalised(self, pool: nn.Module, eps: float) -> tuple[torch.Tensor, ...]:
        """The same after BatchNorm without scale and shift, with its mean and variance (C)."""
        found: tuple[torch.Tensor, ...] = self._once((repr(pool), eps), lambda: normalised(self.pooled(pool), eps))
        return found

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class Step(NamedTuple):
    """One operation on one state, and its gate (a scalar; None is 1)."""

    source: Source
    operation: nn.Module
    gate: torch.Tensor | None

    def plain(self) -> torch.Tensor:
        y: torch.Tensor = self.operation(self.source.x)
        return y if self.gate is None else self.gate * y


class _Groups(NamedTuple):
    """What is to be added up in a node, by how it is added up."""

    twice: list[tuple[Term, list[Any], torch.Tensor | None]]  # the first round, and what follows its ReLU; its gate
    folded: list[Term]
    on_grids: list[Term]  # the same, on the four grids of every second row and column
    shared: list[tuple[torch.Tensor | None, torch.Tensor]]  # gates, and tensors that other nodes use as well
    averaged: dict[str, tuple[nn.AvgPool2d, list[tuple[torch.Tensor | None, torch.Tensor]]]]  # gates, what is pooled
    own: list[torch.Tensor]  # with their gates already
    normed: list[tuple[torch.Tensor | None, nn.BatchNorm2d, torch.Tensor]]  # gates, and what is normalised
    seen: list[tuple[nn.BatchNorm2d, torch.Tensor, torch.Tensor]]  # shared norms, with mean and variance
    norms: list[nn.BatchNorm2d]  # the first one; those of the groups above are like it


def node(steps: list[Step]) -> torch.Tensor:
    """Σ gate · operation(state) in training mode, as few passes over the data as possible."""
    groups = _Groups([], [], [], [], {}, [], [], [], [])
    for step in steps:
        _add(step, _parts(step.operation), groups)
    relus = folded_relus([first for first, _, _ in groups.twice])
    for relu, (_, (deep, point, norm), gate) in zip(relus, groups.twice, strict=True):
        z = depthwise(relu, deep.weight, deep.stride[0], deep.dilation[0])
        groups.folded.append(Term(z, point, norm, gate))
    y: torch.Tensor | None = None
    for new in _new(groups):
        y = new if y is None else y.add_(new)
        del new  # before the next one is made: it finds its place free
    own = groups.own + _weighted(groups.shared)
    if groups.on_grids:
        height, width = (2 * size for size in groups.on_grids[0].z.shape[2:])
        own.append(join(_folded(groups.on_grids), height, width))
    if groups.seen:
        norms, means, variances = zip(*groups.seen, strict=True)
        remember(norms, torch.stack(means), torch.stack(variances), own[0][:, 0].numel())
    if y is None:
        return total(own or [step.plain() for step in steps])  # nothing but zeros: their shape
    for tensor in own:
        y.add_(tensor)
    return y


def _new(groups: _Groups) -> Iterator[torch.Tensor]:
    """Terms that nobody else has or needs, one after the other."""
    if groups.folded:
        yield _folded(groups.folded)
    for gate, norm, x in groups.normed:
        yield gated_norm(gate, norm, x)
    for pool, states in groups.averaged.values():
        yield average(pool, total(_weighted(states)))


def _weighted(tensors: list[tuple[torch.Tensor | None, torch.Tensor]]) -> list[torch.Tensor]:
    """What adds up to Σ gate · tensor."""
    gated = [(gate, tensor) for gate, tensor in tensors if gate is not None]
    ones = [tensor for gate, tensor in tensors if gate is None]
    return [*ones, weighted_sum(*zip(*gated, strict=True))] if gated else ones


def _folded(terms: list[Term]) -> torch.Tensor:
    """Σ gate · norm(conv(z)), as a sum of products where that pays."""
    term = terms[0]
    if len(terms) == 1 and term.z.shape[1] > _NARROW:
        return gated_norm(term.gate, term.norm, convolved(term.conv, term.z, term.before))
    return folded_sum(terms)


def _add(step: Step, parts: list[Any], groups: _Groups) -> None:
    """Put one operation, given as the modules it consists of, into its group."""
    kinds = [type(part) for part in parts]
    norms = [part for part in parts if type(part) is nn.BatchNorm2d]
    groups.norms.extend(norms[: not groups.norms])
    if kinds == [Zero]:
        return
    if watched(step.operation) or not all(_alike(norm, groups.norms[0]) for norm in norms):
        groups.own.append(step.plain())
        return
    if kinds == [nn.Identity]:
        groups.shared.append((step.gate, step.source.x))
    elif kinds and kinds[0] in (nn.MaxPool2d, nn.AvgPool2d) and kinds[1:] in ([], [nn.BatchNorm2d]):
        _add_pool(step, parts, groups)
    elif kinds == _CONV and _trains(parts[2]):
        if _pointwise(parts[1]):
            groups.folded.append(Term(step.source.relu(), parts[1], parts[2], step.gate, step.source.before))
        else:
            y = convolved(parts[1], step.source.relu(), step.source.before)
            groups.normed.append((step.gate, parts[2], y))
    elif kinds in (_DEEP, _DEEP * 2) and all(map(_separable, parts[1::4], parts[2::4], parts[3::4])):
        _add_depthwise(step, parts, groups)
    else:
        groups.own.append(step.plain())


def _pooled(pool: nn.Module, x: torch.Tensor) -> torch.Tensor:
    if isinstance(pool, nn.AvgPool2d):
        return average(pool, x)
    assert isinstance(pool, nn.MaxPool2d)
    return maximum(pool, x)


def _add_pool(step: Step, parts: list[Any], groups: _Groups) -> None:
    pool, source = parts[0], step.source
    if len(parts) == 1 and isinstance(pool, nn.AvgPool2d):  # linear: the sum is pooled, once
        key = f"{pool} {tuple(source.x.shape)}"
        groups.averaged.setdefault(key, (pool, []))[1].append((step.gate, source.x))
    elif len(parts) == 1:
        groups.shared.append((step.gate, source.pooled(pool)))
    elif not _trains(parts[1]):
        groups.own.append(step.plain())
    elif parts[1].affine:
        groups.own.append(gated_norm(step.gate, parts[1], source.pooled(pool)))
    else:
        pooled, mean, variance = source.pooled_normalised(pool, parts[1].eps)
        groups.seen.append((parts[1], mean, variance))
        groups.shared.append((step.gate, pooled))


def _add_depthwise(step: Step, parts: list[Any], groups: _Groups) -> None:
    """One or two rounds of ReLU, depthwise, 1×1, BatchNorm. The last 1×1 is left to the sum."""
    source, deep = step.source, parts[1]
    stride, dilation = deep.stride[0], deep.dilation[0]
    even = not any(size % 2 for size in source.x.shape[2:])
    if (len(parts), stride, dilation) == (4, 1, 2) and even and source.x.device.type == "cpu":
        groups.on_grids.append(Term(depthwise(source.grids(), deep.weight), parts[2], parts[3], step.gate))
        return
    z = depthwise(source.relu(), deep.weight, stride, dilation)
    if len(parts) == 4:
        groups.folded.append(Term(z, parts[2], parts[3], step.gate))
    else:
        groups.twice.append((Term(z, parts[2], parts[3]), parts[5:], step.gate))


def _parts(module: nn.Module) -> list[Any]:
    """The modules that run one after the other."""
    if isinstance(module, Skip) and module.stride == 1:
        return [nn.Identity()]
    if isinstance(module, Depthwise | SameConv) and module.body is not None:
        return list(module.body)
    return list(module) if type(module) is nn.Sequential else [module]


def watched(module: nn.Module) -> bool:
    """Whether something waits for this module to be called: a hook, or a forward pass that was put over its own."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(hooks) or "forward" in vars(module)


def _alike(norm: nn.BatchNorm2d, first: nn.BatchNorm2d) -> bool:
    """Whether two norms can be computed by one formula."""
    return (norm.eps, norm.weight is None, norm.bias is None) == (first.eps, first.weight is None, first.bias is None)


def _trains(norm: nn.BatchNorm2d) -> bool:
    """A BatchNorm that is not frozen on its own."""
    return norm.training


def _pointwise(conv: nn.Conv2d) -> bool:
    """A 1×1 convolution that keeps the width, so that several of them can be stacked."""
    same = conv.in_channels == conv.out_channels and conv.groups == 1 and conv.bias is None
    return same and conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding == (0, 0)


def convolved(conv: nn.Conv2d, x: torch.Tensor, before: torch.Tensor | None = None) -> torch.Tensor:
    """conv(x), in a form that is cheap to differentiate twice where it is a usual one; `before` as in `convolution`."""
    if usual(conv):
        return convolution(x, conv.weight, Geometry(conv.stride[0], conv.dilation[0]), before)
    y: torch.Tensor = conv(x)
    return y


def usual(conv: nn.Conv2d) -> bool:
    """Whether `convolution` computes just this."""
    return conv.groups == 1 and conv.bias is None and _centred(conv)


def _centred(conv: nn.Conv2d) -> bool:
    """Square and odd, with the zeros around that keep the size at stride 1."""
    square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.dilation))
    size = conv.kernel_size[0]
    return square and size % 2 == 1 and (
        conv.padding == (conv.dilation[0] * (size // 2),) * 2 and conv.padding_mode == "zeros"
    )  # fmt: skip


def _separable(deep: nn.Conv2d, point: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Whether `depthwise` and `folded_sum` compute just this."""
    alone = deep.groups == deep.in_channels == deep.out_channels and deep.bias is None
    return _centred(deep) and alone and _pointwise(point) and _trains(norm)


def total(tensors: list[torch.Tensor]) -> torch.Tensor:
    """The sum, all of one shape."""
    if len(tensors) == 1:
        return tensors[0]
    y = tensors[0] + tensors[1]
    for tensor in tensors[2:]:
        y.add_(tensor)
    return y
