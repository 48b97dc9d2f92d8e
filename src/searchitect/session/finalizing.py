"""What a session does after its search: the final stages in the time that is left, and the bundle."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from searchitect.engine.interrupts import Interrupts
from searchitect.engine.loop import Loop
from searchitect.engine.observer import Announcer, Progress
from searchitect.errors import ArchitectureError
from searchitect.evaluators import TrainEvaluator
from searchitect.evaluators.base import Outcome, Soft, Task
from searchitect.evaluators.train import BESIDE, load_weights
from searchitect.executors import Executor, Failed
from searchitect.finalize import FinalContext, FinalPlan, plan_finals, run_stages
from searchitect.finalize.blocks import blocks_of
from searchitect.finalize.explaining import explained
from searchitect.finalize.items import item_values
from searchitect.finalize.others import Also, front_facts
from searchitect.finalize.planning import MOST_SEEDS, Means, Together, Wishes
from searchitect.records import KNOWN_METRICS, Objective, Trial, candidates, goals, losses, thoroughness
from searchitect.session import budget
from searchitect.session.leaving import leave_best_so_far, leave_winner
from searchitect.session.pacing import Paces
from searchitect.session.speed import Speed, crowded
from searchitect.session.tasks import run_tasks
from searchitect.session.timeplan import tuning_seconds
from searchitect.settings import Settings
from searchitect.space import Architecture
from searchitect.training import parameters, predict, score
from searchitect.training import prepare as tensors_of
from searchitect.training.losses import soft_targets

if TYPE_CHECKING:
    from searchitect.session.run import Session

# Kept for writing and checking the bundle, and for the report. Measured with nine busy processes on two cores: 3 s for
# the bundle, 2.5 of them to import torch in the interpreter that checks it (1.2 s of computing), 1 s for the report.
BUNDLE_SECONDS = budget.REPORT_SECONDS
FINALISTS = budget.FINALISTS
SLACK = 0.02  # of the budget, that the last trainings may take beyond their end
MOST_RECIPES = 60  # for each network, where a share of the budget is given

Run = Callable[[list[Task]], list[Outcome | Failed]]


def finalize(
    session: Session, executor: Executor, loop: Loop, fidelities: budget.Fidelities, interrupts: Interrupts
) -> None:
    """Stage A, stage B, one look at the test data, verdict and bundle; all of it written to the study.

    Interrupted, it leaves the bundle of the best weights so far, marked as not finalised; what an earlier session
    had finalised stays.
    """
    began = time.monotonic()
    plan = _plan(session, loop, fidelities)
    folder = session.checkpoints / "final"
    folder.mkdir(exist_ok=True)
    progress = _Watcher(session, loop)
    paces = _paces(session, plan)
    run = _runner(session, executor, interrupts, progress, paces)
    if isinstance(session.prepared.evaluator, TrainEvaluator):
        context = _trained_context(session, run, interrupts, folder, progress)
    else:
        context = _function_context(session, run, interrupts, folder, progress)
    result = run_stages(context, plan)
    if paces is not None and paces.notes and result.runs.get("winner"):
        result.epochs = result.runs["winner"][0].epochs
    for note in [*result.notes, *(paces.notes if paces is not None else ())]:
        session.store.note("finalize", {"text": note})
    session.note_seconds(finalize=time.monotonic() - began)
    try:
        if result.finalised or not session.store.meta.get("finalised"):
            session.store.set_meta(
                finalists=[standing.plain() for standing in result.standings], finalised=result.finalised,
                verdict=None if result.verdict is None else msgspec.to_builtins(result.verdict),
                control=[standing.plain() for standing in result.control], recipes=result.recipes, tuning=result.tuning,
                teachers=result.teachers, ensemble=None,
                comparisons={side: msgspec.to_builtins(found) for side, found in result.comparisons.items()},
                metrics={name: msgspec.to_builtins(found) for name, found in result.metrics.items()},
                front=front_facts(list(loop.ledger.trials.values()), session.prepared.objectives,
                                  session.prepared.baseline_architecture),
            )  # fmt: skip
        if result.finalised:
            leave_winner(session, executor, result, plan.stage_b_seeds[0])
            trials = loop.ledger.trials.values()
            session.store.set_meta(explained=explained(context, result, trials, session.prepared.space, session.end))
        else:
            leave_best_so_far(session, loop)
    finally:
        for path in folder.glob("final-*.safetensors"):
            path.unlink()


# -- plan ------------------------------------------------------------------------------------------------


def _plan(session: Session, loop: Loop, fidelities: budget.Fidelities) -> FinalPlan:
    """Finalists and epochs that fit, then with the time that is left more seeds than were asked for."""
    prepared, settings = session.prepared, session.settings
    trials = session.gauge.left(loop.ledger.trials.values())
    pool = finalists(trials, prepared.objectives)
    pool = _with_baseline(pool, prepared.baseline_architecture)
    beside = finalists(trials, prepared.objectives, control=True) if settings.control else []
    left = _left(session)
    if left is not None:
        left = max(1.0, left - _tuning_seconds(session))

    speed = Speed(loop.ledger.trials.values())

    def costs(trial: Trial) -> float:
        inherited = trial.proposal.fidelity.kind == "inherited"
        return _untrained_seconds(session, trial) if inherited else speed.epoch(trial)

    slowest = max(map(costs, pool)) if _baseline(session) is not None else 0.0
    more_rows = 1.0
    if isinstance(prepared.evaluator, TrainEvaluator):
        more_rows = 1.0 + len(prepared.evaluator.validation) / len(prepared.evaluator.train)

    def seconds(trial: Trial | None, epochs: int, all_rows: bool) -> float:
        per_epoch = (session.baseline_epoch * speed.slower or slowest) if trial is None else costs(trial)
        return per_epoch * epochs * (more_rows if all_rows else 1.0) + budget.START_SECONDS

    def plan(seeds: int, epochs: int) -> FinalPlan:
        wishes = Wishes(
            epochs, seeds, max(FINALISTS, settings.ensemble or 0), max(2, settings.ensemble or 0),
            _recipes(settings.tune), together(settings),
        )  # fmt: skip
        return plan_finals(pool, Means(left, seconds, prepared.workers), wishes, seed=settings.seed, control=beside)

    def no_worse(more: FinalPlan) -> bool:
        return (left is None or more.forecast_seconds <= left) and len(more.finalists) == len(found.finalists)

    found = plan(settings.seeds, fidelities.final_epochs)
    for epochs in range(most_epochs(session, fidelities), fidelities.final_epochs, -1):  # what was found may be cheap
        longer = plan(settings.seeds, epochs)
        if longer.epochs == epochs and no_worse(longer):
            found = longer
            break
    for seeds in range(settings.seeds + 1, MOST_SEEDS + 1):
        more = plan(seeds, found.epochs)
        if left is None or more.epochs != found.epochs or not no_worse(more):
            break
        found = more
    return found


def most_epochs(session: Session, fidelities: budget.Fidelities) -> int:
    """Epochs of the final trainings at most: those of a full training where time and not the user decides."""
    fixed = session.end is None or session.settings.epochs is not None or session.prepared.data is None
    return fidelities.final_epochs if fixed else max(fidelities.final_epochs, session.prepared.full_epochs)


def _tuning_seconds(session: Session) -> float:
    total = session.settings.budget_seconds
    return tuning_seconds(session.prepared, total, session.candidate_epoch, session.baseline_epoch)


def _recipes(tune: float | None) -> int:
    """Recipes for each network at most."""
    return 0 if tune is None else MOST_RECIPES if tune < 1 else int(tune)


def together(settings: Settings) -> Together:
    """Finalists that make up an ensemble with the winner, and a teacher."""
    return Together((settings.ensemble or 1) - 1, 0 if settings.distill is None else budget.TEACHERS)


def _left(session: Session) -> float | None:
    """Seconds for the final trainings; None without a budget."""
    after = BUNDLE_SECONDS * crowded(session.prepared.workers)
    return None if session.end is None else max(1.0, session.end - time.monotonic() - after)


def finalists(trials: Iterable[Trial], aims: Sequence[Objective], control: bool = False) -> list[Trial]:
    """Who may be retrained, the best first: those at the highest fidelity reached; where they are fewer than there is
    room for, the best of the next lower one follow, which merely have not been promoted yet."""
    pool: list[Trial] = []
    rest = list(trials)
    while len(pool) < FINALISTS and (found := candidates(rest, aims, control)):
        known = {trial.architecture for trial in pool}
        pool += _ranked([trial for trial in found if trial.architecture not in known], aims)
        rest = [t for t in rest if thoroughness(t.proposal.fidelity) < thoroughness(found[0].proposal.fidelity)]
    return pool


def _ranked(pool: Sequence[Trial], aims: Sequence[Objective]) -> list[Trial]:
    """Best first. Accuracy is coarse on few validation rows: the loss decides among equals, then age."""

    def rank(trial: Trial) -> tuple[Any, ...]:
        loss = trial.value("loss")
        return (losses(trial, aims) or (), math.inf if loss is None or math.isnan(loss) else loss, trial.number)

    return sorted(pool, key=rank)


def _with_baseline(pool: list[Trial], baseline: Architecture | None) -> list[Trial]:
    """The hand-made network is the second finalist at the latest: what is not better on validation must not win."""
    at = next((i for i, trial in enumerate(pool) if trial.architecture == baseline), 0)
    return [pool[0], pool[at], *pool[1:at], *pool[at + 1 :]] if at > 1 else pool


def _untrained_seconds(session: Session, trial: Trial) -> float:
    """Seconds of one epoch of a network that was only measured with inherited weights: what a usual network of the
    space takes, or the hand-made one by their multiply-accumulates, whichever is more."""
    prepared, macs = session.prepared, trial.value("macs")
    if prepared.costs is None or prepared.baseline_architecture is None or macs is None:
        return session.candidate_epoch
    hand_made = prepared.costs.of(prepared.baseline_architecture).macs
    return max(session.candidate_epoch, session.baseline_epoch * macs / max(hand_made, 1))


class _Watcher:
    """Shows the person where the final stages are."""

    def __init__(self, session: Session, loop: Loop) -> None:
        self.session, self.loop, self.text = session, loop, ""
        self.announcer = Announcer(session.observer)

    def __call__(self, text: str) -> None:
        """A new step."""
        self.text = text
        self.show(0, 0)

    def show(self, done: int, total: int) -> None:
        """So many trainings of the step are done."""
        session, loop = self.session, self.loop
        left = None if session.end is None else max(0.0, session.end - time.monotonic())
        text = f"{self.text} ({done} of {total})" if total else self.text
        tally = loop.ledger.tally
        self.announcer.progress(Progress(
            "finalize", tally["done"], tally["failed"], tally["reused"], 0, loop.ledger.incumbent,
            session.elapsed, left, None, text,
        ))  # fmt: skip


# -- contexts --------------------------------------------------------------------------------------------


def _runner(
    session: Session, executor: Executor, interrupts: Interrupts, watcher: _Watcher, paces: Paces | None
) -> Run:
    def run(tasks: list[Task]) -> list[Outcome | Failed]:
        pace = None if paces is None else paces.of(tasks)
        found = run_tasks(
            executor, tasks, interrupt=interrupts, each=lambda done: watcher.show(done, len(tasks)),
            time_limit=session.settings.time_limit, pace=pace,
        )  # fmt: skip
        if paces is not None and pace is not None:
            paces.told(pace)
        return found

    return run


def _paces(session: Session, plan: FinalPlan) -> Paces | None:
    """What keeps the end of the budget while the final trainings run; None where there is none to keep, or where the
    user's own function decides how long it trains."""
    evaluator, total = session.prepared.evaluator, session.settings.budget_seconds
    if session.end is None or total is None or not isinstance(evaluator, TrainEvaluator):
        return None
    return Paces(
        plan, lambda: _left(session) or 0.0, session.prepared.workers, time.monotonic,
        more_rows=1.0 + len(evaluator.validation) / len(evaluator.train), slack=SLACK * total,
        tuning=_tuning_seconds(session),
    )  # fmt: skip


