"""The six kinds of node that a space is made of, as plain data.

`Layer` (something to build, described by import path and named arguments), `Choice`, `Subset`, `Int`,
`Float` and `Repeat`. Nodes know nothing of sampling, training or torch; `compile.py` gives them names.
Operators on value nodes (`width * 2`, `k // 2`) make Layers whose target is a plain function.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from searchitect.errors import SpaceError
from searchitect.space import checks
from searchitect.space.vertices import arranged

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
    "searchitect.space.vertices.arranged": arranged,
}


class Node:
    """Base of the six kinds. `label` names the node inside its scope, `tie` binds decisions together."""

    __slots__ = ("label", "module", "tie")
    module: bool  # whether building it gives a module (else a plain value)

    def __init__(self, label: str | None = None, tie: str | None = None) -> None:
        self.label = checks.name(label)
        self.tie = checks.name(tie)

    def __repr__(self) -> str:
        return f"<{describe(self)}>"

    def children(self) -> list[tuple[str, Any]]:
        """The parts below this node with their path parts."""
        return []

    def __call__(self, *_args: object, **_kwargs: object) -> Any:
        raise SpaceError(
            f"{describe(self)} is a description: it is built later, for one architecture, and cannot be called here. "
            "To use it in a forward of your own, take it as a constructor argument and wrap the class: "
            "lazy(MyBlock)(part=...)"
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

    Arguments of a `*args` parameter are kept as a tuple under the name "*". `function` is the Python
    object when it is known in this process; it is not written to files.
    """

    __slots__ = ("args", "function", "target")

    def __init__(
        self, target: str, args: dict[str, Any], *, module: bool = True, function: Any = None,
        label: str | None = None, tie: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(label, tie)
        self.target = checks.target(target)
        self.args = args
        self.module = module
        self.function = function

    def children(self) -> list[tuple[str, Any]]:
        return _parts(self.args)


class Choice(Node):
    """Exactly one of the options. `search_only` are modules that only a supernet has beside them."""

    __slots__ = ("labels", "options", "search_only")

    def __init__(
        self,
        options: Sequence[Any],
        labels: Sequence[Any],
        *,
        search_only: Mapping[str, Any] | None = None,
        label: str | None = None,
        tie: str | None = None,
    ) -> None:
        super().__init__(label, tie)
        if not options:
            raise SpaceError("one_of() needs at least one option, got none: write for example one_of(3, 5)")
        self.options = tuple(options)
        self.labels = checks.labels(labels, len(self.options), "one_of()")
        self.module = all(map(is_module, self.options))
        self.search_only = dict(search_only or {})
        if self.search_only:
            checks.labels([*self.labels, *self.search_only], len(self.options) + len(self.search_only), "one_of()")
            if not all(map(is_module, [*self.options, *self.search_only.values()])):
                raise SpaceError("one_of(search_only=...) belongs to a choice among modules, and holds modules itself")

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
        self.k = checks.members(k, len(self.options))
        for option in self.options:
            if not is_module(option):
                raise SpaceError(
                    f"subset() chooses among modules, got {describe(option)}; for values write several one_of(...)"
                )
        self.labels: tuple[str, ...] = checks.labels(labels, len(self.options), "subset()")
        if any("+" in label for label in self.labels):
            raise SpaceError(f"subset() labels may not hold '+', got {', '.join(self.labels)}: use other keywords")
        self.module = True

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
        checks.whole_range(low, high, step, log)
        self.low, self.high, self.step, self.log = low, low + (high - low) // step * step, step, log
        self.module = False


class Float(Node):
    """A real number from `low` to `high`."""

    __slots__ = ("high", "log", "low")

    def __init__(
        self, low: float, high: float, *, log: bool = False, label: str | None = None, tie: str | None = None
    ) -> None:
        super().__init__(label, tie)
        checks.real_range(low, high, log)
        self.low, self.high, self.log = float(low), float(high), log
        self.module = False


class Repeat(Node):
    """The first `low` to `high` of the copies, one after the other."""

    __slots__ = ("copies", "low")

    def __init__(self, copies: Sequence[Any], low: int, *, label: str | None = None, tie: str | None = None) -> None:
        super().__init__(label, tie)
        self.copies = tuple(copies)
        checks.counts(low, len(self.copies))
        for copy in self.copies:
            if not is_module(copy):
                raise SpaceError(f"repeat() repeats modules, got {describe(copy)}: describe a layer, such as L.ReLU()")
        self.low = low
        self.module = True

    def children(self) -> list[tuple[str, Any]]:
        return [(str(i), copy) for i, copy in enumerate(self.copies)]


def is_module(value: Any) -> bool:
    """Whether building the value gives a module: then a choice of such values can become a gate."""
    return isinstance(value, Node) and value.module


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
                f"cannot compute with {describe(operand)}: it is a module, and only values (numbers) can be "
                "computed with. For several copies of it write repeat(...)"
            )
    args = dict(zip("ab", operands, strict=False))
    return Layer(f"operator.{name}", args, module=False, function=FUNCTIONS[f"operator.{name}"])
