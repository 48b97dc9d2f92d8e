"""How a space is written: `lazy`, `one_of`, `subset`, `repeat`, `integer`, `real`, `named`, `OUTPUTS`."""

from __future__ import annotations

import difflib
import inspect
import itertools
import math
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

from searchitect.errors import SpaceError
from searchitect.space import checks
from searchitect.space.nodes import Choice, Float, Int, Layer, Node, Repeat, Subset, describe

N = TypeVar("N", bound=Node)
PLAIN = (str, int, float, bool, type(None))
_SHORT = (
    "torch.nn",
    "searchitect.nets",
)  # a class found here is named by this path, whatever file defines it

OUTPUTS = Layer("searchitect.OUTPUTS", {}, module=False)
"""The number of outputs that the data ask for (classes, or target columns)."""


def lazy(thing: Any, *, module: bool | None = None) -> Any:
    """Describe now, build later: wraps a Python module, a class or a function.

    `L = lazy(torch.nn)` gives torch's own names; `lazy(MyBlock)(width=one_of(32, 64))` describes a block
    of the user's. `module` says whether a *function* returns a module (default: it returns a plain value).
    """
    if isinstance(thing, ModuleType):
        return _Names(thing)
    if not callable(thing):
        raise SpaceError(f"lazy() takes a Python module, a class or a function, got {thing!r}")
    return _Writer(thing, _target(thing), _makes_module(thing) if module is None else module)


class _Names:
    """The names of a Python module, each as a writer."""

    def __init__(self, source: ModuleType) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for these, for example when it copies
            raise AttributeError(name)
        found = getattr(self._source, name, None)
        if found is None:
            near = difflib.get_close_matches(name, dir(self._source), n=3)
            hint = f": did you mean {' or '.join(near)}?" if near else ""
            raise AttributeError(f"{self._source.__name__} has no {name!r}{hint}")
        if isinstance(found, ModuleType):
            return _Names(found)
        if not callable(found):
            return found
        return _Writer(found, _target(found), _makes_module(found))

    def __dir__(self) -> list[str]:
        return dir(self._source)


class _Writer:
    """Called with arguments, some of them nodes, it gives the Layer that describes the call."""

    def __init__(self, function: Any, target: str, module: Any) -> None:
        if not isinstance(module, bool):  # Python calls this as a metaclass for `class Block(L.Module)`
            raise SpaceError(
                f"class {function}: a description cannot be a base class. Derive from the real torch.nn.Module "
                "and wrap the finished class: lazy(MyBlock)(...)"
            )
        self._function, self._target, self._module = function, target, module

    def __call__(self, *args: Any, **kwargs: Any) -> Layer:
        caller = sys._getframe(1)
        if caller.f_code.co_name == "__init__" and _makes_module(type(caller.f_locals.get("self"))):
            raise SpaceError(
                f"{self._target} is described inside {type(caller.f_locals['self']).__name__}.__init__: use the "
                "real class there. Choices belong in constructor arguments: lazy(MyBlock)(width=one_of(32, 64))"
            )
        return Layer(self._target, self._bind(args, kwargs), module=self._module, function=self._function)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            signature = inspect.signature(self._function)
        except (TypeError, ValueError):
            raise SpaceError(f"{self._target} shows no signature; wrap it in a function of your own") from None
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise SpaceError(f"{self._target}{signature}: {error}") from None
        bound.apply_defaults()
        stored: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                stored["*"] = tuple(_plain(item, f"{self._target} argument {i}") for i, item in enumerate(value))
            elif kind is inspect.Parameter.VAR_KEYWORD:
                stored |= {key: _plain(item, f"{self._target} argument {key!r}") for key, item in value.items()}
            elif value is not signature.parameters[name].default or _is_plain(value):
                stored[name] = _plain(value, f"{self._target} argument {name!r}")
        return stored


def one_of(
    *options: Any, name: str | None = None, tie: str | None = None, search_only: Mapping[str, Any] | None = None,
    **labelled: Any,
) -> Choice:  # fmt: skip
    """Exactly one of the options, which may be modules, values or further nodes.

    Module options are known by their keyword or class name, values by themselves. A choice with one
    option is no decision. `search_only` are modules by label, without decisions, that a supernet weighs
    beside the options and that no architecture can hold (DARTS' `none`). Raises SpaceError without
    options or when two are the same.
    """
    everything = [_plain(option, "one_of() option") for option in [*options, *labelled.values()]]
    extra = {label: _plain(option, "one_of(search_only=...) option") for label, option in (search_only or {}).items()}
    return Choice(everything, _labels(everything, list(labelled)), search_only=extra, label=name, tie=tie)


