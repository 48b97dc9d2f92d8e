"""The steps of a network's forward: torch.fx runs it on symbols, then once on a sample for the shapes.

A module of the user's that symbols cannot pass, or that holds what the space language cannot say, stays whole: one
*opaque* step, if it can be made anew from its attributes. Where the network itself cannot be passed, the error names
the line.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from searchitect import nets
from searchitect.errors import SpaceError
from searchitect.spaces.around.describing import NotDescribed, check_remade

ADD = (operator.add, operator.iadd, torch.add, "add", "add_")
CAT = (torch.cat, torch.concat)
_HERE = __name__
_PASSED = (nn.Sequential, nn.ModuleList)


@dataclass(eq=False)
class Step:
    """One operation: a module on one input, a sum ("add"), a concatenation ("cat"), or the "input" itself.

    shape: of its output, without the batch. source: the path of the module in the user's network, "" for a function.
    opaque: why it stays as it is, "" for layers that are understood.
    """

    kind: str
    name: str
    inputs: list[Step]
    shape: tuple[int, ...]
    module: nn.Module | None = None
    source: str = ""
    opaque: str = ""
    table: str = ""  # the path of a parameter that is added
    after: list[Step] = field(default_factory=list)
    first: bool = False  # whether channels stand before places, as in (C, H, W) and (C, L), not after as in (L, C)


class Stuck(Exception):
    """Something that cannot be said in a space, in the module at `path`."""

    def __init__(self, path: str, reason: str, line: str = "") -> None:
        super().__init__(reason)
        self.path, self.reason, self.line = path, reason, line


class _Tracer(fx.Tracer):
    """Goes into the user's modules; layers of torch and opaque ones are single steps."""

    def __init__(self, opaque: dict[str, str]) -> None:
        super().__init__()
        self.opaque, self.record_stack_traces = opaque, True
        self.inside: list[str] = [""]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = type(m).__module__.startswith(("torch.nn.", "searchitect.nets."))
        return module_qualified_name in self.opaque or (own and not isinstance(m, _PASSED))

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # fmt: skip
        self.inside.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()  # not after an error: then it says where
        return result


def steps(model: nn.Module, x: torch.Tensor) -> tuple[list[Step], Step]:
    """All steps in the order of the forward, the input first, and the one that is the output.

    Raises SpaceError naming the line or module that stands in the way.
    """
    opaque: dict[str, str] = {}
    while True:
        try:
            return _steps(model, x, opaque)
        except Stuck as stuck:
            path = stuck.path
            while path and isinstance(model.get_submodule(path), _PASSED):
                path = path.rpartition(".")[0]
            if not path or path in opaque:
                place = f"{path} ({type(model.get_submodule(path)).__name__})" if path else type(model).__name__
                raise SpaceError(
                    f"no space can be made around {place}: {stuck.reason}{stuck.line}. Put that part into a module of "
                    "its own with one input and one output, which keeps its constructor's arguments as attributes"
                ) from stuck
            opaque[path] = stuck.reason


def _steps(model: nn.Module, x: torch.Tensor, opaque: dict[str, str]) -> tuple[list[Step], Step]:
    tracer = _Tracer(opaque)
    try:
        graph = tracer.trace(model)
    except Exception as error:  # whatever the user's forward does with a symbol
        raise Stuck(tracer.inside[-1], _why(error), _line(error)) from error
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise Stuck("", "its forward takes more or less than one input")
    values = _Values(tracer.root, graph=graph).run_on(x)
    made: dict[fx.Node, Step] = {}
    for node in graph.nodes:
        if node.op == "output":
            (result,) = node.args
            if not isinstance(result, fx.Node) or result not in made:
                raise Stuck("", "it must return one tensor that depends on its input")
            return _in_order(made.values()), made[result]
        step = _step(node, made, values, model, opaque)
        if step is not None and _again(step, made):
            raise Stuck(_owner(node), f"{step.source} is used more than once, and copies would not share its weights")
        if step is not None:
            made[node] = step
    raise Stuck("", "it returns nothing")


def _in_order(found: Iterable[Step]) -> list[Step]:
    """Each step once, those between (a call that stands for two layers) before the one that they end in."""
    order: dict[Step, None] = {}
    for step in found:
        way = [step]
        while len(way[-1].inputs) == 1 and way[-1].inputs[0] not in order:
            way.append(way[-1].inputs[0])
        order.update(dict.fromkeys(reversed(way)))
    return list(order)


