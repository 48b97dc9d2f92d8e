"""What is known once all is trained: the one look at the test part, the verdict, and the other comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from searchitect.errors import SearchitectError
from searchitect.finalize import wording
from searchitect.finalize.context import FinalContext, FinalResult, Network
from searchitect.finalize.others import other_metrics
from searchitect.finalize.together import compare_ensemble
from searchitect.finalize.trainings import architecture_of
from searchitect.finalize.verdict import Against, as_same, compare, compare_scores, compare_seeds
from searchitect.records import Verdict

NO_BASELINE = "there is no hand-made network to compare with"
RIVALS = {"control": "random search at equal cost", "untuned": "itself with the usual recipe"}
Judge = Callable[[FinalContext, FinalResult, str, str, str], Verdict]


def read_test(context: FinalContext, result: FinalResult) -> None:
    """The one look at the test part, written down before it happens."""
    assert result.winner is not None
    context.progress("reading the test data")
    context.note("test_read", {"who": "finalize", "read": context.reads_before + 1, "trial": result.winner.number})
    result.outputs["winner"] = _outputs(context, architecture_of(result.winner), result.files["winner"])
    if context.baseline is None:
        result.no_baseline = NO_BASELINE
    elif "baseline" in result.files:
        try:
            result.outputs["baseline"] = _outputs(context, context.baseline, result.files["baseline"])
        except Exception as error:  # a factory of the user's may fail in its own ways; the winner stands all the same
            result.no_baseline = f"the baseline cannot be used: {type(error).__name__}: {error}"
            result.notes.append(result.no_baseline)
    others = {"untuned": result.winner, **dict(result.members)}
    others |= {"control": result.control[0].trial} if result.control else {}
    for side, trial in others.items():
        if side in result.files and side not in result.outputs:
            result.outputs[side] = _outputs(context, architecture_of(trial), result.files[side])
    _decide(context, result, _by_items)


def compare_runs(context: FinalContext, result: FinalResult) -> None:
    """The verdict from what the user's own function measured in stage B."""
    if context.baseline is None:
        result.no_baseline = NO_BASELINE
    _decide(context, result, _by_seeds)


def _decide(context: FinalContext, result: FinalResult, judge: Judge) -> None:
    """Finalised, with the verdict where there can be one."""
    try:
        result.verdict = judge(context, result, "winner", "baseline", wording.BASELINE)
        _compare_others(context, result, judge)
        compare_ensemble(context, result, partial(judge, context, result))
        result.metrics = other_metrics(context, result)
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


def _compare_others(context: FinalContext, result: FinalResult, judge: Judge) -> None:
    """The control against the winner by the same recipe; the winner against itself by the usual recipe."""
    usual = "untuned" if "untuned" in result.runs else "winner"
    if "untuned" in result.runs:
        result.comparisons["untuned"] = judge(context, result, "winner", "untuned", RIVALS["untuned"])
    if "control" in result.runs:
        result.comparisons["control"] = judge(context, result, usual, "control", RIVALS["control"])
    elif result.control and result.winner is not None and context.same_network(result.control[0].trial, result.winner):
        alone = judge(context, result, usual, usual, RIVALS["control"])
        sentence = wording.same_network(RIVALS["control"])
        result.comparisons["control"] = msgspec.structs.replace(as_same(alone), sentence=sentence)


def _by_seeds(context: FinalContext, result: FinalResult, side: str, rival: str, called: str) -> Verdict:
    values = {name: [o.metrics[context.metric] for o in runs] for name, runs in result.runs.items()}
    return compare_seeds(
        values[side], values.get(rival), metric=context.metric, direction=context.direction, against=Against(called)
    )


def _by_items(context: FinalContext, result: FinalResult, side: str, rival: str, called: str) -> Verdict:
    y, ours, theirs = context.targets(), result.outputs[side], result.outputs.get(rival)
    metric, direction, against = context.metric, context.direction, Against(called, context.blocks)
    if context.items is None:
        return compare_scores(
            ours, theirs, y, context.score, metric=metric, direction=direction, seed=context.seed, against=against
        )
    items = context.items
    scored = [None if outputs is None else np.stack([items(out, y) for out in outputs]) for outputs in (ours, theirs)]
    assert scored[0] is not None
    return compare(scored[0], scored[1], metric=metric, direction=direction, against=against)


def _outputs(context: FinalContext, network: tuple[Network, Mapping[str, Any]], files: list[Path]) -> list[np.ndarray]:
    return [context.predict_test(context.load(*network, path)) for path in files]
