"""Shapes as symbols: enough to know that two zero tensors have the same shape, without data and without torch.

A token is (width, extent); width is a number or a text, extent the remaining sizes. Equal tokens mean equal
shapes; different tokens may.
"""

from __future__ import annotations

from typing import Any

from searchitect.space.decision import Plan

NN, NETS = "torch.nn.", "searchitect.nets."
Token = tuple[Any, Any]
INPUT: Token = ("x", "x")

CONVOLUTIONS = {NN + n for n in "Conv1d Conv2d Conv3d LazyConv1d LazyConv2d LazyConv3d".split()}
POOLS = {NN + n for n in "MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d LPPool1d LPPool2d".split()}
ADAPTIVE = {NN + n for n in "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d".split()}
STRIDED = {NETS + n for n in "SameConv Depthwise Skip Zero".split()}
KEEP = {
    NN + n
    for n in """Identity ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Tanh Hardswish Hardtanh Softsign Tanhshrink
    Softshrink Hardshrink Sigmoid Softplus Hardsigmoid LogSigmoid Softmax LogSoftmax BatchNorm1d BatchNorm2d
    LazyBatchNorm1d LazyBatchNorm2d LayerNorm GroupNorm Dropout Dropout1d Dropout2d""".split()
} | {NETS + n for n in "DropPath SqueezeExcite SelfAttention ConvMixing Position".split()}


def after(plan: Plan, signature: str, token: Token) -> Token:
    """The shape behind a module, from the shape before it."""
    width, extent = token
    target, args = plan.target, plan.args
    if target in KEEP:
        return token
    if target in STRIDED:
        return width, shrunk(extent, args.get("stride", 1))
    if target in CONVOLUTIONS:
        return args.get("out_channels"), _window(args, signature, extent)
    if target in POOLS:
        return width, _window(args, signature, extent)
    if target in ADAPTIVE:
        return width, ("adaptive", str(args.get("output_size")))
    return signature, token


def shrunk(extent: Any, stride: Any) -> Any:
    """The extent divided by a stride and rounded up."""
    return extent if stride == 1 else ("/", stride, extent)


def _window(args: dict[str, Any], signature: str, extent: Any) -> Any:
    """A sliding window: one that is padded by half of itself divides by the stride and rounds up."""
    kernel, padding = args.get("kernel_size"), args.get("padding", 0)
    stride, dilation = args.get("stride"), args.get("dilation", 1)
    stride = kernel if stride is None else stride
    if padding == "same":
        return extent
    if not (isinstance(kernel, int) and isinstance(padding, int) and isinstance(dilation, int)):
        return signature, extent
    if isinstance(stride, int) and not args.get("ceil_mode") and 2 * padding == dilation * (kernel - 1):
        return shrunk(extent, stride)
    return signature, extent
