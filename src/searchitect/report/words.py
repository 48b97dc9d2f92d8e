"""What the report says in words; the page and the text for terminals share it."""

from __future__ import annotations

import json
import shlex
from typing import Any, Literal

import msgspec

from searchitect.records import Score, State, Trial, Verdict, best, goals
from searchitect.report.plain import (
    clean,
    finite,
    items,
    line,
    mapping,
    plural,
    show_difference,
    show_duration,
    show_judged,
    show_metric,
    show_number,
    show_time,
    whole,
)
from searchitect.report.snapshot import ENDED, Snapshot

# What may be shown of the environment. Anything else that a study holds stays unshown: it may be private.
ENVIRONMENT = (
    "searchitect", "python", "torch", "numpy", "scikit-learn", "sklearn", "platform", "machine", "cpu", "cores",
    "threads", "memory_gb", "gpu", "cuda", "device",
)  # fmt: skip
STOPPED = {
    "budget": "the time budget was used up",
    "trials": "the number of trials was reached",
    "patience": "the last trials brought nothing better (patience)",
    "exhausted": "nothing was left to try",
    "interrupted": "it was interrupted",
    "epochs": "all epochs of the supernet were done",
    "guard": "the guard against collapse ended it",
}
Tone = Literal["better", "worse", "unclear", "waiting", "failed"]
Fact = tuple[str, str]


class Lead(msgspec.Struct, frozen=True):
    """The first thing a reader sees: a headline, one or two sentences, and how it went."""

    tone: Tone
    headline: str
    sentences: tuple[str, ...]


def lead(snapshot: Snapshot) -> Lead:
    """The verdict in plain words, or why there is none yet."""
    if snapshot.verdict is not None:
        return _verdict_lead(snapshot)
    failed, ended = snapshot.count(State.FAILED), snapshot.count(*ENDED)
    if ended and failed == ended:
        headline = f"All {plural(ended, 'trial')} failed" if ended > 1 else "The only trial failed"
        advice = "Nothing could be compared. The causes are listed below; the first traceback usually says enough."
        return Lead("failed", headline, (advice,))
    found = best(snapshot.trials, snapshot.objectives)
    sentences = [progress_sentence(snapshot)]
    if found is not None:
        sentences.append(best_sentence(snapshot, found))
    judged = show_judged(snapshot.meta.get("judged"))
    if judged and stopped(snapshot):  # of the best trial when the search ended
        return Lead("unclear", "Judged by the table", (*sentences, f"It has {judged}."))
    if snapshot.meta.get("finalised") is True:
        return Lead("waiting", "No verdict", (*sentences, "The study ended without a test on unread data."))
    sentences.append(f"Go on with: searchitect resume {folder_word(snapshot)}")
    return Lead("waiting", "No verdict yet", tuple(sentences))


def _verdict_lead(snapshot: Snapshot) -> Lead:
    verdict = snapshot.verdict
    assert verdict is not None  # our own fault: the caller has looked
    headline = {
        "better": "Better than the baseline",
        "worse": "Worse than the baseline",
        "cannot tell": "Cannot tell it from the baseline",
        "no baseline": "Found and tested, without a baseline",
    }[verdict.words]
    tones: dict[str, Tone] = {"better": "better", "worse": "worse"}
    sentences = [whole_sentence(verdict.sentence)] if verdict.sentence else []
    if not sentences:
        where = "on test data" if verdict.test_items else "by your own function"
        sentences.append(f"The winner reaches {interval(verdict.metric, verdict.winner)} {where}.")
        if verdict.baseline is not None and verdict.difference is not None:
            sentences.append(f"The baseline reaches {interval(verdict.metric, verdict.baseline)}.")
            sentences.append(f"The difference is {difference(verdict)}.")
    return Lead(tones.get(verdict.words, "unclear"), headline, tuple(sentences))


def whole_sentence(sentence: str) -> str:
    """A verdict's words as a sentence of their own."""
    text = f"The winner is {sentence}" if sentence.startswith(("better", "worse")) else sentence
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def interval(metric: str, score: Score) -> str:
    """ "97.20 % (96.80 % to 97.60 %)" """
    ends = f"{show_metric(metric, score.low)} to {show_metric(metric, score.high)}"
    return f"{show_metric(metric, score.mean)} ({ends})"


def difference(verdict: Verdict) -> str:
    """ "1.30 points (0.40 points to 2.30 points)"; "–" without a baseline."""
    if verdict.baseline is None or verdict.difference is None:
        return "–"
    largest = max(abs(verdict.winner.mean), abs(verdict.baseline.mean))
    middle, low, high = (
        show_difference(verdict.metric, v, largest=largest) for v in (verdict.difference, verdict.low, verdict.high)
    )
    return f"{middle} ({low} to {high})"


