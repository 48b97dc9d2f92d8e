"""Limits that a space declares: on a cost that is known beforehand, or any condition on the decisions.

`limit("params < 1e6")` or `limit(function)`, given to `Space(..., limits=[...])`. Limits cut no tree: the size, samples
and moves of a space do not know them. Strategies propose only what keeps them (`Costs.feasible`, `Space.allows`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from searchitect.errors import SpaceError
from searchitect.space import checks
from searchitect.space.architecture import Architecture
from searchitect.space.vertices import published_cell

COSTS = ("params", "macs", "memory_mb")  # what `nets.Costs` knows before anything is built
# Functions of ready-made spaces; a file that names one needs nothing brought along.
READY: dict[str, Callable[[Architecture], bool]] = {"searchitect.space.vertices.published_cell": published_cell}
_TEXT = re.compile(r"\s*(\w+)\s*([<>])\s*=?\s*(\S+)\s*")


class Limit:
    """One limit. With `metric`: that cost stays below (`direction` "min") or above ("max") `bound`.

    Else `target` names a function of the user's that says of an architecture whether it is allowed; `function` is
    None where it was read from a file and not brought along.
    """

    __slots__ = ("bound", "direction", "function", "metric", "target")

    def __init__(
        self, metric: str = "", direction: Literal["min", "max"] = "min", bound: float = 0.0, *,
        target: str = "", function: Callable[[Architecture], Any] | None = None,
    ) -> None:  # fmt: skip
        if bool(metric) == bool(target):
            raise SpaceError("a limit has either a metric or a function")
        if metric and (metric not in COSTS or direction not in ("min", "max") or not _finite(bound)):
            raise SpaceError(f"limit on {metric!r}: only {', '.join(COSTS)} with a finite number are known beforehand")
        self.metric, self.direction, self.bound = metric, direction, float(bound)
        self.target = checks.target(target) if target else ""
        self.function = function

    def __str__(self) -> str:
        return f"{self.metric} {'<' if self.direction == 'min' else '>'} {self.bound:g}" if self.metric else self.target

    def __repr__(self) -> str:
        return f"<limit {self}>"

    def kept(self, value: float | None) -> bool:
        """Whether a limit on a cost is kept by this value."""
        if value is None or math.isnan(value):
            return False
        return value < self.bound if self.direction == "min" else value > self.bound

    def excess(self, value: float) -> float:
        """`beyond` for a limit on a cost."""
        return beyond(value, self.bound, self.direction)

    def allows(self, architecture: Architecture) -> bool:
        """What the user's function says. Raises SpaceError when it is not here, fails or gives no yes or no."""
        if self.function is None:
            raise SpaceError(
                f"the limit {self.target!r} is a function of yours, which a file cannot bring back: pass "
                f"targets={{{self.target!r}: the_function}} to Space.from_json, or resume with --code FILE.py or space="
            )
        try:
            answer = self.function(architecture)
        except Exception as error:
            raise SpaceError(
                f"the limit {self.target!r} raised {type(error).__name__}: {error} for {architecture.decisions}. Only "
                "active decisions are there: ask with architecture.decisions.get(name)"
            ) from error
        if type(answer).__name__ not in ("bool", "bool_"):  # also numpy's, which is not loaded here
            raise SpaceError(f"the limit {self.target!r} must return True or False, got {answer!r:.60}")
        return bool(answer)


def beyond(value: float, bound: float, direction: Literal["min", "max"]) -> float:
    """How far a value is from staying below ("min") or above ("max") a bound, as a share of the bound.

    0 where it does; else more than 0, and infinity for what is not a number.
    """
    over = value - bound if direction == "min" else bound - value
    if math.isnan(over):
        return math.inf
    return 0.0 if over < 0.0 else max(over / max(abs(bound), 1e-12), 1e-9)


def limit(condition: str | Callable[[Architecture], Any]) -> Limit:
    """A limit for `Space(..., limits=[...])`: text such as `"params < 1e6"`, or a function of an architecture.

    Text may name params, macs or memory_mb, which are known without building. A function gets the `Architecture` and
    returns True where it is allowed. What must be measured (latency_ms, accuracy) belongs to the objectives of a
    search. Raises SpaceError for anything else.
    """
    if isinstance(condition, Limit):
        return condition
    if callable(condition):
        name = getattr(condition, "__qualname__", None)
        if name is None:
            raise SpaceError(f"limit({condition!r:.60}): give a function, so that messages and files can name it")
        return Limit(target=f"{condition.__module__}.{name}", function=condition)
    found = _TEXT.fullmatch(condition) if isinstance(condition, str) else None
    if found is None:
        raise SpaceError(f"limit({condition!r:.60}): write for example limit('params < 1e6'), or give a function")
    metric, sign, text = found.groups()
    if metric not in COSTS:
        raise SpaceError(
            f"limit({condition!r}): a space can limit {', '.join(COSTS)}, which are known before training; write what "
            f"must be measured among the objectives of the search, as {condition!r} there"
        )
    try:
        bound = float(text)
    except ValueError:
        raise SpaceError(f"limit({condition!r}): {text!r} is not a number; write for example 'params < 1e6'") from None
    return Limit(metric, "min" if sign == "<" else "max", bound)


def read(conditions: Any) -> tuple[Limit, ...]:
    """Limits from what was given to a space. Raises SpaceError where two of them contradict each other."""
    if isinstance(conditions, (str, Limit)) or callable(conditions):
        conditions = [conditions]
    found = tuple(limit(one) for one in conditions)
    for below in (one for one in found if one.metric and one.direction == "min"):
        for above in found:
            if above.metric == below.metric and above.direction == "max" and not above.bound < below.bound:
                raise SpaceError(f"the limits '{above}' and '{below}' contradict each other: no value is both")
    return found


def body(one: Limit, *, strict: bool) -> dict[str, Any]:
    """As plain data. `strict` refuses functions that a file cannot name."""
    if one.metric:
        return {"metric": one.metric, "direction": one.direction, "bound": one.bound}
    if strict and "<" in one.target:
        raise SpaceError(
            f"the limit {one.target} is defined inside a function or by lambda, so a file cannot name it: move it to "
            "the top of its module and give it a name"
        )
    return {"target": one.target}


def from_bodies(bodies: Iterable[Mapping[str, Any]], targets: Mapping[str, Any]) -> tuple[Limit, ...]:
    """What `body` wrote; functions are looked up in `READY` and `targets` and nowhere else."""
    return read([
        Limit(target=b["target"], function=READY.get(b["target"]) or targets.get(b["target"])) if "target" in b
        else Limit(b["metric"], b["direction"], b["bound"])
        for b in bodies
    ])  # fmt: skip


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
