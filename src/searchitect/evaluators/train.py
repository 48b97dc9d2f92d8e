"""The project's own training as an evaluator."""

from __future__ import annotations

import gc
import importlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from searchitect.errors import BuildError, UsageError, out_of_memory
from searchitect.evaluators.base import Evaluator, Live, Outcome, Soft, Task
from searchitect.evaluators.heirs import begin_with
from searchitect.evaluators.memory import fewer, rows_at_a_time, told
from searchitect.hardware import Law, attach, measured
from searchitect.nets import Costs, build
from searchitect.nets.cells import Edge, TwoInputCell, TwoInputChain
from searchitect.nets.operations import Skip
from searchitect.records import COST_METRICS, DEVICE_METRICS
from searchitect.seeds import derive
from searchitect.space import Architecture, Space
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, TrainData, fit, parameters, predict, prepare
from searchitect.training.data import RawData
from searchitect.training.meters import need_scorers
from searchitect.training.own import USUAL, Own
from searchitect.training.regular import Places
from searchitect.training.split import held_out
from searchitect.training.terms import NOWHERE, Course, Goal, Machine

ANEW = "trained anew from the first epoch: the checkpoint of the trial that it continues was not there"
BESIDE = (*COST_METRICS, *DEVICE_METRICS, "seconds")  # not computed from the outputs
TIMED = 0.5  # seconds in which the latency of one network is measured


