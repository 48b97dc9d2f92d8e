"""Why this winner: what the study's own trials say about its decisions, and how far its signals can be trusted.

Nothing is trained for it. All of it is plain data, which the study keeps under "explained" and the report shows.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from searchitect.finalize.context import FinalContext, FinalResult
from searchitect.finalize.importance import LEAST as FEWEST
from searchitect.finalize.importance import importance, without_outliers
from searchitect.finalize.standings import Standing
from searchitect.records import Fidelity, State, Trial, thoroughness
from searchitect.sharing.ranking import LEAST, agreement
from searchitect.space import Architecture, Decision, Space

SECONDS = 3.0  # at most
KEPT_BACK = 1.5  # of the budget: the report is still to be written
LEAST_SECONDS = 0.5
MOST_DECISIONS = 200
MOST_PAIRS = 500  # of them, the first
RUNGS = 2  # pairs of fidelities whose rankings are compared, the most thorough first

log = logging.getLogger("searchitect")


def explained(
    context: FinalContext, result: FinalResult, trials: Iterable[Trial], space: Space, end: float | None = None
) -> dict[str, Any]:
    """What `Study.importance` and the report read: metric, importance, decisions, agreement, gap.

    end: when the budget ends (`time.monotonic`). Where too little time is left there is no importance; the rest takes
    milliseconds. Where something fails "skipped" says why: no fault in here may cost the result.
    """
    seconds = SECONDS if end is None else min(SECONDS, end - time.monotonic() - KEPT_BACK)
    try:
        return _explained(context, result, list(trials), space, time.monotonic() + seconds)
    except Exception as error:
        log.warning("the winner is not explained (%s: %s); the result stands", type(error).__name__, error)
        context.note("finalize", {"text": f"the winner is not explained: {type(error).__name__}: {error}"})
        return {"skipped": f"it failed: {type(error).__name__}: {error}"}


def _explained(
    context: FinalContext, result: FinalResult, trials: list[Trial], space: Space, end: float
) -> dict[str, Any]:
    winner, metric, sign = result.winner, context.metric, -1.0 if context.direction == "max" else 1.0
    assert winner is not None
    groups = losses_by_fidelity(trials, metric, sign)
    told: dict[str, Any] = {
        "metric": metric, "direction": context.direction, "gap": gap(context, result, trials),
        "decisions": winner_decisions(space, winner, groups.get(_joined(winner.proposal.fidelity), {})),
        "agreement": [*search_agreement(result, metric, context.seed), *rung_agreement(groups, context.seed)],
        "importance": {"skipped": "no trial was measured"},
    }  # fmt: skip
    fidelity, seconds = telling_fidelity(groups), end - time.monotonic()
    if seconds < LEAST_SECONDS:
        told["importance"] = {"skipped": "no time of the budget was left to work it out"}
    elif fidelity is not None:
        points = list(groups[fidelity].items())
        found = importance(space.decisions, points, seed=context.seed, seconds=seconds)
        told["importance"] = found._asdict() | {
            "fidelity": msgspec.to_builtins(fidelity), "shares": [share._asdict() for share in found.shares],
        }  # fmt: skip
    return told


# -- trials of one fidelity ------------------------------------------------------------------------------


def losses_by_fidelity(trials: Sequence[Trial], metric: str, sign: float) -> dict[Fidelity, dict[Architecture, float]]:
    """The finite losses (smaller is better) of all DONE trials, each architecture once, apart for each fidelity."""
    groups: dict[Fidelity, dict[Architecture, float]] = {}
    for trial in trials:
        value = trial.value(metric)
        if trial.state is State.DONE and value is not None and math.isfinite(value):
            groups.setdefault(_joined(trial.proposal.fidelity), {}).setdefault(trial.architecture, sign * value)
    return groups


def _joined(fidelity: Fidelity) -> Fidelity:
    """A supernet's weights go on from epoch to epoch: its measurements are of one kind."""
    return Fidelity("inherited") if fidelity.kind == "inherited" else fidelity


def telling_fidelity(groups: Mapping[Fidelity, Mapping[Architecture, float]]) -> Fidelity | None:
    """The most thorough one that holds enough architectures for an analysis, else the one that holds most."""
    enough = [f for f, losses in groups.items() if len(losses) >= FEWEST]
    if enough:
        return max(enough, key=lambda f: (thoroughness(f), len(groups[f])))
    return max(groups, key=lambda f: (len(groups[f]), thoroughness(f)), default=None)


# -- the winner's decisions ------------------------------------------------------------------------------


