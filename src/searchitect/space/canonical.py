"""Canonical keys: two architectures with equal keys compute the same functions (with weights mapped).

A plan is run on symbols. Identity disappears, sums are flat multisets, zero terms go, branches that nobody
uses go, and a *parameter-free* operation applied twice to one value is one value; each *weighted* operation
(also a random one, such as dropout) is a value of its own, so conv_a(x) + conv_b(x) is not 2·conv_a(x).
Zeros keep their shape, which matters where they are all that is left. What a class of the user's does is
unknown: it counts as one weighted operation. A network that changes a shared value in place depends on the
order of its branches and is written as it stands. The result is written out exactly, shared values by
reference; a hash only decides the order in which equal-looking terms are written, so a collision can cost a
merge and never makes a false one. The key is a BLAKE2b digest of that text.
"""

from __future__ import annotations

import hashlib
import zlib

from searchitect.space.decision import Plan
from searchitect.space.symbols import INPUT, Graph, Value, checksum, flat_values, signature


def text(plan: Plan, *, zero_preserving: bool = False) -> str:
    """The exact serialisation of what the plan computes. Equal texts: equal functions with weights mapped.

    `zero_preserving` counts normalisation and biased layers as mapping zero to zero, as some published
    counts do; it is not safe for reuse.
    """
    graph = Graph(zero_preserving)
    result = graph.apply(plan, INPUT)
    if graph.as_written:
        return "as written: " + signature(plan)
    return write(Value("list", flat_values(result)) if isinstance(result, list) else result, graph.twins)[0]


def key(plan: Plan, *, zero_preserving: bool = False) -> str:
    """32 hexadecimal digits of `text`."""
    return hashlib.blake2b(text(plan, zero_preserving=zero_preserving).encode(), digest_size=16).hexdigest()


def write(root: Value, twins: bool) -> tuple[str, list[Value]]:
    """The text of a value, and all values it needs in the order in which the text names them.

    `twins` says that some sum has terms of equal `order`.
    """
    order = _refined(root) if twins else {}
    seen: dict[Value, int] = {}
    out: list[str] = []
    stack: list[Value | str] = [root]
    while stack:
        item, depth = stack.pop(), 0
        while not isinstance(item, str):
            if item in seen:
                item = f"#{seen[item]}"
                break
            seen[item] = len(seen)
            parts = item.inputs
            out += (item.op, "(")
            if len(parts) == 1:
                item, depth = parts[0], depth + 1
                continue
            if twins and item.unordered:  # without twins the terms of a sum are sorted already
                parts = tuple(sorted(parts, key=lambda v: (v.order, order[v])))
            stack.append(")" + ",)" * depth)
            for part in parts[::-1]:
                stack += (",", part)
            item, depth = "", 0
        out.append(item + ",)" * depth)
    return "".join(out), list(seen)


def _refined(root: Value) -> dict[Value, int]:
    """A number for each value to sort terms of equal order by. Where equal-looking terms differ only in who else
    uses them, their users decide: colour refinement, down from the result and up again, twice."""
    values: dict[Value, int] = {}
    stack = [root]
    while stack:  # what is used comes before its users
        value = stack[-1]
        waiting = [v for v in value.inputs if v not in values]
        if waiting and value not in values:
            stack += waiting
            continue
        values[value] = value.order
        stack.pop()
    upward = list(values)
    for _ in range(2):
        users: dict[Value, list[str]] = {value: [] for value in upward}
        for value in reversed(upward):
            here = zlib.crc32(f"{values[value]}{sorted(users[value])}".encode())
            for place, part in enumerate(value.inputs):
                users[part].append(f"{here}:{0 if value.unordered else place}")
        for value in upward:
            below = [values[part] for part in value.inputs]
            text = f"{sorted(below) if value.unordered else below}{sorted(users[value])}"
            values[value] = zlib.crc32(text.encode(), checksum(value.op))
    return values
