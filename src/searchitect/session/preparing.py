"""From options and the user's objects to all that a search needs: data, splits, space, objectives, evaluator."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from searchitect.errors import ArchitectureError, BuildError, TrialError, UsageError, meant
from searchitect.evaluators import Evaluator, FunctionEvaluator, TrainEvaluator
from searchitect.evaluators.memory import LEAST, room_mb
from searchitect.executors import Executor, make
from searchitect.executors.system import cores, machine_mb
from searchitect.nets import Costs
from searchitect.records import COST_METRICS, Cause, Objective, State, Trial, goals, objectives
from searchitect.scores import check_names
from searchitect.session.budget import usual_epochs
from searchitect.session.capacity import Capacity
from searchitect.session.choosing import find_space, ours
from searchitect.session.clustering import ON_CLUSTER, check_together, on_cluster, room
from searchitect.session.tabled import from_table, is_table
from searchitect.session.userobjects import load_object, start_architectures
from searchitect.settings import Settings, default
from searchitect.sharing import METHODS
from searchitect.space import Architecture, Space
from searchitect.strategies import STRATEGIES
from searchitect.training import RawData, Recipe, check_metrics, load, recipe_for
from searchitect.training.own import Own
from searchitect.training.split import Kin, kin_of_test, part, split


@dataclass
class Given:
    """What the user passed as objects; each may be None, then `Settings` or a default says."""

    space: Any = None
    data: Any = None
    evaluate: Callable[..., Any] | None = None
    baseline: Any = None
    sample: tuple[int, ...] | None = None
    outputs: int | None = None
    test_data: Any = None
    groups: Any = None  # one value a row: what splits must not tear apart
    loss: Callable[..., Any] | None = None  # the user's, for our own training (`training.own`)
    step: Callable[..., Any] | None = None
    start: Any = None  # architectures, decisions by name or paths; one or several
    weights: Any = None  # one number a row: how much it counts in the loss of a training
    measure: Callable[[str], Any] | None = None  # milliseconds of an ONNX file on the user's device
    selftest: bool = True  # whether a bundle is tried in a fresh interpreter, which takes seconds


@dataclass
class Prepared:
    """All that a search needs. `test` is (rows, targets) that no worker ever sees; None without data."""

    settings: Settings
    space: Space
    space_why: str
    objectives: tuple[Objective, ...]
    evaluator: Evaluator
    full_epochs: int
    workers: int
    threads: int
    device: str
    costs: Costs | None = None
    data: RawData | None = None  # training and validation rows
    test: tuple[Any, np.ndarray] | None = None
    data_facts: dict[str, Any] = field(default_factory=dict)
    baseline_architecture: Architecture | None = None
    baseline_factory: Callable[[], nn.Module] | None = None
    given_facts: dict[str, Any] = field(default_factory=dict)  # sample and outputs, for `evaluate`
    test_kin: Kin | None = None  # what the test rows are to each other
    start: tuple[Architecture, ...] = ()  # what the strategy proposes first
    known: Callable[[Architecture], bool] | None = None  # of a table: whether it has a row that keeps known limits
    judge: Callable[[Architecture], dict[str, Any]] | None = None  # of a table: what its score column says
    selftest: bool = True  # see Given
    measure: Callable[[str], Any] | None = None  # see Given
    capacity: Capacity = field(default_factory=Capacity)
    sized: bool = False  # whether the space was chosen, or its widths, by the data and the budget
    most_macs: int | None = None  # of networks that the budget can train, see `affording`

    def feasible(self, architecture: Architecture) -> bool:
        """Whether it can be built and keeps the limits known from the plan alone."""
        if self.known is not None:
            return self.space.allows(architecture) and self.known(architecture)
        if self.costs is None:
            return self.space.allows(architecture)
        if not self.costs.feasible(architecture, self._limits) or self._beyond(architecture) > 0:
            return False
        return self.capacity.threshold is None or self._fits(architecture)

    def excess(self, architecture: Architecture) -> float:
        """How far it is from being feasible, see `Costs.excess`; networks too large for the memory are 1 away."""
        if self.known is not None or self.costs is None:
            return 0.0 if self.feasible(architecture) else 1.0
        far = self.costs.excess(architecture, self._limits) + self._beyond(architecture)
        return far if self.capacity.threshold is None or self._fits(architecture) else far + 1.0

    def _beyond(self, architecture: Architecture) -> float:
        """By what part more multiply-accumulates it has than the budget can train."""
        if self.most_macs is None or self.costs is None:
            return 0.0
        try:
            return max(self.costs.of(architecture).macs / self.most_macs - 1, 0.0)
        except (BuildError, TrialError):  # the trial will say so
            return 0.0

    def _fits(self, architecture: Architecture) -> bool:
        try:
            return self.least_mb is None or self.capacity.allows(self.least_mb(architecture))
        except TrialError:  # the user's own class fails: the trial will say so
            return True

    @property
    def least_mb(self) -> Callable[[Architecture], float] | None:
        """Megabytes that training an architecture needs at least, two rows at a time; None where that is not known."""
        costs = self.costs
        return None if costs is None else lambda architecture: costs.training_mb(costs.of(architecture), LEAST)

    def told(self, trial: Trial) -> None:
        """Learn from a trial which networks fit into memory."""
        failed = trial.failure is not None and trial.failure.cause is Cause.MEMORY
        if self.least_mb is not None and trial.source is None and (failed or trial.state is State.DONE):
            with suppress(TrialError):  # the user's own class fails
                self.capacity.told(self.least_mb(trial.architecture), not failed)

    def executor(self, folder: Path) -> Executor:
        """Where trials run; `folder` is for the workers' logs."""
        if self.settings.executor == "serial":
            return make("serial", folder=folder)
        if self.settings.executor == "ray":
            return on_cluster(self.settings, folder)
        return make(
            "processes", workers=self.workers, threads=self.threads, memory_mb=self.settings.memory_mb, folder=folder,
            devices=devices(self.device),
        )  # fmt: skip

    @property
    def _limits(self) -> list[Objective]:
        known = {*COST_METRICS, *(self.costs.predicted if self.costs is not None else ())}
        return [o for o in self.objectives if o.is_limit and o.metric in known]


