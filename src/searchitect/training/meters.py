"""What a trained network is worth and what it costs: scores, predictions, parameters."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchitect.errors import NotFiniteError, TrialError, UsageError

OWN = {"classification": ("accuracy", "loss"), "regression": ("loss", "rmse", "mae", "r2")}
DEFAULT = {"classification": ("accuracy", "loss"), "regression": ("rmse", "r2", "loss")}
COMPUTED = {"classification": ("accuracy", "loss"), "regression": ("loss", "rmse", "mae")}  # here; others by scorers
_EVAL_NUMBERS = 2**21  # values of x in one batch of prediction: bounds the memory of large pictures


def as_number(value: Any, what: str = "the metric") -> float:
    """A finite float from a number, bool, numpy scalar or tensor without axes.

    Raises TrialError for anything else (None, text, complex, lists, one-element arrays) with the value, and
    NotFiniteError for NaN and infinity.
    """
    plain = value
    if isinstance(plain, Tensor):
        plain = plain.detach().cpu()
    if isinstance(plain, (Tensor, np.ndarray)):
        if plain.ndim > 0:
            hint = "; use .item()" if math.prod(plain.shape) == 1 else "; reduce it, for example by .mean()"
            raise TrialError(f"{what} must be one number, got an array of shape {tuple(plain.shape)}{hint}")
        plain = plain.item()
    if isinstance(plain, np.generic):
        plain = plain.item()
    if not isinstance(plain, (int, float)):
        raise TrialError(f"{what} must be one number, got {_short(value)} of type {type(value).__name__}")
    if not math.isfinite(plain):
        raise NotFiniteError(f"{what} is {float(plain)}")
    return float(plain)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def score(metric: str, outputs: Tensor, y: Tensor, task: str) -> float:
    """One number from raw outputs (N, outputs) and y: (N,) class numbers, or (N, outputs) targets.

    "loss" is the mean cross-entropy or squared error; any other name is a scikit-learn scorer, which sees
    softmax shares where it wants probabilities. Raises UsageError for an unknown metric, TrialError when it
    cannot be computed, NotFiniteError when it is not finite.
    """
    outputs, y = outputs.detach().float().cpu(), y.detach().cpu()
    if task == "regression":
        outputs, y = outputs.reshape(len(y), -1), y.reshape(len(y), -1)
    return as_number(_score(metric, outputs, y, task), metric)


def _score(metric: str, outputs: Tensor, y: Tensor, task: str) -> float:
    if metric == "loss":
        mean = F.cross_entropy if task == "classification" else F.mse_loss
        return float(mean(outputs, y))
    if task == "classification" and metric == "accuracy":
        return float((outputs.argmax(dim=1) == y).double().mean())
    if task == "regression" and metric in ("rmse", "mae"):
        error = (outputs - y).double()
        return float(error.square().mean().sqrt() if metric == "rmse" else error.abs().mean())
    from searchitect.training import scorers

    if metric not in scorers.names():
        raise UsageError(unknown_metric(metric, task))
    numbers = outputs.double() if task == "regression" else outputs.double().softmax(dim=1)
    if not bool(numbers.isfinite().all()):
        raise NotFiniteError(f"{metric}: the network's outputs are not finite")
    return scorers.by_scorer(metric, numbers.numpy(), y.numpy(), task)


def unknown_metric(metric: str, task: str) -> str:
    """The message for a metric that does not exist."""
    from searchitect.training import scorers

    names = sorted({*OWN[task], *scorers.names()})
    near = difflib.get_close_matches(metric, names, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "use one of them or a scikit-learn scorer"
    return f"metric {metric!r} is not known for {task}; there are {', '.join(OWN[task])}: {hint}"


def check_metrics(metrics: Sequence[str], task: str, outputs: int) -> None:
    """Compute each metric once on invented outputs. Raises UsageError for one that cannot serve this task."""
    for metric in metrics:
        if not (metric in OWN[task] or (_is_scorer(metric) and metric not in ("rmse", "mae", "r2"))):
            raise UsageError(unknown_metric(metric, task))
        if task == "classification":
            y = torch.arange(2 * outputs) % outputs
            answers = F.one_hot(y, outputs).float()
        else:
            answers = y = torch.arange(1.25, 9.0)[:, None].repeat(1, outputs)
        try:
            score(metric, answers, y, task)
        except TrialError as error:
            wide = f"{outputs} classes" if task == "classification" else f"{outputs} numbers a row"
            advice = f"; for several classes use {metric}_macro" if _is_scorer(f"{metric}_macro") else ""
            raise UsageError(f"metric {metric!r} does not fit {task} with {wide}: {error}{advice}") from None


def _is_scorer(metric: str) -> bool:
    from searchitect.training import scorers

    return metric in scorers.names()


def need_scorers(metrics: Sequence[str], task: str) -> bool:
    """Whether scikit-learn, which takes as long to import as torch, computes one of them."""
    return not set(metrics) <= set(COMPUTED[task])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; each submodule gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def predict(model: nn.Module, x: Tensor, *, batch: int | None = None, device: str | torch.device = "cpu") -> Tensor:
    """Raw outputs (N, ...) on the CPU for x (N, ...), in eval mode. Batches of 512, fewer for large rows."""
    size = batch or max(8, min(512, _EVAL_NUMBERS // max(1, math.prod(x.shape[1:]))))
    with evaluating(model):
        pieces = [model(piece.to(device)).cpu() for piece in torch.split(x, size)]
    with torch.no_grad():
        return torch.cat(pieces)  # outside of inference mode: an ordinary tensor


def parameters(model: nn.Module) -> int:
    """How many numbers are trained (shared ones once)."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
