"""A plan run on symbols: what each module does to a value, as far as canonical keys know it.

One value for each operation on inputs; parameter-free operations are kept once, sums are flat, zeros are
values with a shape and no operation. `RULES` holds one function for each container that is looked into.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from searchitect.space import shapes
from searchitect.space.decision import Plan
from searchitect.space.shapes import NETS, NN, Token

VIEWS = {NN + "Flatten", NN + "Unflatten", NETS + "Tokens"}  # share memory with their input
FREE = VIEWS | {  # no parameters, not random, and zero stays zero
    NN + n
    for n in """ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Tanh Hardswish Softsign Tanhshrink
    Softshrink Hardshrink MaxPool1d MaxPool2d AvgPool1d AvgPool2d AdaptiveAvgPool1d AdaptiveAvgPool2d
    AdaptiveMaxPool1d AdaptiveMaxPool2d LPPool2d ZeroPad1d ZeroPad2d PixelShuffle Upsample""".split()
} | {NETS + "Mean"}  # fmt: skip
FREE_NOT_ZERO = {
    NN + n for n in ("Sigmoid", "Softplus", "Hardsigmoid", "Hardtanh", "LogSigmoid", "Softmax", "LogSoftmax")
}
ZERO_KEPT_WITHOUT_BIAS = shapes.CONVOLUTIONS | {NN + "Linear", NN + "LazyLinear"}
NORMS = {NN + n for n in "BatchNorm1d BatchNorm2d LazyBatchNorm1d LazyBatchNorm2d LayerNorm GroupNorm".split()}
IRRELEVANT = {"inplace", "device", "dtype"}
_serial = itertools.count()


class Value:
    """One symbol: an operation on inputs. Compared by identity; `order` only sorts.

    `plan` is the module that made it, if one did; `token` the shape, when this is a zero.
    """

    __slots__ = ("inputs", "op", "order", "plan", "serial", "token", "unordered")

    def __init__(
        self, op: str, inputs: tuple[Value, ...], plan: Plan | None = None, *,
        unordered: bool = False, token: Token | None = None,
    ) -> None:  # fmt: skip
        self.op, self.inputs, self.plan = op, inputs, plan
        self.unordered, self.token = unordered, token
        self.serial = next(_serial)  # the order of making, where `order` does not decide
        if len(inputs) == 1:
            below = f"[{inputs[0].order}]"
        else:
            orders = [v.order for v in inputs]
            below = f"{sorted(orders) if unordered else orders}"
        self.order: int = zlib.crc32(below.encode(), checksum(op))


@lru_cache(maxsize=1 << 16)
def checksum(op: str) -> int:
    """CRC-32 of an operation's text, to be gone on from: crc32(b, crc32(a)) = crc32(a + b)."""
    return zlib.crc32(op.encode())


INPUT = Value("x", ())


