"""From candidates to a verdict in two stages, so that no test score ever chooses anything.

Stage A: finalists are retrained with several seeds, each of which holds out another part of the rows that are not test
data; the best mean on what was held out is the winner, unless the hand-made network is within a standard error of it
(`standings.cautious`). Winner and epochs are written down before stage B: winner and baseline are retrained on training
and validation rows for those epochs. Only then are the test data read, once, and the read is written down before that.

Where the user's own function holds the data (`own_data`), there are no test rows: stage B goes through that function
again with fresh seeds that nobody chose by, and its numbers are compared.

All randomness follows from the plan's seeds. A run that fails is repeated once with another seed derived from its own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from torch import nn

from searchitect.errors import SearchitectError
from searchitect.evaluators.base import Outcome, Task
from searchitect.finalize import wording
from searchitect.finalize.items import ItemValues
from searchitect.finalize.planning import FinalPlan
from searchitect.finalize.standings import Standing, cautious, ranking
from searchitect.finalize.verdict import as_same, compare, compare_scores, compare_seeds
from searchitect.records import Trial, Verdict
from searchitect.seeds import derive

Network = Literal["architecture", "baseline"]
NO_BASELINE = "there is no hand-made network to compare with"


@dataclass(frozen=True)
class FinalContext:
    """What the driver of a study lends to the stages.

    metric, direction: the first objective. folder: where weights of stage B are written.
    run:          trains tasks side by side; an `Outcome`, or any object with `cause` and `message`, for each, in order.
    load:         the network in eval mode with the weights of a file: (network, decisions, path).
    predict_test: raw outputs (N, ...) on the test part; with `targets()` the only way to test data.
    items:        (outputs, y) → (N,) for a metric that is a mean over items, else None.
    score:        (outputs, y) → number, for any other metric.
    baseline:     (network, decisions) of the hand-made network, or None.
    reads_before: how often test data were read in this study so far.
    is_baseline:  whether a finalist is the baseline's network; it is not trained twice then.
    left:         seconds until the final trainings must have ended; None for no limit.
    held_out:     validation rows for one training row.
    own_data:     every number comes from the user's own function; load, predict_test, targets and score are not called.
    """

    seed: int
    metric: str
    direction: Literal["max", "min"]
    folder: Path
    run: Callable[[list[Task]], Sequence[Any]]
    load: Callable[[Network, Mapping[str, Any], Path], nn.Module]
    predict_test: Callable[[nn.Module], np.ndarray]
    targets: Callable[[], np.ndarray]
    score: Callable[[np.ndarray, np.ndarray], float]
    note: Callable[[str, dict[str, Any]], None]
    items: ItemValues | None = None
    baseline: tuple[Network, Mapping[str, Any]] | None = None
    progress: Callable[[str], None] = lambda _text: None
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = lambda: 0.0
    reads_before: int = 0
    is_baseline: Callable[[Trial], bool] = lambda _trial: False
    left: Callable[[], float | None] = lambda: None
    held_out: float = 0.0
    own_data: bool = False


@dataclass
class FinalResult:
    """What came out. `weights` is the file of the winner's first seed in stage B (no validation rows are left there to
    choose by). `outputs`, `runs` and `files` of stage B are lists over seeds under "winner" and "baseline"; with the
    raw test outputs other metrics need no second read."""

    standings: list[Standing]
    epochs: int
    winner: Trial | None = None
    weights: Path | None = None
    verdict: Verdict | None = None
    finalised: bool = False
    reason: str = ""  # why it was not finalised
    no_baseline: str = ""  # why there is no baseline in the verdict
    same: bool = False  # the winner is the baseline
    outputs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    runs: dict[str, list[Outcome]] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Interrupted(Exception):
    """The user wants an end; `found` is what was ready."""

    def __init__(self, found: list[Any]) -> None:
        super().__init__()
        self.found = found


class _Dropped(Exception):
    """One network could not be trained."""


def run_stages(context: FinalContext, plan: FinalPlan) -> FinalResult:
    """Run both stages and read the test data. Never raises for failing trainings or an interruption: the result says so
    (`finalised` False, `reason`)."""
    result = FinalResult([Standing(trial) for trial in plan.finalists], plan.epochs, notes=list(plan.notes))
    try:
        began = context.clock()
        ranking = _stage_a(context, plan, result)
        result.seconds["stage_a"] = context.clock() - began
        began = context.clock()
        _stage_b(context, plan, result, ranking)
        result.seconds["stage_b"] = context.clock() - began
        began = context.clock()
        _compare_runs(context, result) if context.own_data else _read_test(context, result)
        result.seconds["test"] = context.clock() - began
    except _Interrupted:
        result.reason = "interrupted"
    except _Dropped as error:
        result.reason = str(error)
    if not result.finalised:
        result.notes.append(f"not finalised: {result.reason}")
    return result


def _stage_a(context: FinalContext, plan: FinalPlan, result: FinalResult) -> list[Standing]:
    """Finalists from best to worst by validation alone."""
    if not plan.stage_a_seeds:
        return result.standings
    context.progress(f"stage A: {len(result.standings)} finalists, {len(plan.stage_a_seeds)} seeds each")
    pairs = [(s, seed) for seed in plan.stage_a_seeds for s in result.standings]  # everyone's first seed first
    folds = {seed: fold for fold, seed in enumerate(plan.stage_a_seeds)}
    tasks = [_task(_architecture(s.trial), s.trial.number, seed, plan.epochs, fold=folds[seed]) for s, seed in pairs]
    found = _trained(context, tasks, context.metric)
    for standing in result.standings:
        own = [outcome for (s, _), outcome in zip(pairs, found, strict=True) if s is standing]
        good = [outcome for outcome in own if isinstance(outcome, Outcome)]
        if len(good) < len(own):
            standing.dropped = next(outcome for outcome in own if isinstance(outcome, str))
            result.notes.append(f"finalist of trial {standing.trial.number} was dropped: {standing.dropped}")
        else:
            standing.validation = tuple(outcome.metrics[context.metric] for outcome in good)
            loss = statistics.fmean(outcome.metrics.get("loss", math.inf) for outcome in good)
            standing.loss = math.inf if math.isnan(loss) else loss
            standing.epochs = statistics.median_high(outcome.epochs for outcome in good)
    ranked = ranking(result.standings, context.direction)
    if not ranked:
        why = "; ".join(dict.fromkeys(s.dropped for s in result.standings))
        raise _Dropped(f"every finalist failed when it was trained again: {why}")
    ranked, kept = cautious(ranked, context.direction, context.is_baseline, context.held_out)
    result.notes += [kept] * bool(kept)
    return ranked


def _stage_b(context: FinalContext, plan: FinalPlan, result: FinalResult, ranking: list[Standing]) -> None:
    """Winner and baseline on training and validation rows. A winner that fails gives way to the next finalist: no test
    score is known yet."""
    for place, standing in enumerate(ranking):
        same = context.baseline is not None and context.is_baseline(standing.trial)
        result.epochs = min(standing.epochs or plan.epochs, plan.epochs)
        seeds, share = plan.in_time(result.seconds["stage_a"], context.left(), same)
        if share < 0.9:
            short = max(1, round(result.epochs * share))
            result.notes.append(
                f"short of time: stage A was slower than planned, so the final trainings take {short} instead of "
                f"{result.epochs} epochs"
            )
            result.epochs = short
        result.winner = standing.trial
        chosen = {"trial": standing.trial.number, "decisions": dict(standing.trial.architecture.decisions)}
        context.note("winner", {**chosen, "epochs": result.epochs, "validation": list(standing.validation)})
        networks: list[tuple[Network, Mapping[str, Any]]] = [_architecture(standing.trial)]
        if place == 0 and context.baseline is not None and not same:
            networks.append(context.baseline)
        failed = _train_finals(context, seeds, result, networks, place)
        if failed.get(0 if same else 1) and "baseline" not in result.runs:
            result.no_baseline = f"the baseline failed when it was trained: {failed[0 if same else 1]}"
            result.notes.append(result.no_baseline)
        if not failed.get(0):
            standing.chosen, result.same = True, same
            if same:
                result.runs["baseline"], result.files["baseline"] = result.runs["winner"], result.files["winner"]
            return
        standing.dropped = failed[0]
        result.notes.append(f"finalist of trial {standing.trial.number} was dropped: {failed[0]}")
    result.winner = None
    raise _Dropped(f"every finalist failed in the final training: {ranking[-1].dropped}")


def _train_finals(
    context: FinalContext, seeds: Sequence[int], result: FinalResult,
    networks: list[tuple[Network, Mapping[str, Any]]], place: int,
) -> dict[int, str]:  # fmt: skip
    """Train network 0 (the winner) and perhaps 1 (the baseline) with each seed; why one of them failed, by position."""
    assert result.winner is not None
    context.progress(f"stage B: the winner{' and the baseline' if len(networks) > 1 else ''}, "
                     f"{len(seeds)} seeds, {result.epochs} epoch{'s' * (result.epochs > 1)}")  # fmt: skip
    names, number = (f"winner{place or ''}", "baseline"), result.winner.number
    pairs = [(which, i) for i in range(len(seeds)) for which in range(len(networks))]
    paths = [context.folder / f"final-{names[which]}-{i}.safetensors" for which, i in pairs]
    rows: Literal["train", "all"] = "train" if context.own_data else "all"
    tasks = [
        _task(networks[which], number if which == 0 else -1, seeds[i], result.epochs, rows, path)
        for (which, i), path in zip(pairs, paths, strict=True)
    ]
    try:
        found = _trained(context, tasks, context.metric if context.own_data else None)
    except _Interrupted as interruption:
        result.weights = paths[0] if isinstance(interruption.found[0], Outcome) else None
        raise
    failed: dict[int, str] = {}
    for which, name in zip(range(len(networks)), ("winner", "baseline"), strict=False):
        own = [outcome for (w, _), outcome in zip(pairs, found, strict=True) if w == which]
        wrong = [outcome for outcome in own if isinstance(outcome, str)]
        if wrong:
            failed[which] = wrong[0]
            continue
        result.runs[name] = [outcome for outcome in own if isinstance(outcome, Outcome)]
        result.files[name] = [path for (w, _), path in zip(pairs, paths, strict=True) if w == which]
    if 0 not in failed:
        result.weights = paths[0]
    return failed


def _read_test(context: FinalContext, result: FinalResult) -> None:
    """The one look at the test part, written down before it happens."""
    assert result.winner is not None
    context.progress("reading the test data")
    context.note("test_read", {"who": "finalize", "read": context.reads_before + 1, "trial": result.winner.number})
    result.outputs["winner"] = _outputs(context, _architecture(result.winner), result.files["winner"])
    if context.baseline is None:
        result.no_baseline = NO_BASELINE
    elif "baseline" in result.files:
        try:
            result.outputs["baseline"] = _outputs(context, context.baseline, result.files["baseline"])
        except Exception as error:  # a factory of the user's may fail in its own ways; the winner stands all the same
            result.no_baseline = f"the baseline cannot be used: {type(error).__name__}: {error}"
            result.notes.append(result.no_baseline)
    _decide(context, result, _verdict)


def _compare_runs(context: FinalContext, result: FinalResult) -> None:
    """The verdict from what the user's own function measured in stage B."""
    if context.baseline is None:
        result.no_baseline = NO_BASELINE
    _decide(context, result, _seeds_verdict)


