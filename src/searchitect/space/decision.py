"""What compiling a space gives: decisions (what may be chosen) and plans (what was chosen, to be built)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from searchitect.errors import ArchitectureError
from searchitect.space.architecture import Scalar

Kind = Literal["choice", "subset", "int", "float", "repeat"]


class Plan:
    """One thing to build: target and named arguments, all of them values, plans or lists of these.

    `path` is the place in the space, for messages. Compared by identity: equal parts without decisions
    are the same object.
    """

    __slots__ = ("args", "module", "path", "signature", "target")

    def __init__(self, target: str, args: dict[str, Any], path: str, module: bool = True) -> None:
        self.target = target
        self.args = args
        self.path = path
        self.module = module
        self.signature: str | None = None  # canonical.py remembers its text here

    def __repr__(self) -> str:
        return f"{self.target.rpartition('.')[2]}({', '.join(f'{k}={v!r}' for k, v in self.args.items())})"


class Decision:
    """One decision of a space.

    `labels` are its values in order (None for a Float), `children[i]` the decisions that value i brings
    in; None when no value brings in any. `ordered` says that the values are numbers with an order.
    """

    __slots__ = (
        "children",
        "high",
        "id",
        "index",
        "kind",
        "labels",
        "log",
        "low",
        "modules",
        "n",
        "name",
        "ordered",
    )

    def __init__(
        self, name: str, kind: Kind, labels: Sequence[Scalar] | None, bounds: tuple[float, float] = (0.0, 0.0),
        *, log: bool = False, modules: bool = False,
    ) -> None:  # fmt: skip
        self.id = -1
        self.name = name
        self.kind: Kind = kind
        self.labels = labels
        self.n = 0 if labels is None else len(labels)
        self.low, self.high = bounds
        self.log = log
        self.modules = modules
        self.children: list[tuple[Decision, ...]] | None = None
        self.index: dict[Scalar, int] = (
            {} if labels is None or isinstance(labels, range) else {v: i for i, v in enumerate(labels)}
        )
        self.ordered = labels is None or isinstance(labels, range) or all(_is_number(v) for v in labels)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"

    def position(self, value: Scalar) -> int:
        """The index of a value. Raises ArchitectureError when it is none of this decision's."""
        if isinstance(self.labels, range):
            if isinstance(value, int) and not isinstance(value, bool) and value in self.labels:
                return self.labels.index(value)
        else:
            found = self.index.get(value) if isinstance(value, (str, int, float, type(None))) else None
            if found is not None and isinstance(value, bool) == isinstance(self.labels[found], bool):  # type: ignore[index]
                return found
        raise ArchitectureError(f"decision {self.name!r} cannot be {value!r}: allowed is {self.allowed()}")

    def check(self, value: Scalar) -> None:
        """Raises ArchitectureError unless the value is one of this decision's."""
        if self.kind != "float":
            self.position(value)
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            raise ArchitectureError(f"decision {self.name!r} cannot be {value!r}: allowed is {self.allowed()}")

    def own(self, value: Scalar) -> Scalar:
        """An allowed value as this decision writes it: its own 3 where 3.0 was given."""
        return float(value) if self.labels is None else self.labels[self.position(value)]  # type: ignore[arg-type]

    def allowed(self) -> str:
        """The values in words."""
        if self.labels is None:
            return f"a number from {self.low:g} to {self.high:g}"
        if isinstance(self.labels, range) and len(self.labels) > 8:
            return f"{self.labels.start} to {self.labels[-1]} in steps of {self.labels.step}"
        shown = ", ".join(str(v) for v in self.labels[:12])
        return shown + (f", ... ({self.n} in all)" if self.n > 12 else "")


def _is_number(value: Scalar) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
