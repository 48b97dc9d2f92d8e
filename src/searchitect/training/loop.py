"""One training, in plain PyTorch: data in memory, one pass a step, the same bits for the same seed.

The randomness of epoch e is keyed by (seed, e), so a training that continues from its checkpoint needs no
saved generator and equals one that was never interrupted, bit for bit (with the same number of threads).
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import gt
from typing import Any

import torch
from torch import Tensor, nn

from searchitect.errors import BuildError, NotFiniteError, UsageError
from searchitect.seeds import derive
from searchitect.torchseeds import seeded_torch
from searchitect.training import checkpoint as disk
from searchitect.training import losses
from searchitect.training.average import Average
from searchitect.training.distributed import joined
from searchitect.training.every_place import EveryPlace
from searchitect.training.layout import lay_out, may_be_last
from searchitect.training.meters import DEFAULT, check_metrics, predict, score
from searchitect.training.recipe import Recipe, make_optimizer, rate
from searchitect.training.regular import Regular
from searchitect.training.run import FitResult, Run, minimised, resume, save
from searchitect.training.tensors import TrainData, batch_count, batches, pieces
from searchitect.training.terms import Course, Goal, Machine

_LOOK = 16  # steps between two looks at the loss: each look waits for the device
_POLL = 0.5  # seconds between two questions whether to stop
GOAL, WHOLE, HERE = Goal(), Course(), Machine()


def fit(
    model: nn.Module,
    data: TrainData,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    goal: Goal = GOAL,
    course: Course = WHOLE,
    machine: Machine = HERE,
) -> FitResult:
    """Train the model in place; it is left in eval mode on the machine's device.

    Each epoch ends with scoring, then the checkpoint, then `course.report`, then `course.should_stop()`, which is also
    asked within an epoch.

    Raises NotFiniteError (loss, metric or weights), BuildError when the outputs do not fit the data, UsageError
    for metrics that do not fit. What the model itself raises is passed on.
    """
    run = _begin(model, data, recipe, epochs, seed, goal, course, machine)
    if course.checkpoint is not None:
        run.minimised = minimised(data, goal.own)
        if resume(run, course.checkpoint) and course.report is not None:
            course.report(len(run.curve), dict(run.curve[-1]))
    resumed = len(run.curve)
    with joined(machine.group, run.device) as run.team:
        run.forward = run.team.wrap(model, run.regular.head)
        stopped = _train(run, course)
    if run.best and run.best_epoch < len(run.curve):
        disk.load_weights(model, run.best)
    _check_weights(model)
    model.eval()
    if run.image_layout:
        lay_out(model, last=False)
    last = run.curve[run.best_epoch - 1] if run.best else run.curve[-1] if run.curve else {}
    done = {k: v for k, v in last.items() if k in run.metrics or (data.x_eval is None and k == "train_loss")}
    whole = sum(float(c["epoch"]).is_integer() for c in run.curve)
    return FitResult(tuple(run.curve), done, tuple(run.spent), whole, stopped, tuple(run.notes), resumed)


def _begin(
    model: nn.Module, data: TrainData, recipe: Recipe, epochs: int, seed: int, goal: Goal, course: Course,
    machine: Machine,
) -> Run:  # fmt: skip
    horizon, device = course.horizon or epochs, torch.device(machine.device)
    if epochs < 1:
        raise UsageError(f"epochs={epochs}: at least one is needed")
    if horizon < epochs:
        raise UsageError(f"horizon={horizon}: the schedule must be for at least the {epochs} epochs to be trained")
    if recipe.early_stop is not None and data.x_eval is None:
        raise UsageError("early_stop needs an evaluation part; give x_eval and y_eval, or early_stop=None")
    if data.weights is not None and goal.own.given():
        raise UsageError("weights of rows go into our own loss; with loss= or step= weigh the rows there")
    names = tuple(DEFAULT[data.task] if goal.metrics is None else goal.metrics)
    check_metrics(names, data.task, data.outputs)
    if data.kind in ("text", "stream") and recipe.augmentations(data.sample, horizon):
        raise UsageError(f"recipe: augment {recipe.augment!r} mixes numbers, and these rows are tokens; use 'none'")
    model.to(device)
    last = recipe.channels_last == "auto" and data.x.ndim == 4 and may_be_last(model)
    data = data.to(device)
    if last:
        lay_out(model, last=True)
    regular = Regular(model, goal.places, recipe.drop_path, recipe.auxiliary)
    regular.prepare(data.x[:2], data.outputs, derive(seed, "auxiliary"))
    return Run(
        model, data, recipe, make_optimizer(regular.whole, recipe), epochs, horizon, seed, names, device,
        math.inf if course.deadline is None else course.deadline, course.should_stop or (lambda: False),
        recipe.augmentations(data.sample, horizon), last, regular, goal.own.checked(),
        Average(model, recipe.average, recipe.average_decay), EveryPlace(model, data.kind == "stream"),
        rows=machine.rows,
    )  # fmt: skip


def _train(run: Run, course: Course) -> bool:
    """All epochs that are left. Whether they were cut short, by other than the recipe."""
    spent = 0.0
    if _out_of_patience(run):
        return False
    for epoch in range(len(run.curve) + 1, run.epochs + 1):
        begun = time.monotonic()
        if spent and run.team.agree(partial(gt, begun + spent, run.deadline)):
            return True
        loss, share = _epoch(run, epoch)
        if share == 0.0:
            return True
        if share == 1.0:
            _average(run, epoch)
        entry = {"epoch": epoch if share == 1.0 else epoch - 1 + share, "train_loss": loss,
                 "lr": run.optimizer.param_groups[0]["lr"], **run.team.agree(partial(_evaluate, run))}  # fmt: skip
        spent = time.monotonic() - begun
        run.curve.append(entry)
        run.spent.append(spent)
        _keep_best(run, entry, epoch)
        last = epoch == run.epochs
        due = share == 1.0 and course.save_every and (last or epoch % course.save_every == 0)
        if course.checkpoint is not None and due and run.team.rank == 0:
            save(run, course.checkpoint)
        if course.report is not None:
            course.report(epoch, dict(entry))
        if share < 1.0:
            return True
        if last or _out_of_patience(run):
            return False
        if run.team.agree(run.should_stop):
            return True
    return False


def _average(run: Run, epoch: int) -> None:
    """What an epoch adds to the mean of the weights; after the last one of the schedule the mean takes their place."""
    run.average.epoch(epoch, run.horizon)
    if epoch == run.horizon:
        x = run.data.x.contiguous(memory_format=torch.channels_last) if run.image_layout else run.data.x
        run.average.finish(x, min(run.recipe.batch_size, run.rows or run.recipe.batch_size))


def _epoch(run: Run, epoch: int) -> tuple[float, float]:
    """One pass over the training rows: (mean loss, share of the steps done)."""
    recipe, n = run.recipe, len(run.data.x)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(derive(run.seed, "order", epoch)))
    generator = torch.Generator().manual_seed(derive(run.seed, "augment", epoch))
    steps = batch_count(n, recipe.batch_size)
    total, seen, sound = torch.zeros((), device=run.device), 0, math.nan
    run.model.train()
    noise = seeded_torch(derive(run.seed, "noise", epoch, *run.team.marks))  # dropout and whatever the model draws
    with noise, run.regular.epoch((epoch - 1) / run.horizon), run.every.epoch():
        for step, rows in enumerate(batches(n, recipe.batch_size, order.to(run.device))):
            if run.team.agree(partial(_must_stop, run), now=step % _LOOK == 0):
                return float(run.team.sum(total)) / max(1, seen), step / steps
            for group in run.optimizer.param_groups:
                group["lr"] = rate(recipe, (epoch - 1) * steps + step, run.horizon * steps)
            total += _step(run, *_batch(run, rows, generator)) * len(rows)
            seen += len(rows)
            if step % _LOOK == 0 or step == steps - 1:
                mean = float(run.team.sum(total)) / seen
                if not math.isfinite(mean):
                    raise NotFiniteError(_not_finite(run, mean, epoch, step, steps, sound))
                sound = mean
    return sound, 1.0


def _batch(run: Run, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Augmented rows, their targets, a teacher's answers and their weights, these two where there are any."""
    data = run.data
    q, weights = (None if part is None else part[rows] for part in (data.soft, data.weights))
    return *losses.augmented(run.augmentations, data.x[rows], data.y[rows], q, data.outputs, generator), weights


