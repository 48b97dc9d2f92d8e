"""The one loop of weight sharing: weights step, architecture step, derive, measure; a checkpoint after each epoch."""

from __future__ import annotations

import inspect
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from searchitect.errors import NotFiniteError, UsageError
from searchitect.nets.mixed import speed_up
from searchitect.nets.supernets import supernet
from searchitect.records import Epoch
from searchitect.seeds import derive
from searchitect.sharing import guard, method_class
from searchitect.sharing.costing import cost_table
from searchitect.sharing.judging import mixture_outputs, path_outputs, unchanged
from searchitect.sharing.limits import within
from searchitect.sharing.logits import weighed
from searchitect.sharing.losses import row_losses, usual_loss
from searchitect.sharing.memory import keep_less
from searchitect.sharing.method import Batch, Loss, Method, Setup
from searchitect.sharing.penalty import Penalty
from searchitect.sharing.start import LOOP, Start, loop_of
from searchitect.space import Architecture
from searchitect.torchseeds import seeded_torch
from searchitect.training import TrainData, score
from searchitect.training import checkpoint as disk
from searchitect.training.layout import lay_out, may_be_last
from searchitect.training.run import minimised
from searchitect.training.split import held_out

PUBLISHED_STEPS = 50 * 390
CALIBRATION = 10  # batches for BatchNorm statistics of one path


