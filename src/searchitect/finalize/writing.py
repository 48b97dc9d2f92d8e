"""A plan as readable Python: nested constructor calls, one line a layer where it fits."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from searchitect import nets
from searchitect.errors import UsageError
from searchitect.finalize.collect import OWN, Collected, is_installed
from searchitect.space import FUNCTIONS, Plan

WIDTH = 100
USER_FILE = "user_code"
KEYWORD = inspect.Parameter.KEYWORD_ONLY


class Writer:
    """Writes plans; gathers on its way the sources that the text needs.

    `own` are classes of this package (to stand in the file itself), `user` those of the user (in a file beside it).
    """

    def __init__(self, user_classes: Mapping[str, Any]) -> None:
        self.own = Collected()
        self.user = Collected()
        self.imports: dict[str, None] = {}
        self.user_targets: dict[str, None] = {}
        self._classes = user_classes

    def write(self, value: Any, indent: int = 0) -> str:
        """The expression for a plan or a plain value. Raises UsageError for a value that source cannot hold."""
        if isinstance(value, Plan):
            return self._call(value, indent)
        if isinstance(value, (list, tuple)):
            return self._wrapped(*_brackets(value), [self.write(v, indent + 4) for v in value], indent)
        if isinstance(value, dict):
            return self._wrapped("{", "}", [f"{k!r}: {self.write(v, indent + 4)}" for k, v in value.items()], indent)
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        if value is None or isinstance(value, (str, int, float, bool)):
            return repr(value)
        if isinstance(value, torch.dtype):
            return str(value)
        if inspect.isclass(value) or inspect.isroutine(value):
            return self._reference(value, f"{value.__module__}.{value.__qualname__}")
        raise UsageError(
            f"a network holds {value!r} as an argument: source code cannot be written for {type(value).__name__}"
        )

    def _call(self, plan: Plan, indent: int) -> str:
        if plan.target in FUNCTIONS and not any(isinstance(v, Plan) for v in plan.args.values()):
            return self.write(FUNCTIONS[plan.target](*plan.args.values()), indent)
        function = self._resolve(plan)
        parts = [self.write(v, indent + 4) if not n else f"{n}={self.write(v, indent + 4)}"
                 for n, v in _arguments(function, plan.args)]  # fmt: skip
        return self._wrapped(f"{self._reference(function, plan.target)}(", ")", parts, indent)

    def _resolve(self, plan: Plan) -> Any:
        home, _, name = plan.target.rpartition(".")
        found = self._classes.get(plan.target)
        if found is None and home in ("torch.nn", f"{OWN}.nets"):
            found = getattr({"torch.nn": nn}.get(home, nets), name, None)
        if found is None:
            raise UsageError(
                f"{plan.path or 'the network'}: {plan.target!r} is not known here; pass it in user_classes"
            )
        return found

    def _reference(self, thing: Any, target: str) -> str:
        """How the file names a class or function."""
        home, _, name = target.rpartition(".")
        if home == "torch.nn":
            return f"nn.{name}"
        if thing.__module__.split(".")[0] == OWN:
            return self.own.add(thing)
        if is_installed(thing.__module__) and "<locals>" not in target:
            top = thing.__module__.split(".")[0]
            if top == "torch":
                return target
            self.imports[f"import {thing.__module__}"] = None
            self.user.packages.add(top)
            return f"{thing.__module__}.{thing.__qualname__}"
        self.user_targets[target] = None
        return f"{USER_FILE}.{self.user.add(thing)}"

    def _wrapped(self, opening: str, closing: str, parts: list[str], indent: int) -> str:
        flat = opening + ", ".join(parts) + closing
        if "\n" not in flat and len(flat) + indent <= WIDTH and flat.count("nn.") <= 2:
            return flat
        pad = " " * (indent + 4)
        return opening + "\n" + "".join(f"{pad}{part},\n" for part in parts) + " " * indent + closing


def _brackets(value: list[Any] | tuple[Any, ...]) -> tuple[str, str]:
    if isinstance(value, list):
        return "[", "]"
    return ("(", ",)") if len(value) == 1 else ("(", ")")


def _arguments(function: Any, args: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(name or "", value) in an order that Python takes; what equals its default is left out."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    kinds = {p.kind for p in parameters.values()}
    star = inspect.Parameter.VAR_POSITIONAL in kinds and "*" in args
    before, after, named = [], [], False
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            before += [("", v) for v in args.get("*", ())]
            star = False
        elif name not in args:
            continue
        elif star or (parameter.default is inspect.Parameter.empty and not named and parameter.kind is not KEYWORD):
            before.append(("", args[name]))
        elif not _same(args[name], parameter.default):
            named = True
            after.append((name, args[name]))
    rest = [(n, v) for n, v in args.items() if n != "*" and n not in parameters]
    return [*before, *after, *rest]


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and not isinstance(value, Plan) and bool(value == default)