def _again(step: Step, made: dict[fx.Node, Step]) -> bool:
    """Whether this module, with weights, has had another input before."""
    used = step.module is not None and any(step.module is one.module for one in made.values())
    return used and any(True for _ in step.module.state_dict())  # type: ignore[union-attr]


class _Values(fx.Interpreter):
    """Runs the steps on real numbers and keeps what each gave."""

    def run_on(self, x: torch.Tensor) -> dict[fx.Node, Any]:
        """The value of each node. Raises SpaceError where the network itself fails."""
        self.kept: dict[fx.Node, Any] = {}
        self.now = ""
        try:
            with torch.no_grad():
                self.run(x)
        except Exception as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise SpaceError(
                f"the network fails on the sample, at {self.now!r}: {why}; give one that it takes"
            ) from error
        return self.kept

    def run_node(self, n: fx.Node) -> Any:
        self.now = str(n.target) if n.op == "call_module" else n.name
        self.kept[n] = super().run_node(n)
        return self.kept[n]


def _step(
    node: fx.Node, made: dict[fx.Node, Step], values: dict[fx.Node, Any], model: nn.Module, opaque: dict[str, str]
) -> Step | None:  # fmt: skip
    value = values[node]
    if not isinstance(value, torch.Tensor):
        if node.op == "call_module":
            raise _stuck(node, f"{node.target} gives {type(value).__name__}, not one tensor")
        return None  # a size, which only other calls look at
    if node.op == "placeholder":
        return Step("input", "input", [], tuple(value.shape[1:]))
    if node.op == "get_attr":
        return None  # looked at where it is used
    tensors = [made[n] for n in node.all_input_nodes if n in made]
    shape = tuple(value.shape[1:])
    if node.target in ADD and len(node.args) == 2:
        return _sum(node, made, shape)
    if node.target in CAT:
        return _cat(node, made, values)
    if len(tensors) != 1 or any(n.op == "get_attr" for n in node.all_input_nodes):
        raise _stuck(
            node, f"{_called(node)} joins its inputs in a way that a space cannot say (sums and concatenations can)"
        )
    if node.op == "call_module":
        return _module(node, tensors, shape, model, opaque, values)
    for module in (found := _function(node, values)):
        with torch.no_grad():
            value = module(values[node.all_input_nodes[0]] if module is found[0] else value)
        tensors = [Step("layer", node.name, tensors, tuple(value.shape[1:]), module)]
    return tensors[0]


def _module(
    node: fx.Node, inputs: list[Step], shape: tuple[int, ...], model: nn.Module, opaque: dict[str, str],
    values: dict[fx.Node, Any],
) -> Step:  # fmt: skip
    path = str(node.target)
    module = model.get_submodule(path)
    own = not type(module).__module__.startswith(("torch.nn.", "searchitect.nets."))
    try:
        with torch.no_grad():
            check_remade(module, values[node.all_input_nodes[0]])
    except NotDescribed as error:
        where = _owner(node) if path not in opaque else path
        raise Stuck(where, f"{path} ({type(module).__name__}) cannot be made anew: {error}") from error
    whole = own or isinstance(module, nn.TransformerEncoderLayer)
    reason = opaque.get(path, "") or (f"{type(module).__name__} is taken as a whole" if whole else "")
    return Step("layer", path, inputs, shape, module, path, reason)


def _sum(node: fx.Node, made: dict[fx.Node, Step], shape: tuple[int, ...]) -> Step:
    sides = [n for n in node.args if isinstance(n, fx.Node)]
    inner = [made[n] for n in sides if n in made]
    tables = [n for n in sides if n.op == "get_attr"]
    if len(inner) == 1 and len(tables) == 1 and inner[0].shape == shape and len(shape) == 2:
        return Step("layer", str(tables[0].target), inner, shape, nets.Position(), table=str(tables[0].target))
    if len(inner) != 2 or any(one.shape != shape for one in inner):
        raise _stuck(node, f"{_called(node)} adds something else than two tensors of one shape")
    return Step("add", node.name, inner, shape)


def _cat(node: fx.Node, made: dict[fx.Node, Step], values: dict[fx.Node, Any]) -> Step:
    parts = node.args[0]
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    known = isinstance(parts, (list, tuple)) and all(isinstance(n, fx.Node) and n in made for n in parts)
    if not known or dim not in (1, 1 - values[node].dim()):
        raise _stuck(node, f"{_called(node)} concatenates along another dimension than channels, or something else")
    return Step("cat", node.name, [made[n] for n in parts], tuple(values[node].shape[1:]))  # type: ignore[union-attr, index]


