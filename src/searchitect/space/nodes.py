"""The six kinds of node that a space is made of, as plain data.

`Layer` (something to build, described by import path and named arguments), `Choice`, `Subset`, `Int`,
`Float` and `Repeat`. Nodes know nothing of sampling, training or torch; `compile.py` gives them names.
Operators on value nodes (`width * 2`, `k // 2`) make Layers whose target is a plain function.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from searchitect.errors import SpaceError

# Functions of plain values that a space may compute with. A space read from a file can name no others.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "operator.add": operator.add,
    "operator.sub": operator.sub,
    "operator.mul": operator.mul,
    "operator.floordiv": operator.floordiv,
    "operator.truediv": operator.truediv,
    "operator.mod": operator.mod,
    "operator.neg": operator.neg,
    "builtins.max": max,
    "builtins.min": min,
    "builtins.int": int,
    "builtins.round": round,
}


class Node:
    """Base of the six kinds. `label` names the node inside its scope, `tie` binds decisions together."""

    __slots__ = ("label", "tie")

    def __init__(self, label: str | None = None, tie: str | None = None) -> None:
        self.label = _checked_name(label)
        self.tie = _checked_name(tie)

    def children(self) -> list[tuple[str, Any]]:
        """The parts below this node with their path parts."""
        return []

    def __call__(self, *_args: object, **_kwargs: object) -> Any:
        raise SpaceError(
            f"{describe(self)} is a description: it is built later, for one architecture, and cannot be called here. "
            "To use it inside your own forward, take it as a constructor argument and wrap the class: lazy(MyBlock)(part=...)"
        )

    def __iter__(self) -> Any:
        raise SpaceError(f"{describe(self)} is a description and has no parts to loop over")

    def __add__(self, other: Any) -> Layer:
        return _compute("add", self, other)

    def __radd__(self, other: Any) -> Layer:
        return _compute("add", other, self)

    def __sub__(self, other: Any) -> Layer:
        return _compute("sub", self, other)

    def __rsub__(self, other: Any) -> Layer:
        return _compute("sub", other, self)

    def __mul__(self, other: Any) -> Layer:
        return _compute("mul", self, other)

    def __rmul__(self, other: Any) -> Layer:
        return _compute("mul", other, self)

    def __floordiv__(self, other: Any) -> Layer:
        return _compute("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Layer:
        return _compute("floordiv", other, self)

    def __truediv__(self, other: Any) -> Layer:
        return _compute("truediv", self, other)

    def __rtruediv__(self, other: Any) -> Layer:
        return _compute("truediv", other, self)

    def __mod__(self, other: Any) -> Layer:
        return _compute("mod", self, other)

    def __neg__(self) -> Layer:
        return _compute("neg", self)


class Layer(Node):
    """A target by import path, with named arguments, any of which may be a node.

    `module` says whether building it gives a module (else a plain value). Arguments of a `*args`
    parameter are kept as a tuple under the name "*". `function` is the Python object when it is known
    in this process; it is not written to files.
    """

    __slots__ = ("args", "function", "module", "target")

    def __init__(
        self, target: str, args: dict[str, Any], *, module: bool = True, function: Any = None,
        label: str | None = None, tie: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(label, tie)
        self.target = target
        self.args = args
        self.module = module
        self.function = function

    def children(self) -> list[tuple[str, Any]]:
        return _parts(self.args)


class Choice(Node):
    """Exactly one of the options."""

    __slots__ = ("labels", "options")

    def __init__(
        self,
        options: Sequence[Any],
        labels: Sequence[Any],
        *,
        label: str | None = None,
        tie: str | None = None,
    ) -> None:
        super().__init__(label, tie)
        self.options = tuple(options)
        self.labels = tuple(labels)

    def children(self) -> list[tuple[str, Any]]:
        return [(str(name), option) for name, option in zip(self.labels, self.options, strict=True)]


class Subset(Node):
    """Exactly k of the options, in their written order; built as one module that returns a list."""

    __slots__ = ("k", "labels", "options")

    def __init__(
        self,
        options: Sequence[Any],
        labels: Sequence[str],
        k: int,
        *,
        label: str | None = None,
        tie: str | None = None,
    ) -> None:
        super().__init__(label, tie)
        self.options = tuple(options)
        self.labels = tuple(labels)
        self.k = k

    def children(self) -> list[tuple[str, Any]]:
        return list(zip(self.labels, self.options, strict=True))


class Int(Node):
    """A whole number from `low` to `high` (both included) in steps of `step`."""

    __slots__ = ("high", "log", "low", "step")

    def __init__(
        self,
        low: int,
        high: int,
        step: int = 1,
        *,
        log: bool = False,
        label: str | None = None,
        tie: str | None = None,
    ) -> None:
        super().__init__(label, tie)
        self.low, self.high, self.step, self.log = low, high, step, log


class Float(Node):
    """A real number from `low` to `high`."""

    __slots__ = ("high", "log", "low")

    def __init__(
        self, low: float, high: float, *, log: bool = False, label: str | None = None, tie: str | None = None
    ) -> None:
        super().__init__(label, tie)
        self.low, self.high, self.log = low, high, log


class Repeat(Node):
    """The first `low` to `high` of the copies, one after the other."""

    __slots__ = ("copies", "low")

    def __init__(self, copies: Sequence[Any], low: int, *, label: str | None = None, tie: str | None = None) -> None:
        super().__init__(label, tie)
        self.copies = tuple(copies)
        self.low = low

    def children(self) -> list[tuple[str, Any]]:
        return [(str(i), copy) for i, copy in enumerate(self.copies)]


def is_module(value: Any) -> bool:
    """Whether building the value gives a module: then a choice of such values can become a gate."""
    if isinstance(value, Layer):
        return value.module
    if isinstance(value, (Choice, Subset)):
        return all(is_module(option) for option in value.options)
    if isinstance(value, Repeat):
        return all(is_module(copy) for copy in value.copies)
    return False


def describe(node: Any) -> str:
    """A short name of a node for messages."""
    if isinstance(node, Layer):
        return node.target.rpartition(".")[2]
    if isinstance(node, Node):
        return type(node).__name__ + (f" {node.label!r}" if node.label else "")
    return repr(node)


def _parts(args: dict[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in args.items():
        if name == "*":
            found += [(str(i), item) for i, item in enumerate(value)]
        elif isinstance(value, (list, tuple)):
            found += [(f"{name}.{i}", item) for i, item in enumerate(value)]
        elif isinstance(value, dict):
            found += [(f"{name}.{key}", item) for key, item in value.items()]
        else:
            found.append((name, value))
    return found


def _compute(name: str, *operands: Any) -> Layer:
    for operand in operands:
        if is_module(operand):
            raise SpaceError(
                f"cannot compute with {describe(operand)}: it is a module, and only values (numbers) can be computed with. "
                "For several copies of it write repeat(...)"
            )
    args = dict(zip("ab", operands, strict=False))
    return Layer(f"operator.{name}", args, module=False, function=FUNCTIONS[f"operator.{name}"])


def _checked_name(name: str | None) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not name or len(name) > 255 or not name.isprintable() or name != name.strip():
        raise SpaceError(f"name {name!r}: use 1 to 255 printable characters without blanks at the ends")
    return name