def prepare(settings: Settings, given: Given) -> Prepared:
    """Raises DataError, UsageError or SpaceError before anything is trained or written."""
    prepared = _prepare(settings, given)
    wanted = given.start if given.start is not None else settings.start
    measure: Any = given.measure
    if measure is None and settings.measure is not None:
        measure = load_object(settings.measure, "measure")
    if measure is not None and not callable(measure):
        raise UsageError(f"measure: got {type(measure).__name__}; give a function of the path of an ONNX file")
    start = start_architectures(wanted, prepared.space)
    return replace(prepared, start=start, selftest=given.selftest, measure=measure)


def _check_strategy(name: str) -> None:
    known = ("auto", *STRATEGIES, *METHODS)
    if name not in known and ":" not in name:
        near = meant(name, known)
        raise UsageError(f"strategy {name!r} is not known{near}: write one of {', '.join(known)}, or 'module:Class'")


def _prepare(settings: Settings, given: Given) -> Prepared:
    _check_strategy(settings.strategy)
    if is_table(settings, given.evaluate):
        return _with_table(settings, given)
    workers, threads, device = _machine(settings)
    raw = _load(settings, given)
    space, why = find_space(settings, given.space, raw)
    factory, architecture = _baseline(settings, given, space)
    if settings.control is not None and settings.strategy in METHODS:
        raise UsageError(
            f"control={settings.control!r}: {settings.strategy} shares weights, so that its trials and those of a "
            "random search cost different things; run a second study with strategy='random' and the same budget"
        )
    if settings.screen is not None:
        check_names([settings.screen])
        if given.evaluate is not None or settings.strategy in METHODS:
            raise UsageError(
                f"screen={settings.screen!r} scores networks before our own training of single networks: leave it out "
                "with evaluate= and with strategies that share weights"
            )
    if given.evaluate is not None:
        if settings.tune is not None:
            raise UsageError("tune= changes the recipe of our own training; with evaluate= yours is used: leave it out")
        for name in ("distill", "ensemble"):
            if getattr(settings, name) is not None:
                raise UsageError(f"{name}= is for our own training; with evaluate= yours is used: leave it out")
        if given.loss is not None or given.step is not None:
            raise UsageError("loss= and step= change our own training; with evaluate= yours is used: leave them out")
        check_together(settings, None)
        return _with_function(settings, given, raw, (space, why), (factory, architecture), (workers, threads, device))
    if raw is None:
        raise UsageError("nothing to search on: give data (--data digits, or a file), or evaluate= in Python")
    usual = "rmse" if raw.task == "regression" else "loss" if raw.kind == "stream" else "accuracy"
    goal = settings.objectives or [usual]
    aims = objectives(goal)
    splits = split(raw, settings.seed, validation=settings.validation, test=settings.test)
    kept_rows = np.sort(np.concatenate([splits.train, splits.validation]))
    kept = replace(raw.only(kept_rows), test=None)
    train, validation = (np.searchsorted(kept_rows, rows) for rows in (splits.train, splits.validation))
    recipe = _recipe(settings, raw, len(train))
    check_together(settings, recipe)
    own = Own(given.loss, given.step)
    if settings.distill is not None and own.given():
        raise UsageError(f"distill= adds to our own loss; with {next(iter(own.given()))}= yours is used: leave it out")
    evaluator = TrainEvaluator(space, kept, train, validation, recipe, [o.metric for o in aims], factory, own)
    evaluator.room_mb = room_mb(settings.memory_mb, workers, machine_mb()) if device == "cpu" else None
    _check_metrics(evaluator, raw)
    costs = evaluator.costs()
    facts = {
        "source": _source(settings, given), "fingerprint": raw.fingerprint(), "kind": raw.kind, "task": raw.task,
        "shape": list(raw.shape), "classes": list(raw.classes) if raw.classes else None, "outputs": raw.outputs,
        "splits": {"train": len(train), "validation": len(validation), "test": len(splits.test)},
        "notes": [*raw.notes, *splits.notes, *evaluator.notes],
    }  # fmt: skip
    return Prepared(
        settings, space, why, aims, evaluator, usual_epochs(len(train), recipe.batch_size), workers, threads, device,
        costs, kept, part(raw, splits, "test"), facts, architecture, factory, test_kin=kin_of_test(raw, splits),
        sized=ours(settings, given.space),
    )  # fmt: skip