class SupernetSearch:
    """One method over one supernet and one data set.

    Methods with an architecture step learn weights on one half of the training rows and the architecture on the other;
    `x_eval` is only for measuring. Same start, same data: same search, bit for bit, also when it was saved and loaded
    in between (with the same number of threads).

    Raises UsageError for wrong options and for spaces that the method cannot share (the decision is named).
    """

    def __init__(self, method: str, start: Start, data: TrainData) -> None:
        cls = method_class(method)
        self.loop, options = loop_of(method, start.options)
        if not cls.mixes and data.x_eval is None:
            raise UsageError(f"{method} compares paths on evaluation rows: give x_eval and y_eval")
        self.start, self.data, self.name = start, data.to(start.device), method
        around = cls.around(**options)
        net = supernet(start.space, start.sample, outputs=start.outputs, seed=start.seed, around=around)
        if not any(True for _ in net.parameters()):
            raise UsageError(f"{method}: no layer of this space has weights, so there is nothing to share")
        self.partial = around is not None
        if cls.mixes:
            net.require_mixable()
        self.net = net.to(start.device)
        # a gate that sees a part of the channels may have fewer than is safe (`training.layout`)
        self.image = len(start.sample) == 3 and not self.partial and may_be_last(self.net)
        if self.image:
            lay_out(self.net, last=True)
        own = start.own.checked()
        if self.data.weights is not None and own.given():
            raise UsageError("weights of rows go into our own loss; with loss= or step= weigh the rows there")
        self.loss: Loss = own.loss or partial(usual_loss, data.task, start.recipe)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), self.loop.lr_weights, self.loop.momentum, weight_decay=self.loop.decay_weights
        )
        self.rows, self.held = self._halves(cls.bilevel)
        self.batch_size = self.loop.batch_size or start.recipe.batch_size
        self.batch_size = max(2, min(self.batch_size, len(self.rows)))
        self.steps = max(1, len(self.rows) // self.batch_size)
        penalty = None
        if self.loop.penalty is not None:
            penalty = Penalty(cost_table(self.net, self.loop.penalty), self.loop.penalty_weight)
        steps = self.steps * start.epochs
        each = None if own.given() else partial(row_losses, data.task, start.recipe)
        self.setup = Setup(self.net, self.loss, self.optimizer, penalty, start.seed, steps, own.step, each)
        try:
            self.method: Method = cls(self.setup, **(usual_rate(cls, self.setup.steps) | options))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{method}: {error}; its options are in its docstring, those of the loop are {', '.join(LOOP)}"
            ) from error
        if self.loop.checkpoint:
            self._keep_less()
        elif self.loop.fast:
            speed_up(self.net)
        usual = 0 if start.hand_made is None else guard.look(self.net, start.hand_made).skips
        self.guard = guard.Guard(self.loop.allowed_skips, usual)
        self.done = 0
        self.derived: list[Architecture] = []

    def _keep_less(self) -> None:
        if getattr(self.method, "order", 1) == 2:
            raise UsageError("checkpoint=True runs options again with the weights as they are: not with order=2")
        keep_less(self.net)

    def _halves(self, bilevel: bool) -> tuple[Tensor, Tensor]:
        """Rows of the weights and of the architecture: two halves, cut as the data ask for it, or all rows for both."""
        n = len(self.data.x)
        everything = torch.arange(n)
        if not bilevel:
            return everything, everything
        if n < 4:
            raise UsageError(f"{n} rows are too few for two halves of at least two")
        try:
            part = held_out(self.data.kin(), n // 2, derive(self.start.seed, "halves") % 2**31, "halves")
        except (ValueError, IndexError) as error:
            raise UsageError(f"{n} rows are too few for two halves") from error
        return torch.from_numpy(part), torch.from_numpy(np.setdiff1d(np.arange(n), part))

    # -- one epoch -----------------------------------------------------------------------------------

    def epoch(
        self, number: int, report: Callable[[dict[str, float]], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False, metrics: Sequence[str] = (),
    ) -> Epoch | None:  # fmt: skip
        """Pass number `number` (from 1) over the rows of the weights; None when it was asked to stop within.

        Raises NotFiniteError when a loss is not finite, UsageError for a number out of turn.
        """
        if number != self.done + 1:
            raise UsageError(f"epoch {number} was asked for, but {self.done} are done")
        began = time.monotonic()
        self.net.train()
        order, other = (self._order(rows, number, what) for rows, what in ((self.rows, "order"), (self.held, "held")))
        totals, counts = {"train": 0.0, "architecture": 0.0}, {"train": 0, "architecture": 0}
        for step in range(self.steps):
            if should_stop():
                return None
            losses = self._step(number, step, order, other)
            for name, loss in losses.items():
                totals[name] += loss
                counts[name] += 1
        self.done = number
        losses = {name: total / counts[name] for name, total in totals.items() if counts[name]}
        report({"step": float(number), **{f"{name}_loss": value for name, value in losses.items()}})
        return self._record(number, losses, began, metrics)

    def _step(self, number: int, step: int, order: Tensor, other: Tensor) -> dict[str, float]:
        progress = ((number - 1) * self.steps + step) / max(1, self.setup.steps)
        lr = self.loop.lr_end + (self.loop.lr_weights - self.loop.lr_end) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        train = self._batch(order, step)
        found: dict[str, float] = {}
        draw = derive(self.start.seed, "step", number, step)
        with seeded_torch(derive(draw, "noise")), self._precision():
            loss = self.method.architecture_step(train, self._batch(other, step), derive(draw, "search"), progress, lr)
            if loss is not None:
                found["architecture"] = self._finite(float(loss), "architecture's", number, step)
            self.optimizer.zero_grad(set_to_none=True)
            found["train"] = self._finite(self._weights(train, draw, progress), "training", number, step)
        used = [p for p in self.net.parameters() if p.grad is not None]
        nn.utils.clip_grad_norm_(used, self.loop.clip)
        self.optimizer.step()
        return found

    def _finite(self, loss: float, which: str, number: int, step: int) -> float:
        if not math.isfinite(loss):
            raise NotFiniteError(f"{self.name}: the {which} loss became {loss} in epoch {number}, step {step + 1}")
        return loss

    def _weights(self, train: Batch, draw: int, progress: float) -> float:
        """The weights' gradients of one batch, in parts whose losses count by their rows; the loss."""
        parts = max(1, min(self.loop.accumulate, len(train.x) // 2))  # BatchNorm needs two rows
        total = 0.0
        try:
            for i, part in enumerate(train.parts(parts)):
                self.setup.share = len(part.x) / len(train.x)
                total += float(self.method.weights_step(part, derive(draw, "weights", i), progress))
        finally:
            self.setup.share = 1.0
        return total

    def _order(self, rows: Tensor, number: int, what: str) -> Tensor:
        generator = torch.Generator().manual_seed(derive(self.start.seed, what, number))
        return rows[torch.randperm(len(rows), generator=generator)]

    def _batch(self, order: Tensor, step: int) -> Batch:
        begin = (step * self.batch_size) % max(1, len(order) - self.batch_size + 1)
        rows = order[begin : begin + self.batch_size].to(self.data.x.device)
        x = self.data.x[rows]
        weights = None if self.data.weights is None else self.data.weights[rows]
        return Batch(x.contiguous(memory_format=torch.channels_last) if self.image else x, self.data.y[rows], weights)

    def _precision(self) -> AbstractContextManager[Any]:
        wanted = self.start.recipe.mixed_precision == "auto" and self.data.x.is_cuda
        if wanted and torch.cuda.is_bf16_supported():
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def _record(self, number: int, losses: dict[str, float], began: float, names: Sequence[str]) -> Epoch:
        architecture = self.derive()
        self.derived.append(architecture)
        metrics = self.measure(architecture, names) if self.data.x_eval is not None else {}
        seen = guard.look(self.net, architecture)
        mixture = self._mixture_loss()
        gap = None if mixture is None or "loss" not in metrics else metrics["loss"] - mixture
        curvature = self._curvature() if self.loop.hessian else None
        seen = guard.Look(seen.skips, seen.chosen, seen.parameter_free, gap, curvature)
        stop, back = self.guard.see(seen, number / max(1, self.start.epochs))
        stop = stop if self.loop.guard and hasattr(self.method, "logits") else ""
        chosen = self.derived[max(0, len(self.derived) - 1 - back)] if stop else architecture
        if chosen != architecture and metrics:
            metrics = self.measure(chosen, names)
        gates = {name: tuple(share.tolist()) for name, share in self.method.shares().items()}
        return Epoch(
            number, time.monotonic() - began, losses, metrics, gates, dict(chosen.decisions), seen.plain(), stop,
            {name: labels for name, labels in weighed(self.net, members=True).items() if name in gates},
        )  # fmt: skip

    # -- what comes out ------------------------------------------------------------------------------

    def derive(self) -> Architecture:
        """The architecture that the method would give now, within the limits."""
        feasible = self.start.feasible
        if feasible is None:
            return self.method.derive(lambda a: self.measure(a)["loss"])
        found = self.method.derive(lambda a: self.measure(a)["loss"] if feasible(a) else math.inf)
        return within(self.net, found, self.method.shares(), feasible)

    def measure(self, architecture: Architecture, metrics: Sequence[str] = ()) -> dict[str, float]:
        """Metrics of a path with inherited weights on the evaluation rows; BatchNorm statistics are its own.

        metrics: beside the usual ones of the task. Raises UsageError without evaluation rows.
        """
        if self.data.x_eval is None or self.data.y_eval is None:
            raise UsageError("there are no evaluation rows to measure on: give x_eval and y_eval")
        batches = [self._batch(self.rows, i).x for i in range(min(CALIBRATION, self.steps))]
        outputs = path_outputs(
            self.net, architecture, batches, self.data.x_eval, self.start.device, partial=self.partial
        )  # fmt: skip
        y = self.data.y_eval.cpu()
        usual = ("accuracy", "loss") if self.data.task == "classification" else ("rmse", "r2", "loss")
        names = dict.fromkeys((*usual, *metrics))
        if self.data.task == "classification":
            return {name: score(name, outputs, y, self.data.task) for name in names}
        outputs = outputs.reshape(len(y), -1)
        real = (self.data.units(outputs), self.data.units(y))
        return {m: score(m, *((outputs, y) if m == "loss" else real), self.data.task) for m in names}

    def _mixture_loss(self) -> float | None:
        """The loss of the mixture on evaluation rows, as that of a path; None where nothing is mixed."""
        if not self.method.mixes or self.data.x_eval is None or self.data.y_eval is None:
            return None
        outputs = mixture_outputs(self.net, self.method.shares(), self.data.x_eval[:256])
        return score("loss", outputs, self.data.y_eval[:256], self.data.task)

    def _curvature(self) -> float | None:
        """The largest curvature of the held-back loss for the architecture's numbers; None without such numbers."""
        logits = getattr(self.method, "logits", None)
        if logits is None:
            return None
        batch = self._batch(self.held, 0)

        def loss() -> Tensor:
            return self.setup.of(lambda x: self.net.mix(x, logits.shares()), batch)

        with unchanged(self.net):
            self.net.train()
            return guard.eigenvalue(loss, logits.tensors())

    # -- files ---------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write everything to `supernet.safetensors` in the folder, atomically. Raises OSError (disk full, ...)."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = disk.pack(self.net, self.optimizer) | {f"method.{k}": v for k, v in self.method.state().items()}
        counters = {
            "format": 1, "identity": self._identity(), "done": self.done,
            "derived": [dict(a.decisions) for a in self.derived], "looks": [seen.plain() for seen in self.guard.looks],
        }  # fmt: skip
        disk.write(folder / "supernet.safetensors", tensors, counters)

    def load(self, folder: Path) -> bool:
        """Go on from what was saved; False where there is nothing. Raises UsageError for another search's file."""
        found = disk.read(folder / "supernet.safetensors")
        if found is None:
            return False
        tensors, counters = found
        if counters.get("identity") != self._identity():
            raise UsageError(f"{folder}: this supernet is of another search: {self._difference(counters)}")
        disk.unpack(tensors, self.net, self.optimizer)
        self.method.restore({k.removeprefix("method."): v for k, v in tensors.items() if k.startswith("method.")})
        self.done = counters["done"]
        self.derived = [self.start.space.architecture(d) for d in counters["derived"]]
        self.guard.looks = [_look(numbers) for numbers in counters["looks"]]
        return True

    def _identity(self) -> dict[str, Any]:
        """What a file must be of, as it comes back from JSON."""
        options = json.loads(json.dumps(self.start.options, sort_keys=True, default=repr))
        return {"method": self.name, "space": self.start.space.fingerprint, "seed": self.start.seed, "options": options,
                "rows": len(self.data.x), "epochs": self.start.epochs, "weights": disk.shapes(self.net),
                **minimised(self.data, self.start.own)}  # fmt: skip

    def _difference(self, counters: Mapping[str, Any]) -> str:
        before, now = counters.get("identity") or {}, self._identity()
        names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
        return f"{', '.join(names)} differ{'s' * (len(names) == 1)}"


def usual_rate(cls: type[Method], steps: int) -> dict[str, Any]:
    """The rate `lr` of a method's architecture steps where there are fewer of them than in the published searches.

    Published rates are for about 50 epochs of 390 steps (CIFAR-10, batches of 64). Adam moves a number by about its
    rate in each step, so with fewer steps the rate is raised by as much, at most to 0.05; else nothing is ever decided.
    """
    published = inspect.signature(cls).parameters.get("lr")
    if published is None or not cls.mixes:
        return {}
    return {"lr": min(published.default * max(1.0, PUBLISHED_STEPS / max(steps, 1)), 0.05)}


def _look(numbers: Mapping[str, float]) -> guard.Look:
    return guard.Look(
        int(numbers["skips"]), int(numbers["chosen"]), numbers["parameter_free"], numbers.get("gap"),
        numbers.get("eigenvalue"),
    )  # fmt: skip
