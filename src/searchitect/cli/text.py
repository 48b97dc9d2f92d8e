"""Text for a terminal: wrapped to 80 columns, in plain columns, cleaned of whatever steers a terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from searchitect.records import jsonable
from searchitect.report.plain import clean, line, show_metric

WIDTH = 80
LONGEST = 100_000  # characters of one text, such as a traceback


def wrap(text: str, *, first: str = "", indent: str = "", width: int = WIDTH) -> list[str]:
    """The text in lines of at most `width` columns; words are never cut, so that paths can be copied."""
    lines: list[str] = []
    for part in clean(text, LONGEST).expandtabs(4).split("\n"):
        start = indent if lines else first
        lines += textwrap.wrap(
            part, width, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [start.rstrip()]
    return lines


def labelled(rows: Sequence[tuple[str, str]], *, width: int = WIDTH) -> list[str]:
    """Rows "label   text", the texts wrapped and aligned; an empty label goes on with the row above."""
    space = max((len(label) for label, _ in rows), default=0) + 2
    lines: list[str] = []
    for label, text in rows:
        lines += wrap(text, first="  " + label.ljust(space), indent=" " * (space + 2), width=width)
    return lines


def columns(head: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int = WIDTH) -> list[str]:
    """A plain table; the widest column is clipped until a line fits."""
    cells = [[line(c, 200) for c in row] for row in (head, *rows)]
    sizes = [max(len(row[i]) for row in cells) for i in range(len(head))]
    gaps = 2 * (len(head) - 1)
    while sum(sizes) + gaps > width and max(sizes) > 8:
        sizes[sizes.index(max(sizes))] -= 1
    return ["  ".join(_clip(c, n) for c, n in zip(row, sizes, strict=True)).rstrip() for row in cells]


def _clip(text: str, size: int) -> str:
    return text.ljust(size) if len(text) <= size else text[: size - 1] + "…"


def metrics(values: Mapping[str, Any]) -> str:
    """Named numbers on one line, with their units."""
    shown = {n: show_metric(n, v) if isinstance(v, (int, float)) else line(v, 40) for n, v in values.items()}
    return ", ".join(f"{line(name, 40)} {text}" for name, text in shown.items())


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON of plain data, for other programs; numbers that are not finite are text."""
    return json.dumps(jsonable(value), indent=indent, ensure_ascii=True, default=str)
