"""Values as people read them, and text that is safe to show.

Everything in a study may have been written by a stranger, so nothing is taken to have its right type:
`number` and `mapping` give None or {} instead of an error, `clean` takes out what could steer a terminal
or turn the direction of writing.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from searchitect.records import KNOWN_METRICS, Fidelity
from searchitect.space import Scalar

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)
_INVISIBLE = frozenset("\u200b\u200e\u200f\u2028\u2029\u061c\ufeff")
_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_SHARES = frozenset({"accuracy", "balanced_accuracy", "top_k_accuracy"})
_COUNTS = frozenset({"params", "macs"})


def clean(value: Any, limit: int = 300) -> str:
    """Any value as text without terminal codes, control, direction and invisible characters.

    Line ends and tabs stay. What is longer than `limit` characters ends in "…".
    """
    try:
        text = value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # a number of too many digits, lists nested too deeply
        return "…"
    text = _TERMINAL.sub("", text[: 4 * limit + 1000]).replace("\r\n", "\n")
    text = "".join(c for c in text if c in "\n\t" or _shows(c))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _shows(character: str) -> bool:
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Co", "Cn") or character in _INVISIBLE:
        return False
    return category != "Cf" or not ("\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069")


def line(value: Any, limit: int = 300) -> str:
    """`clean` on one line."""
    text = " ".join(clean(value, 2 * limit).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def number(value: Any) -> float | None:
    """A number (also one stored as "nan", "inf" or "-inf"), else None."""
    if isinstance(value, str):
        return _NUMBERS.get(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def finite(value: Any) -> float | None:
    """A finite number, else None."""
    found = number(value)
    return found if found is not None and math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A whole number of at most 63 bits, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None


def mapping(value: Any) -> dict[str, Any]:
    """A mapping with text names, else an empty one."""
    return {k: v for k, v in value.items() if isinstance(k, str)} if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """A list, else an empty one."""
    return list(value) if isinstance(value, (list, tuple)) else []


def show_number(value: float | None) -> str:
    """Four significant digits; thousands grouped; "–" for nothing."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    if abs(value) >= 1e15 or (value and abs(value) < 1e-4):
        return f"{value:.3g}".replace("-", "−")
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def show_metric(metric: str, value: float | None) -> str:
    """A metric's value with its unit: shares as per cent, times as durations, counts in K, M, G."""
    if value is None or not math.isfinite(value):
        return show_number(value)
    if metric in _SHARES and abs(value) <= 1:
        return f"{100 * value:.2f} %".replace("-", "−")
    if metric in _COUNTS:
        return show_count(value)
    if metric == "seconds":
        return show_duration(value)
    unit = KNOWN_METRICS[metric][1] if metric in KNOWN_METRICS else ""
    return f"{show_number(value)} {unit}".rstrip()


def show_difference(metric: str, value: float | None, *, largest: float = 1.0) -> str:
    """A signed difference in the metric's unit; shares differ in (percentage) points.

    `largest` is the largest of the values compared: above 1 they are no shares.
    """
    if value is None or not math.isfinite(value):
        return show_number(value)
    sign = "+" if value > 0 else "−" if value < 0 else ""
    if metric in _SHARES and largest <= 1:
        return f"{sign}{100 * abs(value):.2f} points"
    return sign + show_metric(metric, abs(value))


def show_judged(judged: Any) -> str:
    """ "94.37 % by test_acc_200ep, which the search did not see (best in the table 94.37)"; "" without a table."""
    body = mapping(judged)
    value, best = finite(body.get("value")), finite(body.get("best"))
    if value is None or best is None:
        return ""
    unit, column = line(body.get("unit") or "", 20), line(body.get("column") or "", 60)
    shown = f"{show_number(value)} {unit}".rstrip()
    return f"{shown} by {column}, which the search did not see (best in the table {show_number(best)})"


def show_count(value: float) -> str:
    """1234 → "1.23 K", 2_500_000 → "2.5 M"."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "K")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'K' else size):.3g} {unit}"
    return show_number(value)


def show_duration(seconds: float | None) -> str:
    """45.2 → "45 s", 0.31 → "0.31 s", 750 → "12 min 30 s", 5400 → "1 h 30 min"."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.001 else "0 s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min" + (f" {total % 60} s" if total % 60 and total < 1800 else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h" + (f" {minutes} min" if minutes and hours < 100 else "")


def show_time(stamp: Any) -> str:
    """UTC seconds since 1970 as "2026-03-01 12:30 UTC"; "" for anything else."""
    seconds = finite(stamp)
    if seconds is None or not 0 <= seconds < 250_000_000_000:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def show_fidelity(fidelity: Fidelity) -> str:
    """How thoroughly a trial was measured: "12 epochs", "3 epochs on 50 % of the rows", "inherited weights"."""
    kind = {"inherited": "inherited weights", "zero_cost": "zero-cost score", "table": "table", "function": "function"}
    parts = [] if fidelity.kind == "train" else [kind[fidelity.kind]]
    if fidelity.epochs:
        whole = f" of {fidelity.horizon:,}" if fidelity.horizon else ""
        parts.append(f"{fidelity.epochs:,}{whole} epoch{'s' * (max(fidelity.epochs, fidelity.horizon) != 1)}")
    if fidelity.data != 1:
        parts.append(f"{100 * fidelity.data:.3g} % of the rows")
    if fidelity.resolution:
        parts.append(f"{fidelity.resolution} px")
    return ", ".join(parts) or "trained"


def show_value(value: Scalar) -> str:
    """One decision's value."""
    return f"{value:.6g}" if isinstance(value, float) else line(value, 80)


def show_decisions(decisions: Mapping[str, Scalar], limit: int = 240) -> str:
    """`name=value` pairs on one line."""
    return line(", ".join(f"{line(k, 80)}={show_value(v)}" for k, v in list(decisions.items())[:100]), limit)


def plural(count: int, noun: str) -> str:
    """1 → "1 trial", 2 → "2 trials"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
