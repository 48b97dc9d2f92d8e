"""Spaces and architectures as text trees, for terminals, logs and reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from searchitect.space.decision import Plan
from searchitect.space.nodes import Choice, Float, Int, Layer, Node, Repeat, Subset, is_module

_OPERATORS = {"add": "+", "sub": "-", "mul": "×", "floordiv": "//", "truediv": "/", "mod": "%"}
_DEFAULT_ONE = ("stride", "dilation", "groups", "start_dim")
_DEFAULT_ZERO = ("padding", "output_padding", "p")
_HIDDEN = ("device", "dtype", "inplace", "eps", "momentum", "affine", "track_running_stats", "padding_mode",
           "return_indices", "ceil_mode", "count_include_pad", "divisor_override", "end_dim", "bias",
           "elementwise_affine", "approximate", "in_channels", "in_features")  # fmt: skip


def draw_space(root: Any, width: int) -> str:
    """The tree of a space: choices with their options, repeats with their counts."""
    return "\n".join(_clip(line, width) for line in _tree(_space_item("", root, {})))


def draw_plan(plan: Plan, width: int) -> str:
    """The tree of what is built for one architecture."""
    return "\n".join(_clip(line, width) for line in _tree(_plan_item("", plan)))


Item = tuple[str, list[Any]]  # a line and the items below it


def _clip(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def _tree(item: Item) -> Iterator[str]:
    yield item[0]
    yield from _below(item[1], "")


def _below(items: list[Any], indent: str) -> Iterator[str]:
    for i, (line, below) in enumerate(items):
        last = i == len(items) - 1
        yield f"{indent}{'└─' if last else '├─'} {line}"
        yield from _below(below, indent + ("   " if last else "│  "))


def _space_item(prefix: str, node: Any, seen: dict[int | str, str]) -> Item:
    if not isinstance(node, Node):
        return prefix + _value(node), []
    label = f"{node.label}: " if node.label and not prefix.startswith(node.label) else ""
    mark = node.tie or id(node)
    if mark in seen and _has_choice(node):
        return f"{prefix}{label}tied to {seen[mark]}", []
    seen[mark] = node.tie or node.label or f"the first {_title(node)}"
    below: list[Any] = []
    if isinstance(node, Layer):
        for part, child in node.children():
            if is_module(child):
                below.append(_space_item("" if part.isdigit() else f"{part}: ", child, seen))
    elif isinstance(node, Repeat):
        tied = all(copy is node.copies[0] for copy in node.copies)
        below = [_space_item("" if tied else "each copy for itself: ", node.copies[0], seen)]
    elif isinstance(node, (Choice, Subset)) and is_module(node):
        below = [_space_item(f"{name} = ", child, seen) for name, child in node.children()]
    return f"{prefix}{label}{_title(node)}", below


def _has_choice(node: Any) -> bool:
    if isinstance(node, (list, tuple)):
        return any(map(_has_choice, node))
    if isinstance(node, (Choice, Subset, Int, Float)):
        return True
    return isinstance(node, Node) and any(_has_choice(child) for _, child in node.children())


def _title(node: Any) -> str:
    if isinstance(node, Layer):
        name = node.target.rpartition(".")[2]
        if name in _OPERATORS:
            return f"{_value(node.args['a'])} {_OPERATORS[name]} {_value(node.args['b'])}"
        return name + _arguments(node.args)
    if isinstance(node, Repeat):
        return f"repeat {node.low} to {len(node.copies)}" if node.low < len(node.copies) else f"repeat {node.low}"
    if isinstance(node, Subset):
        return f"{node.k} of"
    if isinstance(node, Choice):
        return "one of" if is_module(node) else " | ".join(map(str, node.labels))
    if isinstance(node, Int):
        return f"{node.low}..{node.high}" + (f" step {node.step}" if node.step > 1 else "")
    return f"{node.low:g}..{node.high:g}" if isinstance(node, Float) else repr(node)


def _plan_item(prefix: str, plan: Any) -> Item:
    if not isinstance(plan, Plan):
        return prefix + _value(plan), []
    below = []
    for name, value in plan.args.items():
        items: Any = value if isinstance(value, (list, tuple)) else [value]
        for i, item in enumerate(items):
            if isinstance(item, Plan) and item.module:
                part = name if items is not value else f"{name}.{i}"
                below.append(_plan_item("" if name == "*" else f"{part}: ", item))
    return f"{prefix}{plan.target.rpartition('.')[2]}{_arguments(plan.args)}", below


def _arguments(args: dict[str, Any]) -> str:
    shown = [f"{_short(name)}{_value(value)}" for name, value in args.items() if not _unremarkable(name, value)]
    return f"({', '.join(shown)})" if shown else ""


def _unremarkable(name: str, value: Any) -> bool:
    """Whether an argument would only be noise in a drawing: modules (drawn below) and usual defaults."""
    if name == "*" or name in _HIDDEN or _holds_module(value):
        return True
    if isinstance(value, (Node, Plan)):
        return False
    if value is None or isinstance(value, bool) or value in ("zeros", "mean"):
        return True
    return (name in _DEFAULT_ONE and value == 1) or (name in _DEFAULT_ZERO and value == 0)


def _short(name: str) -> str:
    if name in ("out_channels", "out_features", "num_features", "width", "dim", "normalized_shape"):
        return ""
    return "kernel " if name == "kernel_size" else f"{name} "


def _holds_module(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_module, value))
    return is_module(value) or (isinstance(value, Plan) and value.module)


def _value(value: Any) -> str:
    if isinstance(value, Node):
        text = _title(value)
        return f"[{text}]" if isinstance(value, (Choice, Int, Float)) else text
    if isinstance(value, Plan):
        return value.target.rpartition(".")[2]
    return f"{value:g}" if isinstance(value, float) else str(value)
