"""What a study found, shown to people: one HTML page, a text for terminals, a CSV file.

Reads the store and computes nothing anew. Tables are made first (`tables`, `accounts`), figures are drawn
from tables (`figures`), and the page shows both. A study may come from a stranger: its text is cleaned
and escaped, nothing in it is run, and the page loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.report.export import export_csv
    from searchitect.report.page import write_report
    from searchitect.report.terminal import text_summary

__all__ = ["export_csv", "text_summary", "write_report"]

_HOMES = {"export_csv": "export", "write_report": "page", "text_summary": "terminal"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