class TrainEvaluator(Evaluator):
    """Builds the architecture, trains it by the recipe, scores it on the validation rows.

    raw:        training and validation rows only; `train` and `validation` are row numbers into it.
    metrics:    what to score besides accuracy/loss (or rmse/r2/loss), by name.
    baseline:   a zero-argument factory for the hand-made network, or None.
    own:        the user's loss or step in the place of the usual loss.

    Same task, same thread count: same numbers, bit for bit. Parameters, MACs and memory come from the plan, latency and
    energy from `laws` (`take`); the latency of what no law covers is measured after training, while other workers run.
    A network that does not fit into memory sees fewer rows of a batch at a time (`memory.py`).
    """

    kind: Literal["train", "function", "table"] = "train"

    def __init__(
        self, space: Space, raw: RawData, train: np.ndarray, validation: np.ndarray, recipe: Recipe,
        metrics: Sequence[str] = (), baseline: Callable[[], nn.Module] | None = None, own: Own = USUAL,
    ) -> None:  # fmt: skip
        self.space = space
        self.raw = raw
        self.train = train
        self.validation = validation
        self.recipe = recipe
        usual = ("accuracy", "loss") if raw.task == "classification" else ("rmse", "r2", "loss")
        self.scored = tuple(dict.fromkeys([*usual, *(m for m in metrics if m not in BESIDE)]))
        self.beside = tuple(m for m in metrics if m in BESIDE)
        self.baseline = baseline
        self.own = own
        self.notes: tuple[str, ...] = ()  # what preparing the training rows had to say
        self.laws: dict[str, Law] = {}
        self.room_mb: float | None = None  # megabytes for one training, where they are known
        self._prepared: dict[tuple[str, int], TrainData] = {}
        self._costs: Costs | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_prepared": {}, "_costs": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a server, before it forks: what all workers would import by themselves is imported once."""
        vars(self).update(state)
        if need_scorers(self.scored, self.raw.task):
            importlib.import_module("searchitect.training.scorers")

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "recipe": msgspec.to_builtins(self.recipe), "metrics": [*self.scored, *self.beside],
            "data": self.raw.fingerprint(), "train": len(self.train), "validation": len(self.validation),
        } | ({"own": self.own.identities} if self.own.given() else {})  # fmt: skip

    def data(self, rows: Literal["train", "all"], fold: int = 0) -> TrainData:
        """The tensors; preprocessing is fitted on the rows that are trained on. One fold but the first is kept."""
        if (rows, fold) not in self._prepared:
            self._prepared = {key: data for key, data in self._prepared.items() if key[1] == 0}
            if rows == "all":
                self._prepared[rows, fold] = prepare(self.raw, self._both())[0]
            else:
                self._prepared[rows, fold], fixed = prepare(self.raw, *self._fold(fold))
                self.notes = fixed.notes if fold == 0 else self.notes
        return self._prepared[rows, fold]

    def _both(self) -> np.ndarray:
        return np.sort(np.concatenate([self.train, self.validation]))

    def _fold(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation rows. Folds beyond the first hold out others, but for data in the order of time, of
        which the latest rows are always held out."""
        if fold == 0:
            return self.train, self.validation
        both = self._both()
        held = both[held_out(self.raw.kin(both), len(self.validation), fold, "fold")]
        return np.setdiff1d(both, held), held

    def run(self, task: Task, live: Live) -> Outcome:
        rows, why, batch = self._rows(task), "needs much memory", changed(self.recipe, task.recipe).batch_size
        while True:
            try:
                return self._trained(task, live, rows, [told(rows, batch, why)] if rows else [])
            except Exception as error:
                less = fewer(rows or batch) if out_of_memory(error) else None
                if less is None:
                    raise
            gc.collect()  # what was computed until then
            rows, why = less, "out of memory"

    def _rows(self, task: Task) -> int | None:
        """Rows at a time by what the tables of costs say; None for whole batches, also where they do not know it."""
        if task.network != "architecture" or self.room_mb is None:
            return None
        cost = self.costs().of(Architecture(self.space.fingerprint, task.decisions))
        return rows_at_a_time(self.costs(), cost, changed(self.recipe, task.recipe).batch_size, self.room_mb)

    def _trained(self, task: Task, live: Live, rows: int | None, notes: list[str]) -> Outcome:
        data = taught(self._share(self.data(task.rows, task.fold), task), task.soft)
        model = self.network(task, data.sample)
        costs = self._cost_numbers(task, model)
        began = time.monotonic()
        if task.heir is not None:
            notes = [*notes, begin_with(model, task.heir, self.space, data.sample, self.raw.outputs, data.x)]
        scoring = data.x_eval is not None
        recipe = changed(self.recipe, task.recipe)
        recipe = recipe if scoring else msgspec.structs.replace(recipe, early_stop=None)
        if "dropout" in task.recipe:
            drop_out(model, float(task.recipe["dropout"]))  # type: ignore[arg-type]
        spots = places(model) if recipe.drop_path or recipe.auxiliary else NOWHERE
        result = fit(
            model, data, recipe, epochs=task.epochs, seed=derive(task.seed, "training"),
            goal=Goal(self.scored if scoring else None, self.own, spots), course=_course(task, live, began),
            machine=Machine(live.device, rows, task.group),
        )  # fmt: skip
        before = task.start if result.resumed >= task.start else 0  # epochs of former trials
        notes = [*notes, *result.notes, *([ANEW] if before < task.start else [])]
        if data.x_eval is not None:
            notes += _unsteady(model, data.x_eval[:64], live.device, rows)
        if "latency_ms" in self.beside and "latency_ms" not in costs:
            costs["latency_ms"] = measured([model], data.sample, device=live.device, seconds=TIMED)[0].ms
        numbers = {**costs, **(result.metrics if scoring else {}), "seconds": result.seconds}
        first = task.group is None or task.group[0] == 0
        if task.save and first and (task.rival is None or task.rival.beaten(task.number, numbers)):
            save_weights(model, Path(task.save))
        return Outcome(
            numbers, sum(result.spent[before:]), result.epochs - before, result.curve, live.device, tuple(notes),
            result.stopped,
        )  # fmt: skip

    def network(self, task: Task, sample: tuple[int, ...]) -> nn.Module:
        """The untrained network of a task, initialised from its seed."""
        return untrained(self.space, task, sample, self.raw.outputs, self.baseline)

    def costs(self) -> Costs:
        """The cost table of the space for these data."""
        if self._costs is None:
            self._costs = Costs(self.space, self.data("train").sample, self.raw.outputs)
            attach(self._costs, self.laws)
        return self._costs

    def take(self, laws: Mapping[str, Law]) -> None:
        """From now on these metrics are told beforehand, by a law each."""
        self.laws = dict(laws)
        attach(self.costs(), self.laws)

    def _cost_numbers(self, task: Task, model: nn.Module) -> dict[str, float]:
        numbers = {"params": float(parameters(model))}
        if task.network == "architecture":
            numbers |= self.costs().numbers(Architecture(self.space.fingerprint, task.decisions))
        return numbers

    def _share(self, data: TrainData, task: Task) -> TrainData:
        """The first part of a fixed random order of the training rows: larger shares contain smaller ones."""
        if task.data >= 1.0:
            return data
        count = max(2, round(len(data.x) * task.data))
        order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(derive(0, "share of rows")))
        keep = order[:count].sort().values
        weights = None if data.weights is None else data.weights[keep]
        return replace(data, x=data.x[keep], y=data.y[keep], weights=weights, groups=None)  # not cut any more


def _course(task: Task, live: Live, began: float) -> Course:
    """What the training of a task is part of; `began` is when, by `time.monotonic`."""
    return Course(
        task.horizon or None, Path(task.checkpoint) if task.checkpoint else None, task.save_every,
        None if task.seconds is None else began + task.seconds,
        lambda step, numbers: live.report({"step": step, **numbers}), live.should_stop,
    )  # fmt: skip


def taught(data: TrainData, soft: Soft | None) -> TrainData:
    """The rows with a teacher's answers, where there is one."""
    if soft is None:
        return data
    answers = load_file(soft.path)["soft"]
    return replace(data, soft=answers, soft_weight=soft.weight, temperature=soft.temperature)


def untrained(
    space: Space, task: Task, sample: tuple[int, ...] | None, outputs: int | None,
    baseline: Callable[[], nn.Module] | None,
) -> nn.Module:  # fmt: skip
    """The network of a task, initialised from its seed: an architecture, or what the user's factory makes."""
    seed = derive(task.seed, "weights")
    if task.network == "architecture":
        architecture = Architecture(space.fingerprint, task.decisions)
        return build(space, architecture, sample, outputs=outputs, seed=seed)
    if baseline is None:
        raise UsageError("there is no baseline network")
    with seeded_torch(seed):
        model = baseline()
        if not isinstance(model, nn.Module):
            raise UsageError(f"the baseline factory returned {type(model).__name__}, not a torch.nn.Module")
        if sample is not None:
            with torch.no_grad():  # materialises lazy layers
                model.eval()(torch.zeros(2, *sample))
    return model.train()


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with other values; "dropout" is the network's, not the recipe's. Raises UsageError as `Recipe`."""
    values = {name: value for name, value in changes.items() if name != "dropout"}
    return recipe if not values else msgspec.convert({**msgspec.to_builtins(recipe), **values}, Recipe)


def drop_out(model: nn.Module, share: float) -> None:
    """Set the rate of every dropout layer."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = share


def places(model: nn.Module) -> Places:
    """Where drop path and the auxiliary classifier go in a network of DARTS cells; nowhere in others. What passes its
    input on is never dropped."""
    ops = [edge.op for cell in model.modules() if isinstance(cell, TwoInputCell)
           for edge in cell.nodes.modules() if isinstance(edge, Edge)]  # fmt: skip
    chain = next((part for part in model.modules() if isinstance(part, TwoInputChain)), None)
    paths = tuple(op for op in ops if not (isinstance(op, nn.Identity) or (isinstance(op, Skip) and op.stride == 1)))
    return Places(paths, None if chain is None else chain.cells[2 * len(chain.cells) // 3])


def _unsteady(model: nn.Module, x: torch.Tensor, device: str, rows: int | None) -> list[str]:
    """A network that answers differently twice in eval mode cannot be compared; say so."""
    first, second = (predict(model, x, device=device, batch=rows) for _ in range(2))
    if torch.equal(first, second):
        return []
    return ["the network gives different outputs for the same input in eval mode: its score is a lottery"]


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state as safetensors: to a temporary file in the same folder, synced, then renamed."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(state, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """Put saved weights into a network. Raises BuildError when they do not fit it."""
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        raise BuildError(f"the weights in {path} do not fit the network: {error}") from error
    return model
