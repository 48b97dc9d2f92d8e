"""The cells of an architecture as small graphs: which operation leads from which node to which.

A table first (`graphs`), then its drawing (`drawing`): the nodes from top to bottom, an operation on every edge, or
beside the nodes where they hold the operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec
from markupsafe import Markup

from searchitect.errors import SearchitectError
from searchitect.report import svg
from searchitect.report.plain import line
from searchitect.space import Space
from searchitect.space.nodes import Choice, Layer, Node, Subset, describe
from searchitect.space.vertices import representative

CELL, TWO_INPUTS, EDGE, VERTICES = (
    f"searchitect.nets.{name}" for name in ("Cell", "TwoInputCell", "Edge", "VertexCell")
)
ZERO = "searchitect.nets.Zero"
SKIPS = ("torch.nn.Identity", "torch.nn.modules.linear.Identity", "searchitect.nets.Skip")
SHOWN = 4  # different cells
MOST_NODES = 20
STEP, AXIS, RADIUS, NEAR, APART = 46.0, 16.0, 12.0, 98.0, 96.0


class Arrow(msgspec.Struct, frozen=True):
    """An operation from one node to a later one. `passes`: it gives its input on, and no word stands at it."""

    start: int
    end: int
    operation: str
    passes: bool = False


class Graph(msgspec.Struct, frozen=True):
    """A cell: its nodes by name in their order, what leads from one to another, and what the nodes do, if they do."""

    name: str
    nodes: tuple[str, ...]
    arrows: tuple[Arrow, ...]
    beside: tuple[str, ...] = ()


def graphs(text: Any, decisions: Mapping[str, Any]) -> list[Graph]:
    """The different cells of an architecture of the space in `text` (JSON); none where there are no cells."""
    try:
        space = Space.from_json(text)
    except (SearchitectError, TypeError, ValueError):
        return []
    found: dict[tuple[Any, ...], Graph] = {}
    for layer in _layers(space.root, set()):
        graph = _graph(space, layer, decisions)
        if graph is not None and graph.arrows and len(graph.nodes) <= MOST_NODES:
            found.setdefault((graph.name, graph.arrows, graph.beside), graph)
    return list(found.values())[:SHOWN]


def _layers(node: Any, seen: set[int]) -> Iterator[Layer]:
    """All layers of a space that are cells, each once."""
    if isinstance(node, (list, tuple)):
        for part in node:
            yield from _layers(part, seen)
    if not isinstance(node, Node) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, Layer) and node.target in (CELL, TWO_INPUTS, VERTICES):
        yield node
    for _, child in node.children():
        yield from _layers(child, seen)


def _graph(space: Space, layer: Layer, decisions: Mapping[str, Any]) -> Graph | None:
    """The table of one cell; None when its arguments are not as expected."""
    if layer.target == VERTICES:
        return _vertices(space, layer.args.get("vertices"), decisions)
    if layer.target == CELL:
        edges = layer.args.get("edges")
        pairs = [(i, j) for j in range(1, MOST_NODES + 1) for i in range(j)]
        if not isinstance(edges, (list, tuple)) or len(edges) > len(pairs):
            return None
        places = [(i, j, edge) for (i, j), edge in zip(pairs, edges, strict=False)]
        count = 1 + max((j for _, j, _ in places), default=0)
        names = ["in", *(str(i) for i in range(1, count - 1)), "out"]
    else:
        nodes = layer.args.get("nodes")
        if not isinstance(nodes, (list, tuple)):
            return None
        places = [(*edge, j) for j, node in enumerate(nodes, 2) for edge in _members(space, node, decisions)]
        places = [(source, j, operation) for source, operation, j in places if source < j]
        names = ["−2", "−1", *(str(i) for i in range(1, len(nodes) + 1))]
    arrows = [arrow for i, j, node in places if (arrow := _arrow(space, i, j, node, decisions)) is not None]
    return Graph(_name(space, [node for *_, node in places]), tuple(names), tuple(arrows))


def _vertices(space: Space, made: Any, decisions: Mapping[str, Any]) -> Graph | None:
    """The table of a cell whose operations are at its vertices, from the edges and operations that were chosen."""
    if not isinstance(made, Layer) or not {"edges", "operations"} <= set(made.args):
        return None
    edges, operations = (
        [decisions.get(d.name) if (d := space.decision_of(node)) else None for node in made.args[name]]
        for name in ("edges", "operations")
    )
    try:
        found = representative(tuple(bool(edge) for edge in edges), tuple(map(str, operations)))
    except ValueError:
        return None
    arrows = [Arrow(i, j, "edge", passes=True) for j, (_, sources) in enumerate(found, 1) for i in sources]
    names = ["in", *(str(i) for i in range(1, len(found))), "out"]
    return Graph("cell", tuple(names), tuple(arrows), ("", *(name for name, _ in found[:-1]), ""))


def _members(space: Space, node: Any, decisions: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """(source, operation) of the chosen edges of an inner node."""
    if not isinstance(node, Subset):
        return []
    decision = space.decision_of(node)
    chosen = node.labels if decision is None else str(decisions.get(decision.name, "")).split("+")
    members = [option for label, option in zip(node.labels, node.options, strict=True) if label in chosen]
    edges = [m for m in members if isinstance(m, Layer) and m.target == EDGE]
    return [(m.args["source"], m.args.get("op")) for m in edges if isinstance(m.args.get("source"), int)]


def _arrow(space: Space, start: int, end: int, node: Any, decisions: Mapping[str, Any]) -> Arrow | None:
    """None for zeros, and where nothing is known to have been chosen."""
    option, label = node, describe(node)
    if isinstance(node, Choice):
        decision = space.decision_of(node)
        value = node.labels[0] if decision is None else decisions.get(decision.name)
        if value not in node.labels:
            return None
        label, option = str(value), node.options[list(node.labels).index(value)]
    target = option.target if isinstance(option, Layer) else ""
    return None if target == ZERO else Arrow(start, end, line(label, 40), target in SKIPS)


def _name(space: Space, nodes: list[Any]) -> str:
    """What the names of all decisions of the cell begin with; "cell" where they have nothing in common."""
    places = {d.name for node in nodes if isinstance(node, Node) and (d := space.decision_of(node)) is not None}
    first = {name.partition(".")[0] if "." in name else "" for name in places}
    return line(first.pop(), 40) if len(first) == 1 and "" not in first else "cell"


# -- drawing ---------------------------------------------------------------------------------------------


def drawing(graph: Graph) -> Markup:
    """The nodes in a column; operations between neighbours stand on it, others on arcs beside it."""
    places = [RADIUS + 2 + STEP * i for i in range(len(graph.nodes))]
    axis = AXIS + (6.6 * max(map(len, graph.beside)) + 4 if graph.beside else 0)
    widest = max((_apex(a.end - a.start) + (0 if a.passes else 6.6 * len(_label(a))) for a in graph.arrows), default=0)
    parts = [_edge(arrow, places, axis) for arrow in sorted(graph.arrows, key=lambda a: a.start - a.end)]
    parts += [_words(arrow, places) for arrow in graph.arrows if not arrow.passes]
    for name, y in zip(graph.nodes, places, strict=True):
        parts.append(svg.dot(axis, y, RADIUS, "node"))
        parts.append(svg.text(axis, y + 4, name, "tick", "middle"))
    for word, y in zip(graph.beside, places, strict=False):
        parts.append(svg.text(axis - RADIUS - 4, y + 4, word, "tick", "end"))
    said = [f"{name} is {word}" for name, word in zip(graph.nodes, graph.beside, strict=False) if word]
    said += [f"{graph.nodes[a.start]} to {graph.nodes[a.end]} {a.operation}" for a in graph.arrows]
    spoken = f"{graph.name}: " + "; ".join(said)
    width = max(axis + 20 + widest, 290.0)
    return svg.picture(spoken, places[-1] + RADIUS + 4, *parts, width=width, class_="figure cell")


def _apex(span: int) -> float:
    """How far an arc stands out, so that words on arcs with one middle do not meet: those spans differ by two."""
    if span == 1:
        return 0.0
    return NEAR + APART * (span // 2 - 1) + (18.0 if span % 2 else 0.0)


def _label(arrow: Arrow) -> str:
    return arrow.operation if len(arrow.operation) <= 16 else arrow.operation[:15] + "…"


def _edge(arrow: Arrow, places: list[float], axis: float) -> Markup:
    top, bottom = places[arrow.start], places[arrow.end]
    out = axis + _apex(arrow.end - arrow.start) / 0.75  # a cubic curve reaches three quarters of its handles
    curve = f"M{axis:.1f} {top:.1f} C{out:.1f} {top:.1f} {out:.1f} {bottom:.1f} {axis:.1f} {bottom:.1f}"
    tip = svg.tag("title", arrow.operation)
    return svg.tag("path", tip, d=curve, class_="curve s6 passes" if arrow.passes else "curve s1")


def _words(arrow: Arrow, places: list[float]) -> Markup:
    middle = (places[arrow.start] + places[arrow.end]) / 2
    return svg.text(AXIS + _apex(arrow.end - arrow.start) + 6, middle + 4, _label(arrow), "tick halo")


def content(text: Any, decisions: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Name and drawing of each different cell, names numbered where they repeat."""
    rows = []
    for name, same in groupby(graphs(text, decisions), key=lambda graph: graph.name):
        alike = list(same)
        rows += [(f"{name} {i}" if len(alike) > 1 else name, drawing(g)) for i, g in enumerate(alike, 1)]
    return rows
