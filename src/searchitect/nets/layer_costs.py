"""The cost table of `torch.nn` layers: output shape, parameters, MACs and what stays for backward.

Each rule takes the plan (arguments by name, defaults included) and the input shape without batch.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from searchitect.nets.parts import Part, Rule, Shape, Unusual, Walk, chain, misfit, numbers
from searchitect.space import Plan

NN = "torch.nn."


def _pair(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * dims
    if len(values) != dims or not all(isinstance(v, int) for v in values):
        raise Unusual
    return values


def _name(plan: Plan) -> str:
    return plan.target.rpartition(".")[2]


def _count(plan: Plan, name: str) -> int:
    """A size that must be a whole number, such as a width."""
    value = plan.args[name]
    if isinstance(value, Plan):  # computed from the number of outputs, which is not known yet
        raise Unusual
    if not isinstance(value, int) or value < 1:
        misfit(plan, f"{name}={value!r}: must be a whole number of at least 1 (divide widths with //)")
    return value


def _map(plan: Plan, shape: Shape, dims: int) -> None:
    wanted = {1: "(channels, length)", 2: "(channels, height, width)", 3: "(channels, depth, height, width)"}[dims]
    if len(shape) != dims + 1:
        misfit(plan, f"needs an input of shape {wanted}, got {shape}")


def _sequential(walk: Walk, plan: Plan, shape: Shape) -> Part:
    parts, start = [], shape
    for child in plan.args.get("*", ()):
        part = walk(child, shape)
        shape = part.shape
        parts.append(part)
    return chain(parts, start)


def _conv(dims: int, _walk: Walk, plan: Plan, shape: Shape) -> Part:
    args = plan.args
    _map(plan, shape, dims)
    width, groups, out = shape[0], args.get("groups", 1), _count(plan, "out_channels")
    wanted = args.get("in_channels", width)
    if wanted != width:
        misfit(plan, f"the input has {width} channels, but in_channels={wanted}: write {width}, or Lazy{_name(plan)}")
    if width % groups or out % groups:
        misfit(plan, f"groups={groups} does not divide both {width} input and {out} output channels")
    if args.get("padding_mode", "zeros") != "zeros":
        raise Unusual
    kernel, stride = _pair(args["kernel_size"], dims), _pair(args.get("stride", 1), dims)
    dilation, padding = _pair(args.get("dilation", 1), dims), args.get("padding", 0)
    if padding == "same":
        if stride != (1,) * dims:
            misfit(plan, f"padding='same' needs stride 1, got {stride}")
        sizes = shape[1:]
    else:
        pads = _pair(0 if padding == "valid" else padding, dims)
        sizes = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(shape[1:], kernel, stride, pads, dilation, strict=True)
        )
        if min(sizes) < 1:
            misfit(
                plan,
                f"a kernel of {kernel} with padding {pads} and dilation {dilation} does not fit a map of {shape[1:]}",
            )
    weights = out * (width // groups) * math.prod(kernel)
    params = weights + (out if args.get("bias", True) else 0)
    return Part((out, *sizes), params, weights * math.prod(sizes), keeps_input=True)


def _linear(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    args = plan.args
    if not shape:
        misfit(plan, "needs an input with features, got one number per sample")
    width, out = shape[-1], _count(plan, "out_features")
    wanted = args.get("in_features", width)
    if wanted != width:
        text = f"the input has {width} features (shape {shape}), but in_features={wanted}"
        misfit(plan, f"{text}: write {width}, or use LazyLinear")
    params = width * out + (out if args.get("bias", True) else 0)
    return Part((*shape[:-1], out), params, numbers(shape) * out, keeps_input=True)


def _batch_norm(dims: tuple[int, ...], _walk: Walk, plan: Plan, shape: Shape) -> Part:
    args = plan.args
    if len(shape) not in dims:
        misfit(plan, f"needs an input of {' or '.join(map(str, dims))} dimensions without the batch, got shape {shape}")
    wanted = args.get("num_features", shape[0])
    if wanted != shape[0]:
        misfit(
            plan,
            f"the input has {shape[0]} channels, but num_features={wanted}: write {shape[0]}, or use the Lazy class",
        )
    params = shape[0] * (1 + args.get("bias", True)) if args.get("affine", True) else 0
    return Part(shape, params, keeps_input=True)


def _layer_norm(has_bias: bool, _walk: Walk, plan: Plan, shape: Shape) -> Part:
    args = plan.args
    wanted = args["normalized_shape"]
    wanted = tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)
    if shape[-len(wanted) :] != wanted:
        misfit(plan, f"normalized_shape={wanted} does not end the input's shape {shape}")
    params = 0
    if args.get("elementwise_affine", True):
        params = math.prod(wanted) * (1 + (has_bias and args.get("bias", True)))
    return Part(shape, params, keeps_input=True)


def _group_norm(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    args = plan.args
    if args["num_channels"] != shape[0]:
        misfit(plan, f"the input has {shape[0]} channels, but num_channels={args['num_channels']}")
    if shape[0] % args["num_groups"]:
        misfit(plan, f"num_groups={args['num_groups']} does not divide {shape[0]} channels")
    params = shape[0] * (1 + args.get("bias", True)) if args.get("affine", True) else 0
    return Part(shape, params, keeps_input=True)


def _pool(dims: int, is_max: bool, _walk: Walk, plan: Plan, shape: Shape) -> Part:
    args = plan.args
    _map(plan, shape, dims)
    if args.get("return_indices"):
        raise Unusual
    kernel = _pair(args["kernel_size"], dims)
    stride = kernel if args.get("stride") is None else _pair(args["stride"], dims)
    pads, dilation = _pair(args.get("padding", 0), dims), _pair(args.get("dilation", 1), dims)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        misfit(plan, f"padding {pads} is more than half of the kernel {kernel}")
    sizes = []
    for n, k, s, p, d in zip(shape[1:], kernel, stride, pads, dilation, strict=True):
        size = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if args.get("ceil_mode") else 0)) // s + 1
        if args.get("ceil_mode") and (size - 1) * s >= n + p:
            size -= 1  # the last window would start outside
        if size < 1:
            misfit(
                plan, f"a window of {kernel} with padding {pads} does not fit a map of {shape[1:]}: pool less before"
            )
        sizes.append(size)
    out = (shape[0], *sizes)
    return Part(out, kept=2 * numbers(out) if is_max else 0, keeps_input=True)  # indices take 8 bytes each


def _adaptive_pool(dims: int, is_max: bool, _walk: Walk, plan: Plan, shape: Shape) -> Part:
    _map(plan, shape, dims)
    size = plan.args["output_size"]
    wanted = tuple(size) if isinstance(size, (list, tuple)) else (size,) * dims
    out = (shape[0], *(n if w is None else w for n, w in zip(shape[1:], wanted, strict=True)))
    if is_max:
        return Part(out, kept=2 * numbers(out), keeps_input=True)
    return Part(out, keeps_input=out[1:] != (1,) * dims)  # to one pixel it is a mean, which keeps nothing


def _flatten(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    start, end = plan.args.get("start_dim", 1), plan.args.get("end_dim", -1)
    start, end = (n + len(shape) + 1 if n < 0 else n for n in (start, end))
    if start < 1 or not start <= end <= len(shape):
        raise Unusual
    flat = (*shape[: start - 1], math.prod(shape[start - 1 : end]), *shape[end:])
    return Part(flat, view=True)


def _activation(keeps: str, _walk: Walk, _plan: Plan, shape: Shape) -> Part:
    return Part(shape, keeps_input=keeps == "input", keeps_output=keeps == "output")


def _prelu(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    count = plan.args.get("num_parameters", 1)
    if count not in (1, shape[0]):
        misfit(plan, f"num_parameters={count} is neither 1 nor the input's {shape[0]} channels")
    return Part(shape, count, keeps_input=True)


def _dropout(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    p = plan.args.get("p", 0.5)
    if not 0 <= p <= 1:
        raise Unusual
    return Part(shape, kept=numbers(shape)) if p else Part(shape, view=True)


def _channel_dropout(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    p = plan.args.get("p", 0.5)
    if not 0 <= p <= 1:
        raise Unusual
    return Part(shape, kept=shape[0]) if p else Part(shape, view=True)


def _identity(_walk: Walk, _plan: Plan, shape: Shape) -> Part:
    return Part(shape, view=True)


def _embedding(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    count, width = plan.args["num_embeddings"], plan.args["embedding_dim"]
    return Part((*shape, width), count * width, kept=2 * numbers(shape))


def _table() -> dict[str, Rule]:
    rule = functools.partial
    table: dict[str, Rule] = {
        "Sequential": _sequential, "Identity": _identity, "Linear": _linear, "LazyLinear": _linear,
        "GroupNorm": _group_norm, "LayerNorm": rule(_layer_norm, True), "RMSNorm": rule(_layer_norm, False),
        "BatchNorm1d": rule(_batch_norm, (1, 2)), "LazyBatchNorm1d": rule(_batch_norm, (1, 2)),
        "BatchNorm2d": rule(_batch_norm, (3,)), "LazyBatchNorm2d": rule(_batch_norm, (3,)),
        "Flatten": _flatten, "PReLU": _prelu, "Dropout": _dropout, "AlphaDropout": _dropout,
        "Dropout1d": _channel_dropout, "Dropout2d": _channel_dropout, "Embedding": _embedding,
    }  # fmt: skip
    for dims in (1, 2, 3):
        table[f"Conv{dims}d"] = table[f"LazyConv{dims}d"] = rule(_conv, dims)
        table[f"MaxPool{dims}d"], table[f"AvgPool{dims}d"] = rule(_pool, dims, True), rule(_pool, dims, False)
        table[f"AdaptiveMaxPool{dims}d"] = rule(_adaptive_pool, dims, True)
        table[f"AdaptiveAvgPool{dims}d"] = rule(_adaptive_pool, dims, False)
    for name in "ReLU Tanh Sigmoid Softmax LogSoftmax".split():
        table[name] = rule(_activation, "output")
    for (
        name
    ) in "ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Softplus LogSigmoid".split():
        table[name] = rule(_activation, "input")
    return {NN + name: entry for name, entry in table.items()}


LAYER_COSTS = _table()