def progress_sentence(snapshot: Snapshot) -> str:
    """How far the search has come."""
    ended, running, queued = (
        snapshot.count(*ENDED),
        snapshot.count(State.RUNNING),
        snapshot.count(State.QUEUED),
    )
    words = [f"{plural(ended, 'trial')} ended"]
    words += [f"{running:,} running"] * bool(running) + [f"{queued:,} waiting"] * bool(queued)
    why = stopped(snapshot)
    state = f"the search stopped because {why}" if why else "the search had not ended"
    return f"{', '.join(words)} when this was written; {state}."


def best_sentence(snapshot: Snapshot, found: Trial) -> str:
    """The best trial so far by its validation value."""
    values = [f"{o.metric} {show_metric(o.metric, found.value(o.metric))}" for o in goals(snapshot.objectives)]
    return f"Best so far: trial {found.number} with {', '.join(values)} on validation data, which chose it."


def stopped(snapshot: Snapshot) -> str:
    """Why the search ended, in words; "" while it has not."""
    why = line(snapshot.meta.get("stopped") or "", 200)
    words = STOPPED.get(why, why)
    told = [n for n in snapshot.notes if n.kind == "exhausted"] if why == "exhausted" else []
    return f"{words}: {line(told[-1].body.get('text') or '', 300)}" if told else words


def test_line(snapshot: Snapshot) -> str:
    """How often test data were read, by whom and when, as recorded."""
    reads = snapshot.test_reads()
    if not reads:
        return "Test data have not been read."
    times = "once" if len(reads) == 1 else f"{len(reads):,} times"
    first = reads[0]
    who = line(first.body.get("who") or "", 80)
    when = show_time(first.body.get("at")) or line(first.body.get("at") or "", 40) or show_time(first.time)
    about = f" ({', '.join(w for w in (who, when) if w)})"
    after = "" if len(reads) == 1 else " More than one reading makes a verdict too hopeful."
    return f"Test data were read {times}{about}.{after}"


def folder_word(snapshot: Snapshot) -> str:
    """The study's folder as a word for a shell."""
    return shlex.quote(line(snapshot.folder, 300))


def export_command(snapshot: Snapshot) -> str:
    """What writes all trials as a CSV file, as words for a shell."""
    folder = json.dumps(line(snapshot.folder, 300))
    code = f'from searchitect.report import export_csv; export_csv({folder}, "trials.csv")'
    return f"python -c {shlex.quote(code)}"


def setup_facts(snapshot: Snapshot) -> list[Fact]:
    """What was searched, on what, by which means."""
    meta = snapshot.meta
    space, data = mapping(meta.get("space")), mapping(meta.get("data"))
    strategy = mapping(meta.get("strategy"))
    options = ", ".join(f"{line(k, 40)}={line(v, 60)}" for k, v in mapping(strategy.get("options")).items())
    texts = [line(o, 60) for o in items(meta.get("objectives"))]
    facts = [
        ("Goal", ", ".join(texts)),
        ("Space", _space_words(space)),
        ("Strategy", line(strategy.get("name") or "", 80) + (f" ({options})" if options else "")),
        ("Why this strategy", line(strategy.get("why") or "", 400)),
        ("Control", _control_words(meta)),
        ("Data", _data_words(data)),
        ("Split", _split_words(mapping(data.get("splits")))),
        ("Budget", _budget_words(meta)),
        ("Workers", _worker_words(meta)),
        ("Training", _training_words(mapping(meta.get("evaluator")))),
        ("Seed", "" if whole(meta.get("seed")) is None else str(meta["seed"])),
        ("Search ended", stopped(snapshot)),
        *(("Note on the data", line(note, 300)) for note in items(data.get("notes"))[:10]),
    ]
    return [(label, words) for label, words in facts if words]


def _control_words(meta: dict[str, Any]) -> str:
    name = line(mapping(meta.get("settings")).get("control") or "", 40)
    what = "time" if meta.get("budget_seconds") else "trials"
    return f"{name} search beside it, with half of the {what}" * bool(name)


def _space_words(space: dict[str, Any]) -> str:
    size, decisions = line(space.get("size") or "", 60), whole(space.get("decisions"))
    parts = [line(space.get("name") or "", 80)]
    parts += [f"{size} architectures"] if size and "continuous" not in size else [size] * bool(size)
    parts += [plural(decisions, "decision")] if decisions is not None else []
    return ", ".join(p for p in parts if p)


def _data_words(data: dict[str, Any]) -> str:
    shape = " × ".join(line(n, 12) for n in items(data.get("shape"))[:8])
    classes = items(data.get("classes"))
    parts = [line(data.get(k) or "", 120) for k in ("source", "kind", "task")]
    parts += [f"items of {shape}"] * bool(shape) + [f"{len(classes)} classes"] * bool(classes)
    return ", ".join(p for p in parts if p)