def _decide(
    context: FinalContext, result: FinalResult, verdict: Callable[[FinalContext, FinalResult], Verdict]
) -> None:
    """Finalised, with the verdict where there can be one."""
    try:
        result.verdict = verdict(context, result)
    except SearchitectError as error:
        result.notes.append(f"there is no verdict: {error}")
    result.finalised = True
    if result.verdict is not None and result.no_baseline and context.baseline is not None:
        sentence = result.verdict.sentence.replace(wording.NONE, " ".join(result.no_baseline.split())[:300])
        result.verdict = msgspec.structs.replace(result.verdict, sentence=sentence)
    if result.verdict is not None and result.same:
        result.verdict = as_same(result.verdict)
    if result.verdict is not None and context.reads_before:
        again = wording.repeated(result.verdict.sentence, context.reads_before)
        result.notes.append(again.rpartition("; ")[2])
        result.verdict = msgspec.structs.replace(result.verdict, sentence=again)


def _seeds_verdict(context: FinalContext, result: FinalResult) -> Verdict:
    values = {name: [o.metrics[context.metric] for o in runs] for name, runs in result.runs.items()}
    return compare_seeds(
        values["winner"], values.get("baseline"), metric=context.metric, direction=context.direction
    )  # fmt: skip


def _verdict(context: FinalContext, result: FinalResult) -> Verdict:
    y = context.targets()
    winner, baseline = result.outputs["winner"], result.outputs.get("baseline")
    if context.items is None:
        return compare_scores(winner, baseline, y, context.score, metric=context.metric,
                              direction=context.direction, seed=context.seed)  # fmt: skip
    sides = [None if side is None else np.stack([context.items(out, y) for out in side]) for side in (winner, baseline)]
    assert sides[0] is not None
    return compare(sides[0], sides[1], metric=context.metric, direction=context.direction)