def _baseline(session: Session) -> tuple[Any, Mapping[str, Any]] | None:
    prepared = session.prepared
    if prepared.baseline_architecture is not None:
        return "architecture", prepared.baseline_architecture.decisions
    return None if prepared.baseline_factory is None else ("baseline", {})


def _is_baseline(session: Session, trial: Trial) -> bool:
    """Whether a trial is the hand-made network, be it written differently."""
    baseline = session.prepared.baseline_architecture
    return baseline is not None and _same(session, trial.architecture, baseline)


def _same(session: Session, a: Architecture, b: Architecture) -> bool:
    """Whether two architectures are one network."""
    space = session.prepared.space
    try:
        return a == b or space.key(a) == space.key(b)
    except ArchitectureError:  # too large for a key
        return False


def _trained_context(
    session: Session, run: Run, interrupts: Interrupts, folder: Path, watcher: _Watcher
) -> FinalContext:
    """Our own training: winner and baseline meet on the test rows."""
    prepared = session.prepared
    evaluator, test = prepared.evaluator, prepared.test
    assert isinstance(evaluator, TrainEvaluator)
    assert test is not None
    raw = evaluator.raw
    everything = np.arange(len(raw))
    data, preprocess = tensors_of(raw, everything)
    metric = _comparable(prepared.objectives, evaluator.scored)
    y = torch.from_numpy(test[1])
    if raw.task == "regression":
        y = y.reshape(len(y), -1)

    def load(network: Any, decisions: Mapping[str, Any], path: Path) -> nn.Module:
        task = Task(-1, dict(decisions), 0, 1, network)
        model = load_weights(evaluator.network(task, data.sample), path).eval()
        known = session.store.meta.get("baseline") or {}
        if network == "baseline" and "drawing" not in known:  # for the report: the space cannot draw it
            session.store.set_meta(baseline=known | {"drawing": str(model), "params": parameters(model)})
        return model

    def dropouts(network: Any, decisions: Mapping[str, Any]) -> bool:
        model = evaluator.network(Task(-1, dict(decisions), 0, 1, network), data.sample)
        return any(isinstance(module, nn.modules.dropout._DropoutNd) for module in model.modules())

    def soften(networks: Iterable[nn.Module]) -> Soft:
        weight, temperature = session.settings.distill or 0.0, session.settings.temperature
        rows = evaluator.data("all").x
        answers = soft_targets([predict(model, rows) for model in networks], raw.task, temperature)
        path = folder / "final-answers.safetensors"
        save_file({"soft": answers.float().contiguous()}, path)
        return Soft(str(path), weight, temperature)

    def predict_test(model: nn.Module) -> np.ndarray:
        return data.units(predict(model, preprocess.apply(test[0]))).numpy()

    def number(outputs: np.ndarray, targets: np.ndarray) -> float:
        return score(metric.metric, torch.from_numpy(outputs), torch.from_numpy(targets), raw.task)

    return FinalContext(
        session.settings.seed, metric.metric, metric.direction, folder, run,
        load, predict_test, lambda: y.numpy(), number, session.store.note, item_values(metric.metric, raw.task),
        _baseline(session), watcher, interrupts, time.monotonic, len(session.store.notes("test_read")),
        partial(_is_baseline, session), left=partial(_left, session),
        held_out=len(evaluator.validation) / len(evaluator.train),
        same_network=lambda a, b: _same(session, a.architecture, b.architecture),
        usual_recipe=msgspec.to_builtins(evaluator.recipe) | {"task": raw.task}, sample=data.sample,
        tuning_seconds=_tuning_seconds(session) or None, dropouts=dropouts, blocks=blocks_of(prepared.test_kin),
        also=_also(prepared.objectives, evaluator.scored, metric.metric, raw.task),
        soften=None if session.settings.distill is None else soften,
    )  # fmt: skip


