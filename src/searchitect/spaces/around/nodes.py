"""The nodes of a space around a network: each step described, with the choices that it may have.

A copy that a deeper network has beside the original layers has decisions of its own, named with `MORE` in the end.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from searchitect import nets
from searchitect.space import OUTPUTS, Node, Repeat, Scalar, lazy, one_of
from searchitect.spaces.around.describing import NotDescribed, arguments, layer
from searchitect.spaces.around.grouping import Chain, Merge
from searchitect.spaces.around.tracing import Step
from searchitect.spaces.around.widths import ACTIVATIONS, BATCH_NORM, CONV, Width

L, N = lazy(nn), lazy(nets)
MORE = ".more"
OTHERS = {"ReLU": nn.ReLU, "SiLU": nn.SiLU, "GELU": nn.GELU}
POINTWISE = (*ACTIVATIONS, *BATCH_NORM, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.Dropout, nn.Dropout2d, nn.Identity)


class Writer:
    """Writes a tree of steps as nodes. `baseline` says which value of each decision is the original."""

    def __init__(self, known: dict[Step, Width], factors: tuple[float, ...]) -> None:
        self.known, self.factors = known, factors
        self.baseline: dict[str, Scalar] = {}
        self.notes: list[str] = []
        self._widths: dict[Width, Any] = {}
        self._shared: dict[str, Node] = {}

    # -- chains --------------------------------------------------------------------------------------

    def chain(self, parts: Chain, more: str = "", *, deep: bool = False) -> list[Node]:
        """Nodes for parts one after the other; `deep`: residual blocks and plain layers may be left out or added."""
        found: list[Node] = []
        i = 0
        while i < len(parts):
            part = parts[i]
            count = _blocks(parts, i) if deep else []
            if count:
                found.append(self._depth(parts, i, count))
                i += sum(count)
                continue
            unit = _unit(parts, i) if deep else 0
            if unit and isinstance(part, Step) and not self.known[part].top().outputs:
                found += self._unit(parts[i : i + unit])
                i += unit
                continue
            found.append(self.step(part, more) if isinstance(part, Step) else self.merge(part, more))
            i += 1
        return found

    def _depth(self, parts: Chain, start: int, count: list[int]) -> Node:
        """A run of alike residual blocks: half of them to one more."""
        copies: list[Node] = []
        at = start
        for length in count:
            copies.append(_one(self.chain(parts[at : at + length])))
            at += length
        copies.append(_one(self.chain(parts[at - count[-1] : at], MORE)))
        name = f"{_name(parts[start])}.depth"
        self.baseline[name] = len(count)
        return Repeat(copies, len(count) // 2, tie=name)

    def _unit(self, parts: Chain) -> list[Node]:
        """A layer with its norm and activation: may be followed by a copy, and left out where nothing needs it."""
        first = parts[0]
        assert isinstance(first, Step)
        own = self.known[first].top()
        original = self.chain(parts)
        name = f"{first.name}.depth"
        alike = [self.step(first, MORE, alike=True), *self.chain(parts[1:], MORE)]
        dropped = not own.exact and first.shape[1:] == first.inputs[0].shape[1:]
        if dropped and len(first.shape) == len(first.inputs[0].shape):
            self.baseline[name] = 1
            return [Repeat([_one(original), _one(alike)], 0, tie=name)]
        self.baseline[name] = 0
        return [*original, Repeat([_one(alike)], 0, tie=name)]

    def merge(self, part: Merge, more: str) -> Node:
        """A sum or concatenation; a residual body on a map or on tokens may be another one."""
        if part.body is None:
            branches = [_one(self.chain(b, more)) for b in part.branches]
            made: Node = N.Branches(*branches, merge="sum" if part.step.kind == "add" else "concat")
            return made
        own: Node = N.Residual(_one(self.chain(part.body, more)))
        shape = part.step.shape
        if len(shape) == 3:
            other = N.Residual(N.Depthwise(3))
        elif len(shape) == 2 and _mixes(part.body):
            other = N.Residual(N.ConvMixing(3))
        else:
            return own
        name = f"{_name(part)}.block{more}"
        self.baseline[name] = "own"
        return one_of(own=own, depthwise=other, tie=name)

    # -- steps ---------------------------------------------------------------------------------------

    def step(self, step: Step, more: str = "", *, alike: bool = False) -> Node:
        """One layer with its choices. `alike`: a copy that keeps the size and width of its input."""
        module = step.module
        assert module is not None
        if step.opaque:
            self._note(f"{step.name} ({type(module).__name__}) stays as it is: {step.opaque}")
            return layer(module)
        if isinstance(module, CONV):
            return self._convolution(step, module, more, alike)
        if isinstance(module, nn.Linear):
            made: Node = L.LazyLinear(self.width(step), bias=module.bias is not None)
            return made
        if isinstance(module, BATCH_NORM):
            return self._batch_norm(module)
        if isinstance(module, ACTIVATIONS):
            return self._activation(module)
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and len(module.normalized_shape) == 1:
            return self._layer_norm(step, module, more)
        changed = {"num_channels": self.width(step)} if isinstance(module, nn.GroupNorm) else {}
        if isinstance(module, (nets.Position, nets.Tokens)):
            return lazy(type(module))()  # type: ignore[no-any-return]
        try:
            return layer(module, **changed)
        except NotDescribed as error:
            raise AssertionError(f"{step.name}: {error}") from error  # it was made anew once

    def _convolution(self, step: Step, module: Any, more: str, alike: bool) -> Node:
        args = arguments(module)
        width = self.width(step)
        depthwise = module.groups == module.in_channels == module.out_channels > 1
        args |= {"out_channels": width, "groups": width if depthwise else module.groups}
        del args["in_channels"]
        size, padding = self._kernel(step, module, more)
        if padding is not None:
            args |= {"kernel_size": size, "padding": padding}
        if alike:
            args["stride"] = 1
            if padding is None:
                args |= {"kernel_size": 3, "padding": 1, "dilation": 1}
        kind = "Conv" if depthwise else "LazyConv"  # a depthwise one names its width: groups must agree with it
        if depthwise:
            args["in_channels"] = width
        made: Node = getattr(L, f"{kind}{len(module.kernel_size)}d")(**args)
        return made

    def _kernel(self, step: Step, module: Any, more: str) -> tuple[Any, Any]:
        """(kernel, padding) of a convolution; padding None where the kernel has no choice."""
        size, dilation = module.kernel_size[0], module.dilation[0]
        square = len({*module.kernel_size}) == len({*module.dilation}) == 1
        same = module.padding == "same" or module.padding == (dilation * (size // 2),) * len(module.kernel_size)
        if size == 1 and square:
            return size, (None if module.padding != (0,) * len(module.kernel_size) else 0)
        if not square or size % 2 == 0 or not same:
            self._note(f"{step.name} keeps its kernel {module.kernel_size} with padding {module.padding}")
            return None, None
        name = f"{step.name}.kernel{more}"
        self.baseline[name] = size
        small = [size - 2] if size > 3 or module.groups == 1 else []
        kernel = one_of(*small, size, size + 2, tie=name)
        return kernel, "same" if module.padding == "same" else kernel // 2 * dilation

    def _batch_norm(self, module: Any) -> Node:
        args = {k: v for k, v in arguments(module).items() if k != "num_features"}
        key = f"norm {args} {type(module).__name__}"
        if key not in self._shared:
            name = _unused("normalisation", self.baseline)
            self.baseline[name] = "batch"
            lazily = getattr(L, f"Lazy{type(module).__name__}")(**args)
            self._shared[key] = one_of(batch=lazily, none=L.Identity(), tie=name)
        return self._shared[key]

    def _activation(self, module: nn.Module) -> Node:
        own = type(module).__name__
        key = f"activation {own} {arguments(module)}"
        if key not in self._shared:
            name = _unused("activation", self.baseline)
            self.baseline[name] = own
            options = {own: layer(module)} | {k: lazy(v)() for k, v in OTHERS.items() if k != own}
            self._shared[key] = one_of(**options, tie=name)
        return self._shared[key]

    def _layer_norm(self, step: Step, module: Any, more: str) -> Node:
        width = self.width(step)
        kind = "layer" if isinstance(module, nn.LayerNorm) else "rms"
        own = layer(module, normalized_shape=width)
        other = L.RMSNorm(width) if kind == "layer" else L.LayerNorm(width)
        name = f"{step.name}.norm{more}"
        self.baseline[name] = kind
        made: Node = one_of(**{kind: own, "rms" if kind == "layer" else "layer": other}, tie=name)
        return made

    # -- widths --------------------------------------------------------------------------------------

    def width(self, step: Step) -> Any:
        """The width of a step's output: a choice that all joined layers share, OUTPUTS, or a number."""
        width = self.known[step].top()
        if width.outputs:
            return OUTPUTS
        if width not in self._widths:
            self._widths[width] = self._width(width)
        return self._widths[width]

    def _width(self, width: Width) -> Any:
        if width.fixed:
            for maker in width.makers:
                self._note(f"{maker.name} keeps its width {width.size}: {width.fixed}")
            return width.size
        unit = width.multiple
        if any(isinstance(maker.module, CONV) for maker in width.makers):
            unit = math.lcm(unit, math.gcd(width.size, 8))  # processors work on 4 or 8 channels at once
        least = min(width.size, 8)  # narrower gains nothing, and some of torch's fast convolutions fail there
        values = {max(1, round(width.size * factor / unit)) * unit for factor in self.factors} | {width.size}
        values = {value for value in values if value >= least}
        name = f"{width.makers[0].name}.width"
        self.baseline[name] = width.size
        return one_of(*sorted(values), tie=name)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _blocks(parts: Chain, start: int) -> list[int]:
    """How many parts each residual block has, of the run of alike ones that begins here; empty if none does.

    Blocks that alternate (attention, perceptron) count together as one.
    """
    tail = _tail(parts, start)
    if tail is None:
        return []
    lengths, at = [], start
    while (length := _tail(parts, at)) is not None:
        if length != tail and at != start:
            if length > tail:  # what follows the last block, such as a final norm
                lengths.append(tail)
            break
        lengths.append(length)
        at += length
    signs, at = [], start
    for length in lengths:
        signs.append(_sign(parts[at : at + length]))
        at += length
    n = len(lengths)
    period = next(p for p in range(1, n + 1) if all(signs[i] == signs[i % p] for i in range(n - n % p)) and n // p)
    if period == n:
        return lengths[:1]
    return [sum(lengths[i : i + period]) for i in range(0, n - n % period, period)]


def _tail(parts: Chain, at: int) -> int | None:
    """The length of the residual block (or opaque module of one shape) at this place, with what follows it point by
    point; None if there is none."""
    if at >= len(parts):
        return None
    part = parts[at]
    if isinstance(part, Step):
        if not part.opaque or part.shape != part.inputs[0].shape:
            return None
    elif part.body is None:
        return None
    end = at + 1
    while end < len(parts):
        after = parts[end]
        if not isinstance(after, Step) or after.opaque or not isinstance(after.module, POINTWISE):
            break
        end += 1
    return end - at


def _unit(parts: Chain, start: int) -> int:
    """How many parts a layer with weights has together with its norm and activation; 0 without an activation."""
    first = parts[start]
    if not isinstance(first, Step) or first.opaque or not isinstance(first.module, (*CONV, nn.Linear)):
        return 0
    if isinstance(first.module, CONV) and first.module.groups > 1:
        return 0
    end = start + 1
    while end < len(parts):
        part = parts[end]
        if not isinstance(part, Step) or part.opaque or not isinstance(part.module, POINTWISE):
            break
        end += 1
    found = parts[start + 1 : end]
    return end - start if any(isinstance(p, Step) and isinstance(p.module, ACTIVATIONS) for p in found) else 0


def _mixes(body: Chain) -> bool:
    """Whether a body on tokens holds an opaque module, such as attention: then a convolution may do instead."""
    return any(isinstance(part, Step) and bool(part.opaque) for part in body)


def _sign(parts: Chain) -> str:
    """What a chain is made of, without sizes."""
    return ",".join(
        type(p.module).__name__ if isinstance(p, Step) else f"{p.step.kind}({'|'.join(map(_sign, p.branches))})"
        for p in parts
    )


def _name(part: Any) -> str:
    """A name for a part: that of the first layer in it."""
    if isinstance(part, Step):
        return part.name
    return next(_name(p) for branch in part.branches for p in branch)


def _one(nodes: list[Node]) -> Node:
    made: Node = nodes[0] if len(nodes) == 1 else L.Sequential(*nodes) if nodes else L.Identity()
    return made


def _unused(name: str, taken: dict[str, Any]) -> str:
    return name if name not in taken else next(n for i in range(2, 999) if (n := f"{name}{i}") not in taken)
