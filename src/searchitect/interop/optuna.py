"""Studies in Optuna's words: a read-only view for its pictures and its dashboard, export and import.

    optuna.visualization.plot_optimization_history(as_optuna("runs/first"))       # a picture
    optuna_dashboard.run_server(StudyStorage("runs/first"))                       # live, also while the search runs
    optuna.copy_study(from_study_name="first", from_storage=StudyStorage("runs/first"), to_storage="sqlite:///o.db")

What does not go over: parents of trials, the origin of proposals, fidelities (they stand in the user attributes), and
reasons of failures beyond one line. A trial that paused at a rung is PRUNED there, as its value was measured at another
fidelity than those of finished ones.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from searchitect.errors import UsageError
from searchitect.records import Objective, State, Trial, goals, objectives, thoroughness
from searchitect.space import Architecture, Space
from searchitect.space.decision import Decision
from searchitect.store import Store

EACH = 1 << 32  # ids of trials of one study
STATES = {
    State.QUEUED: TrialState.WAITING, State.RUNNING: TrialState.RUNNING, State.DONE: TrialState.COMPLETE,
    State.FAILED: TrialState.FAIL, State.PRUNED: TrialState.PRUNED,
}  # fmt: skip


def as_optuna(path: str | Path) -> optuna.Study:
    """A study as Optuna's, read-only: what is there now at every look. Raises StorageError where there is none."""
    storage = StudyStorage(path)
    return optuna.load_study(study_name=storage.get_study_name_from_id(0), storage=storage)


