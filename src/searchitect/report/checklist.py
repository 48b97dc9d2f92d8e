"""Best practices of architecture search, and how this study meets each: filled from its data, "no" where it does not.

The items are those of Lindauer and Hutter 2020 ("Best practices for scientific research on neural architecture
search", JMLR 21, sections 2 to 4) that apply to a single study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from searchitect.records import State
from searchitect.report import words
from searchitect.report.grid import Cell, Table
from searchitect.report.plain import finite, items, line, mapping, plural, show_duration, whole
from searchitect.report.snapshot import ENDED, Snapshot

Answer = tuple[str, str]  # "yes", "partly" or "no", and how


def content(snapshot: Snapshot) -> Table | None:
    """The table; None before the study has a verdict."""
    if snapshot.verdict is None:
        return None
    rows = [
        [Cell(item), Cell(met), Cell(how, class_="wide")]
        for item, answer in ITEMS.items()
        for met, how in [answer(snapshot)]
    ]
    return Table((("Practice", False), ("Met", False), ("How", False)), rows, [""] * len(rows))


def _function(snapshot: Snapshot) -> bool:
    return mapping(snapshot.meta.get("evaluator")).get("kind") == "function"


def _pipeline(snapshot: Snapshot) -> Answer:
    if snapshot.verdict is None or snapshot.verdict.baseline is None:
        return "no", "there is no baseline that was trained alike"
    whom = "winner, baseline and random search" if "control" in snapshot.comparisons else "winner and baseline"
    if _function(snapshot):
        return "partly", f"your own function measured {whom}; what it does is yours to know"
    if _tuned(snapshot):
        return "yes", f"{whom} by one pipeline; as many recipes were tried for the baseline as for the winner"
    return "yes", f"{whom} by one pipeline with one recipe"


def _space(snapshot: Snapshot) -> Answer:
    space = mapping(snapshot.meta.get("space"))
    name = f"{line(space.get('name') or 'the space', 80)} ({line(space.get('fingerprint') or '', 12)})"
    kind = mapping(snapshot.meta.get("baseline")).get("kind")
    if kind == "architecture":
        return "yes", f"every trial and the baseline are of {name}"
    if snapshot.verdict is None or snapshot.verdict.baseline is None:
        return "yes", f"every trial is of {name}; there is no baseline"
    return "partly", f"every trial is of {name}; the baseline was given and need not be"


def _ablations(snapshot: Snapshot) -> Answer:
    told = mapping(snapshot.meta.get("explained"))
    rows = [mapping(row) for row in items(told.get("decisions"))[:1000]]
    alone = sum(bool(whole(row.get("neighbours"))) for row in rows)
    if not rows:
        return "no", "the study keeps none"
    how = f"trials that differ in one decision alone were measured for {alone:,} of {plural(len(rows), 'decision')}"
    importance = " and importance by functional ANOVA" * bool(mapping(told.get("importance")).get("shares"))
    met = "no" if not alone and not importance else "yes" if alone == len(rows) else "partly"
    return met, how + importance


def _protocol(snapshot: Snapshot) -> Answer:
    splits = mapping(mapping(snapshot.meta.get("data")).get("splits"))
    counts = [whole(splits.get(part)) for part in ("train", "validation", "test")]
    if _function(snapshot) or None in counts:
        return "partly", "your own function measured everything; what data it uses is yours to know"
    train, validation, test = counts
    return "yes", f"one split for all: {train:,} rows to train, {validation:,} to choose by, {test:,} for the test"


def _compute(snapshot: Snapshot) -> Answer:
    if not snapshot.count(State.DONE):
        return "no", "no trial was measured"
    return "yes", "the best value over trials and over time is drawn under “Progress of the search”"


def _control(snapshot: Snapshot) -> Answer:
    compared = snapshot.comparisons.get("control")
    if compared is not None:
        return "yes", f"random search had as much to spend beside the strategy: {compared.words}"
    if mapping(snapshot.meta.get("strategy")).get("name") == "random":
        return "yes", "the strategy is random search itself"
    if mapping(snapshot.meta.get("settings")).get("control"):
        return "partly", "random search ran beside the strategy, but there was no comparison on test data"
    return "no", "none was asked for; --control random gives it half of the time"


def _seeds(snapshot: Snapshot) -> Answer:
    verdict, seed = snapshot.verdict, whole(snapshot.meta.get("seed"))
    n = 0 if verdict is None else verdict.winner.n
    released = "" if seed is None else f"; all seeds come from seed {seed} of the study"
    if n < 2:
        return "no", f"the winner was trained from {plural(n, 'seed')}: no spread{released}"
    return "yes", f"{plural(n, 'seed')} for each side, single values and intervals above{released}"


def _machine(snapshot: Snapshot) -> Answer:
    known = dict(words.environment_facts(snapshot))
    parts = [f"{name} {known[name]}" for name in ("searchitect", "python", "torch") if name in known]
    parts += [known[name] for name in ("cpu", "gpu") if name in known]
    parts += [f"{known['cores']} cores"] if "cores" in known else []
    return ("yes", ", ".join(parts)) if len(parts) > 1 else ("no", "the study does not say")


def _tuned(snapshot: Snapshot) -> int:
    tuning = mapping(snapshot.meta.get("tuning"))
    return sum(len(items(rows)) for rows in tuning.values())


def _tuning(snapshot: Snapshot) -> Answer:
    count, seconds = _tuned(snapshot), finite(mapping(snapshot.meta.get("seconds")).get("finalize"))
    if not count:
        return "yes", "nothing was tuned in this study; what its settings had cost before, it cannot know"
    within = "" if seconds is None else f", within the {show_duration(seconds)} of the final stages"
    return "yes", f"{plural(count, 'recipe')} tried for winner and baseline{within}"


def _time(snapshot: Snapshot) -> Answer:
    seconds: Mapping[str, Any] = mapping(snapshot.meta.get("seconds"))
    active, search, final = (finite(seconds.get(name)) for name in ("active", "search", "finalize"))
    if active is None:
        return "no", "the study does not say"
    parts = [f"{show_duration(s)} {what}" for s, what in ((search, "of search"), (final, "of final stages")) if s]
    ended = plural(snapshot.count(*ENDED), "trial")
    return "yes", f"{show_duration(active)} from end to end, with {ended}: {', '.join(parts)}"


def _never_on_test(snapshot: Snapshot) -> Answer:
    if snapshot.verdict is not None and not snapshot.verdict.test_items:
        return "partly", "your own function measured winner and baseline once more with fresh seeds"
    reads = len(snapshot.test_reads())
    if reads == 1:
        return "yes", "the winner was fixed by validation data; then test data were read once"
    return "no", f"test data were read {reads:,} times: the verdict is too hopeful"


ITEMS: dict[str, Callable[[Snapshot], Answer]] = {
    "One training pipeline for all that is compared": _pipeline,
    "One space for all": _space,
    "Ablations": _ablations,
    "One protocol of evaluation": _protocol,
    "Performance over compute": _compute,
    "Random search as a control": _control,
    "Several seeds with their spread, seeds released": _seeds,
    "Hardware and versions recorded": _machine,
    "Cost of tuning included": _tuning,
    "Time from end to end, validation included": _time,
    "Never selected on test data": _never_on_test,
}
