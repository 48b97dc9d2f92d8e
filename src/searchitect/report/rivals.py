"""What else was compared: the winner with random search at equal cost and with itself by the usual recipe, an ensemble
of finalists with the single baseline and with the winner alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from markupsafe import Markup

from searchitect.records import CONTROL, Verdict
from searchitect.report import figures
from searchitect.report.plain import (
    finite,
    items,
    line,
    mapping,
    plural,
    show_duration,
    show_metric,
    show_number,
    whole,
)
from searchitect.report.snapshot import Snapshot
from searchitect.report.tables import spent
from searchitect.report.words import whole_sentence

NAMES = {"control": ("Winner", "Random search"), "untuned": ("Tuned", "Usual recipe"),
         "ensemble": ("Ensemble", "Single baseline"), "alone": ("Ensemble", "Winner alone")}  # fmt: skip
HEADINGS = {"control": "Was the strategy worth it?", "untuned": "Was tuning worth it?",
            "ensemble": "The ensemble", "alone": "Is the ensemble worth its cost?"}  # fmt: skip
TEACHING = "Was the teacher worth it?"
BOTH = "Were tuning and the teacher worth it?"
TRIED = 60  # recipes of each network that are looked at


class Rival(msgspec.Struct, frozen=True):
    """One comparison: a heading, sentences and the figure."""

    heading: str
    sentences: tuple[str, ...]
    figure: Markup


def content(snapshot: Snapshot) -> list[Rival]:
    """The comparisons that the study holds, the control first."""
    found = []
    for side in (name for name in NAMES if name in snapshot.comparisons):
        verdict = snapshot.comparisons[side]
        about = _ABOUT[side](snapshot)
        sentence = whole_sentence(verdict.sentence)
        picture = figures.verdict_figure(verdict, NAMES[side])
        found.append(Rival(_heading(snapshot, side), tuple(s for s in (sentence, *about) if s), picture))
    if "untuned" not in snapshot.comparisons and (kept := _changed_recipe(snapshot)):
        found.append(Rival(_heading(snapshot, "untuned"), kept, Markup("")))
    return found


def _heading(snapshot: Snapshot, side: str) -> str:
    taught, tuned = (bool(snapshot.meta.get(name)) for name in ("teachers", "tuning"))
    if side == "untuned" and taught:
        return BOTH if tuned else TEACHING
    return HEADINGS[side]


def _changed_recipe(snapshot: Snapshot) -> tuple[str, ...]:
    """What tuning and a teacher changed."""
    return (*_tuning(snapshot), *_teacher(snapshot))


def _teacher(snapshot: Snapshot) -> tuple[str, ...]:
    """Who taught whom."""
    numbers = [str(n) for n in map(whole, items(snapshot.meta.get("teachers"))) if n is not None][:10]
    if not numbers:
        return ()
    settings = mapping(snapshot.meta.get("settings"))
    weight, heat = finite(settings.get("distill")), finite(settings.get("temperature"))
    how = f" ({weight:.0%} of the loss, temperature {show_number(heat)})" if weight is not None and heat else ""
    who = f"The finalists of trials {', '.join(numbers)} together" if len(numbers) > 1 else f"Trial {numbers[0]}"
    return (f"{who} taught the winner and the baseline alike{how}; the usual recipe is without a teacher.",)


def _ensemble(snapshot: Snapshot) -> tuple[str, ...]:
    """Which networks it has."""
    numbers = [str(n) for n in map(whole, items(mapping(snapshot.meta.get("ensemble")).get("trials"))) if n is not None]
    if not numbers:
        return ()
    return (f"It has the networks of trials {', '.join(numbers[:10])}, the winner first, and averages what they say. "
            "The bundle holds all of them; the verdict above is on the winner alone.",)  # fmt: skip


def _price(snapshot: Snapshot) -> tuple[str, ...]:
    """What it costs beside the winner alone."""
    together, told = mapping(snapshot.meta.get("ensemble")), []
    for name, what in (("params", "parameters"), ("macs", "MACs for one item"), ("latency_ms", "latency")):
        whole_cost, single = finite(together.get(name)), finite(snapshot.winner.get(name))
        if whole_cost is not None and single:
            told.append(f"{show_metric(name, whole_cost)} {what} instead of {show_metric(name, single)} "
                        f"({whole_cost / single:.1f} times)")  # fmt: skip
    return (f"It costs {', '.join(told)}.",) if told else ()


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


_ABOUT = {"control": _control, "untuned": _changed_recipe, "ensemble": _ensemble, "alone": _price}
