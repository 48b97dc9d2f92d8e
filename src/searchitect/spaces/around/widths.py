"""Which layers must have one width: those that meet in a sum, a depthwise convolution, a norm of fixed size, ...

Each step's output gets a `Width`; joined ones are one (union-find). Layers that take their width from the input follow
by themselves. A width stays as it is where something needs exactly that number: the input, an opaque module, groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import nn

from searchitect import nets
from searchitect.spaces.around.tracing import Step

CONV = (nn.Conv1d, nn.Conv2d)
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Hardswish, nn.CELU, nn.SELU,
)  # fmt: skip
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
         nn.AdaptiveMaxPool2d)  # fmt: skip
SAME = (
    *BATCH_NORM, *ACTIVATIONS, *POOLS, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, nn.Sigmoid, nn.Softmax,
    nn.LogSoftmax, nn.Hardsigmoid, nn.Upsample, nets.Position, nets.Tokens, nets.Mean,
)  # fmt: skip


@dataclass(eq=False)
class Width:
    """The width of one or several steps.

    makers: the layers that give it. multiple: every value must be a multiple. fixed: why it stays as it is, or "".
    exact: something names its number (a sum, LayerNorm, groups), so no maker can be left out.
    parts: what it is put together from, where it is only the result of that (concatenation, flatten).
    """

    size: int
    makers: list[Step] = field(default_factory=list)
    multiple: int = 1
    fixed: str = ""
    exact: bool = False
    outputs: bool = False
    parts: list[Width] = field(default_factory=list)
    leader: Width | None = None

    def top(self) -> Width:
        """The one that stands for all that were joined with this."""
        while self.leader is not None:
            self = self.leader
        return self


def widths(steps: list[Step], last: Step) -> dict[Step, Width]:
    """The width of each step's output."""
    found: dict[Step, Width] = {}
    for step in steps:
        found[step] = _after(step, found)
    end = found[last].top()
    makers = end.makers
    if len(makers) == 1 and len(last.shape) == 1 and not end.fixed and not end.parts and not end.exact:
        end.outputs = True
    else:
        fix(end, "it is the network's output")
    return found


def fix(width: Width, why: str) -> None:
    """Keep a width, and all that it follows from, as it is."""
    top = width.top()
    top.fixed = top.fixed or why
    top.exact = True
    for part in top.parts:
        fix(part, why)


def _after(step: Step, found: dict[Step, Width]) -> Width:
    before = [found[one].top() for one in step.inputs]
    module = step.module
    step.first = _first(step)
    size = step.shape[0 if step.first else -1] if step.shape else 1
    if step.kind == "input":
        return Width(size, fixed="it is the input's", exact=True)
    if step.kind == "add" or (step.kind == "cat" and not step.first and len(step.shape) > 1):  # tokens side by side
        return _join(before)
    if step.kind == "cat":
        return Width(size, parts=before)
    (own,) = before
    source = step.inputs[0]
    if step.opaque:
        fix(own, f"{step.name} needs it")
        return Width(size, fixed=f"{step.name} gives it", exact=True)
    if isinstance(module, CONV):
        return _convolution(step, module, own)
    if isinstance(module, nn.Linear):
        if source.first and len(source.shape) > 1:
            fix(own, f"{step.name} works along another dimension")
            return Width(size, [step], fixed=f"{step.name} works along another dimension", exact=True)
        return Width(size, [step])
    if isinstance(module, nn.Flatten):
        kept = (source.first and module.start_dim == 2) or math.prod(step.shape) == own.size
        return own if kept else Width(size, parts=[own])
    if isinstance(module, nets.Mean) and module.dim == (1 if source.first else len(source.shape)):
        fix(own, f"{step.name} is the mean over it")
        return Width(size, fixed=f"{step.name} is the mean over channels", exact=True)
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        _norm(step, module, own)
        return own
    if isinstance(module, nn.GroupNorm):
        own.multiple, own.exact = math.lcm(own.multiple, module.num_groups), True
        if own.parts:
            fix(own, f"{step.name} needs it")
        return own
    if isinstance(module, SAME):
        return own
    fix(own, f"{step.name} needs it")
    return Width(size, fixed=f"{step.name} gives it", exact=True)


def _first(step: Step) -> bool:
    """Whether channels stand before places in a step's output."""
    module = step.module
    if not step.inputs:
        return len(step.shape) == 3
    if isinstance(module, CONV) or len(step.shape) == 3:
        return True
    if isinstance(module, (nn.Linear, nn.LayerNorm, nn.RMSNorm)) or len(step.shape) < 2:
        return False
    before = step.inputs[0].first
    return not before if isinstance(module, nets.Tokens) else before


def _convolution(step: Step, module: nn.Conv1d | nn.Conv2d, own: Width) -> Width:
    size = module.out_channels
    if module.groups == 1:
        return Width(size, [step])
    if module.groups == module.in_channels == size:
        own.exact = True
        if own.parts:
            fix(own, f"{step.name} needs it")
        return own
    fix(own, f"{step.name} has groups")
    return Width(size, fixed=f"{step.name} has groups", exact=True)


def _norm(step: Step, module: nn.LayerNorm | nn.RMSNorm, own: Width) -> None:
    along = len(module.normalized_shape) == 1 and not step.inputs[0].first
    own.exact = True
    if own.parts or not along:
        fix(own, f"{step.name} needs it")


def _join(before: list[Width]) -> Width:
    first = before[0]
    for other in before[1:]:
        if other is first:
            continue
        if first.parts or other.parts:
            fix(first, "a sum joins it with a concatenation")
            fix(other, "a sum joins it with a concatenation")
        first.makers += other.makers
        first.multiple = math.lcm(first.multiple, other.multiple)
        first.fixed = first.fixed or other.fixed
        first.parts += other.parts
        other.leader = first
    first.exact = True
    return first
