"""Options of a space that are no longer proposed: which they are now, and why, from the notes of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from searchitect.report.plain import finite, items, line, mapping, plural, whole
from searchitect.store import Note

SHOWN = 6  # options in one line


def cuts(notes: Iterable[Note]) -> list[dict[str, Any]]:
    """What is cut now, in the order of the cuts: what was decided ("shrink"), less what came back, by itself or by the
    user ("restore": a decision and its option, or neither for all)."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for note in notes:
        body = mapping(note.body)
        place = str(body.get("decision")), str(body.get("option"))
        if note.kind == "restore" and body.get("decision") is None:
            found.clear()
        elif note.kind == "restore" or (note.kind == "shrink" and body.get("kind") == "back"):
            found.pop(place, None)
        elif note.kind == "shrink":
            found[place] = body
    return list(found.values())


def name_of(body: Mapping[str, Any]) -> str:
    """ "0-1 = avg_pool_3x3"."""
    return f"{line(body.get('decision') or '', 60)} = {line(str(body.get('option')), 40)}"


def cut_words(body: Mapping[str, Any]) -> str:
    """Why one option was cut."""
    trials, best = whole(body.get("trials")), whole(body.get("best"))
    odds, upper = finite(body.get("odds")), finite(body.get("upper"))
    if trials is None or best is None or odds is None or upper is None:
        return name_of(body)
    return (
        f"{name_of(body)} (in the best quarter {best} of {plural(trials, 'time')}: odds {odds:.2g} against the other "
        f"options, below {upper:.2g})"
    )


def shrunk_words(notes: Iterable[Note]) -> str:
    """All that is cut, in one line of a report; "" where nothing was ever cut."""
    told = [note for note in notes if note.kind in ("shrink", "restore")]
    now = cuts(told)
    ever = sum(note.kind == "shrink" and mapping(note.body).get("kind") == "cut" for note in told)
    if not ever:
        return ""
    words = "; ".join(map(cut_words, items(now)[:SHOWN])) or "none now"
    more = f"; and {len(now) - SHOWN} more" if len(now) > SHOWN else ""
    back = f"; {plural(ever - len(now), 'cut')} taken back" if ever > len(now) else ""
    return words + more + back
