"""Spaces and architectures as text trees, for terminals, logs and reports."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from searchitect.space.decision import Plan
from searchitect.space.nodes import Choice, Float, Int, Layer, Node, Repeat, Subset, describe, is_module

_CHAIN = 66  # letters of a chain of layers in one line
_OPTIONS = 40  # letters of options in one line
_OPERATORS = {"add": "+", "sub": "-", "mul": "×", "floordiv": "//", "truediv": "/", "mod": "%"}
_DEFAULT_ONE = ("stride", "dilation", "groups", "start_dim")
_DEFAULT_ZERO = ("padding", "output_padding", "p")
_HIDDEN = ("device", "dtype", "inplace", "eps", "momentum", "affine", "track_running_stats", "padding_mode",
           "return_indices", "ceil_mode", "count_include_pad", "divisor_override", "end_dim", "bias",
           "elementwise_affine", "approximate", "in_channels", "in_features")  # fmt: skip


class Item(NamedTuple):
    """One line of a drawing, and the lines below it."""

    prefix: str
    title: str
    below: tuple[Item, ...] = ()


def draw_space(root: Any, width: int) -> str:
    """The tree of a space: choices with their options, repeats with their counts."""
    return "\n".join(_clip(line, width) for line in _tree(_SpaceDrawing().item("", root, top=True)))


def draw_plan(plan: Plan, width: int) -> str:
    """The tree of what is built for one architecture."""
    return "\n".join(_clip(line, width) for line in _tree(_plan_item("", plan, top=True)))


def _clip(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def _tree(item: Item) -> Iterator[str]:
    yield item.prefix + item.title
    yield from _below(item.below, "")


def _below(items: Sequence[Item], indent: str) -> Iterator[str]:
    for i, item in enumerate(items):
        last = i == len(items) - 1
        yield f"{indent}{'└─' if last else '├─'} {item.prefix}{item.title}"
        yield from _below(item.below, indent + ("   " if last else "│  "))


def _shortened(item: Item) -> Item:
    """Short chains of layers in one line, an only child behind its parent, equal neighbours as one with a count."""
    counted = [(part, len(list(same))) for part, same in itertools.groupby(item.below)]
    below = tuple(part if n == 1 else part._replace(title=f"{n} × {part.title}") for part, n in counted)
    if item.title == "Sequential" and len(below) > 1 and not any(part.below or part.prefix for part in below):
        chain = " → ".join(part.title for part in below)
        if len(chain) <= _CHAIN:
            return Item(item.prefix, chain)
    if len(below) == 1 and len(item.title + below[0].prefix + below[0].title) < _CHAIN:
        return Item(item.prefix, f"{item.title} · {below[0].prefix}{below[0].title}", below[0].below)
    return item._replace(below=below)


class _SpaceDrawing:
    """Remembers what was drawn: tied nodes by their mark, choices by how they look."""

    def __init__(self) -> None:
        self.seen: dict[int | str, str] = {}
        self.looks: set[tuple[Item, ...]] = set()

    def item(self, prefix: str, node: Any, top: bool = False) -> Item:
        """The drawing of a node and all below it."""
        if not isinstance(node, Node):
            return Item(prefix, _value(node))
        mark = node.tie or id(node)
        if mark in self.seen and _has_choice(node):
            return Item(prefix, f"tied to {self.seen[mark]}")
        if node.label and not prefix.startswith(node.label):
            prefix = f"{prefix}{node.label}: "
        self.seen[mark] = node.tie or node.label or f"the first {_title(node)}"
        item = Item(prefix, _title(node), tuple(self.parts(node)))
        if isinstance(node, (Choice, Subset)) and item.below:
            options = " | ".join(part.prefix + part.title for part in item.below)
            if len(options) <= _OPTIONS and not any(part.below for part in item.below):
                return Item(prefix, f"{item.title} {options}")
            if item.below in self.looks:
                names = " | ".join(map(str, node.labels))
                shown = names if len(names) <= _OPTIONS else f"{len(node.labels)} options"
                return Item(prefix, f"{item.title} {shown} (as above)")
            self.looks.add(item.below)
            return item
        return item if top else _shortened(item)

    def parts(self, node: Node) -> Iterator[Item]:
        """The drawings below a node."""
        if isinstance(node, Layer):
            for part, child in node.children():
                if is_module(child):
                    yield self.item("" if part.isdigit() else f"{part}: ", child)
        elif isinstance(node, Repeat):
            tied = all(copy is node.copies[0] for copy in node.copies)
            how = "" if not _has_choice(node.copies[0]) else "all copies alike: " if tied else "each copy for itself: "
            yield self.item(how, node.copies[0])
        elif isinstance(node, (Choice, Subset)) and is_module(node):
            for name, child in node.children():
                # a label that only repeats the class says nothing
                plain = isinstance(child, Layer) and name.partition("#")[0] == describe(child)
                yield self.item("" if plain else f"{name} = ", child)


def _has_choice(node: Any) -> bool:
    if isinstance(node, (list, tuple)):
        return any(map(_has_choice, node))
    if isinstance(node, (Choice, Subset, Int, Float)):
        return True
    return isinstance(node, Node) and any(_has_choice(child) for _, child in node.children())


def _title(node: Any) -> str:
    if isinstance(node, Layer):
        name = _name(node.target)
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


def _plan_item(prefix: str, plan: Plan, top: bool = False) -> Item:
    below = []
    for name, value in plan.args.items():
        items: Any = value if isinstance(value, (list, tuple)) else [value]
        for i, item in enumerate(items):
            if isinstance(item, Plan) and item.module:
                part = name if items is not value else f"{name}.{i}"
                below.append(_plan_item("" if name == "*" else f"{part}: ", item))
    item = Item(prefix, _name(plan.target) + _arguments(plan.args), tuple(below))
    return item if top else _shortened(item)


def _arguments(args: dict[str, Any]) -> str:
    shown = [
        name if value is True else f"{_short(name)}{_value(value)}"
        for name, value in args.items()
        if not _unremarkable(name, value)
    ]
    return f"({', '.join(shown)})" if shown else ""


def _unremarkable(name: str, value: Any) -> bool:
    """Whether an argument would only be noise in a drawing: modules (drawn below) and usual defaults."""
    if name == "*" or name in _HIDDEN or _holds_module(value):
        return True
    if isinstance(value, (Node, Plan)):
        return False
    if value is None or value is False or value in ("zeros", "mean"):
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
    if isinstance(value, (list, tuple)) and _has_choice(value):
        alike = [(text, len(list(same))) for text, same in itertools.groupby(map(_value, value))]
        return ", ".join(text if n == 1 else f"{n} × {text}" for text, n in alike)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(target: str) -> str:
    """The class; that it waits for its first input to know its width is of no interest in a drawing."""
    return target.rpartition(".")[2].removeprefix("Lazy")