def architectures(study: optuna.Study, space: Space) -> list[tuple[Architecture, tuple[float, ...]]]:
    """The completed trials of a study of Optuna's whose parameters are the decisions of a space, with their values:
    for `start=`, `enqueue=`, or `Manual.record`. Raises ArchitectureError for parameters that are none of the space's.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [(space.architecture(trial.params), tuple(trial.values)) for trial in done]


class StudyStorage(BaseStorage):
    """Studies on disk as a storage of Optuna's that refuses to be written."""

    def __init__(self, *paths: str | Path) -> None:
        if not paths:
            raise UsageError("StudyStorage(...) takes the folders of one or several studies")
        self._folders = [Path(path) for path in paths]
        self._known: dict[int, tuple[object, list[FrozenTrial]]] = {}
        self._metas = [self._meta(folder) for folder in self._folders]
        names = [str(meta["name"]) for meta in self._metas]
        self._names = [n if names.count(n) == 1 else str(f) for n, f in zip(names, self._folders, strict=True)]
        self._spaces = [Space.from_json(meta["space"]["json"]) for meta in self._metas]
        self._aims = [objectives(meta["objectives"]) for meta in self._metas]

    @staticmethod
    def _meta(folder: Path) -> dict[str, Any]:
        with Store.open(folder) as store:
            return dict(store.meta)

    # -- studies -------------------------------------------------------------------------------------

    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name not in self._names:
            raise KeyError(study_name)
        return self._names.index(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        self._check(study_id)
        return self._names[study_id]

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        self._check(study_id)
        words = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
        return [words[goal.direction] for goal in goals(self._aims[study_id])]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        self._check(study_id)
        meta = self._metas[study_id]
        return {"folder": str(self._folders[study_id]), "strategy": meta["strategy"]["name"]}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        self._check(study_id)
        return {"study:metric_names": [goal.metric for goal in goals(self._aims[study_id])]}

    def get_all_studies(self) -> list[FrozenStudy]:
        return [
            FrozenStudy(
                name, None, self.get_study_user_attrs(i), self.get_study_system_attrs(i), i,
                directions=self.get_study_directions(i),
            )
            for i, name in enumerate(self._names)
        ]  # fmt: skip

    def _check(self, study_id: int) -> None:
        if not 0 <= study_id < len(self._folders):
            raise KeyError(study_id)

    # -- trials --------------------------------------------------------------------------------------

    def get_trial(self, trial_id: int) -> FrozenTrial:
        study_id, number = divmod(trial_id, EACH)
        trials = self.get_all_trials(study_id, deepcopy=False)
        if not 0 <= number < len(trials):
            raise KeyError(trial_id)
        return trials[number]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        self._check(study_id)
        folder = self._folders[study_id]
        files = (folder / "study.db", folder / "study.db-wal")
        version = tuple((s.st_mtime_ns, s.st_size) for s in (f.stat() for f in files if f.exists()))
        if study_id not in self._known or self._known[study_id][0] != version:
            with Store.open(folder) as store:
                trials = store.trials()
            space, aims = self._spaces[study_id], self._aims[study_id]
            top = max((thoroughness(t.proposal.fidelity) for t in trials if t.state is State.DONE), default=None)
            made = [frozen(t, space, aims, study_id * EACH + t.number, top) for t in trials]
            self._known[study_id] = version, made
        found = [t for t in self._known[study_id][1] if states is None or t.state in states]
        return copy.deepcopy(found) if deepcopy else found

    # -- writing -------------------------------------------------------------------------------------

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UsageError(
            "this view of a study is read-only: copy it with optuna.copy_study(..., to_storage=...), or go on with the "
            "search by searchitect.resume(path)"
        )

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        self._refuse()

    def delete_study(self, study_id: int) -> None:
        self._refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._refuse()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._refuse()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._refuse()

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._refuse()

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._refuse()


def frozen(
    trial: Trial, space: Space, aims: tuple[Objective, ...], trial_id: int, top: tuple[int, float, float] | None
) -> FrozenTrial:
    """One trial in Optuna's words. top: the highest fidelity reached; what was measured below it is PRUNED."""
    values: list[Any] = [trial.value(goal.metric) for goal in goals(aims)]
    usable = all(v is not None and math.isfinite(v) for v in values)
    state = STATES[trial.state]
    if state is TrialState.COMPLETE:
        lower = top is not None and thoroughness(trial.proposal.fidelity) < top
        state = TrialState.PRUNED if lower else TrialState.COMPLETE if usable else TrialState.FAIL
    params = dict(trial.architecture.decisions)
    begun = trial.started or trial.finished
    made = FrozenTrial(
        trial.number, state, None,
        None if state is TrialState.WAITING else datetime.fromtimestamp(begun or 0.0),
        datetime.fromtimestamp(trial.finished or begun or 0.0) if state.is_finished() else None,
        params, {name: distribution(space.by_name[name]) for name in params}, _attributes(trial), {},
        _curve(trial, goals(aims)[0].metric), trial_id,
        values=values if usable and state is TrialState.COMPLETE else None,
    )  # fmt: skip
    for aim in aims:
        value = trial.value(aim.metric)
        if aim.limit is not None and value is not None and math.isfinite(value):
            excess = value - aim.limit if aim.direction == "min" else aim.limit - value
            made.set_constraint(str(aim), excess if aim.kept(value) or excess > 0 else 1e-12)
    return made


def distribution(decision: Decision) -> BaseDistribution:
    """What a decision is drawn from."""
    labels = decision.labels
    if labels is None:
        return FloatDistribution(decision.low, decision.high, log=decision.log)
    if isinstance(labels, range) and len(labels) > 1 and (labels.step == 1 or not decision.log):
        return IntDistribution(labels[0], labels[-1], log=decision.log, step=labels.step)
    return CategoricalDistribution(tuple(labels))


def _attributes(trial: Trial) -> dict[str, Any]:
    fidelity = trial.proposal.fidelity
    found: dict[str, Any] = {"origin": trial.proposal.origin, "fidelity": fidelity.kind, "epochs": fidelity.epochs}
    if trial.measurement is not None:
        found |= {k: v for k, v in trial.measurement.metrics.items() if math.isfinite(v)}
    if trial.source is not None:
        found["reused_from"] = trial.source
    if trial.failure is not None:
        first = next(iter(trial.failure.message.splitlines()), "")
        found["failure"] = f"{trial.failure.cause}: {first[:200]}"
    return found


def _curve(trial: Trial, metric: str) -> dict[int, float]:
    """Values of the first goal by step, where the training reported it."""
    points = () if trial.measurement is None else trial.measurement.curve
    steps = ((int(p.get("step", p.get("epoch", i))), p.get(metric)) for i, p in enumerate(points))
    return {step: float(value) for step, value in steps if value is not None}
