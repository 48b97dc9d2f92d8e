"""What the page's tables are made of."""

from __future__ import annotations

import msgspec


class Cell(msgspec.Struct, frozen=True):
    """One cell: what is shown, and by what its column is sorted (None: by the text)."""

    text: str
    sort: float | str | None = None
    class_: str = ""


class Table(msgspec.Struct, frozen=True):
    """Columns as (name, whether it holds numbers), rows of cells, and the rows' classes."""

    columns: tuple[tuple[str, bool], ...]
    rows: list[list[Cell]]
    classes: list[str]
    sortable: bool = False