_SIMPLE: dict[Any, Callable[..., nn.Module]] = {
    F.relu: nn.ReLU, torch.relu: nn.ReLU, "relu": nn.ReLU, "relu_": nn.ReLU, F.silu: nn.SiLU, F.elu: nn.ELU,
    F.gelu: lambda approximate="none": nn.GELU(approximate), F.relu6: nn.ReLU6, F.hardswish: nn.Hardswish,
    F.leaky_relu: lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope),
    torch.sigmoid: nn.Sigmoid, "sigmoid": nn.Sigmoid, F.sigmoid: nn.Sigmoid, torch.tanh: nn.Tanh, "tanh": nn.Tanh,
    F.tanh: nn.Tanh, F.dropout: lambda p=0.5, training=True, inplace=False: nn.Dropout(p),
    torch.flatten: lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    "flatten": lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d, F.avg_pool2d: nn.AvgPool2d, F.max_pool2d: nn.MaxPool2d,
    F.log_softmax: lambda dim=None, _stacklevel=3, dtype=None: nn.LogSoftmax(dim),
    F.softmax: lambda dim=None, _stacklevel=3, dtype=None: nn.Softmax(dim),
}  # fmt: skip


def _function(node: fx.Node, values: dict[fx.Node, Any]) -> list[nn.Module]:
    """The layers that do what a call in the forward does."""
    x, result = values[node.all_input_nodes[0]], values[node]
    rest = [values.get(a, a) if isinstance(a, fx.Node) else a for a in node.args[1:]]
    target = node.target
    found: list[nn.Module] | None = None
    if target in ("view", "reshape", torch.reshape) and result.dim() == 2 and len(result) == len(x):
        found = [nn.Flatten()]
    elif target in ("mean", torch.mean):
        dims = rest[0] if rest else node.kwargs.get("dim")
        dims = sorted(d % x.dim() for d in (dims if isinstance(dims, (list, tuple)) else [dims]) if isinstance(d, int))
        keep = bool(node.kwargs.get("keepdim", rest[1] if len(rest) > 1 else False))
        if dims == [2, 3] and x.dim() == 4:
            found = [nn.AdaptiveAvgPool2d(1)] + ([] if keep else [nn.Flatten()])
        elif len(dims) == 1 and dims[0] and not keep:
            found = [nets.Mean(dims[0])]
    elif target in ("transpose", torch.transpose) and sorted(d % x.dim() for d in rest) == [1, 2] and x.dim() == 3:
        found = [nets.Tokens()]
    elif target is F.batch_norm:
        found = None
    elif target in _SIMPLE:
        try:
            keywords = {k: v for k, v in node.kwargs.items() if k not in ("input", "inplace")}
            found = [_SIMPLE[target](*rest, **keywords)]
        except TypeError:
            found = None
    if found is None:
        raise _stuck(node, f"{_called(node)} has no layer that stands for it")
    return found


def _called(node: fx.Node) -> str:
    return f"`{getattr(node.target, '__name__', node.target)}`"


def _owner(node: fx.Node) -> str:
    """The path of the user's module whose forward makes this call."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    paths = [str(entry[0]) for entry in stack]
    if node.op == "call_module":
        paths = [path for path in paths if path != str(node.target)]
    return paths[-1] if paths else ""


def _stuck(node: fx.Node, reason: str) -> Stuck:
    trace = [text.strip() for text in (node.stack_trace or "").splitlines() if text.strip().startswith("File")]
    trace = [text for text in trace if "/torch/" not in text and __file__ not in text]
    return Stuck(_owner(node), reason, f" ({_short(trace[-1])})" if trace else "")


def _short(text: str) -> str:
    return " ".join(text.replace('"', "").replace(",", "").split())


def _why(error: Exception) -> str:
    if isinstance(error, fx.proxy.TraceError):
        return "its forward decides something by the values or the shape of its input"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"


def _line(error: Exception) -> str:
    """ "(FILE line N in forward)": the innermost line that is neither torch's nor ours."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.split(".")[0] != "torch" and module != _HERE:
            code = trace.tb_frame.f_code
            found = f" (File {code.co_filename} line {trace.tb_lineno} in {code.co_name})"
        trace = trace.tb_next
    return found
