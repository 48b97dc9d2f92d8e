"""The card of a bundle: what the network is, how good it is and how sure that is, in plain Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from searchitect.finalize.wording import is_share
from searchitect.records import Score, Verdict

_ROWS = {  # key of `card` → words on the card
    "params": "parameters", "macs": "multiply-accumulates a row", "latency_ms": "latency (ms)",
    "memory_mb": "memory (MB)", "epochs": "epochs of training", "recipe": "recipe",
}  # fmt: skip
_FOUND = {
    "objectives": "goals and limits", "space_size": "architectures in the space", "strategy": "strategy",
    "trials": "trials", "seconds": "seconds of search", "seed": "seed", "command": "command", "version": "version",
}  # fmt: skip
_COSTS = (*_ROWS, "seconds")  # measured with the scores, shown elsewhere

_USE = (
    "```python", "import model", "", "model.predict(rows)        # labels or numbers of raw rows",
    "network = model.load()     # the torch.nn.Module, in eval mode", "```", "",
    "`python model.py --selftest` recomputes stored outputs. Only torch is needed (see requirements.txt).",
)  # fmt: skip
_READY = (
    "```python", "import model", "", "model.predict(inputs)      # raw outputs; inputs ready as the function fed them",
    *_USE[4:],
)  # fmt: skip


def card_text(
    card: Mapping[str, Any], *, space_name: str, sample_shape: Sequence[int], task: str, classes: Sequence[str] | None,
    notes: Sequence[str], drawing: str,
) -> str:  # fmt: skip
    """The Markdown text. Every entry of `card` may be missing; what is not known is left out, not invented.

    Known entries: members (trial numbers of an ensemble), comparisons (further verdicts by name), name, objectives,
    verdict (records.Verdict or its mapping), finalised, validation {metric: value}, data {source,
    kind, rows, splits, fingerprint}, params, macs, latency_ms, memory_mb, epochs, recipe, space_size, strategy, trials,
    seconds, seed, command, version, license, notes.
    """
    lines = [f"# {card.get('name') or 'A network'}", ""]
    kind = dict(card.get("data") or {}).get("kind") or "data"
    what = f"{task} of {kind} rows" if task else "rows"
    space = f"the space “{space_name}”" if space_name else "a space of its author's"
    count = len(card.get("members") or ())
    network = f"An ensemble of {count} networks" if count else "A network"
    lines += [f"{network} for {what} of shape {tuple(sample_shape)}, found in {space}"
              f"{'' if task else ', trained and measured by a function of its author'}."]  # fmt: skip
    if card.get("finalised") is False:
        lines += ["", "**Not finalised**: the search was interrupted before the final comparison. These are the best "
                  "weights at that time; no test data were read."]  # fmt: skip
    if count:
        lines += ["", f"Its members are those of the trials {', '.join(map(str, card['members']))}, the winner first; "
                  f"their {'probabilities' if task == 'classification' else 'numbers'} are averaged. It costs what all "
                  "of them cost together: sizes and latency below are of the whole."]  # fmt: skip
    lines += _verdict(card.get("verdict"), card.get("validation"), dict(card.get("comparisons") or {}) if count else {})
    lines += _table("Data", dict(card.get("data") or {}))
    if classes:
        shown = ", ".join(map(str, classes[:20])) + (", ..." if len(classes) > 20 else "")
        lines += ["", f"{len(classes)} classes: {_plain(shown)}"]
    lines += _table("Size and training", {words: card.get(key) for key, words in _ROWS.items()})
    lines += _table("How it was found", {words: card.get(key) for key, words in _FOUND.items()})
    lines += ["", "## The network", "", "```", drawing.rstrip(), "```"]
    lines += ["", "## Use", "", *(_USE if task else _READY)]
    hint = card.get("license") or "none stated; the weights come from your data, so that is for you to decide"
    lines += _limits(sample_shape, task, len(classes or ()))
    lines += ["", f"License: {_plain(hint)}"]
    everything = [*notes, *(card.get("notes") or ())]
    if everything:
        lines += ["", "## Notes", "", *(f"- {_plain(note)}" for note in everything)]
    return "\n".join(lines) + "\n"


def _limits(sample: Sequence[int], task: str, classes: int) -> list[str]:
    """What it is not known to do."""
    ready = "as `preprocess` makes it" if task else "ready as the function fed them"
    lines = [f"It takes rows of shape {tuple(sample)}, {ready}, and refuses others."]
    if task == "classification":
        lines.append(f"It names one of its {classes or 'known'} classes for any row, also for one that belongs to none "
                     "of them; its probabilities were not calibrated.")  # fmt: skip
    lines.append("Its figures hold for data like those it was tested on; another source, device or season may differ.")
    return ["", "## Limits", "", *(f"- {line}" for line in lines)]


def _verdict(
    verdict: Verdict | Mapping[str, Any] | None, validation: Mapping[str, float] | None, together: Mapping[str, Any]
) -> list[str]:
    """The verdict, and those on an ensemble. That on the winner alone is not one on this folder then, and says so."""
    lines: list[str] = []
    for name, what in (("ensemble", "this ensemble"), ("alone", "")):
        if (found := together.get(name)) is not None:
            told = found if isinstance(found, Verdict) else _record(found)
            lines += ["", f"**{_plain(told.sentence[:1].upper() + told.sentence[1:])}**"]
            lines += _scores(told, ((what, told.winner), ("baseline", told.baseline))) if what else []
    if lines:
        lines = ["", "## Verdict", *lines]
    if verdict is not None:
        v = verdict if isinstance(verdict, Verdict) else _record(verdict)
        alone = "The winner alone is " if together and v.words in ("better", "worse") else ""
        alone = alone or "The winner alone: " * bool(together)
        lines += [*(["", "## Verdict"] if not lines else []), "", f"**{alone}{_plain(v.sentence)}**"]
        lines += _scores(v, (("the winner alone" if together else "this network", v.winner), ("baseline", v.baseline)))
        lines += ["", "The mean is over networks trained with different seeds; this folder holds the first of them."]
    scores = {k: v for k, v in (validation or {}).items() if k not in _COSTS}
    if scores:
        shown = ", ".join(f"{_plain(k)} {_number(v, k)}" for k, v in scores.items())
        lines += ["", f"On the data of the search, which chose it: {shown}."]
    return lines


def _scores(v: Verdict, sides: Sequence[tuple[str, Score | None]]) -> list[str]:
    """How it was measured, and a table of both sides."""
    where = f"On {v.test_items:,} test items" if v.test_items else "No test data"
    lines = ["", f"{where}; {100 * v.level:g} % intervals; {v.method}.", ""]
    lines += [f"| {v.metric} | mean | from | to | seeds |", "|---|---|---|---|---|"]
    for name, score in sides:
        if score is not None:
            numbers = " | ".join(_number(x, v.metric) for x in (score.mean, score.low, score.high))
            lines.append(f"| {name} | {numbers} | {score.n} |")
    return lines


def _record(plain: Mapping[str, Any]) -> Verdict:
    scores = {name: Score(**{**s, "values": tuple(s.get("values", ()))}) if (s := plain.get(name)) else None
              for name in ("winner", "baseline")}  # fmt: skip
    return Verdict(**{**plain, **scores})


def _table(title: str, entries: Mapping[str, Any]) -> list[str]:
    rows = [f"| {_plain(k)} | {_plain(_shown(v))} |" for k, v in entries.items() if v not in (None, "", [], {})]
    return ["", f"## {title}", "", "| | |", "|---|---|", *rows] if rows else []


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_shown(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value[:20])) + (", ..." if len(value) > 20 else "")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    whole = math.isfinite(value) and value == int(value)
    return f"{int(value):,}" if whole else f"{value:.4g}"


def _number(value: float, metric: str) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{100 * value:.1f} %" if is_share(metric) else f"{value:.4g}"


def _plain(text: Any) -> str:
    """One line of text that Markdown shows as it is."""
    line = " ".join(str(text).split())
    for sign in "\\`*_<>|[]":
        line = line.replace(sign, "\\" + sign)
    return line