def _step(run: Run, x: Tensor, y: Tensor, q: Tensor | None, weights: Tensor | None) -> Tensor:
    x, y, q, weights, part = run.team.share(x, y, q, weights)
    run.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=run.device)
    for piece, share in pieces(len(x), run.rows):
        soft, heavy = (None if one is None else one[piece] for one in (q, weights))
        loss += _backward(run, x[piece], y[piece], soft, heavy, part * share)
    if run.recipe.clip is not None:
        nn.utils.clip_grad_norm_(run.regular.whole.parameters(), run.recipe.clip)
    run.optimizer.step()
    run.average.step()
    return loss


def _backward(run: Run, x: Tensor, y: Tensor, q: Tensor | None, weights: Tensor | None, part: float) -> Tensor:
    """Add the gradients of some rows, which are this part of the batch; the part of its loss."""
    if run.image_layout:
        x = x.contiguous(memory_format=torch.channels_last)
    with _precision(run):
        if run.own.step is not None:
            loss = run.own.step(run.forward, x, y)
        else:
            outputs = run.forward(x)
            _check_outputs(outputs, len(x), run.data)
            loss = _loss(run, outputs, y, q, weights)
        total = loss + run.regular.loss(lambda more: _loss(run, more, y, q, weights))
    weight = part * run.team.size
    torch.autograd.backward(total if weight == 1 else total * weight)
    return loss.detach().float() * part


