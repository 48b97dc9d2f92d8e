"""From an architecture to an `nn.Module`: construct it, see that its layers fit a sample, say what fails.

Where the cost tables know every layer and all have their widths, they have seen that; else one sample is sent through
on the CPU, which also gives lazy layers their widths. Random start values come from `seed` alone; no global generator
is touched. A target is looked up in `torch.nn`, in our blocks and in what the user brought; nothing else
is ever imported, so that a space read from a file cannot run code of its own choice.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from searchitect.errors import BuildError, TrialError, UsageError
from searchitect.nets import blocks, cells, operations, recurrent, sequence, text, vertices
from searchitect.nets.block_costs import BLOCK_COSTS
from searchitect.nets.layer_costs import LAYER_COSTS
from searchitect.nets.parts import Part, Shape, Walk, place
from searchitect.space import FUNCTIONS, Architecture, Plan, Space, apply
from searchitect.torchseeds import seeded_torch

_FILES = (nn, blocks, operations, cells, recurrent, sequence, text, vertices)
_RAISE = dis.opmap["RAISE_VARARGS"]
_LATE: dict[type[nn.Module], str] = {  # blocks of ours that are empty until their first input, and what is empty
    operations.SameConv: "body",
    operations.Depthwise: "body",
    operations.Skip: "halves",
    blocks.SqueezeExcite: "gate",
    sequence.ColumnTokens: "weight",
    sequence.ConvMixing: "conv",
    sequence.Position: "table",
}


def build(
    space: Space, architecture: Architecture, sample: torch.Tensor | tuple[int, ...] | None, *,
    outputs: int | None = None, seed: int = 0,
) -> nn.Module:  # fmt: skip
    """The stand-alone network of an architecture, on the CPU, in training mode.

    sample:  an input with batch dimension (B, ...), or its shape without the batch. None builds without a dry run:
             then no lazy layer may be left (UsageError), and a layer that does not fit its input fails when used.
    outputs: what OUTPUTS in the space stands for.

    Tied parts of the space get weights of their own. Raises ArchitectureError for decisions of another
    space, BuildError where a layer does not fit its input, TrialError when a class of the user's fails.
    """
    space.validate(architecture)
    return build_plan(space.plan(architecture, outputs), sample, targets=space.targets, outputs=outputs, seed=seed)


def build_plan(
    plan: Plan, sample: torch.Tensor | tuple[int, ...] | None, *,
    targets: Mapping[str, Any] | None = None, outputs: int | None = None, seed: int = 0,
) -> nn.Module:  # fmt: skip
    """The network of a plan; `targets` are the classes and functions that the user brought, by path."""
    return build_known(plan, sample, targets=targets, outputs=outputs, seed=seed)[0]


def build_known(
    plan: Plan, sample: torch.Tensor | tuple[int, ...] | None, *,
    targets: Mapping[str, Any] | None = None, outputs: int | None = None, seed: int = 0,
) -> tuple[nn.Module, list[tuple[nn.Module, Plan]]]:  # fmt: skip
    """The network of a plan, and for each module that was made of a plan of its own, which one that was."""
    x = None if sample is None else _example(sample)
    maker = _Maker(targets or {}, outputs)
    try:
        known = x is not None and _fits(plan, tuple(x.shape[1:]))
        with seeded_torch(seed):
            module: nn.Module = maker.make(plan)
            if x is not None and (not known or any(map(_unsized, module.modules()))):
                _dry_run(module, x, maker, plan)
    except RecursionError:
        raise BuildError(f"{place(plan)}: nested too deeply to be built") from None
    _check_sized(module, maker, has_run=x is not None)
    return module.train(), list(maker.made.values())


def _dry_run(module: nn.Module, x: torch.Tensor, maker: _Maker, plan: Plan) -> None:
    """Send one sample through in evaluation mode: lazy layers get their sizes, misfits show."""
    module.eval()
    try:
        with torch.no_grad():
            module(x)
    except (MemoryError, RecursionError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _failure(maker.where(error) or plan, error) from error


def _example(sample: torch.Tensor | tuple[int, ...]) -> torch.Tensor:
    """One input (1, ...) on the CPU."""
    if not isinstance(sample, torch.Tensor):
        if not all(isinstance(n, int) and n > 0 for n in sample):
            raise UsageError(f"sample {sample!r}: give a tensor with a batch dimension, or a shape of whole numbers")
        return torch.zeros(1, *sample)
    if sample.dim() < 1 or not len(sample):
        raise UsageError(f"sample of shape {tuple(sample.shape)}: it needs a batch dimension with at least one entry")
    x = sample[:1].detach().cpu()
    return x.float() if x.is_floating_point() else x


class _Unknown(Exception):
    """A module that no cost table knows stands in the way."""


def _fits(plan: Plan, shape: Shape) -> bool:
    """Whether the cost tables know all layers, which then fit: a dry run would find nothing.

    Raises BuildError where they see that a layer does not fit, before anything is made.
    """

    def unknown(_plan: Plan, _shape: Shape) -> Part:
        raise _Unknown

    try:
        Walk(LAYER_COSTS | BLOCK_COSTS, unknown)(plan, shape)
    except _Unknown:
        return False  # from there on the dry run decides
    return True


class _Maker:
    """Makes modules from plans, and remembers which plan each came from."""

    def __init__(self, targets: Mapping[str, Any], outputs: int | None) -> None:
        self.targets = targets
        self.outputs = outputs
        self.made: dict[int, tuple[nn.Module, Plan]] = {}

    def make(self, value: Any) -> Any:
        """A plan becomes what it describes; lists, tuples and dicts are gone through."""
        if isinstance(value, Plan):
            return self._call(value)
        if isinstance(value, (list, tuple)):
            return type(value)([self.make(item) for item in value])
        if isinstance(value, dict):
            return {key: self.make(item) for key, item in value.items()}
        return value

    def _call(self, plan: Plan) -> Any:
        if plan.target == "searchitect.OUTPUTS":
            if self.outputs is None:
                raise BuildError(f"{place(plan)}: the number of outputs is not known; pass outputs=... to build()")
            return self.outputs
        args = {name: self.make(value) for name, value in plan.args.items()}
        function = self._resolve(plan)
        try:
            if plan.target in FUNCTIONS:
                return function(*args.values())
            result = function(*args["*"]) if set(args) == {"*"} else apply(function, args)
        except (MemoryError, RecursionError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise _failure(plan, error) from error
        if plan.module:
            if not isinstance(result, nn.Module):
                raise BuildError(f"{place(plan)}: {plan.target} gave {type(result).__name__}, not a torch.nn.Module")
            self.made[id(result)] = result, plan
        return result

    def _resolve(self, plan: Plan) -> Callable[..., Any]:
        target = plan.target
        found = FUNCTIONS.get(target) or self.targets.get(target) or _known(target)
        if found is None:
            raise BuildError(
                f"{place(plan)}: {target!r} is neither a layer of torch.nn nor a block of searchitect.nets. A class of "
                f"your own must be brought along: Space.from_json(text, targets={{{target!r}: TheClass}})"
            )
        return found

    def where(self, error: BaseException) -> Plan | None:
        """The innermost of our modules whose forward the error came through."""
        found = None
        for frame in _frames(error.__traceback__):
            known = self.made.get(id(frame.tb_frame.f_locals.get("self")))
            found = known[1] if known else found
        return found


def _known(target: str) -> type[nn.Module] | None:
    """A layer of torch.nn or a block of ours, and nothing else that these modules happen to hold."""
    home, _, name = target.rpartition(".")
    files = {"torch.nn": _FILES[:1], "searchitect.nets": _FILES[1:]}.get(home, ())
    for file in files:
        found = vars(file).get(name)
        if isinstance(found, type) and issubclass(found, nn.Module):
            return found
    return None


def _frames(trace: TracebackType | None) -> list[TracebackType]:
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    return frames


def _failure(plan: Plan, error: Exception) -> Exception:
    """A BuildError where the pieces do not fit, a plain TrialError where the user's code is at fault.

    torch reports a lack of memory on the CPU as a RuntimeError: that becomes a MemoryError.
    """
    if isinstance(error, TrialError):
        return error
    text = str(error).strip() or "no message"
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text:
        return MemoryError(f"{place(plan)}: {text.splitlines()[0]}")
    if _is_refusal(error):
        return BuildError(f"{place(plan)}: {text}")
    return TrialError(f"{place(plan)}: {type(error).__name__} in your code: {text}")


def _is_refusal(error: Exception) -> bool:
    """Whether sizes do not fit: a check that refused, or an error that torch found.

    An explicit `raise` in the user's own file is the user's, unless it is a ValueError or an assert.
    """
    if isinstance(error, (ValueError, AssertionError)):
        return True
    last = _frames(error.__traceback__)[-1]
    module = str(last.tb_frame.f_globals.get("__name__", ""))
    if module.split(".")[0] == "torch" or module.startswith(("searchitect.nets.", "searchitect.space.")):
        return True
    raised = last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE
    return isinstance(error, (RuntimeError, IndexError)) and not raised


def _check_sized(root: nn.Module, maker: _Maker, *, has_run: bool) -> None:
    """Raise BuildError when a layer never saw an input, UsageError when there was no sample to show it one."""
    left = next((module for module in root.modules() if _unsized(module)), None)
    if left is None:
        return
    # parts are made before what they are put into, so the first that holds it is the innermost
    plan = next(plan for made, plan in maker.made.values() if any(part is left for part in made.modules()))
    if has_run:
        raise BuildError(f"{place(plan)}: never received an input, so its width is unknown; use it or leave it out")
    raise UsageError(
        f"{place(plan)}: its width follows from its input, whose shape is not known; pass sample=(...), the "
        "shape of one input row without the batch"
    )


def _unsized(module: nn.Module) -> bool:
    if isinstance(module, operations.Skip) and module.stride == 1:
        return False
    late = _LATE.get(type(module))
    return (late is not None and getattr(module, late) is None) or any(map(is_lazy, module.parameters(recurse=False)))