def _with_table(settings: Settings, given: Given) -> Prepared:
    objects = ("data", "test_data", "loss", "step", "weights", "groups", "sample", "outputs")
    found = from_table(settings, given.evaluate, {name: getattr(given, name) for name in objects})
    if given.space is not None or settings.space is not None:
        space, _ = find_space(settings, given.space, None)
        if space.fingerprint != found.space.fingerprint:
            raise UsageError(f"space: {found.facts['source']} brings a space of its own; leave yours out")
    factory, architecture = _baseline(settings, given, found.space)
    if factory is not None:
        raise UsageError(f"baseline: {found.facts['source']} knows its own architectures only; give decisions by name")
    # nothing is waited for, so no process is needed; nothing is trained, so nothing can be retrained
    chosen = msgspec.structs.replace(settings, executor=settings.executor or "serial", finalize=False)
    return Prepared(
        chosen, found.space, "the table's", found.objectives, found.evaluator, found.epochs, *_machine(chosen),
        data_facts=found.facts, baseline_architecture=architecture, known=found.known, judge=found.judge,
    )  # fmt: skip


def _with_function(
    settings: Settings, given: Given, raw: RawData | None, space: tuple[Space, str],
    baseline: tuple[Any, Architecture | None], machine: tuple[int, int, str],
) -> Prepared:  # fmt: skip
    assert given.evaluate is not None
    aims = objectives(settings.objectives or ["accuracy"])
    sample = given.sample or (raw.shape if raw is not None else None)
    outputs = given.outputs or (raw.outputs if raw is not None else None)
    names = [o.metric for o in aims]
    evaluator = FunctionEvaluator(
        space[0], given.evaluate, goals(aims)[0].metric, names, sample=sample, outputs=outputs, baseline=baseline[0]
    )
    costs = Costs(space[0], sample, outputs) if sample is not None else None
    if costs is None and space[0].cost_limits:
        raise UsageError(
            f"the space limits {space[0].cost_limits[0]}, which depends on the shape of a row: pass sample=(...) too"
        )
    return Prepared(
        settings, space[0], space[1], aims, evaluator, settings.epochs or 1, *machine, costs,
        baseline_architecture=baseline[1], baseline_factory=baseline[0],
        given_facts={"sample": None if sample is None else list(sample), "outputs": outputs},
    )  # fmt: skip


