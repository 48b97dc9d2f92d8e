"""The words of a search's display, made of plain data: plan, forecast, progress and outcome.

Everything is read leniently: a missing key drops its line, never the display.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from searchitect.cli.text import labelled, metrics, wrap
from searchitect.report.plain import items, line, mapping, plural, show_duration, show_judged

if TYPE_CHECKING:
    from searchitect.engine.observer import Progress

NEEDED_ROWS = ("train", "validation", "test")


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """The plan as a few labelled lines."""
    rows = [
        ("data", _data(mapping(plan.get("data")))),
        ("", _splits(mapping(mapping(plan.get("data")).get("splits")))),
        ("space", _space(mapping(plan.get("space")))),
        ("strategy", _strategy(mapping(plan.get("strategy")))),
        ("control", _control(plan)),
        ("tuning", _tuning(plan)),
        ("teacher", _teacher(plan)),
        ("ensemble", _ensemble(plan)),
        ("objectives", ", ".join(line(o, 60) for o in items(plan.get("objectives")))),
        ("baseline", _baseline(plan.get("baseline"))),
        ("limits", _limits(plan)),
        ("workers", _workers(plan)),
        ("folder", line(plan.get("path") or "", 200)),
    ]
    rows += [("buys" if not i else "", _buys(mapping(f))) for i, f in enumerate(items(plan.get("forecasts")))]
    notes = [("note", line(n)) for n in items(mapping(plan.get("data")).get("notes"))[:5]]
    return [f"search {line(plan.get('name') or '', 60)}".rstrip(), *labelled([r for r in rows + notes if r[1]])]


def _buys(found: Mapping[str, Any]) -> str:
    """ "10 min: about 50 trials of 3 epochs, then 2 min for the final comparison with 8 epochs" """
    numbers = ("seconds", "trials", "epochs", "data", "final_epochs", "finalize")
    if not all(isinstance(found.get(name), (int, float)) for name in numbers):
        return ""
    share = f" on {found['data']:.0%} of the rows" if found["data"] < 1 else ""
    about = f"about {plural(found['trials'], 'trial')}"
    if found.get("pausing"):
        about = f"the time of {about}"
    count = f"all {found['trials']:,} architectures" if found.get("most") else about
    stays = found.get("share", 1)
    largest = f", in the smaller {stays:.0%} of the space" if found.get("most_macs") and stays < 1 else ""
    return (
        f"{show_duration(found['seconds'])}: {count} of {plural(found['epochs'], 'epoch')}{share}{largest}, then "
        f"{show_duration(found['finalize'])} for the final comparison with {plural(found['final_epochs'], 'epoch')}"
    )


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return ""
    shape = "×".join(str(n) for n in items(data.get("shape")))
    parts = [line(data.get("source") or "given data", 60) + ":", line(data.get("kind") or ""), shape]
    task, classes = data.get("task"), items(data.get("classes"))
    if classes:
        parts.append(f"in {plural(len(classes), 'class')}".replace("classs", "classes"))
    elif task:
        parts.append(line(task))
    return " ".join(p for p in parts if p)


def _splits(splits: Mapping[str, Any]) -> str:
    shown = [f"{n:,} {name}" for name in NEEDED_ROWS if isinstance(n := splits.get(name), int)]
    return f"{', '.join(shown)} (test is unread until the end)" if shown else ""


def _space(space: Mapping[str, Any]) -> str:
    if not space:
        return ""
    decisions = space.get("decisions")
    tail = f" from {plural(decisions, 'decision')}" if isinstance(decisions, int) else ""
    text = f"{line(space.get('name') or 'your own', 60)}: {line(space.get('size') or '?', 60)} networks{tail}"
    limits = ", ".join(line(one, 60) for one in items(space.get("limits")))
    text += f", of which those with {limits}" if limits else ""
    return text + _reason(space)


def _control(plan: Mapping[str, Any]) -> str:
    name = line(mapping(plan.get("settings")).get("control") or "", 40)
    what = "time" if plan.get("budget_seconds") else "trials"
    return f"{name} search beside it, with half of the {what}" * bool(name)


def _tuning(plan: Mapping[str, Any]) -> str:
    tune = mapping(plan.get("settings")).get("tune")
    if not isinstance(tune, (int, float)):
        return ""
    what = f"{tune:.0%} of the time" if tune < 1 else f"{tune:.0f} each"
    return f"recipes for the winner and for the baseline, by validation alone: {what}"


def _teacher(plan: Mapping[str, Any]) -> str:
    weight = mapping(plan.get("settings")).get("distill")
    if not isinstance(weight, (int, float)):
        return ""
    return f"the best finalists together, for winner and baseline alike: {weight:.0%} of the loss"


def _ensemble(plan: Mapping[str, Any]) -> str:
    count = mapping(plan.get("settings")).get("ensemble")
    return f"{count} networks in the bundle, at about {count} times the cost of one" * isinstance(count, int)


def _strategy(strategy: Mapping[str, Any]) -> str:
    name = line(strategy.get("name") or "", 60)
    return name and name + _reason(strategy)


def _reason(chosen: Mapping[str, Any]) -> str:
    """Why something was chosen, unless the user did."""
    why = line(chosen.get("why") or "")
    return f" ({why})" if why and why != "asked for" else ""


def _baseline(baseline: Any) -> str:
    kind = mapping(baseline).get("kind") if isinstance(baseline, Mapping) else baseline
    words = {"architecture": "the space's hand-made network", "factory": "your network"}
    return words.get(str(kind), line(kind)) if kind else ""


def _limits(plan: Mapping[str, Any]) -> str:
    budget, trials = plan.get("budget_seconds"), plan.get("trials_limit")
    epochs = mapping(plan.get("evaluator")).get("epochs")
    parts = []
    if isinstance(budget, (int, float)):
        parts.append(f"{show_duration(budget)} for everything")
    if isinstance(trials, int):
        parts.append(plural(trials, "trial"))
    if isinstance(epochs, int) and epochs:
        parts.append(f"{plural(epochs, 'epoch')} a trial")
    return ", ".join(parts)


def _workers(plan: Mapping[str, Any]) -> str:
    workers, threads = plan.get("workers"), plan.get("threads")
    if not isinstance(workers, int):
        return ""
    each = f" with {plural(threads, 'thread')} each" if isinstance(threads, int) else ""
    return f"{workers}{each}, seed {line(plan.get('seed', 0), 20)}"


def forecast_text(forecast: Mapping[str, Any]) -> str:
    """What the time will buy, in one sentence; "" when nothing is known."""
    each, trials = forecast.get("seconds_per_trial"), forecast.get("trials")
    if not isinstance(each, (int, float)) or not isinstance(trials, int):
        return line(forecast.get("sentence") or "")
    text = f"about {plural(trials, 'trial')}, {show_duration(each)} each"
    final, left = forecast.get("finalize_seconds"), forecast.get("seconds_left")
    if isinstance(final, (int, float)):
        text += f"; then {show_duration(final)} for the final comparison"
    if isinstance(left, (int, float)):
        text += f"; ends at {time.strftime('%H:%M:%S', time.localtime(time.time() + left))}"
    return text


def progress_text(progress: Progress, goals: Sequence[str] = ()) -> str:
    """One line: phase, time left, best so far, counts; what matters least is last, where a narrow line ends.

    `goals` are the metrics shown of the best trial.
    """
    if progress.left is not None:
        time = f"{show_duration(max(0.0, progress.left))} left"
    elif progress.trials_left:
        time = f"{plural(progress.trials_left, 'trial')} left"
    else:
        time = show_duration(progress.elapsed)
    parts = [f"{line(progress.phase, 20)}, {time}"]
    if progress.text:
        parts.append(line(progress.text, 120))
    best = progress.best
    if best is not None and best.measurement is not None:
        measured = best.measurement.metrics
        shown = {name: measured[name] for name in goals if name in measured} or dict(list(measured.items())[:1])
        how = "with inherited weights " if best.proposal.fidelity.kind == "inherited" else ""
        parts.append(f"best {how}{metrics(shown)} (#{best.number})")
    tallies = ((progress.failed, "failed"), (progress.reused, "reused"), (progress.running, "running"))
    counts = [f"{n} {word}" for n, word in tallies if n]
    if progress.done or counts or not progress.text:
        parts.append(", ".join([f"{progress.done} done", *counts]))
    return " · ".join(parts)


def end_lines(summary: Mapping[str, Any]) -> list[str]:
    """The outcome: best network, verdict, where things are and what to type next."""
    path = line(summary.get("path") or "", 500)
    rows = [
        *(
            (name, line(mapping(found).get("sentence") or "", 300))
            for name, found in mapping(summary.get("comparisons")).items()
        ),
        ("trials", counts_text(mapping(summary.get("trials")))),
        ("best", best_text(summary)),
        ("judged", show_judged(summary.get("judged"))),
        ("report", line(summary.get("report") or "", 500)),
        ("bundle", line(summary.get("bundle") or "", 500)),
        ("next", next_command(summary)),
    ]
    sentence = line(mapping(summary.get("verdict")).get("sentence") or "", 600)
    head = sentence or _ending(summary)
    return ["", *wrap(f"{head[:1].upper()}{head[1:]}{'' if head.endswith('.') else '.'}"),
            *labelled([r for r in [*rows, ("study", "" if summary.get("report") else path)] if r[1]])]  # fmt: skip


def _ending(summary: Mapping[str, Any]) -> str:
    if not summary.get("best"):
        return "No network was measured successfully"
    stopped = line(summary.get("stopped") or "", 60)
    return f"Search ended ({stopped}), not finalised" if stopped else "Search ended, not finalised"


def counts_text(trials: Mapping[str, Any]) -> str:
    """ "12 done, 1 failed, 3 reused", without zeros."""
    order = ("done", "failed", "reused", "pruned", "running", "queued")
    return ", ".join(f"{n:,} {w}" for w in order if isinstance(n := trials.get(w), int) and (n or w == "done"))


def best_text(summary: Mapping[str, Any]) -> str:
    """ "accuracy 97.22 % (trial 7, on validation data)"; "" when no trial succeeded."""
    best = mapping(summary.get("best"))
    if not best:
        return ""
    shown = goals_only(mapping(best.get("validation")), summary.get("objectives"))
    inherited = "with inherited weights, " if best.get("kind") == "inherited" else ""
    return f"{metrics(shown)} (trial {best.get('number')}, {inherited}on validation data)"


def goals_only(values: Mapping[str, Any], objectives: Any) -> dict[str, Any]:
    """Of all measured numbers those that were to be improved; the first one where none is known."""
    names = [line(text, 80).split()[-1] for text in items(objectives) if "<" not in text and ">" not in text]
    return {n: values[n] for n in names if n in values} or dict(list(values.items())[:1])


def next_command(summary: Mapping[str, Any]) -> str:
    """The command that usually follows."""
    path, bundle = summary.get("path"), summary.get("bundle")
    if path and (summary.get("signal") or summary.get("stopped") == "interrupted"):
        return shlex.join(["searchitect", "resume", line(path, 500)])
    if bundle:
        return shlex.join(["searchitect", "predict", line(bundle, 500), "DATA"])
    return shlex.join(["searchitect", "show", line(path, 500)]) if path else ""
