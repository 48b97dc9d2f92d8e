"""How a module was made: its class, and its constructor's arguments read off its attributes."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import nn

from searchitect.space import Layer, lazy

_SKIPPED = {"device", "dtype", "inplace"}  # `inplace` would change what a skip connection still needs
_NOTHING = object()


class NotDescribed(Exception):
    """Why a module cannot be made anew from its attributes."""


def arguments(module: nn.Module) -> dict[str, Any]:
    """The arguments that make a module like this one. Raises NotDescribed, naming the argument that is not there."""
    if isinstance(module, nn.TransformerEncoderLayer):
        return _encoder_layer(module)
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if name in _SKIPPED:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue  # left empty
        value = getattr(module, name, _NOTHING)
        if name == "bias" and (value is None or isinstance(value, torch.Tensor)):
            value = value is not None
        if isinstance(value, torch.Size):
            value = tuple(value)
        if not _plain(value):
            if parameter.default is not parameter.empty:
                continue  # left to its default: the comparison of outputs says whether that was right
            what = (
                "is not kept as an attribute" if value is _NOTHING else f"is {type(value).__name__}, not a plain value"
            )
            raise NotDescribed(f"its argument {name!r} {what}")
        found[name] = value
    return found


def layer(module: nn.Module, **changed: Any) -> Layer:
    """The description of a module like this one, some arguments replaced."""
    made: Layer = lazy(type(module))(**{**arguments(module), **changed})
    return made


def check_remade(module: nn.Module, x: torch.Tensor) -> None:
    """Raises NotDescribed unless a module made from `arguments` does the same with the same weights."""
    args = arguments(module)
    try:
        made = type(module)(**copy.deepcopy(args)).eval()
        made.load_state_dict(module.state_dict())
    except Exception as error:
        raise NotDescribed(f"{type(module).__name__}({args}) is not like it: {str(error).splitlines()[0]}") from error
    if not torch.allclose(made(x), module(x), rtol=1e-5, atol=1e-6):
        raise NotDescribed(f"{type(module).__name__}({args}) gives something else: keep all arguments as attributes")


def _encoder_layer(module: nn.TransformerEncoderLayer) -> dict[str, Any]:
    attention: Any = module.self_attn
    if module.activation not in (torch.nn.functional.relu, torch.nn.functional.gelu):
        raise NotDescribed("its activation is neither relu nor gelu")
    return {
        "d_model": attention.embed_dim, "nhead": attention.num_heads, "dim_feedforward": module.linear1.out_features,
        "dropout": module.dropout.p, "activation": module.activation.__name__,
        "layer_norm_eps": module.norm1.eps, "batch_first": attention.batch_first, "norm_first": module.norm_first,
        "bias": module.linear1.bias is not None,
    }  # fmt: skip


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return isinstance(value, (str, int, float, bool, type(None)))
