"""The space of a search: the user's, a ready one by its name, or one that suits the data and the time there is."""

from __future__ import annotations

from typing import Any

from searchitect.errors import UsageError
from searchitect.session.budget import MOST_TUNING
from searchitect.session.userobjects import load_object
from searchitect.settings import Settings
from searchitect.sharing import METHODS
from searchitect.space import Space
from searchitect.spaces import auto, load_space
from searchitect.spaces.automatic import shared
from searchitect.training import RawData

USUAL_BUDGET = 600.0  # seconds, by which a space is chosen where no time is given


def _fitting(settings: Settings, raw: RawData) -> tuple[Space, str]:
    """A space for one search and its finals: a control takes as much, and tuning has a part of its own."""
    total = settings.budget_seconds or USUAL_BUDGET
    tuning = min(settings.tune, MOST_TUNING) if settings.tune is not None else 0.0
    own = total * (1.0 - tuning) / (1 if settings.control is None else 2)
    space, why = auto(raw.kind, raw.shape, len(raw), own, raw.vocabulary)
    beside = " and ".join(["the control"] * (settings.control is not None) + ["tuning"] * (tuning > 0))
    return space, why + (f", what {beside} leave of {total:.0f} s" if own < total else "")


def ours(settings: Settings, given: Any) -> bool:
    """Whether the space is ours to choose. given: the object that was passed, or None."""
    found: Any = given if given is not None else settings.space
    return found is None or (isinstance(found, str) and found == "auto")


def find_space(settings: Settings, given: Any, raw: RawData | None) -> tuple[Space, str]:
    """The space that was named or passed, or one that suits the data; and why. Raises UsageError."""
    found: Any = given if given is not None else settings.space
    if ours(settings, given):
        if raw is None:
            raise UsageError("space: without data there is nothing to choose it by; pass one")
        if raw.kind == "image" and settings.strategy in METHODS:
            return shared(settings.strategy, raw.shape, len(raw), settings.budget_seconds or USUAL_BUDGET)
        return _fitting(settings, raw)
    why = "asked for"
    if isinstance(found, str):
        if raw is not None and ":" not in found:
            fitting, how = _fitting(settings, raw)
            if fitting.name == found:  # the same space, sized for these data
                return fitting, f"asked for; {how}"
        found = load_object(found, "space") if ":" in found else load_space(found)
    if not isinstance(found, Space) and callable(found):
        found = found()
    if not isinstance(found, Space):
        raise UsageError(f"space: got {type(found).__name__}; it must be a Space or a function that returns one")
    return found, why
