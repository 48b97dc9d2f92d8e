"""One point of a space: what was chosen. Frozen, hashable, JSON both ways."""

from __future__ import annotations

import html
import json
import math
from typing import Any

import msgspec

from searchitect.errors import ArchitectureError

Scalar = str | int | float | bool | None
FORMAT = 1
LIMIT_DECISIONS = 100_000
LIMIT_TEXT = 10_000_000


class Architecture(msgspec.Struct, frozen=True, eq=True):
    """The decisions taken in a space, by name; active ones only.

    `space` is the fingerprint of the space. Module choices hold the option's label, value choices the
    value, repeats the count, subsets their labels joined by "+".
    """

    space: str
    decisions: dict[str, Scalar]

    def __hash__(self) -> int:
        return hash(frozenset(self.decisions.items()))

    def to_json(self) -> str:
        """`{"format": 1, "space": ..., "decisions": {...}}` with sorted names."""
        body = {"format": FORMAT, "space": self.space, "decisions": dict(sorted(self.decisions.items()))}
        return json.dumps(body, allow_nan=False)

    def _repr_html_(self) -> str:
        """A table of decisions, for notebooks."""
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
            for name, value in self.decisions.items()
        )
        return f"<table><tr><th>decision</th><th>value</th></tr>{rows}</table>"

    @classmethod
    def from_json(cls, text: str | bytes) -> Architecture:
        """Read what `to_json` wrote. Raises ArchitectureError for anything else; runs no code.

        The result is not yet known to belong to a space: `Space.validate` says so.
        """
        if len(text) > LIMIT_TEXT:
            raise ArchitectureError(f"architecture file of {len(text)} bytes: at most {LIMIT_TEXT} are read")
        try:
            body = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant)
        except (ValueError, RecursionError) as error:
            raise ArchitectureError(f"not an architecture file: {error}") from None
        if not isinstance(body, dict) or set(body) != {"format", "space", "decisions"}:
            raise ArchitectureError("not an architecture file: it needs exactly 'format', 'space' and 'decisions'")
        if body["format"] != FORMAT:
            raise ArchitectureError(f"architecture format {body['format']!r}: this version reads format {FORMAT}")
        decisions = body["decisions"]
        if not isinstance(body["space"], str) or not isinstance(decisions, dict) or len(decisions) > LIMIT_DECISIONS:
            raise ArchitectureError(
                "not an architecture file: 'space' must be text, 'decisions' a mapping of names to plain values"
            )
        for name, value in decisions.items():
            if not isinstance(value, (str, int, float, bool, type(None))):
                raise ArchitectureError(
                    f"decision {name!r} holds {type(value).__name__}: only text, numbers, true, false and null "
                    "are allowed"
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise ArchitectureError(f"decision {name!r} is not a finite number")
        return cls(body["space"], decisions)


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: a mapping. Raises ValueError when a name occurs twice."""
    body = dict(pairs)
    if len(body) < len(pairs):
        raise ValueError("a name occurs twice")
    return body


def no_constant(name: str) -> float:
    """For `json.loads`: refuses NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{name} is not a number here")
