"""What stands beside the verdict: other metrics with their intervals, the front against the baseline, and what was
forecast beside what happened."""

from __future__ import annotations

from typing import Any

from searchitect.records import State, Verdict
from searchitect.report import contest
from searchitect.report.accounts import Costs
from searchitect.report.plain import (
    finite,
    line,
    mapping,
    plural,
    show_count,
    show_duration,
    show_metric,
    whole,
)
from searchitect.report.snapshot import Snapshot, read_verdict
from searchitect.report.words import Fact, difference, interval

MOST = 12  # metrics that are shown


def facts(snapshot: Snapshot) -> list[Fact]:
    """The other metrics on test data, then the front."""
    found = [(name, read_verdict(body)) for name, body in list(mapping(snapshot.meta.get("metrics")).items())[:MOST]]
    where = "Test " if snapshot.verdict is not None and snapshot.verdict.test_items else ""
    drawn = [(name, contest.shown(snapshot, verdict)) for name, verdict in found]
    told = [(f"{where}{line(name, 40)}", _compared(verdict)) for name, verdict in drawn if verdict is not None]
    front = mapping(snapshot.meta.get("front"))
    words = line(front.get("sentence") or "", 400) or (
        f"not compared: {line(front['skipped'], 200)}" if front.get("skipped") else ""
    )
    return told + [("Front", words)] * bool(words)


def _compared(verdict: Verdict) -> str:
    """ "0.21 against 0.25: −0.04 (−0.06 to −0.02), better" """
    name, winner, baseline = verdict.metric, verdict.winner, verdict.baseline
    if baseline is None or verdict.difference is None:
        return interval(name, winner)
    words = f"{show_metric(name, winner.mean)} against {show_metric(name, baseline.mean)}"
    if verdict.low is None or verdict.high is None:
        return f"{words}; {verdict.words}"
    return f"{words}: {difference(verdict)}, {verdict.words}"


def forecast_facts(snapshot: Snapshot, costs: Costs) -> list[Fact]:
    """What the probes and the first trials promised, beside what came."""
    later = [mapping(note.body) for note in snapshot.notes if note.kind == "forecast"]
    promises = [
        ("Forecast by probes", _promised(mapping(snapshot.meta.get("forecast")), "finalize")),
        *(("Forecast, two trials", _promised(body, "finalize_seconds")) for body in later[:1]),
        *(("Forecast, half-time", _promised(body, "finalize_seconds")) for body in later[1:][-1:]),
    ]
    told = [(label, words) for label, words in promises if words]
    if not told or costs.budget is None:
        return []
    trained = snapshot.count(State.DONE, State.PRUNED) - costs.reused
    words = plural(trained, "trial")
    if costs.finalize is not None:
        words += f", {show_duration(costs.finalize)} for the final comparison"
    if costs.active is not None and costs.budget > 0:
        words += f"; {costs.active / costs.budget:.0%} of the budget used"
    return [*told, *_largest(mapping(snapshot.meta.get("forecast"))), ("What came", words)]


def _largest(found: dict[str, Any]) -> list[Fact]:
    """The cost of a network from which on none was tried, where the budget set one."""
    most, share = whole(found.get("most_macs")), finite(found.get("share"))
    if most is None or share is None:
        return []
    text = f"{show_count(most)} multiply-accumulates, which {share:.0%} of the space keep: no time to train larger ones"
    return [("Largest network", text)]


def _promised(found: dict[str, Any], final: str) -> str:
    trials, seconds = whole(found.get("trials")), finite(found.get(final))
    if trials is None:
        return ""
    count = plural(trials, "trial")
    if found.get("pausing") is True:
        count = f"the time of {plural(trials, 'full training')}, of which most pause"
    return count + (f", {show_duration(seconds)} for the final comparison" if seconds else "")
