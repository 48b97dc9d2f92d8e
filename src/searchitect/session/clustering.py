"""Trials on a Ray cluster: the executor of the options, how many trials fit, and what cannot be had there."""

from __future__ import annotations

from pathlib import Path

from searchitect.errors import UsageError
from searchitect.executors import Executor, make
from searchitect.settings import Settings
from searchitect.sharing import METHODS
from searchitect.training import Recipe

ON_CLUSTER = ("cpus_per_trial", "gpus_per_trial", "devices_per_trial", "shared")  # options that mean nothing elsewhere
ADDRESS = "auto"


def on_cluster(settings: Settings, folder: Path) -> Executor:
    """The executor; `folder` is for logs, weights and checkpoints."""
    return make(
        "ray", address=settings.ray or ADDRESS, workers=settings.workers, cpus=settings.cpus_per_trial,
        gpus=settings.gpus_per_trial, hosts=settings.devices_per_trial, folder=folder, shared=settings.shared,
        threads=settings.threads, memory_mb=settings.memory_mb,
        device=None if settings.device == "auto" else settings.device,
    )  # fmt: skip


def room(settings: Settings) -> tuple[int, int, str]:
    """Trials at the same time, threads of each, and the device that they are trained on."""
    from searchitect.executors.ray_cluster import room as slots

    cpus, gpus, hosts = settings.cpus_per_trial, settings.gpus_per_trial, settings.devices_per_trial
    device = settings.device if settings.device != "auto" else "cuda" if gpus else "cpu"
    workers = settings.workers or slots(settings.ray or ADDRESS, cpus, gpus, hosts)
    return workers, settings.threads or max(1, int(cpus)), device


def check_together(settings: Settings, recipe: Recipe | None) -> None:
    """Raises UsageError for what several processes cannot do together. No recipe: the training is the user's."""
    if settings.devices_per_trial == 1:
        return
    asked = f"devices_per_trial = {settings.devices_per_trial}"
    if recipe is None:
        raise UsageError(f"{asked} is for our own training; with evaluate= yours is used: leave it out")
    if settings.strategy in METHODS:
        raise UsageError(f"{asked}: a supernet ({settings.strategy}) is trained by one process: leave it out")
    if recipe.auxiliary:
        raise UsageError(f"{asked} and auxiliary = {recipe.auxiliary:g}: leave one of them out")