class Graph:
    """The values of one architecture; parameter-free ones are kept once."""

    def __init__(self, zero_preserving: bool) -> None:
        self.zero_preserving = zero_preserving
        self.known: dict[Any, Value] = {}
        self.shapes: dict[Value, Token] = {}
        self.shared: set[Value] = set()  # used by several modules
        self.twins = False  # whether a sum has terms of equal order
        self.as_written = False  # whether one of them is changed in place

    def weighted(self, op: str, inputs: tuple[Value, ...], plan: Plan | None = None) -> Value:
        """An operation with weights or randomness of its own: a new value each time."""
        return Value(op, inputs, plan)

    def free(self, op: str, inputs: tuple[Value, ...], plan: Plan | None = None) -> Value:
        """A parameter-free operation: one value for equal inputs."""
        name = (op, inputs)
        found = self.known.get(name)
        if found is None:
            found = self.known[name] = Value(op, inputs, plan)
        return found

    def zero(self, token: Token) -> Value:
        """A tensor of zeros."""
        found = self.known.get(token)
        if found is None:
            found = self.known[token] = Value(f"0{token!r}", (), token=token)
        return found

    def sum(self, terms: list[Value]) -> Value:
        """A flat sum without zero terms."""
        flat: list[Value] = []
        for term in terms:
            if term.op == "+":
                flat += term.inputs
            elif term.token is None:
                flat.append(term)
        if len(flat) < 2:
            return flat[0] if flat else min(terms, key=_op)
        flat.sort(key=_order_then_serial)
        inputs = tuple(flat)
        found = self.known.get(("+", inputs))
        if found is None:
            found = self.known["+", inputs] = Value("+", inputs, unordered=True)
            self.twins = self.twins or len({v.order for v in flat}) < len(set(flat))
        return found

    def share(self, value: Any) -> None:
        """Note that several modules will see this value."""
        if isinstance(value, Value):
            self.shared.add(value)

    def apply(self, plan: Plan, x: Any) -> Any:
        """The value of a module at a value (or a list of values)."""
        target = plan.target
        rule = RULES.get(target)
        if rule is not None:
            try:
                return rule(self, plan, x)
            except (KeyError, IndexError, TypeError, AttributeError):
                return self.weighted(signature(plan), flat_values(x), plan)  # used wrongly: building it will say how
        op = plan.signature or signature(plan)
        if isinstance(x, list):
            return self.weighted(op, flat_values(x), plan)
        shared = x in self.shared
        if shared and plan.args.get("inplace"):
            self.as_written = True
        if target in FREE:
            if x.token is not None:
                return self.zero(shapes.after(plan, op, x.token))
            made = self.free(op, (x,), plan)
            if shared and target in VIEWS:
                self.shared.add(made)
            return made
        if target in FREE_NOT_ZERO:
            return self.free(op, (x,), plan)
        if x.token is not None and self._keeps_zero(plan):
            return self.zero(shapes.after(plan, op, x.token))
        return self.weighted(op, (x,), plan)

    def _keeps_zero(self, plan: Plan) -> bool:
        if plan.target in ZERO_KEPT_WITHOUT_BIAS:
            return plan.args.get("bias") is False or self.zero_preserving
        return self.zero_preserving and plan.target in NORMS

    def shape(self, value: Value) -> Token:
        """The shape of a value as a symbol (see `shapes`)."""
        known, above = self.shapes, list[Value]()
        token = known.get(value)
        while token is None:
            above.append(value)
            if value.token is not None or value is INPUT:
                token = value.token or shapes.INPUT
            elif value.op in ("+", "residual"):
                value = value.inputs[-1]
                token = known.get(value)
            elif len(value.inputs) == 1:
                value = value.inputs[0]
                token = known.get(value)
            else:
                token = value.op, tuple(map(self.shape, value.inputs))
        while above:
            value = above.pop()
            if value.token is None and len(value.inputs) == 1:
                token = _after(value, token)
            known[value] = token
        return token


def _after(value: Value, token: Token) -> Token:
    if value.plan is None:
        return value.op, token
    if value.plan.target == NETS + "TwoInputCell":  # one of its two inward convolutions
        halved = value.op.endswith("True)0")
        return value.plan.args["width"], shapes.shrunk(token[1], 1 + halved)
    return shapes.after(value.plan, value.op, token)


def flat_values(x: Any) -> tuple[Value, ...]:
    """The values of a value, or of a list of lists of them."""
    return tuple(value for item in x for value in flat_values(item)) if isinstance(x, list) else (x,)


def _op(value: Value) -> str:
    return value.op


def _order_then_serial(value: Value) -> tuple[int, int]:
    return value.order, value.serial


def _sequential(graph: Graph, plan: Plan, x: Any) -> Any:
    for part in plan.args.get("*", ()):
        x = graph.apply(part, x)
    return x


def _identity(_graph: Graph, _plan: Plan, x: Any) -> Any:
    return x


def _zero(graph: Graph, plan: Plan, x: Value) -> Value:
    return graph.zero(shapes.after(plan, "", graph.shape(x)))


def _skip(graph: Graph, plan: Plan, x: Value) -> Value:
    return x if plan.args.get("stride") == 1 else graph.weighted(signature(plan), (x,), plan)


def _dropout(graph: Graph, plan: Plan, x: Value) -> Value:
    if x.token is not None or plan.args.get("p") == 0:
        return x
    made = graph.weighted(signature(plan), (x,), plan)
    if x in graph.shared:  # in evaluation it is its input
        graph.shared.add(made)
        graph.as_written = graph.as_written or bool(plan.args.get("inplace"))
    return made