def subset(*options: Any, k: int, name: str | None = None, tie: str | None = None, **labelled: Any) -> Subset:
    """Exactly `k` of the options (modules), in written order.

    Built as one module that gives each member the same input and returns the list of their outputs.
    Raises SpaceError unless 1 <= k <= number of options.
    """
    everything = [_plain(option, "subset() option") for option in [*options, *labelled.values()]]
    return Subset(everything, [str(v) for v in _labels(everything, list(labelled))], k, label=name, tie=tie)


def repeat(what: Any, low: int, high: int | None = None, *, name: str | None = None, tie: str | None = None) -> Repeat:
    """`low` to `high` copies one after the other.

    A callable is called once per copy (with the copy's index if it takes an argument) and gives
    *independent* copies; a node gives *tied* copies: the same decisions in each, never shared weights.
    Raises SpaceError unless 0 <= low <= high.
    """
    high = low if high is None else high
    checks.counts(low, high)
    if isinstance(what, Node):
        copies = [what] * high
    elif callable(what):
        make: Callable[..., Any] = what
        copies = [make(i) for i in range(high)] if _takes_index(make) else [make() for _ in range(high)]
    else:
        raise SpaceError(f"repeat() takes a node (tied copies) or a callable (independent copies), got {what!r}")
    return Repeat([_plain(copy, "repeat() copy") for copy in copies], low, label=name, tie=tie)


def integer(
    low: int, high: int, step: int = 1, *, log: bool = False, name: str | None = None, tie: str | None = None
) -> Int:
    """A whole number from `low` to `high`, both included. `log` samples and mutates on a log scale."""
    return Int(low, high, step, log=log, label=name, tie=tie)


def real(low: float, high: float, *, log: bool = False, name: str | None = None, tie: str | None = None) -> Float:
    """A real number from `low` to `high`. `log` samples and mutates on a log scale."""
    return Float(low, high, log=log, label=name, tie=tie)


def named(name: str, node: N) -> N:
    """Label a node inside its scope, in place (a labelled copy would no longer be tied)."""
    if not isinstance(node, Node):
        raise SpaceError(f"named({name!r}, {node!r}): only nodes of a space can be named")
    if node.label not in (None, name):
        raise SpaceError(f"{describe(node)} is already named; it cannot also be {name!r}")
    Node.__init__(node, name, node.tie)
    return node


def _labels(values: list[Any], keywords: list[str]) -> list[Any]:
    given = len(values) - len(keywords)
    labels: list[Any] = []
    for value, keyword in itertools.zip_longest(values, [None] * given + list(keywords)):
        if keyword is not None:
            labels.append(checks.name(keyword))
        elif isinstance(value, Node):
            base = describe(value) if isinstance(value, Layer) else value.label or type(value).__name__
            labels.append(_unused(base, labels))
        elif isinstance(value, PLAIN):
            labels.append(value)
        elif _holds_node(value):
            raise SpaceError(f"the option {value!r:.60} is a list of nodes and needs a keyword: one_of(first=[...])")
        else:
            labels.append(str(value))
    return labels


def _unused(base: str, taken: list[Any]) -> str:
    if base not in taken:
        return base
    return next(f"{base}#{i}" for i in itertools.count(2) if f"{base}#{i}" not in taken)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Node):
        return value
    if isinstance(value, (_Writer, _Names)):
        raise SpaceError(f"{where} is the class itself: call it, for example L.ReLU()")
    if isinstance(value, float) and math.isnan(value):
        raise SpaceError(f"{where} is nan, which equals nothing: write a number or None")
    try:
        plain = _is_plain(value)
    except RecursionError:
        raise SpaceError(f"{where} is a list that contains itself or is nested too deeply: write it flat") from None
    if not plain:
        raise SpaceError(
            f"{where} is {type(value).__name__}: only nodes, text, numbers, true, false, None and lists, tuples or "
            "dicts of them can be described. For a finished module write a class or function and wrap it in lazy()"
        )
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, float) and math.isnan(value):
        return False
    return type(value) in PLAIN or isinstance(value, Node)


def _holds_node(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(isinstance(item, Node) or _holds_node(item) for item in items)


def _takes_index(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]
    if len(needed) > 1:
        raise SpaceError(
            f"repeat() calls {getattr(function, '__name__', function)!s} with the copy's index only, but it needs "
            f"{', '.join(needed)}: write repeat(lambda i: ..., low, high)"
        )
    return bool(needed)


def _makes_module(thing: Any) -> bool:
    return isinstance(thing, type) and any(base.__module__ == "torch.nn.modules.module" for base in thing.__mro__)


def _target(thing: Any) -> str:
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if name is None:
        raise SpaceError(f"lazy() cannot name {thing!r}; wrap a class or a function")
    for short in _SHORT:
        if getattr(sys.modules.get(short), name, None) is thing:
            return f"{short}.{name}"
    return f"{thing.__module__}.{name}"
