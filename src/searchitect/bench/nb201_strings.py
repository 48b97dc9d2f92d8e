"""The published ways to count equivalent cells of NAS-Bench-201, which work on strings.

They take one value used twice for two values, so they are not `Space.key` (5,260 or 5,485 classes, by whether
convolution and BatchNorm of zero are zero) and nothing is reused by them. Kept to compare with published counts.
"""

from __future__ import annotations

from collections.abc import Mapping

NODES = 4


def unique_string(decisions: Mapping[str, object], *, keep_zeros: bool = True) -> str:
    """The string of a cell given as {"0-1": operation, ...}; equal strings count as one cell.

    The input is "0" and a zero "#", as published: sums are sorted as text and not opened, so the letters matter.
    A skip is its input's string; `none`, and whatever is applied to a lone zero, is a zero. With `keep_zeros`
    (Dong and Yang 2020, 6,466 classes) zeros stay as summands, without they are dropped (5,390 classes).
    """
    states = ["0"]
    for node in range(1, NODES):
        terms = [_edge(str(decisions[f"{before}-{node}"]), states[before]) for before in range(node)]
        if not keep_zeros:
            terms = [t for t in terms if t != "#"] or ["#"]
        states.append("+".join(sorted(terms)))
    return states[-1]


def _edge(operation: str, source: str) -> str:
    if operation == "none" or source == "#":
        return "#"
    return source if operation == "skip_connect" else f"({source})@{operation}"