def _loss(run: Run, outputs: Tensor, y: Tensor, q: Tensor | None, weights: Tensor | None) -> Tensor:
    """The loss of a batch; q (B, outputs) are a teacher's answers, `weights` (B,) how much each row counts."""
    if run.own.loss is not None:
        return run.own.loss(outputs, y)
    data = run.data
    loss = run.every.loss(y, run.recipe.label_smoothing, weights)
    if loss is None:
        loss = losses.hard(outputs, y, data.task, run.recipe.label_smoothing, weights)
    if q is None:
        return loss
    taught = losses.soft(outputs, q, data.task, data.temperature, weights)
    return (1 - data.soft_weight) * loss + data.soft_weight * taught


def _precision(run: Run) -> AbstractContextManager[Any]:
    """bfloat16 where a CUDA device has it (it needs no loss scaling); full precision elsewhere."""
    wanted = run.recipe.mixed_precision == "auto" and run.device.type == "cuda"
    if wanted and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def _check_outputs(outputs: Any, rows: int, data: TrainData) -> None:
    wide = (rows, data.outputs)
    if isinstance(outputs, Tensor) and tuple(outputs.shape) == wide:
        return
    if isinstance(outputs, Tensor) and data.task == "regression" and data.outputs == 1 and outputs.shape == (rows,):
        return
    got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
    meaning = "one score a class" if data.task == "classification" else "one number a target"
    raise BuildError(f"the network gives {got} for {rows} rows; expected {wide}: {meaning}")


def _not_finite(run: Run, value: float, epoch: int, step: int, steps: int, sound: float) -> str:
    if math.isfinite(sound):
        past = f"the last finite mean was {sound:.4g} in this epoch"
    elif run.curve:
        past = f"the last finite one was {run.curve[-1]['train_loss']:.4g} in epoch {len(run.curve)}"
    else:
        past = "no loss was finite"
    return f"the loss became {value} in epoch {epoch} of {run.epochs}, by step {step + 1} of {steps}; {past}"


def _must_stop(run: Run) -> bool:
    now = time.monotonic()
    if now >= run.deadline:
        return True
    if now - run.polled < _POLL:
        return False
    first, run.polled = run.polled == 0.0, now
    return not first and run.should_stop()


def _evaluate(run: Run) -> dict[str, float]:
    """All metrics on the evaluation part, in the user's units; "loss" stays in standardised ones."""
    data = run.data
    if data.x_eval is None or data.y_eval is None:
        return {}
    outputs = predict(run.model, data.x_eval, device=run.device, batch=run.rows)
    y = data.y_eval.cpu()
    names = dict.fromkeys((*run.metrics, "loss"))  # the loss is always of use: early stop, learning curves
    if data.task == "classification":
        return {name: score(name, outputs, y, data.task) for name in names}
    outputs = outputs.reshape(len(y), -1)
    real = (data.units(outputs), data.units(y))
    return {m: score(m, *((outputs, y) if m == "loss" else real), data.task) for m in names}


def _keep_best(run: Run, entry: dict[str, float], epoch: int) -> None:
    """Remember the best epoch when stopping early is on."""
    if run.recipe.early_stop is not None and run.data.x_eval is not None and entry["loss"] < run.best_loss:
        run.best_loss, run.best_epoch = entry["loss"], epoch
        run.best = {n: t.detach().clone() for n, t in run.model.state_dict().items() if isinstance(t, Tensor)}


def _out_of_patience(run: Run) -> bool:
    return run.recipe.early_stop is not None and len(run.curve) - run.best_epoch >= run.recipe.early_stop


def _check_weights(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise NotFiniteError(f"the weights of {name!r} are not finite at the end of training though the loss is")