def winner_decisions(space: Space, winner: Trial, losses: Mapping[Architecture, float]) -> list[dict[str, Any]]:
    """For each decision of the winner: what the trials lost that differ from it in this decision alone.

    losses: of the trials measured as the winner was. Options of a decision may bring in decisions of their own, or
    leave them out: such a trial still differs in the one decision alone. "lost" is their mean loss beyond the
    winner's, from "least" to "most"; None where there is no such trial. The weaker evidence, in which other decisions
    differ as well: "apart" is the mean loss of all trials with another value beyond that of those with this value.
    """
    own = losses.get(winner.architecture)
    chosen = winner.architecture.decisions
    alone: dict[str, list[float]] = {name: [] for name in chosen}
    for architecture, loss in losses.items():
        name = only_difference(space, winner.architecture, architecture)
        if name is not None and own is not None:
            alone[name].append(loss - own)
    tame = without_outliers(np.array(list(losses.values())))[0] if losses else np.zeros(0)
    rows = []
    for name, value in list(chosen.items())[:MOST_DECISIONS]:
        sides: list[list[float]] = [[], []]
        for architecture, loss in zip(losses, tame, strict=True):
            if name in architecture.decisions:
                sides[architecture.decisions[name] != value].append(float(loss))
        same, others = sides
        lost = alone[name]
        rows.append({
            "name": name, "value": value, "neighbours": len(lost), "lost": _mean(lost),
            "least": min(lost, default=None), "most": max(lost, default=None), "same": len(same), "others": len(others),
            "apart": _mean(others) - _mean(same) if same and others else None,  # type: ignore[operator]
        })  # fmt: skip
    return rows


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def only_difference(space: Space, one: Architecture, other: Architecture) -> str | None:
    """The only decision in which two architectures differ, but for those that its options bring in; None when they
    differ in nothing or in more."""
    a, b = one.decisions, other.decisions
    differing = [name for name in a if name in b and a[name] != b[name]]
    if len(differing) > 1:
        brought = [_below(space.by_name[name]) for name in differing]
        differing = [n for n, below in zip(differing, brought, strict=True) if below >= {*differing} - {n}][:1]
    if len(differing) != 1:
        return None
    unshared = a.keys() ^ b.keys()
    return differing[0] if not unshared or unshared <= _below(space.by_name[differing[0]]) else None


def _below(decision: Decision) -> set[str]:
    """The names of all decisions that options of this one bring in."""
    names: set[str] = set()
    stack = [child for option in decision.children or () for child in option]
    while stack:
        child = stack.pop()
        if child.name not in names:
            names.add(child.name)
            stack += [below for option in child.children or () for below in option]
    return names


# -- signals ---------------------------------------------------------------------------------------------


def search_agreement(result: FinalResult, metric: str, seed: int) -> list[dict[str, Any]]:
    """How the search's own values rank the finalists against their means over retraining seeds.

    Only finalists of one fidelity are ranked, that of most of them; those of the control count too.
    """
    pairs: dict[Fidelity, dict[Architecture, tuple[float, float]]] = {}
    for standing in [*result.standings, *result.control]:
        value = standing.trial.value(metric)
        if value is not None and math.isfinite(value) and standing.mean is not None and math.isfinite(standing.mean):
            group = pairs.setdefault(_joined(standing.trial.proposal.fidelity), {})
            group[standing.trial.architecture] = value, standing.mean
    most = max(pairs, key=lambda f: (len(pairs[f]), thoroughness(f)), default=None)
    if most is None:
        return []
    first, second = zip(*pairs[most].values(), strict=True)
    return [{"first": msgspec.to_builtins(most), "second": "retrained"} | _tau(first, second, seed)]


def rung_agreement(groups: Mapping[Fidelity, Mapping[Architecture, float]], seed: int) -> list[dict[str, Any]]:
    """How each fidelity ranks the architectures that were measured at the next one too."""
    order = sorted(groups, key=thoroughness, reverse=True)
    rows = []
    for high, low in itertools.pairwise(order):
        both = [a for a in groups[high] if a in groups[low]][:MOST_PAIRS]
        if len(both) >= LEAST:
            names = {"first": msgspec.to_builtins(low), "second": msgspec.to_builtins(high)}
            rows.append(names | _tau([groups[low][a] for a in both], [groups[high][a] for a in both], seed))
    return rows[:RUNGS]


def _tau(first: Sequence[float], second: Sequence[float], seed: int) -> dict[str, Any]:
    if len(first) < LEAST:
        return {"n": len(first), "tau": None}
    found = agreement(first, second, seed=seed)
    return {"n": found.n, "tau": found.tau, "low": found.low, "high": found.high}


def gap(context: FinalContext, result: FinalResult, trials: Sequence[Trial]) -> dict[str, Any]:
    """The winner on validation and on test data, and how often validation data were looked at to choose it.

    A trial whose result was reused was no look of its own.
    """
    winner, verdict = result.winner, result.verdict
    assert winner is not None
    looks = Counter[str]()
    looks["trials"] = sum(t.state is State.DONE and t.source is None for t in trials)
    looks["retrainings"] = sum(len(s.validation) for s in [*result.standings, *result.control])
    looks["recipes"] = sum(len(row.get("validation") or ()) for rows in result.tuning.values() for row in rows)
    chosen: list[Standing] = [s for s in result.standings if s.chosen]
    same = verdict is not None and verdict.metric == context.metric
    return {
        "search": winner.value(context.metric), "kind": winner.proposal.fidelity.kind,
        "retrained": chosen[0].mean if chosen else None, "test": verdict.winner.mean if verdict and same else None,
        "own_data": context.own_data, "looks": dict(looks),
    }  # fmt: skip
