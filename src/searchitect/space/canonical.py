"""Canonical keys: two architectures with equal keys compute the same functions (with weights mapped).

A plan is run on symbols. Identity disappears, sums are flat multisets, zero terms go, branches that nobody
uses go, and a *parameter-free* operation applied twice to one value is one value; each *weighted* operation
(also a random one, such as dropout) is a value of its own, so conv_a(x) + conv_b(x) is not 2·conv_a(x).
What a class of the user's does is unknown: it counts as one weighted operation. The result is written out
exactly, shared values by reference; a hash only decides the order in which equal-looking terms are written,
so a collision can cost a merge and never makes a false one. The key is a BLAKE2b digest of that text.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Any

from searchitect.space.decision import Plan

NN, NETS = "torch.nn.", "searchitect.nets."

FREE = {  # no parameters, not random, and zero stays zero
    NN + n
    for n in """ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Tanh Hardswish Hardtanh Softsign Tanhshrink
    Softshrink Hardshrink MaxPool1d MaxPool2d AvgPool1d AvgPool2d AdaptiveAvgPool1d AdaptiveAvgPool2d
    AdaptiveMaxPool1d AdaptiveMaxPool2d LPPool2d Flatten Unflatten ZeroPad1d ZeroPad2d PixelShuffle Upsample""".split()
} | {NETS + n for n in ("Mean", "Tokens")}
FREE_NOT_ZERO = {NN + n for n in ("Sigmoid", "Softplus", "Hardsigmoid", "LogSigmoid", "Softmax", "LogSoftmax")}
ZERO_KEPT_WITHOUT_BIAS = {
    NN + n for n in "Linear LazyLinear Conv1d Conv2d Conv3d LazyConv1d LazyConv2d LazyConv3d".split()
}
NORMS = {NN + n for n in "BatchNorm1d BatchNorm2d LazyBatchNorm1d LazyBatchNorm2d LayerNorm GroupNorm".split()}
ZERO_KEPT_RANDOM = {NN + n for n in "Dropout Dropout1d Dropout2d AlphaDropout".split()} | {NETS + "DropPath"}
IRRELEVANT = {"inplace", "device", "dtype"}


class Value:
    """One symbol: an operation on inputs. Compared by identity; `order` only sorts."""

    __slots__ = ("inputs", "op", "order", "unordered")

    def __init__(self, op: str, inputs: tuple[Value, ...], unordered: bool = False) -> None:
        self.op = op
        self.inputs = inputs
        self.unordered = unordered
        below = sorted(v.order for v in inputs) if unordered else [v.order for v in inputs]
        self.order: int = zlib.crc32(f"{op}{below}".encode())


INPUT = Value("x", ())
ZERO = Value("0", ())


class Graph:
    """The values of one architecture; parameter-free ones are kept once."""

    def __init__(self, zero_preserving: bool) -> None:
        self.zero_preserving = zero_preserving
        self.known: dict[Any, Value] = {}

    def free(self, op: str, *inputs: Value) -> Value:
        """A parameter-free operation: one value for equal inputs."""
        name = (op, *map(id, inputs))
        found = self.known.get(name)
        if found is None:
            found = self.known[name] = Value(op, inputs)
        return found

    def sum(self, terms: list[Value]) -> Value:
        """A flat sum without zero terms."""
        flat: list[Value] = []
        for term in terms:
            if term.op == "+":
                flat += term.inputs
            elif term is not ZERO:
                flat.append(term)
        if len(flat) < 2:
            return flat[0] if flat else ZERO
        flat.sort(key=_order_then_id)
        name = ("+", *map(id, flat))
        found = self.known.get(name)
        if found is None:
            found = self.known[name] = Value("+", tuple(flat), unordered=True)
        return found

    def apply(self, plan: Plan, x: Any) -> Any:
        """The value of a module at a value (or a list of values)."""
        rule = RULES.get(plan.target)
        if rule is not None:
            return rule(self, plan, x)
        inputs = tuple(x) if isinstance(x, list) else (x,)
        target = plan.target
        if target in FREE:
            return ZERO if x is ZERO else self.free(signature(plan), *inputs)
        if target in FREE_NOT_ZERO:
            return self.free(signature(plan), *inputs)
        if x is ZERO and self._keeps_zero(plan):
            return ZERO
        return Value(signature(plan), inputs)

    def _keeps_zero(self, plan: Plan) -> bool:
        if plan.target in ZERO_KEPT_RANDOM:
            return True
        if plan.target in ZERO_KEPT_WITHOUT_BIAS:
            return plan.args.get("bias") is False or self.zero_preserving
        return self.zero_preserving and plan.target in NORMS


def _order_then_id(value: Value) -> tuple[int, int]:
    return value.order, id(value)


def _sequential(graph: Graph, plan: Plan, x: Any) -> Any:
    for part in plan.args.get("*", ()):
        x = graph.apply(part, x)
    return x


def _identity(_graph: Graph, _plan: Plan, x: Any) -> Any:
    return x


def _zero(_graph: Graph, _plan: Plan, _x: Any) -> Any:
    return ZERO


def _skip(graph: Graph, plan: Plan, x: Any) -> Any:
    return x if plan.args.get("stride") == 1 else Value(signature(plan), (x,))


def _dropout(graph: Graph, plan: Plan, x: Any) -> Any:
    if x is ZERO or plan.args.get("p") == 0:
        return x
    return Value(signature(plan), (x,))


def _residual(graph: Graph, plan: Plan, x: Any) -> Any:
    # the input is added only where the shapes agree, which a symbol does not know: an operation of its own
    y = graph.apply(plan.args["body"], x)
    return graph.sum([x, x]) if y is x else graph.free("residual", x, y)


def _branches(graph: Graph, plan: Plan, x: Any) -> Any:
    outputs = [graph.apply(part, x) for part in plan.args.get("*", ())]
    return graph.sum(outputs) if plan.args.get("merge") == "sum" else graph.free("concat", *outputs)


def _members(graph: Graph, plan: Plan, x: Any) -> Any:
    return [graph.apply(part, x) for part in plan.args.get("*", ())]


def _edge(graph: Graph, plan: Plan, states: Any) -> Any:
    return graph.apply(plan.args["op"], states[plan.args["source"]])


def _cell(graph: Graph, plan: Plan, x: Any) -> Any:
    edges, states, done = plan.args["edges"], [x], 0
    while done < len(edges):
        width = len(states)
        states.append(graph.sum([graph.apply(edges[done + i], states[i]) for i in range(width)]))
        done += width
    return states[-1]


def _two_input_cell(graph: Graph, plan: Plan, pair: Any) -> Any:
    args = plan.args
    stem = f"pre({args['width']},{args['after_reduction']})"
    states = [Value(stem + "0", (pair[0],)), Value(f"pre({args['width']})1", (pair[1],))]
    for node in args["nodes"]:
        states.append(graph.sum(graph.apply(node, states)))
    return graph.free("concat", *states[2:])


def _two_input_chain(graph: Graph, plan: Plan, x: Any) -> Any:
    before = now = graph.apply(plan.args["stem"], x)
    for cell in plan.args["cells"]:
        before, now = now, graph.apply(cell, [before, now])
    return graph.apply(plan.args["head"], now)


RULES: dict[str, Callable[[Graph, Plan, Any], Any]] = {
    NN + "Sequential": _sequential,
    NN + "Identity": _identity,
    NN + "Dropout": _dropout,
    NETS + "DropPath": _dropout,
    NETS + "Zero": _zero,
    NETS + "Skip": _skip,
    NETS + "Residual": _residual,
    NETS + "Branches": _branches,
    NETS + "Members": _members,
    NETS + "Edge": _edge,
    NETS + "Cell": _cell,
    NETS + "TwoInputCell": _two_input_cell,
    NETS + "TwoInputChain": _two_input_chain,
}


def signature(plan: Plan) -> str:
    """Target and arguments as text; remembered on the plan."""
    if plan.signature is None:
        args = ",".join(f"{k}={_text(v)}" for k, v in sorted(plan.args.items()) if k not in IRRELEVANT)
        plan.signature = f"{plan.target}({args})"
    return plan.signature


def _text(value: Any) -> str:
    if isinstance(value, Plan):
        return signature(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k!r}:{_text(v)}" for k, v in sorted(value.items())) + "}"
    return repr(value)


def text(plan: Plan, *, zero_preserving: bool = False) -> str:
    """The exact serialisation of what the plan computes. Equal texts: equal functions with weights mapped.

    `zero_preserving` counts normalisation and biased layers as mapping zero to zero, as some published
    counts do; it is not safe for reuse.
    """
    result = Graph(zero_preserving).apply(plan, INPUT)
    return _write(result if isinstance(result, Value) else Value("list", tuple(result)))


def key(plan: Plan, *, zero_preserving: bool = False) -> str:
    """32 hexadecimal digits of `text`."""
    return hashlib.blake2b(text(plan, zero_preserving=zero_preserving).encode(), digest_size=16).hexdigest()


def _write(root: Value) -> str:
    order = _refined(root)
    seen: dict[Value, str] = {}
    out: list[str] = []

    def visit(value: Value) -> None:
        known = seen.get(value)
        if known is not None:
            out.append(known)
            return
        seen[value] = f"#{len(seen)}"
        out.append(value.op)
        out.append("(")
        for part in sorted(value.inputs, key=order.__getitem__) if value.unordered else value.inputs:
            visit(part)
            out.append(",")
        out.append(")")

    visit(root)
    return "".join(out)


def _refined(root: Value) -> dict[Value, int]:
    """A number for each value to sort terms by. Where equal-looking terms differ only in who else uses them,
    their users decide: colour refinement, down from the result and up again, twice."""
    values: dict[Value, int] = {}
    twins = False
    stack = [root]
    while stack:  # users before what they use, after the reversal below
        value = stack[-1]
        if value in values:
            stack.pop()
            continue
        waiting = [v for v in value.inputs if v not in values]
        if waiting:
            stack += waiting
            continue
        values[value] = value.order
        if value.unordered:
            orders = {v: v.order for v in value.inputs}
            twins = twins or len(set(orders.values())) < len(orders)
        stack.pop()
    if not twins:
        return values
    upward = list(values)
    for _ in range(2):
        users: dict[Value, list[str]] = {value: [] for value in upward}
        for value in reversed(upward):
            here = zlib.crc32(f"{values[value]}{sorted(users[value])}".encode())
            for place, part in enumerate(value.inputs):
                users[part].append(f"{here}:{0 if value.unordered else place}")
        for value in upward:
            below = [values[part] for part in value.inputs]
            text = f"{value.op}{sorted(below) if value.unordered else below}{sorted(users[value])}"
            values[value] = zlib.crc32(text.encode())
    return values
