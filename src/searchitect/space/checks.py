"""What names, labels, targets and bounds may be. Nodes check themselves with these, whoever makes them.

So a space read from a file is held to the same rules as one that was written in Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from searchitect.errors import SpaceError

LIMIT_NAME = 255
LIMIT_OUTCOMES = 100_000  # of one subset
LIMIT_COPIES = 10_000  # of one repeat
LIMIT_WHOLE = 2**53  # whole numbers that a float holds exactly
_NAME = re.compile(r"\w([\w .:-]*[\w.:-])?")  # \w: letters and digits of any script, and "_"
_TARGET = re.compile(r"[^\W\d]\w*(\.([^\W\d]\w*|<locals>|<lambda>))*")


def name(text: str | None) -> str | None:
    """The name of a node, an option or a tie. Raises SpaceError for what files and tables could not hold."""
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > LIMIT_NAME or not _NAME.fullmatch(text):
        shown = repr(text) if len(repr(text)) < 60 else repr(text)[:56] + "..."
        raise SpaceError(
            f"name {shown} cannot be used: write 1 to {LIMIT_NAME} letters, digits, '_', '-', '.', ':' or blanks "
            "inside, starting with a letter, a digit or '_'"
        )
    return text


def target(text: Any) -> str:
    """An import path. Raises SpaceError unless it is dotted names without private Python attributes."""
    if not isinstance(text, str) or len(text) > LIMIT_NAME * 4 or not _TARGET.fullmatch(text):
        raise SpaceError(f"target {text!r:.80} is not an import path: it must look like torch.nn.ReLU")
    first, *rest = text.split(".")
    if (first != "__main__" and first.startswith("__")) or any(part.startswith("__") for part in rest):
        raise SpaceError(f"target {text!r:.80} names a private attribute of Python: only classes and functions can be")
    return text


def labels(values: Sequence[Any], count: int, who: str) -> tuple[Any, ...]:
    """The labels of options: text or numbers, each once. Raises SpaceError otherwise."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise SpaceError(f"{who} has {count} options and {len(values)} labels: it needs one label for each option")
    seen: set[Any] = set()
    for value in values:
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise SpaceError(f"{who} label {value!r} must be text, a number, true, false or None: give a keyword")
        if isinstance(value, float) and not math.isfinite(value):
            raise SpaceError(f"{who} cannot offer {value!r}: only finite numbers can be told apart and stored")
        if value in seen:
            raise SpaceError(
                f"{who} has the option {value!r} twice (1, 1.0 and True count as the same): leave one out, "
                "or give the options different keywords"
            )
        seen.add(value)
    return tuple(values)


def members(k: Any, count: int) -> int:
    """How many options a subset takes. Raises SpaceError unless 1 <= k <= count and outcomes stay few."""
    if not _whole(k) or not 1 <= k <= count:
        raise SpaceError(
            f"subset(k={k!r}) of {count} options: k must be a whole number from 1 to {count}, the number of options"
        )
    if math.comb(count, k) > LIMIT_OUTCOMES:
        raise SpaceError(
            f"subset(k={k}) of {count} options has more than {LIMIT_OUTCOMES:,} outcomes; write several smaller ones"
        )
    return int(k)


def counts(low: Any, high: Any) -> None:
    """The bounds of a repeat. Raises SpaceError unless 0 <= low <= high and 1 <= high <= 10,000."""
    if not (_whole(low) and _whole(high)) or not 0 <= low <= high or not 1 <= high <= LIMIT_COPIES:
        raise SpaceError(
            f"repeat(..., {low!r}, {high!r}): write whole numbers with 0 <= low <= high and "
            f"1 <= high <= {LIMIT_COPIES:,}"
        )


def whole_range(low: Any, high: Any, step: Any, log: Any) -> None:
    """The bounds of an integer. Raises SpaceError unless low <= high, step >= 1 and floats can hold them."""
    if not (_whole(low) and _whole(high) and _whole(step)) or low > high or step < 1:
        raise SpaceError(f"integer({low!r}, {high!r}, {step!r}): write whole numbers with low <= high and step >= 1")
    if max(-low, high, step) > LIMIT_WHOLE:
        raise SpaceError(f"integer({low!r:.40}, {high!r:.40}): write bounds between -2**53 and 2**53")
    if log and low < 1:
        raise SpaceError(f"integer({low}, {high}, log=True): a log scale needs low >= 1")


def real_range(low: Any, high: Any, log: Any) -> None:
    """The bounds of a real number. Raises SpaceError unless they are finite, apart and in order."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (low, high))
    if not numbers or not (-1e300 < low < high < 1e300):
        raise SpaceError(f"real({low!r:.40}, {high!r:.40}): write finite numbers with low < high")
    if log and low <= 0:
        raise SpaceError(f"real({low}, {high}, log=True): a log scale needs low > 0")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
