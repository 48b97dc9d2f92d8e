"""What a search cost, and what each way of saving saved, against training every proposal in full."""

from __future__ import annotations

import math
from typing import Any

from searchitect.records import PROMOTE, State, Trial
from searchitect.report.accounts import Costs
from searchitect.report.plain import finite, items, line, mapping, plural, show_duration, whole
from searchitect.report.shrunk import shrunk_words
from searchitect.report.snapshot import Snapshot
from searchitect.report.words import Fact


def cost_facts(snapshot: Snapshot, costs: Costs) -> list[Fact]:
    """Where the time went."""
    trials = f"{costs.ended:,} ended, {plural(costs.attempts, 'attempt')}"
    failed, pruned = snapshot.count(State.FAILED), snapshot.count(State.PRUNED)
    trials += f", {failed:,} failed" * bool(failed) + f", {pruned:,} stopped early" * bool(pruned)
    saved = f"{plural(costs.reused, 'result')} reused, {show_duration(costs.saved)} of training saved"
    pairs = [
        ("Budget", costs.budget),
        ("Search", costs.search),
        ("Retraining and test", costs.finalize),
        ("Active in all", costs.active),
    ]
    facts = [(label, show_duration(seconds)) for label, seconds in pairs if seconds is not None]
    facts.append(("Trials", trials))
    facts.append(("Work in all trials", show_duration(costs.work)))
    if costs.lost:
        facts.append(("Of it lost in failed trials", show_duration(costs.lost)))
    facts.append(("Reuse of equals", saved if costs.reused else "none"))
    facts += savings(snapshot)
    sessions = whole(snapshot.meta.get("sessions"))
    if sessions is not None and sessions > 1:
        facts.append(("Sessions", f"{sessions:,} (the time between them does not count)"))
    if costs.epochs:
        facts.append(("Epochs trained", f"{costs.epochs:,}"))
    return facts


def savings(snapshot: Snapshot) -> list[Fact]:
    """What each way of saving did in this study; only those that did something."""
    meta = snapshot.meta
    told = [
        ("Against training every proposal in full", _in_full(snapshot)),
        ("Screening", screening_words(mapping(meta.get("screen")))),
        ("Rungs", "; ".join(rung_words(mapping(facts)) for facts in items(meta.get("rungs")))),
        ("Options no longer proposed", shrunk_words(snapshot.notes)),
        ("Ended by their curves", _pruned(mapping(meta.get("pruned")))),
        ("Inherited weights", _inherited(snapshot.trials)),
        ("Memory", _memory(mapping(meta.get("memory")))),
        *((f"{metric}, told beforehand", _device(mapping(facts))) for metric, facts in
          mapping(meta.get("hardware")).items()),
    ]  # fmt: skip
    return [(label, words) for label, words in told if words]


def full_seconds(trials: list[Trial], full: int) -> tuple[int, float, float]:
    """How many proposals were trained, the seconds that this took, and those of `full` epochs on all rows for each.

    An epoch takes each what it took it. A result that was reused counts as a proposal; a training that went on does not
    count again.
    """
    known, epoch, asked, took = {t.number: t for t in trials}, dict[int, float](), 0, 0.0
    for trial in trials:
        measured, fidelity = trial.measurement, trial.proposal.fidelity
        own = trial.source is None and fidelity.kind == "train" and fidelity.data > 0
        if own and measured is not None and measured.epochs > 0 and measured.seconds > 0:
            epoch[trial.number] = measured.seconds / measured.epochs / fidelity.data
            took += measured.seconds
    wanted = 0.0
    for trial in trials:
        origin = trial
        while origin.source is not None and origin.source in known and origin.source < origin.number:
            origin = known[origin.source]
        if origin.number in epoch and trial.proposal.origin != PROMOTE:
            asked += 1
            wanted += full * epoch[origin.number]
    return asked, took, wanted


def _in_full(snapshot: Snapshot) -> str:
    longest = max((t.proposal.fidelity.horizon or t.proposal.fidelity.epochs for t in snapshot.trials), default=0)
    planned = whole(mapping(snapshot.meta.get("fidelities")).get("final_epochs")) or 0
    full = max(longest, planned)
    asked, took, wanted = full_seconds(snapshot.trials, full)
    if not asked or not math.isfinite(wanted) or wanted <= 1.02 * took:
        return ""
    return (
        f"{plural(asked, 'proposal')} of {plural(full, 'epoch')} on all rows would have taken "
        f"{show_duration(wanted)} of work; {show_duration(took)} were spent ({took / wanted:.0%})"
    )


def _pruned(facts: dict[str, Any]) -> str:
    trials, saved, confidence = whole(facts.get("trials")), finite(facts.get("saved_seconds")), facts.get("confidence")
    if not trials or saved is None:
        return ""
    return f"{plural(trials, 'training')}, {show_duration(saved)} saved, at a confidence of {line(confidence, 10)}"


def _inherited(trials: list[Trial]) -> str:
    count = sum(t.proposal.inherits for t in trials if t.source is None and t.state is State.DONE)
    return f"{plural(count, 'trial')} began with the weights of a parent; finalists are trained from scratch" * bool(
        count
    )


def _memory(facts: dict[str, Any]) -> str:
    threshold, failed = finite(facts.get("threshold_mb")), whole(facts.get("failed"))
    if not failed:
        return ""
    words = f"{plural(failed, 'network')} did not fit"
    return words if threshold is None else f"{words}; none was proposed again that needs {threshold:,.0f} MB or more"


def _device(facts: dict[str, Any]) -> str:
    """How well a metric of the device was told from the plan of a network."""
    operations, error, networks = (
        whole(facts.get("operations")),
        finite(facts.get("error")),
        whole(facts.get("networks")),
    )
    if not operations:
        return ""
    words = f"from {plural(operations, 'operation')}, {line(facts.get('device') or '', 80)}"
    return words if error is None or not networks else f"{words}: off by {error:.1%} in the mean of {networks} networks"


def rung_words(facts: dict[str, Any]) -> str:
    """How well a short training ranked what a longer one said."""
    epochs, above, n = (whole(facts.get(k)) for k in ("epochs", "next", "n"))
    rho, low, high = (finite(facts.get(k)) for k in ("rho", "low", "high"))
    if epochs is None or above is None or n is None or rho is None or low is None or high is None:
        return ""
    words = f"{plural(epochs, 'epoch')} against {above:,}: "
    if low <= -1:
        return f"{words}{n} that went on are too few to judge"
    words += f"rank correlation {rho:.2f} ({low:.2f} to {high:.2f}) on {n} that went on"
    return words + ("" if facts.get("on") else ", switched off")


def screening_words(screen: dict[str, Any]) -> str:
    """What a score of untrained networks chose, and whether it ranked."""
    scored, trained, n = (whole(screen.get(k)) for k in ("scored", "trained", "n"))
    if scored is None or trained is None:
        return ""
    words = f"{line(screen.get('score') or '', 30)} of {scored:,} untrained networks chose the first {trained} to train"
    rho, low, high = (finite(screen.get(k)) for k in ("rho", "low", "high"))
    if not n or rho is None:
        return words
    if low is None or low <= -1:
        return f"{words}; {n} measured that it did not choose are too few to judge it"
    words += f"; rank correlation with training {rho:.2f} ({low:.2f} to {high:.2f}) on {n} that it did not choose"
    return words + ("" if screen.get("on") else ": it was switched off")