def devices(device: str) -> tuple[str, ...]:
    """What workers are spread over: with device="cuda" every GPU there is, one worker for each unless told otherwise;
    a numbered one ("cuda:1") is that one alone."""
    return tuple(f"cuda:{n}" for n in range(torch.cuda.device_count())) if device == "cuda" else (device,)


def _machine(settings: Settings) -> tuple[int, int, str]:
    if settings.executor == "ray":
        return room(settings)
    only_there = [name for name in ON_CLUSTER if getattr(settings, name) != default(name)]
    if only_there:
        raise UsageError(f"{only_there[0]} is for trials on a Ray cluster: give ray= (--ray) too, or leave it out")
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from None
    usual = torch.cuda.device_count() if device == "cuda" else min(cores(), 8)
    workers = 1 if settings.executor == "serial" else settings.workers or usual
    return workers, settings.threads or max(1, cores() // workers), device


def _load(settings: Settings, given: Given) -> RawData | None:
    source = given.data if given.data is not None else settings.data
    if source is None:
        return None
    apart = given.test_data if given.test_data is not None else settings.test_data
    return load(
        source, settings.target, task=settings.task, layout=settings.layout, test=apart, missing=settings.missing,
        limit_train=settings.limit_train, groups=given.groups if given.groups is not None else settings.groups,
        ordered=settings.ordered, weights=given.weights, seed=settings.seed,
    )  # fmt: skip


def _source(settings: Settings, given: Given) -> str:
    return "arrays" if given.data is not None and not isinstance(given.data, (str, os.PathLike)) else str(
        given.data or settings.data
    )  # fmt: skip


def _baseline(settings: Settings, given: Given, space: Space) -> tuple[Any, Architecture | None]:
    """(factory, None) for a network of the user's, (None, architecture) for one of the space, or neither."""
    found = given.baseline if given.baseline is not None else None
    if found is None and settings.baseline is not None:
        found = load_object(settings.baseline, "baseline")
    if found is None:
        found = space.baseline
    if found is None:
        return None, None
    if isinstance(found, Architecture):
        return None, space.validate(found)
    if isinstance(found, Mapping):
        try:
            return None, space.architecture(found)
        except ArchitectureError as error:
            raise UsageError(f"baseline: {error}") from error
    if isinstance(found, nn.Module):
        return _resetting(found), None
    if not callable(found):
        raise UsageError(
            f"baseline: got {type(found).__name__}; give a function without arguments that makes the network"
        )
    return found, None


def _resetting(module: nn.Module) -> Callable[[], nn.Module]:
    """A factory from an instance: fresh copies with parameters drawn anew."""
    for name, layer in module.named_modules():
        if list(layer.parameters(recurse=False)) and not hasattr(layer, "reset_parameters"):
            raise UsageError(
                f"baseline: {name or type(module).__name__} has parameters but no reset_parameters(), so it cannot be "
                "started anew for each seed; give a function without arguments that makes the network"
            )

    def make() -> nn.Module:
        fresh = copy.deepcopy(module)
        for layer in fresh.modules():
            reset = getattr(layer, "reset_parameters", None)
            if reset is not None:
                reset()
        return fresh

    return make


def _recipe(settings: Settings, raw: RawData, rows: int) -> Recipe:
    usual = msgspec.to_builtins(recipe_for(raw.kind, rows))
    for name in settings.recipe:
        if name not in usual:
            raise UsageError(f"recipe: {name!r} is not known; there are {', '.join(usual)}")
    try:
        recipe = msgspec.convert({**usual, **settings.recipe}, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"recipe: {error}") from None
    recipe.augmentations(raw.shape)  # names that do not fit the rows are refused now
    return recipe


def _check_metrics(evaluator: TrainEvaluator, raw: RawData) -> None:
    """An objective that cannot be computed is an error now, not in every trial."""
    check_metrics(evaluator.scored, raw.task, raw.outputs)
