"""Options that lose are cut from the space of a study: what is written down, what is said, and how it comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from searchitect.errors import UsageError
from searchitect.records import CONTROL
from searchitect.report.shrunk import cut_words, cuts, name_of
from searchitect.store import Store
from searchitect.strategies.odds import Option
from searchitect.strategies.shrinking import Change, Journal

WRAPPER = "searchitect.strategies.shrinking:Shrinking"


def shrinking(
    store: Store, inner: str, options: Mapping[str, Any], message: Callable[[str], None]
) -> tuple[str, dict[str, Any]]:
    """Name and options of the strategy around the inner one; it repeats what the study has written down."""
    written = [_change(note.body) for note in store.notes("shrink")]
    known = {(c.event, c.kind, c.option) for c in written}

    def listen(change: Change) -> None:
        if (change.event, change.kind, change.option) in known:
            return
        known.add((change.event, change.kind, change.option))
        body = _body(change)
        store.note("shrink", body)
        if change.kind == "cut":
            message(f"no longer proposed: {cut_words(body)}")
        else:
            message(f"proposed again: {name_of(body)}")

    wishes: dict[int, list[tuple[str, str] | None]] = {}
    for note in store.notes("restore"):
        wish = None if note.body["decision"] is None else (note.body["decision"], note.body["option"])
        wishes.setdefault(int(note.body["event"]), []).append(wish)
    journal = Journal(written, heard(store), wishes, listen)
    return WRAPPER, {"inner": inner, "inner_options": dict(options), "journal": journal}


def heard(store: Store) -> int:
    """How many of the stored events reached the strategy: what the user enqueued was never asked of it, and it knows
    nothing of the control beside it."""
    trials = {t.number: t.proposal for t in store.trials()}
    own = [(kind, trials[n]) for kind, n in store.events() if trials[n].origin != CONTROL]
    return sum(kind == "told" or proposal.draw >= 0 for kind, proposal in own)


def restore(path: Path, decision: str | None, option: str | None) -> list[str]:
    """Take back one cut, or all of them and every cut to come. What came back, by name. Raises UsageError."""
    if (decision is None) != (option is None):
        raise UsageError("restore takes a decision and its option, or nothing for all cuts")
    with Store.open(path, write=True) as store:
        if not (store.meta.get("settings") or {}).get("shrink"):
            raise UsageError(f"{path} was not searched with shrink, so that nothing was cut")
        now = cuts(store.notes())
        back = [c for c in now if decision is None or (c["decision"], c["option"]) == (decision, option)]
        if not back and decision is not None:
            known = "; ".join(map(name_of, now)) or "none"
            raise UsageError(f"{decision} = {option} is not cut; cut now: {known}")
        store.note("restore", {"event": heard(store), "decision": decision, "option": option})
    return [name_of(c) for c in back]


def _body(change: Change) -> dict[str, Any]:
    option = change.option
    facts = {"event": change.event, "kind": change.kind, "decision": option.decision, "option": option.text}
    numbers = {"trials": change.trials, "best": change.best, "odds": change.odds, "upper": change.upper}
    return facts | {"part": option.part} | (numbers if change.kind == "cut" else {})


def _change(body: Mapping[str, Any]) -> Change:
    option = Option(body["decision"], int(body["part"]), body["option"])
    numbers = (body.get(name) for name in ("trials", "best", "odds", "upper"))
    return Change(int(body["event"]), body["kind"], option, *numbers)
