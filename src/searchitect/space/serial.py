"""Spaces as JSON. Nodes are numbered, so that a node used twice (a tie) is still one node after reading."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from searchitect.errors import SpaceError
from searchitect.space import limits
from searchitect.space.architecture import no_constant, no_duplicates
from searchitect.space.nodes import FUNCTIONS, Choice, Float, Int, Layer, Node, Repeat, Subset

FORMAT = 1
LIMIT_NODES = 100_000
LIMIT_TEXT = 50_000_000


def to_json(root: Node, declared: Sequence[limits.Limit] = (), *, strict: bool = True) -> str:
    """The definition as JSON text. `strict` refuses classes that a file cannot name."""
    nodes: list[dict[str, Any]] = []
    seen: dict[int, int] = {}
    kept: list[Node] = []  # keeps ids valid

    def write(value: Any) -> Any:
        if isinstance(value, Node):
            if id(value) not in seen:
                body = _body(value, write, strict)
                seen[id(value)] = len(nodes)
                kept.append(value)
                nodes.append(body)
            return {"node": seen[id(value)]}
        if isinstance(value, tuple):
            return {"tuple": [write(item) for item in value]}
        if isinstance(value, list):
            return [write(item) for item in value]
        if isinstance(value, dict):
            return {"dict": [[key, write(item)] for key, item in value.items()]}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}
        return value

    top = write(root)
    body = {"format": FORMAT, "nodes": nodes, "root": top["node"]}
    if declared:
        body["limits"] = [limits.body(one, strict=strict) for one in declared]
    return json.dumps(body, sort_keys=True, allow_nan=False)


def _body(node: Node, write: Any, strict: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": type(node).__name__}
    if node.label:
        body["label"] = node.label
    if node.tie:
        body["tie"] = node.tie
    if isinstance(node, Layer):
        if strict and "<" in node.target:
            raise SpaceError(
                f"{node.target} is defined inside a function or by lambda, so a file cannot name it: move it to the "
                "top of its module and give it a name"
            )
        body |= {
            "target": node.target,
            "module": node.module,
            "args": [[k, write(v)] for k, v in node.args.items()],
        }
    elif isinstance(node, Choice):
        body |= {"options": [write(o) for o in node.options], "labels": list(node.labels)}
        if node.search_only:
            body["search_only"] = [[k, write(v)] for k, v in node.search_only.items()]
    elif isinstance(node, Subset):
        body |= {"options": [write(o) for o in node.options], "labels": list(node.labels), "k": node.k}
    elif isinstance(node, Repeat):
        body |= {"copies": [write(c) for c in node.copies], "low": node.low}
    elif isinstance(node, Int):
        body |= {"low": node.low, "high": node.high, "step": node.step, "log": node.log}
    elif isinstance(node, Float):
        body |= {"low": node.low, "high": node.high, "log": node.log}
    return body


def from_json(text: str, targets: Mapping[str, Any]) -> tuple[Node, tuple[limits.Limit, ...]]:
    """The tree and the limits that `to_json` wrote. Imports nothing: targets stay names until the space is built.

    Raises SpaceError for anything that is not such a file.
    """
    if len(text) > LIMIT_TEXT:
        raise SpaceError(f"space file of {len(text)} bytes: at most {LIMIT_TEXT} are read")
    try:
        body = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant)
        if body["format"] != FORMAT:
            raise SpaceError(f"space format {body['format']!r}: this version reads format {FORMAT}")
        if len(body["nodes"]) > LIMIT_NODES:
            raise SpaceError(f"space of {len(body['nodes'])} nodes: at most {LIMIT_NODES} are read")
        nodes: list[Node] = []
        for entry in body["nodes"]:
            nodes.append(_node(entry, nodes, targets))
        return nodes[_index(body["root"], nodes)], limits.from_bodies(body.get("limits", ()), targets)
    except SpaceError as error:
        raise SpaceError(f"not a space file: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise SpaceError(f"not a space file: {type(error).__name__}: {error!s:.200}") from None


def _index(value: Any, nodes: list[Node]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(nodes):
        raise ValueError(f"node {value!r} is not there yet")
    return value


def _read(value: Any, nodes: list[Node]) -> Any:
    if isinstance(value, list):
        return [_read(item, nodes) for item in value]
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "node":
            return nodes[_index(inner, nodes)]
        if kind == "tuple":
            return tuple(_read(item, nodes) for item in inner)
        if kind == "dict":
            return {str(key): _read(item, nodes) for key, item in inner}
        if kind == "float" and inner in ("inf", "-inf"):
            return float(inner)
        raise ValueError(f"unknown value {kind!r}")
    return value


def _node(body: dict[str, Any], nodes: list[Node], targets: Mapping[str, Any]) -> Node:
    kind, names = body["kind"], {"label": body.get("label"), "tie": body.get("tie")}
    if kind == "Layer":
        target = body["target"]
        args = {str(key): _read(value, nodes) for key, value in body["args"]}
        function = FUNCTIONS.get(target) or targets.get(target)
        return Layer(target, args, module=body["module"] is True, function=function, **names)
    if kind == "Choice":
        options = [_read(o, nodes) for o in body["options"]]
        search_only = {str(key): _read(value, nodes) for key, value in body.get("search_only", ())}
        return Choice(options, body["labels"], search_only=search_only, **names)
    if kind == "Subset":
        return Subset([_read(o, nodes) for o in body["options"]], body["labels"], body["k"], **names)
    if kind == "Repeat":
        return Repeat([_read(c, nodes) for c in body["copies"]], body["low"], **names)
    if kind == "Int":
        return Int(body["low"], body["high"], body["step"], log=body["log"] is True, **names)
    if kind == "Float":
        return Float(body["low"], body["high"], log=body["log"] is True, **names)
    raise ValueError(f"unknown kind of node {kind!r}")