def _residual(graph: Graph, plan: Plan, x: Value) -> Value:
    graph.share(x)
    y = graph.apply(plan.args["body"], x)
    if y is x:
        return graph.sum([x, x])
    if y.token is not None and y.token == graph.shape(x):
        return x
    # the input is added only where the shapes agree, which a symbol does not always know: an operation of its own
    return graph.free("residual", (x, y))


def _branches(graph: Graph, plan: Plan, x: Value) -> Value:
    graph.share(x)
    outputs = [graph.apply(part, x) for part in plan.args.get("*", ())]
    return graph.sum(outputs) if plan.args.get("merge") == "sum" else graph.free("concat", tuple(outputs))


def _members(graph: Graph, plan: Plan, x: Any) -> list[Any]:
    graph.share(x)
    return [graph.apply(part, x) for part in plan.args.get("*", ())]


def _edge(graph: Graph, plan: Plan, states: Any) -> Any:
    if not isinstance(states, list):  # a list that a class of the user's made
        return graph.weighted(signature(plan), (states,), plan)
    return graph.apply(plan.args["op"], states[plan.args["source"]])


def _cell(graph: Graph, plan: Plan, x: Value) -> Value:
    edges, states, done = plan.args["edges"], [x], 0
    graph.share(x)
    while done < len(edges):
        width = len(states)
        states.append(graph.sum([graph.apply(edges[done + i], states[i]) for i in range(width)]))
        graph.share(states[-1])
        done += width
    return states[-1]


def _vertex_cell(graph: Graph, plan: Plan, x: Value) -> Value:
    vertices = plan.args["vertices"]
    if not vertices:  # no path to the output: it cannot be built
        return graph.weighted(signature(plan), (x,), plan)
    graph.share(x)
    states, widths = [x], [0]
    for name, width, sources in vertices:
        seen = [j for j in sources if j]
        if name == "output":
            terms = [
                graph.free("concat", tuple(states[j] for j in seen)) if len(seen) > 1 else states[j] for j in seen[:1]
            ]
        else:
            terms = [states[j] if widths[j] == width else graph.free(f"first({width})", (states[j],)) for j in seen]
        if 0 in sources:
            terms.append(graph.weighted(f"projection({width})", (x,)))
        total = graph.sum(terms)
        if name != "output":
            made = graph.free if name == "max_pool_3x3" else graph.weighted
            total = made(f"{name}({width})", (total,))
        states.append(total)
        widths.append(width)
        graph.share(total)
    return states[-1]


def _two_input_cell(graph: Graph, plan: Plan, pair: Any) -> Value:
    args = plan.args
    older = graph.weighted(f"pre({args['width']},{args['after_reduction']})0", (pair[0],), plan)
    states = [older, graph.weighted(f"pre({args['width']})1", (pair[1],), plan)]
    graph.shared.update(states)
    for node in args["nodes"]:
        outputs = graph.apply(node, states)
        states.append(graph.sum(outputs if isinstance(outputs, list) else [outputs]))
        graph.share(states[-1])
    return graph.free("concat", tuple(states[2:]))


def _two_input_chain(graph: Graph, plan: Plan, x: Value) -> Any:
    before = now = graph.apply(plan.args["stem"], x)
    for cell in plan.args["cells"]:
        graph.share(now)
        before, now = now, graph.apply(cell, [before, now])
    return graph.apply(plan.args["head"], now)


RULES: dict[str, Callable[[Graph, Plan, Any], Any]] = {
    NN + "Sequential": _sequential,
    NN + "Identity": _identity,
    NN + "Dropout": _dropout,
    NN + "Dropout1d": _dropout,
    NN + "Dropout2d": _dropout,
    NETS + "DropPath": _dropout,
    NETS + "Zero": _zero,
    NETS + "Skip": _skip,
    NETS + "Residual": _residual,
    NETS + "Branches": _branches,
    NETS + "Members": _members,
    NETS + "Edge": _edge,
    NETS + "Cell": _cell,
    NETS + "VertexCell": _vertex_cell,
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
