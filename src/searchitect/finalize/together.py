"""Finalists together: the teacher of the final trainings (distillation), and the ensemble of the bundle.

The teacher is the best finalists by validation, each trained once by the usual recipe on the rows of stage B. What it
says of these rows is written down once; winner and baseline then learn from it alike, so that the comparison of the two
stays fair. The control, the winner by the usual recipe and the other members of an ensemble learn without a teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from searchitect.evaluators.base import Outcome
from searchitect.finalize.context import FinalContext, FinalResult
from searchitect.finalize.planning import FinalPlan
from searchitect.finalize.standings import Standing
from searchitect.finalize.trainings import architecture_of, trained, training
from searchitect.records import Trial, Verdict
from searchitect.seeds import derive

SINGLE, ALONE = "the single baseline", "the winner alone"
Judge = Callable[[str, str, str], Verdict]  # (side, rival, what the rival is called)


def teach(context: FinalContext, plan: FinalPlan, result: FinalResult, ranked: Sequence[Standing]) -> None:
    """Train the teacher and fill `result.soft` and `result.teachers`; a note says so where it cannot be trained."""
    assert context.soften is not None
    chosen = list(ranked[: plan.teachers])
    shorter = _share(context, plan, result)
    context.progress(f"training the teacher: {len(chosen)} finalist{'s' * (len(chosen) > 1)}")
    paths = [context.folder / f"final-teacher-{i}.safetensors" for i in range(len(chosen))]
    tasks = [
        training(
            architecture_of(s.trial), s.trial.number, derive(context.seed, "teacher", i),
            max(1, round(shorter * min(s.epochs or plan.epochs, plan.epochs))), "all", path,
        )
        for i, (s, path) in enumerate(zip(chosen, paths, strict=True))
    ]  # fmt: skip
    found = trained(context, tasks, None)
    ready = [(s.trial, path) for s, path, o in zip(chosen, paths, found, strict=True) if isinstance(o, Outcome)]
    if not ready:
        result.notes.append(f"there is no teacher: it failed when it was trained: {found[0]}")
        return
    networks = (context.load(*architecture_of(trial), path) for trial, path in ready)
    result.soft = context.soften(networks)
    result.teachers = [trial.number for trial, _ in ready]
    told = {"trials": result.teachers, "weight": result.soft.weight, "temperature": result.soft.temperature}
    context.note("teacher", told)


def _share(context: FinalContext, plan: FinalPlan, result: FinalResult) -> float:
    """Of the planned epochs of the teacher there is time for so many: stage B comes after it."""
    left, whole = context.left(), plan.stage_seconds[1] + plan.teacher_seconds
    if left is None or whole <= 0:
        return 1.0
    return plan.in_time(result.seconds["stage_a"], left * plan.stage_seconds[1] / whole)[1]


def members(context: FinalContext, plan: FinalPlan, ranked: Sequence[Standing], winner: Trial) -> list[Trial]:
    """The other members of the ensemble: the best finalists that are another network than the winner."""
    others = [s.trial for s in ranked if not s.dropped and not context.same_network(s.trial, winner)]
    return others[: plan.members]


def ensemble_outputs(outputs: Sequence[np.ndarray], task: str) -> np.ndarray:
    """What an ensemble gives for the outputs (N, ...) of its members, as `nets.Ensemble` computes it: the logarithm of
    the mean probability (N, classes), or the mean number."""
    stacked = np.stack([o.astype(np.float64) for o in outputs])
    if task != "classification":
        return np.asarray(stacked.mean(0))
    shifted = stacked - stacked.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    top = logs.max(0)
    return np.asarray(top + np.log(np.exp(logs - top).mean(0)))


def compare_ensemble(context: FinalContext, result: FinalResult, judge: Judge) -> None:
    """The ensemble against the single baseline and against the winner alone, where it has members."""
    sides = [side for side, _ in result.members]
    if len(sides) < 2 or any(side not in result.outputs for side in sides):
        return
    task = str(context.usual_recipe.get("task"))
    rows = zip(*(result.outputs[side] for side in sides), strict=True)
    result.outputs["ensemble"] = [ensemble_outputs(one, task) for one in rows]
    for name, rival, called in (("ensemble", "baseline", SINGLE), ("alone", "winner", ALONE)):
        if rival in result.outputs and not (name == "alone" and result.same):
            found = judge("ensemble", rival, called)
            sentence = _of_ensemble(found.sentence, len(sides), called)
            result.comparisons[name] = msgspec.structs.replace(found, sentence=sentence)


def _of_ensemble(sentence: str, networks: int, rival: str) -> str:
    """A verdict on several networks together, told from one on a single network."""
    if sentence.startswith("cannot tell"):
        return f"an ensemble of {networks} networks against {rival}: {sentence}"
    return f"an ensemble of {networks} networks is {sentence}"
