"""From candidates to a verdict in two stages, so that no test score ever chooses anything.

Stage A: finalists are retrained with several seeds, each of which holds out another part of the rows that are not test
data; the best mean on what was held out is the winner, unless the hand-made network is within a standard error of it
(`standings.cautious`). Winner and epochs are written down before stage B: winner and baseline are retrained on training
and validation rows for those epochs. Only then are the test data read, once, and the read is written down before that.

With a control (a search beside the strategy), its finalists go through stage A too, apart from the others, and its
best is the third network of stage B. With tuning, winner and baseline get other recipes between the stages
(`tuning.py`), and stage B trains the winner with the usual recipe too: for the control's sake, and to show what tuning
was worth.

With a teacher (`together.py`) winner and baseline learn from it alike, and the winner by the usual recipe does not.
With an ensemble the next best finalists are trained in stage B with the winner's seeds.

Where the user's own function holds the data (`own_data`), there are no test rows: stage B goes through that function
again with fresh seeds that nobody chose by, and its numbers are compared.

All randomness follows from the plan's seeds. A run that fails is repeated once with another seed derived from its own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from searchitect.evaluators.base import Outcome, Soft
from searchitect.finalize.context import FinalContext, FinalResult, Network
from searchitect.finalize.planning import FinalPlan
from searchitect.finalize.reading import compare_runs, read_test
from searchitect.finalize.standings import Standing, cautious, ranking
from searchitect.finalize.together import members, teach
from searchitect.finalize.trainings import Dropped, Interrupted, architecture_of, trained, training
from searchitect.finalize.wording import is_share

SPARE = 1.2  # times what the seeds so far took, that more of them are given: nothing is lost when the end comes early


class Contestant(NamedTuple):
    """A network of stage B; `file` names its weights, `number` is its trial (-1: none)."""

    side: str  # "winner", "baseline", "control", "untuned", "member7" (of trial 7), ...
    network: tuple[Network, Mapping[str, Any]]
    number: int
    file: str
    recipe: Mapping[str, Any] = {}
    soft: Soft | None = None


def run_stages(context: FinalContext, plan: FinalPlan) -> FinalResult:
    """Run both stages and read the test data. Never raises for failing trainings or an interruption: the result says so
    (`finalised` False, `reason`)."""
    result = FinalResult([Standing(trial) for trial in plan.finalists], plan.epochs, notes=list(plan.notes))
    result.control = [Standing(trial) for trial in plan.control]
    try:
        began = context.clock()
        ranked = _stage_a(context, plan, result)
        result.seconds["stage_a"] = context.clock() - began
        if plan.tuned:
            from searchitect.finalize.tuning import tune  # Optuna takes half a second to import

            began = context.clock()
            tune(context, plan, result, ranked[0])
            result.seconds["tuning"] = context.clock() - began
        if plan.teachers and context.soften is not None:
            began = context.clock()
            teach(context, plan, result, ranked)
            result.seconds["teacher"] = context.clock() - began
        began = context.clock()
        _stage_b(context, plan, result, ranked)
        result.seconds["stage_b"] = context.clock() - began
        began = context.clock()
        compare_runs(context, result) if context.own_data else read_test(context, result)
        result.seconds["test"] = context.clock() - began
    except Interrupted:
        result.reason = "interrupted"
    except Dropped as error:
        result.reason = str(error)
    if not result.finalised:
        result.notes.append(f"not finalised: {result.reason}")
    return result


def _stage_a(context: FinalContext, plan: FinalPlan, result: FinalResult) -> list[Standing]:
    """Finalists from best to worst by validation alone; those of the control are sorted where they stand."""
    if not plan.stage_a_seeds:
        return result.standings
    everyone = [*result.standings, *result.control]
    beside = f" and {len(result.control)} of the control" if result.control else ""
    context.progress(f"stage A: {len(result.standings)} finalists{beside}, {len(plan.stage_a_seeds)} seeds each")
    pairs = [(s, seed) for seed in plan.stage_a_seeds for s in everyone]  # everyone's first seed first
    folds = {seed: fold for fold, seed in enumerate(plan.stage_a_seeds)}
    tasks = [
        training(architecture_of(s.trial), s.trial.number, seed, plan.epochs, fold=folds[seed]) for s, seed in pairs
    ]
    found = trained(context, tasks, context.metric)
    for standing in everyone:
        own = [outcome for (s, _), outcome in zip(pairs, found, strict=True) if s is standing]
        _note_score(standing, own, context.metric, context.held_out)
        if standing.dropped:
            result.notes.append(f"finalist of trial {standing.trial.number} was dropped: {standing.dropped}")
    ranked = ranking(result.standings, context.direction)
    if not ranked:
        why = "; ".join(dict.fromkeys(s.dropped for s in result.standings))
        raise Dropped(f"every finalist failed when it was trained again: {why}")
    ranked, kept = cautious(ranked, context.direction, context.is_baseline, context.held_out)
    result.notes += [kept] * bool(kept)
    result.control = ranking(result.control, context.direction)
    return ranked


def _note_score(standing: Standing, outcomes: Sequence[Outcome | str], metric: str, held_out: float) -> None:
    good = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
    if len(good) < len(outcomes):
        standing.dropped = next(outcome for outcome in outcomes if isinstance(outcome, str))
        return
    standing.held_out, standing.share = held_out, is_share(metric)
    standing.validation = tuple(outcome.metrics[metric] for outcome in good)
    loss = statistics.fmean(outcome.metrics.get("loss", math.inf) for outcome in good)
    standing.loss = math.inf if math.isnan(loss) else loss
    standing.epochs = statistics.median_high(outcome.epochs for outcome in good)


def _stage_b(context: FinalContext, plan: FinalPlan, result: FinalResult, ranked: list[Standing]) -> None:
    """Winner, baseline and what else is compared on training and validation rows. A winner that fails gives way to the
    next finalist: no test score is known yet."""
    for place, standing in enumerate(ranked):
        same = context.baseline is not None and context.is_baseline(standing.trial)
        result.epochs = min(standing.epochs or plan.epochs, plan.epochs)
        contestants = _contestants(context, result, standing, place, same)
        contestants += _members(context, plan, result, contestants, ranked[place:]) if plan.members else []
        networks = len(contestants) + (context.baseline is None)
        seeds, share = plan.in_time(result.seconds["stage_a"], context.left(), networks, result.epochs)
        if share < 0.9:
            short = max(1, round(result.epochs * share))
            if short < result.epochs:
                result.notes.append(
                    f"short of time: stage A was slower than planned, so the final trainings take {short} instead of "
                    f"{result.epochs} epochs"
                )
            result.epochs = short
        result.winner = standing.trial
        recipe = {"recipe": dict(result.recipes["winner"])} if result.recipes.get("winner") else {}
        chosen = {"trial": standing.trial.number, "decisions": dict(standing.trial.architecture.decisions)}
        context.note("winner", {**chosen, "epochs": result.epochs, "validation": list(standing.validation)} | recipe)
        limited = context.left() is not None
        began = context.clock() if limited else 0.0
        failed = _train_finals(context, seeds, result, contestants)
        if limited and not failed:
            _spare_time(context, plan, result, contestants, (len(seeds), context.clock() - began))
        why = failed.get("winner" if same else "baseline")
        if why and "baseline" not in result.runs:
            result.no_baseline = f"the baseline failed when it was trained: {why}"
            result.notes.append(result.no_baseline)
        if "control" in failed:
            result.notes.append(f"the control failed when it was trained: {failed['control']}")
        _keep_members(result, failed, plan.members)
        if "winner" not in failed:
            standing.chosen, result.same = True, same
            if same:
                result.runs["baseline"], result.files["baseline"] = result.runs["winner"], result.files["winner"]
            return
        standing.dropped = failed["winner"]
        result.recipes.pop("winner", None)  # the next one was not tuned, and what was is another network
        result.runs.pop("untuned", None), result.files.pop("untuned", None)
        result.notes.append(f"finalist of trial {standing.trial.number} was dropped: {failed['winner']}")
    result.winner = None
    raise Dropped(f"every finalist failed in the final training: {ranked[-1].dropped}")


def _contestants(
    context: FinalContext, result: FinalResult, standing: Standing, place: int, same: bool
) -> list[Contestant]:
    """Who is trained: after a failed winner only the next one, as the others are ready."""
    network, number = architecture_of(standing.trial), standing.trial.number
    recipe = result.recipes.get("winner") or {}
    found = [Contestant("winner", network, number, f"winner{place or ''}", recipe, result.soft)]
    if place:
        return found
    if recipe or result.soft is not None:
        found.append(Contestant("untuned", network, number, "untuned"))
    if context.baseline is not None and not same:
        changed = result.recipes.get("baseline") or {}
        found.append(Contestant("baseline", context.baseline, -1, "baseline", changed, result.soft))
    if result.control:
        rival = result.control[0].trial
        if not context.same_network(rival, standing.trial):
            found.append(Contestant("control", architecture_of(rival), rival.number, "control"))
    return found


def _members(
    context: FinalContext, plan: FinalPlan, result: FinalResult, contestants: list[Contestant],
    ranked: Sequence[Standing],
) -> list[Contestant]:  # fmt: skip
    """The other members of the ensemble that are to be trained, after a failed winner those that are not yet; and fill
    `result.members`. The baseline by the usual recipe is trained already."""
    trained_alike = next((c for c in contestants if c.side == "baseline" and not c.recipe and c.soft is None), None)
    known = {trial.number: side for side, trial in result.members if side != "winner"}
    result.members = [("winner", ranked[0].trial)]
    found = []
    for trial in members(context, plan, ranked[1:], ranked[0].trial):
        side = known.get(trial.number, f"member{trial.number}")
        if trained_alike is not None and context.is_baseline(trial):
            side = "baseline"
        elif side not in result.files and side != "baseline":
            found.append(Contestant(side, architecture_of(trial), trial.number, side))
        result.members.append((side, trial))
    return found


def _keep_members(result: FinalResult, failed: Mapping[str, str], wanted: int) -> None:
    """Those that could be trained; what is missing in the ensemble is said."""
    if not wanted or "winner" in failed:
        return
    result.members = [(side, trial) for side, trial in result.members if side in result.files]
    if len(result.members) < wanted + 1:
        why = "".join(f"; one failed: {text}" for side, text in failed.items() if side.startswith("member"))
        result.notes.append(f"the ensemble has {len(result.members)} instead of {wanted + 1} networks{why}")


def _spare_time(
    context: FinalContext,
    plan: FinalPlan,
    result: FinalResult,
    contestants: list[Contestant],
    so_far: tuple[int, float],
) -> None:
    """More seeds for all, as far as there is time by what the seeds so far took (their number, seconds). One more that
    fails takes the others of this batch with it: all sides keep as many."""
    done, seconds = so_far
    left = context.left()
    if left is None or done < len(plan.stage_b_seeds):
        return
    more = min(int(left / max(SPARE * seconds / done, 1e-9)), len(plan.alone_seeds) - done)
    if more < 1:
        return
    before = {side: list(found) for side, found in result.runs.items()}, {k: list(v) for k, v in result.files.items()}
    failed = _train_finals(context, plan.alone_seeds[done : done + more], result, contestants, done)
    if failed:
        result.runs, result.files = before
        result.notes.append(f"{more} more seeds were left out: {next(iter(failed.values()))}")


def _train_finals(
    context: FinalContext, seeds: Sequence[int], result: FinalResult, contestants: list[Contestant], first: int = 0
) -> dict[str, str]:
    """Train each with each seed, of which the first is number `first`, beside those before it; why one of them failed,
    by side."""
    names = {"winner": "the winner", "baseline": "the baseline", "control": "the control",
             "untuned": "the winner by the usual recipe"}  # fmt: skip
    who = [names[c.side] for c in contestants if c.side in names]
    more = sum(c.side not in names for c in contestants)
    who += [f"{more} more for the ensemble"] * bool(more)
    listed = who[0] if len(who) == 1 else f"{', '.join(who[:-1])} and {who[-1]}"
    context.progress(f"stage B: {listed}, {len(seeds)} seeds, {result.epochs} epoch{'s' * (result.epochs > 1)}")
    pairs = [(c, first + i) for i in range(len(seeds)) for c in contestants]
    paths = [context.folder / f"final-{c.file}-{i}.safetensors" for c, i in pairs]
    rows: Literal["train", "all"] = "train" if context.own_data else "all"
    tasks = [
        training(
            c.network,
            c.number,
            seeds[i - first],
            _epochs(result, c),
            rows,
            path,
            recipe=_without_epochs(c.recipe),
            soft=c.soft,
        )
        for (c, i), path in zip(pairs, paths, strict=True)
    ]
    try:
        found = trained(context, tasks, context.metric if context.own_data else None)
    except Interrupted as interruption:
        if not first:
            result.weights = paths[0] if isinstance(interruption.found[0], Outcome) else None
        raise
    failed: dict[str, str] = {}
    for one in contestants:
        own = [outcome for (c, _), outcome in zip(pairs, found, strict=True) if c is one]
        wrong = [outcome for outcome in own if isinstance(outcome, str)]
        if wrong:
            failed[one.side] = wrong[0]
            continue
        before = (result.runs[one.side], result.files[one.side]) if first else ([], [])
        result.runs[one.side] = before[0] + [outcome for outcome in own if isinstance(outcome, Outcome)]
        result.files[one.side] = before[1] + [path for (c, _), path in zip(pairs, paths, strict=True) if c is one]
    if "winner" not in failed and not first:
        result.weights = paths[0]
    return failed


def _epochs(result: FinalResult, one: Contestant) -> int:
    """A tuned recipe may end earlier."""
    return max(1, round(result.epochs * float(one.recipe.get("epochs", 1.0))))


def _without_epochs(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name != "epochs"}
