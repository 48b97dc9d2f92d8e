"""Trials that are trained by Lightning's Trainer (extra "lightning").

    evaluate = fit_with_lightning(MyLightningModule, data, "val_accuracy", max_epochs=5)
    study = search(space, evaluate=evaluate, objectives="max val_accuracy", sample=(64,), budget="10m")

Validation metrics of each epoch become the trial's curve, and the Trainer stops when the study asks the trial to end.
Who makes the Trainer by hand inside `evaluate(model, trial)` gives it the callback alone: `ReportToTrial(trial)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from searchitect.errors import TrialError, UsageError

try:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback
except ImportError as error:
    raise UsageError(f"Lightning cannot be imported ({error}): pip install 'searchitect[lightning]'") from error

OURS = ("accelerator", "devices", "callbacks")  # options of a Trainer that the study decides


class ReportToTrial(Callback):
    """Reports what was logged at each validation, and stops the Trainer when the trial should end."""

    def __init__(self, trial: Any) -> None:
        self.trial = trial

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After each validation, the check before the first epoch aside."""
        if trainer.sanity_checking:
            return
        self.trial.report(trainer.current_epoch, **numbers(trainer.callback_metrics))
        if self.trial.should_stop():
            trainer.should_stop = True


def fit_with_lightning(
    module: Callable[[Any], LightningModule], data: Any, metric: str, **options: Any
) -> Callable[[Any, Any], dict[str, float]]:
    """A function for `search(space, evaluate=...)`.

    module:  makes the LightningModule around a network: a class whose __init__ takes it, or a function.
    data:    a LightningDataModule, (training loader, validation loader), or a function without arguments that
             returns one of them (called in the worker, so that nothing large is sent there).
    metric:  the logged metric that is the goal; every other logged number is kept beside it.
    options: of the Trainer; max_epochs is otherwise what the study wants (`epochs=`). Progress bar, logger,
             checkpoints and summary are off unless asked for; the device is the worker's.

    Raises UsageError at once for options that the study decides.
    """
    taken = [name for name in OURS if name in options]
    if taken:
        raise UsageError(f"{taken[0]} of the Trainer is decided by the study (device=, workers=); leave it out")

    def evaluate(model: Any, trial: Any) -> dict[str, float]:
        trainer = Trainer(**usual_options(trial) | options, callbacks=[ReportToTrial(trial)])
        given = data if isinstance(data, (LightningDataModule, tuple, list)) else data()
        if isinstance(given, LightningDataModule):
            trainer.fit(module(model), datamodule=given)
        else:
            trainer.fit(module(model), *given)
        found = numbers(trainer.callback_metrics)
        if metric not in found:
            names = ", ".join(sorted(found)) or "nothing"
            raise TrialError(
                f"{metric!r} was not logged; {names} was. Call self.log({metric!r}, ...) in validation_step"
            )
        return found

    return evaluate


def usual_options(trial: Any) -> dict[str, Any]:
    """A quiet Trainer on the worker's device."""
    kind, _, number = str(trial.device).partition(":")
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return dict.fromkeys(quiet, False) | {
        "max_epochs": trial.epochs, "accelerator": {"cuda": "gpu"}.get(kind, kind),
        "devices": [int(number)] if number and kind != "cpu" else 1,
        "default_root_dir": trial.folder, "num_sanity_val_steps": 0,
    }  # fmt: skip


def numbers(metrics: Any) -> dict[str, float]:
    """What was logged, as plain numbers whose names can be names of objectives."""
    return {str(name).replace("/", "_").replace("-", "_"): float(value) for name, value in metrics.items()}