def _outputs(context: FinalContext, network: tuple[Network, Mapping[str, Any]], files: list[Path]) -> list[np.ndarray]:
    return [context.predict_test(context.load(*network, path)) for path in files]


def _architecture(trial: Trial) -> tuple[Network, Mapping[str, Any]]:
    return "architecture", trial.architecture.decisions


def _task(
    network: tuple[Network, Mapping[str, Any]], number: int, seed: int, epochs: int,
    rows: Literal["train", "all"] = "train", save: Path | None = None, fold: int = 0,
) -> Task:  # fmt: skip
    """A training of stage A (scored on the rows that its fold holds out) or of stage B (its weights saved)."""
    kind, decisions = network
    saved = None if save is None else str(save)
    return Task(number, dict(decisions), seed, epochs, kind, rows, fold=fold, save=saved)


def _trained(context: FinalContext, tasks: list[Task], metric: str | None) -> list[Outcome | str]:
    """The outcome of each task, or why it failed twice: once more with another seed, derived from its own."""
    found = _once(context, tasks, metric)
    again = [i for i, outcome in enumerate(found) if isinstance(outcome, str)]
    if again:
        context.progress(f"{len(again)} trainings failed and are repeated with other seeds")
        other = [msgspec.structs.replace(tasks[i], seed=derive(tasks[i].seed, "again")) for i in again]
        try:
            repeated = _once(context, other, metric)
        except _Interrupted:
            raise _Interrupted([o if isinstance(o, Outcome) else None for o in found]) from None
        for i, outcome in zip(again, repeated, strict=True):
            found[i] = outcome
    return found


def _once(context: FinalContext, tasks: list[Task], metric: str | None) -> list[Outcome | str]:
    if context.should_stop():
        raise _Interrupted([None] * len(tasks))
    found = list(context.run(tasks))
    whole = [  # a function of the user's that was asked to stop may have cut its training short
        isinstance(o, Outcome) and not (o.stopped and (context.own_data or o.epochs < t.epochs))
        for o, t in zip(found, tasks, strict=True)
    ]
    if context.should_stop() and not all(whole):
        raise _Interrupted([o if ready else None for o, ready in zip(found, whole, strict=True)])
    return [_checked(outcome, metric) for outcome in found]


def _checked(outcome: Any, metric: str | None) -> Outcome | str:
    if not isinstance(outcome, Outcome):
        return f"{getattr(outcome, 'cause', 'failed')}: {getattr(outcome, 'message', outcome)}"
    if metric is not None and not math.isfinite(outcome.metrics.get(metric, math.nan)):
        return f"not finite: {metric} is {outcome.metrics.get(metric, 'missing')}"
    return outcome