def _function_context(
    session: Session, run: Run, interrupts: Interrupts, folder: Path, watcher: _Watcher
) -> FinalContext:
    """The user's own function measures: winner and baseline meet on seeds that nobody chose by."""
    aims = goals(session.prepared.objectives)
    goal = next((o for o in aims if o.metric not in BESIDE), aims[0])  # costs hardly depend on the seed

    def no_test(*_: Any) -> Any:
        raise AssertionError("the data are the function's: there is no test part to read")

    return FinalContext(
        session.settings.seed, goal.metric, goal.direction, folder, run,
        no_test, no_test, no_test, no_test, session.store.note, baseline=_baseline(session), progress=watcher,
        should_stop=interrupts, clock=time.monotonic, is_baseline=partial(_is_baseline, session),
        left=partial(_left, session), own_data=True,
        also=tuple(Also(o.metric, o.direction, None, no_test) for o in aims if o.metric not in {goal.metric, *BESIDE}),
        same_network=lambda a, b: _same(session, a.architecture, b.architecture),
    )  # fmt: skip


def _also(
    aims: Sequence[Objective], scored: Sequence[str], judged: str, task: Literal["classification", "regression"]
) -> tuple[Also, ...]:
    """What is scored on validation rows beside the metric of the verdict."""
    asked = {o.metric: o.direction for o in goals(aims)}

    def by(name: str) -> Any:
        return lambda outputs, y: score(name, torch.from_numpy(outputs), torch.from_numpy(y), task)

    return tuple(
        Also(name, asked.get(name) or KNOWN_METRICS.get(name, ("max", ""))[0], item_values(name, task), by(name))
        for name in scored
        if name != judged
    )


def _comparable(aims: Sequence[Objective], scored: Sequence[str]) -> Objective:
    """The goal that the verdict is about: the first one that is computed from predictions."""
    found = next((o for o in goals(aims) if o.metric in scored), None)
    return found or Objective(scored[0], "max" if scored[0] == "accuracy" else "min")
