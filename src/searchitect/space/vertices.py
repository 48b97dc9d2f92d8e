"""Cells whose vertices hold the operations, as in NAS-Bench-101: from a matrix and labels to what is built.

Isomorphic cells are one network there, so a cell is cut down to what lies on a path from input to output and its
vertices are put into one order. The order is that of the first cell of its kind in the published enumeration
(https://github.com/google-research/nasbench, generate_graphs.py), which is the one that was trained: the smallest
matrix, then the smallest labels. It matters to the network only where channels do not divide evenly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from searchitect.space.architecture import Architecture

VERTEX_OPERATIONS = ("conv_3x3", "conv_1x1", "max_pool_3x3")  # in the order of the published labels
MOST_EDGES = 9
OUTPUT = "output"
_EDGE = re.compile(r"(\d+)-(\d+)")

# One vertex of a finished cell: its operation, its channels, the vertices before it that it sees (0 is the input).
Vertex = tuple[str, int, tuple[int, ...]]


def arranged(width: int, edges: Sequence[int], operations: Sequence[str]) -> tuple[Vertex, ...]:
    """The vertices of a cell after its input, in their order, the output last; none where no path leads to the output.

    width:      channels of the output, shared out among the vertices that lead to it (`channels`).
    edges:      for each pair of vertices 0→1, 0→2, 1→2, 0→3, ... whether there is an edge.
    operations: of the inner vertices.
    """
    order = representative(tuple(bool(e) for e in edges), tuple(operations))
    sources = [seen for _, seen in order]
    shares = channels(width, sources)
    return tuple((name, share, seen) for (name, seen), share in zip(order, shares, strict=True))


@lru_cache(maxsize=1 << 16)
def representative(edges: tuple[bool, ...], operations: tuple[str, ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Operation and sources of each vertex that lies on a path, the output last: equal for isomorphic cells.

    Raises ValueError where edges and operations do not belong together.
    """
    last = len(operations) + 1
    pairs = [(i, j) for j in range(1, last + 1) for i in range(j)]
    unknown = [name for name in operations if name not in VERTEX_OPERATIONS]
    if len(edges) != len(pairs) or unknown:
        raise ValueError(
            f"{len(edges)} edges, operations {', '.join(operations) or 'none'}: a cell of {len(operations)} operations "
            f"has {len(pairs)} pairs of vertices; operations are {', '.join(VERTEX_OPERATIONS)}"
        )
    before = _on_paths([pair for pair, there in zip(pairs, edges, strict=True) if there], last)
    if last not in before:
        return ()
    best: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    chosen: list[int] = []
    for order in _orders(before, last):
        place = {vertex: i for i, vertex in enumerate((0, *order))}
        # the bits of the published matrices begin with 0→1 as the lowest: the last vertex decides first
        matrix = tuple(sum(1 << place[i] for i in before[v]) for v in reversed(order))
        labels = tuple(VERTEX_OPERATIONS.index(operations[v - 1]) for v in order[:-1])
        if best is None or (matrix, labels) < best:
            best, chosen = (matrix, labels), order
    place = {vertex: i for i, vertex in enumerate((0, *chosen))}
    names = [*(operations[v - 1] for v in chosen[:-1]), OUTPUT]
    return tuple((name, tuple(sorted(place[i] for i in before[v]))) for name, v in zip(names, chosen, strict=True))


def channels(width: int, sources: Sequence[Sequence[int]]) -> list[int]:
    """Channels of each vertex after the input (Ying et al. 2019, figure 1c): those that lead to the output share its
    `width`, the first ones get what is left over; any other has as many as the widest vertex that it leads to.

    sources: of each vertex after the input, the output last.
    """
    if not sources:
        return []
    leading = [v for v in sources[-1] if v]
    found = [0] * len(sources)
    found[-1] = width
    for rank, v in enumerate(leading):
        found[v - 1] = width // len(leading) + (rank < width % len(leading))
    for v in range(len(sources) - 1, 0, -1):
        if v not in leading:
            found[v - 1] = max(found[j - 1] for j in range(v + 1, len(sources)) if v in sources[j - 1])
    return found


def published_cell(architecture: Architecture) -> bool:
    """Whether a cell with decisions "0-1", "0-2", ... is one of NAS-Bench-101: connected, with at most nine edges."""
    pairs = [(_EDGE.fullmatch(name), there) for name, there in architecture.decisions.items()]
    edges = [(int(found[1]), int(found[2])) for found, there in pairs if found and there]
    last = max((int(found[2]) for found, _ in pairs if found), default=0)
    return 0 < sum(map(len, _on_paths(edges, last).values())) <= MOST_EDGES


def _on_paths(edges: Sequence[tuple[int, int]], last: int) -> dict[int, list[int]]:
    """The vertices but the input that lie on a path from 0 to `last`, each with the ones before it on such a path."""
    ahead, behind = {0}, {last}
    for i, j in sorted(edges):  # upwards: everything before i is known
        if i in ahead:
            ahead.add(j)
    for i, j in sorted(edges, key=lambda edge: -edge[1]):
        if j in behind:
            behind.add(i)
    kept = ahead & behind
    if not {0, last} <= kept:
        return {}
    return {v: [i for i, j in edges if j == v and i in kept] for v in sorted(kept - {0})}


def _orders(before: dict[int, list[int]], last: int) -> Iterator[list[int]]:
    """All orders of the vertices in which each stands behind what it sees, the output last."""

    def go_on(done: list[int]) -> Iterator[list[int]]:
        if len(done) == len(before) - 1:
            yield [*done, last]
            return
        for v, seen in before.items():
            if v != last and v not in done and all(i in done or i == 0 for i in seen):
                yield from go_on([*done, v])

    return go_on([])
