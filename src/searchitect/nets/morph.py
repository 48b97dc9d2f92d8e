"""A child that begins with the weights of its parent: the same function where the change allows it, else what fits.

Source: Wei et al. 2016, "Network Morphism" (widening and deepening without changing the function, kernels grown by
zeros), and Chen et al. 2016, "Net2Net" (identity for new layers). Where we differ: new channels are not copies of old
ones (Net2WiderNet), which would need noise to become different; they are drawn as in any new network, and the weights
that lead from them to old channels are zero, as for one more kernel row. The two module trees are walked side by side
by their names; nothing is traced, so what stands after a concatenation of parts that grew is not the same function.

Widening, kernel growth, new layers of convolution or linear, BatchNorm and ReLU, and new residual blocks that do not
end in an activation keep the function in evaluation mode. In training mode a new BatchNorm normalises what it sees.
LayerNorm over more channels, more heads, other operations and everything that shrinks keep what fits and no more. Cost:
one copy of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from searchitect.nets.blocks import Residual

_STILL = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


class Grown(NamedTuple):
    """How many tensors of the child are the parent's as a whole, in part, and not at all."""

    whole: int
    part: int
    fresh: int


def grow(parent: nn.Module, child: nn.Module) -> Grown:
    """Copy the parent's weights into the child, whose other weights stay as they were drawn."""
    found = [0, 0, 0]
    with torch.no_grad():
        for kind in _walk(parent, child):
            found[kind] += 1
    return Grown(*found)


def difference(parent: nn.Module, child: nn.Module, x: Tensor) -> float:
    """The largest difference of outputs on some rows (B, ...), as a share of the largest output; inf for another shape.

    Both in evaluation mode, and left in the mode in which they were.
    """
    modes = parent.training, child.training
    with torch.no_grad():
        before, after = parent.eval()(x), child.eval()(x)
    parent.train(modes[0])
    child.train(modes[1])
    if before.shape != after.shape:
        return math.inf
    return float((before - after).abs().max() / before.abs().max().clamp(min=1e-12))


def _walk(parent: nn.Module | None, child: nn.Module) -> Iterator[int]:
    """0 for each tensor that was taken as a whole, 1 in part, 2 for one that stays as drawn."""
    if parent is None or type(parent) is not type(child):
        if parent is None:
            neutralise(child)
        yield from [2] * len(_tensors(child))
        return
    if isinstance(child, (_ConvNd, nn.Linear)):
        yield from _linear(parent, child)
        return
    own = {name: t for name, t in (*parent._parameters.items(), *parent._buffers.items()) if t is not None}
    for name, tensor in (*child._parameters.items(), *child._buffers.items()):
        if tensor is not None:
            yield _copy(own.get(name), tensor, isinstance(child, (_BatchNorm, nn.LayerNorm)))
    grows = isinstance(child, nn.Sequential) and isinstance(parent, nn.Sequential) and len(child) > len(parent)
    for name, module in child.named_children():
        other = parent._modules.get(name)
        if other is None and not grows:
            yield from [2] * len(_tensors(module))
        else:
            yield from _walk(other, module)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _copy(own: Tensor | None, tensor: Tensor, prefix: bool) -> int:
    if own is None or own.dim() != tensor.dim():
        return 2
    if own.shape == tensor.shape:
        tensor.copy_(own)
        return 0
    if not prefix:
        return 2
    part = tuple(slice(min(a, b)) for a, b in zip(own.shape, tensor.shape, strict=True))
    tensor[part] = own[part]
    return 1


def _linear(parent: nn.Module, child: nn.Module) -> Iterator[int]:
    """A convolution or linear layer: old outputs take nothing from new inputs, kernels are centred."""
    for name, tensor in child.named_parameters(recurse=False):
        own = parent._parameters.get(name)
        if own is None or own.shape == tensor.shape or name == "bias":
            yield _copy(own, tensor, True)
        elif isinstance(child, _ConvNd) and not (_plain(parent, child) or _depthwise(parent, child)):
            yield 2
        else:
            old = min(own.shape[0], tensor.shape[0])
            tensor[:old] = 0.0
            mine, theirs = _overlap(tensor.shape[1:], own.shape[1:])
            tensor[(slice(old), *mine)] = own[(slice(old), *theirs)]
            yield 1


def _plain(parent: nn.Module, child: _ConvNd) -> bool:
    return isinstance(parent, _ConvNd) and parent.groups == child.groups == 1 and parent.dilation == child.dilation


def _depthwise(parent: nn.Module, child: _ConvNd) -> bool:
    pair = (parent, child)
    return all(isinstance(m, _ConvNd) and m.groups == m.in_channels == m.out_channels for m in pair)


def _overlap(child: torch.Size, parent: torch.Size) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where they meet: the first inputs, and the middle of the kernels."""
    count = min(child[0], parent[0])
    mine, theirs = [slice(count)], [slice(count)]
    for a, b in zip(child[1:], parent[1:], strict=True):
        size = min(a, b)
        mine.append(slice((a - size) // 2, (a - size) // 2 + size))
        theirs.append(slice((b - size) // 2, (b - size) // 2 + size))
    return tuple(mine), tuple(theirs)


def neutralise(module: nn.Module) -> bool:
    """Make a new module give its input on, where its kind allows it: identity layers, or a residual body of zeros.

    Says whether it could; else the module is as it was. A ReLU passes what a ReLU before it has given.
    """
    if not _can_pass(module):
        return False
    with torch.no_grad():
        _pass(module)
    return True


def _can_pass(module: nn.Module) -> bool:
    if isinstance(module, (*_STILL, nn.ReLU)):
        return True
    if isinstance(module, Residual):
        return _last(module.body) is not None
    if isinstance(module, nn.Sequential):
        return all(map(_can_pass, module))
    if isinstance(module, _BatchNorm):
        return module.affine and module.track_running_stats
    if isinstance(module, nn.Linear):
        return module.in_features == module.out_features
    if isinstance(module, _ConvNd):
        one = all(s == 1 for s in module.stride)
        odd = all(k % 2 for k in module.kernel_size)
        same = module.padding == "same" or tuple(module.padding) == tuple(
            d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size, strict=True)
        )
        return one and odd and same and module.in_channels == module.out_channels and not module.transposed
    return False


def _pass(module: nn.Module) -> None:
    if isinstance(module, Residual):
        last = _last(module.body)
        assert last is not None
        for parameter in last.parameters(recurse=False):
            parameter.zero_()
    elif isinstance(module, nn.Sequential):
        for one in module:
            _pass(one)
    elif isinstance(module, _BatchNorm):
        assert module.running_var is not None
        assert module.running_mean is not None
        module.weight.copy_((module.running_var + module.eps).sqrt())
        module.bias.copy_(module.running_mean)
    elif isinstance(module, nn.Linear):
        nn.init.eye_(module.weight)
        _no_bias(module)
    elif isinstance(module, _ConvNd):
        nn.init.dirac_(module.weight, module.groups)
        _no_bias(module)


def _no_bias(module: nn.Linear | _ConvNd) -> None:
    if module.bias is not None:
        module.bias.zero_()


def _last(body: nn.Module) -> nn.Module | None:
    """The last layer with weights of a residual body, if nothing changes its output; a ReLU would, as zeros never leave
    it again: it has no gradient there."""
    if isinstance(body, (_ConvNd, nn.Linear)) or (isinstance(body, _BatchNorm) and body.affine):
        return body
    if isinstance(body, nn.Sequential):
        for one in reversed(body):
            if not isinstance(one, _STILL):
                return _last(one)
    return None