def _split_words(splits: dict[str, Any]) -> str:
    parts = [(k, whole(splits.get(k))) for k in ("train", "validation", "test")]
    return ", ".join(f"{n:,} for {'training' if k == 'train' else k}" for k, n in parts if n is not None)


def _budget_words(meta: dict[str, Any]) -> str:
    seconds, trials = finite(meta.get("budget_seconds")), whole(meta.get("trials_limit"))
    parts = [show_duration(seconds)] if seconds is not None else []
    return ", ".join(parts + ([plural(trials, "trial")] if trials is not None else []))


def _worker_words(meta: dict[str, Any]) -> str:
    workers, threads = whole(meta.get("workers")), whole(meta.get("threads"))
    parts = [plural(workers, "worker")] if workers is not None else []
    parts += [plural(threads, "thread") + " each"] if threads is not None else []
    return ", ".join([*parts, *[line(meta.get("executor") or "", 40)] * bool(meta.get("executor"))])


def _training_words(evaluator: dict[str, Any]) -> str:
    epochs = whole(evaluator.get("epochs"))
    recipe = [
        f"{line(k, 30)} {line(v, 40)}"
        for k, v in mapping(evaluator.get("recipe")).items()
        if isinstance(v, (str, int, float)) and not isinstance(v, bool)
    ]
    parts = [plural(epochs, "epoch")] if epochs else []
    return ", ".join(parts + recipe[:16]) or line(evaluator.get("kind") or "", 40)


def winner_facts(snapshot: Snapshot) -> list[Fact]:
    """The winner's numbers: where it came from, its size, its validation values."""
    winner = snapshot.winner
    validation = mapping(winner.get("validation"))
    sizes = ("params", "macs", "seconds")  # known from the plan, or of no interest here
    measured = [(k, v) for k, v in validation.items() if k not in sizes][:8]
    memory = [("Memory", show_metric(k, finite(v))) for k, v in measured if k == "memory_mb"]
    shown = [(f"Validation {line(k, 40)}", show_metric(k, finite(v))) for k, v in measured if k != "memory_mb"]
    pairs = [
        ("Found by trial", "" if snapshot.winner_trial is None else str(snapshot.winner_trial)),
        ("Epochs", "" if whole(winner.get("epochs")) is None else f"{winner['epochs']:,}"),
        *((label, show_metric(k, finite(winner.get(k)))) for label, k in SIZES if finite(winner.get(k)) is not None),
        *(memory if finite(winner.get("memory_mb")) is None else ()),
        *shown,
        ("By the table", show_judged(snapshot.meta.get("judged"))),
        ("Bundle", line(snapshot.meta.get("bundle") or "", 120)),
    ]
    return [(label, words) for label, words in pairs if words]


SIZES = (("Parameters", "params"), ("MACs for one item", "macs"), ("Latency", "latency_ms"), ("Memory", "memory_mb"))


def baseline_words(snapshot: Snapshot) -> str:
    """What the winner was compared with."""
    baseline = mapping(snapshot.meta.get("baseline"))
    kind = line(baseline.get("kind") or "", 40)
    kinds = {"architecture": "the hand-made network of the space", "factory": "the network that was given"}
    sizes = [
        f"{show_metric(k, finite(baseline[k]))} {unit}".strip()
        for k, unit in (("params", "parameters"), ("macs", "MACs"), ("latency_ms", ""), ("memory_mb", ""))
        if finite(baseline.get(k)) is not None
    ]
    return ", ".join(w for w in (line(baseline.get("name") or "", 80) or kinds.get(kind, kind), *sizes) if w)


def environment_facts(snapshot: Snapshot) -> list[Fact]:
    """The machine and versions, from the list of what may be shown."""
    found = mapping(snapshot.meta.get("environment"))
    facts = [("searchitect", line(snapshot.meta.get("version") or found.get("searchitect") or "", 40))]
    facts += [(k.replace("_", " "), _plain(found[k])) for k in ENVIRONMENT[1:] if k in found]
    return [(label, words) for label, words in facts if words]


def changes(snapshot: Snapshot) -> list[str]:
    """When the environment changed between sessions, and in which of the things that may be shown."""
    told = []
    for note in snapshot.notes:
        if note.kind == "environment_changed":
            names = [name for name in ENVIRONMENT if name in note.body]
            told.append(
                f"The environment changed at {show_time(note.time)}" + f": {', '.join(names)}" * bool(names) + "."
            )
    return told[:20]


def _plain(value: Any) -> str:
    number = finite(value)
    return show_number(number) if number is not None else line(value, 120) if isinstance(value, str) else ""


def command(snapshot: Snapshot) -> str:
    """The command that reproduces the study."""
    return clean(snapshot.meta.get("command") or "", 4000)
