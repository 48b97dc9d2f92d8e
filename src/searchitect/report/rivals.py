"""What else the winner was compared with: random search at equal cost, and itself with the usual recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from markupsafe import Markup

from searchitect.records import CONTROL, Verdict
from searchitect.report import figures
from searchitect.report.plain import finite, items, line, mapping, plural, show_duration, show_metric, show_number
from searchitect.report.snapshot import Snapshot
from searchitect.report.tables import spent

NAMES = {"control": ("Winner", "Random search"), "untuned": ("Tuned", "Usual recipe")}
HEADINGS = {"control": "Was the strategy worth it?", "untuned": "Was tuning worth it?"}
TRIED = 60  # recipes of each network that are looked at


class Rival(msgspec.Struct, frozen=True):
    """One comparison: a heading, sentences and the figure."""

    heading: str
    sentences: tuple[str, ...]
    figure: Markup


def content(snapshot: Snapshot) -> list[Rival]:
    """The comparisons that the study holds, the control first."""
    found = []
    for side, verdict in snapshot.comparisons.items():
        about = _control(snapshot) if side == "control" else _tuning(snapshot)
        sentence = f"The winner is {verdict.sentence}." if verdict.words in ("better", "worse") else verdict.sentence
        sentence = sentence if sentence.endswith(".") else f"{sentence[:1].upper()}{sentence[1:]}."
        picture = figures.verdict_figure(verdict, NAMES[side])
        found.append(Rival(HEADINGS[side], tuple(s for s in (sentence, *about) if s), picture))
    if "untuned" not in snapshot.comparisons and (kept := _tuning(snapshot)):
        found.append(Rival(HEADINGS["untuned"], kept, Markup("")))
    return found


def lines(snapshot: Snapshot) -> list[str]:
    """The same for a terminal."""
    return [f"{rival.heading} {' '.join(rival.sentences[:1])}" for rival in content(snapshot)]


def _control(snapshot: Snapshot) -> tuple[str, ...]:
    """What the control had to spend."""
    sides: list[list[float]] = [[], []]
    for trial in snapshot.trials:
        if trial.proposal.draw >= 0:  # what was enqueued is charged to nobody
            sides[trial.proposal.origin == CONTROL].append(spent(trial) or 0.0)
    if not sides[1]:
        return ()
    words = [f"{plural(len(side), 'trial')} in {show_duration(sum(side))} of work" for side in sides]
    return (
        f"The strategy had {words[0]}, random search beside it {words[1]}. Neither learned from the other's trials; "
        "the best of both went through the same final trainings, here by the usual recipe.",
    )


def _tuning(snapshot: Snapshot) -> tuple[str, ...]:
    """What tuning tried and took, for the winner and for the baseline."""
    told = []
    for side, rows in mapping(snapshot.meta.get("tuning")).items():
        tried = [mapping(row) for row in items(rows)[:TRIED]]
        if not tried:
            continue
        recipe = mapping(mapping(snapshot.meta.get("recipes")).get(side))
        usual = _mean(tried[0])
        best = next((_mean(row) for row in tried if row.get("recipe") == recipe), None)
        metric = _metric(snapshot)
        taken = ", ".join(words for k, v in sorted(recipe.items()) if (words := _changed(k, v)))
        words = f"{plural(len(tried), 'recipe')} tried for the {line(side, 20)} by validation alone: "
        if recipe and usual is not None and best is not None:
            told.append(f"{words}{taken} ({show_metric(metric, best)} instead of {show_metric(metric, usual)}).")
        else:
            told.append(f"{words}the usual one stays.")
    return tuple(told)


def _mean(row: Mapping[str, Any]) -> float | None:
    values = [v for v in map(finite, items(row.get("validation"))) if v is not None]
    return sum(values) / len(values) if values else None


def _metric(snapshot: Snapshot) -> str:
    verdict: Verdict | None = snapshot.verdict
    return verdict.metric if verdict else ""


def _changed(name: Any, value: Any) -> str:
    """ "lr 0.02"; "epochs" is a share, 1 for all of them."""
    if name == "epochs":
        share = finite(value)
        return "" if share is None or share >= 1 else f"{share:.0%} of the epochs"
    return f"{line(name, 40).replace('_', ' ')} {_value(value)}"


def _value(value: Any) -> str:
    number = finite(value)
    if number is not None:
        return show_number(number)
    return "+".join(line(v, 20) for v in items(value)) if isinstance(value, list) else line(value, 40)
