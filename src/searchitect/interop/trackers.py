"""Loggers: observers that write every trial that has ended, and the verdict, where a tracking tool reads it.

    search(..., observer=TensorBoard("runs/tensorboard"))
    search(..., observer=[MLflow("sqlite:///runs/mlflow.db"), WandB(project="nas", mode="offline")])

Each writes one run for each trial: decisions as parameters, the curve by its steps, the final numbers. What the study
holds does not depend on them: a logger that fails is logged once, and the search goes on. The libraries are loaded when
a logger is made (extra "tracking"; W&B: pip install wandb).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from searchitect.engine.observer import Observer
from searchitect.errors import UsageError
from searchitect.records import Trial


def _library(name: str, install: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"{name} cannot be imported ({error}): {install}") from error


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among them that a chart can show."""
    plain = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    return {name: float(value) for name, value in plain.items() if math.isfinite(value)}


def curve(trial: Trial) -> list[tuple[int, dict[str, float]]]:
    """(step, numbers) of each point that the training reported."""
    points = () if trial.measurement is None else trial.measurement.curve
    numbered = enumerate(points, 1)
    return [(int(p.get("step", p.get("epoch", i))), finite(p)) for i, p in numbered]


def outcome(trial: Trial) -> dict[str, float]:
    """The final numbers of a trial; none when it failed."""
    return {} if trial.measurement is None else finite(trial.measurement.metrics)


def about(trial: Trial) -> dict[str, str]:
    """What else is known of a trial, as text."""
    fidelity = trial.proposal.fidelity
    found = {
        "number": str(trial.number), "state": trial.state.value, "origin": trial.proposal.origin,
        "epochs": str(fidelity.epochs), "fidelity": fidelity.kind,
    }  # fmt: skip
    if trial.source is not None:
        found["reused_from"] = str(trial.source)
    if trial.failure is not None:
        first = next(iter(trial.failure.message.splitlines()), "")
        found["failure"] = f"{trial.failure.cause}: {first[:200]}"
    return found


class TensorBoard(Observer):
    """One folder for each trial below `folder`: curves as scalars, decisions and final numbers in the tab HPARAMS.

    tensorboard --logdir FOLDER
    """

    def __init__(self, folder: str | Path = "runs/tensorboard") -> None:
        _library("tensorboard", "pip install 'searchitect[tracking]'")
        self._writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self.folder = Path(folder)

    def trial(self, trial: Trial) -> None:
        """A trial has ended."""
        with self._writer(str(self.folder / f"trial-{trial.number:04d}")) as writer:
            for step, numbers in curve(trial):
                for name, value in numbers.items():
                    writer.add_scalar(f"curve/{name}", value, step)
            writer.add_text("trial", "\n".join(f"- {k}: {v}" for k, v in about(trial).items()))
            writer.add_hparams(dict(trial.architecture.decisions), outcome(trial), run_name=".")

    def end(self, summary: dict[str, Any]) -> None:
        """The verdict as text."""
        if summary.get("verdict"):
            with self._writer(str(self.folder)) as writer:
                writer.add_text("verdict", summary["verdict"]["sentence"])


class MLflow(Observer):
    """One run for each trial in an experiment called like the study, on this machine unless `uri` says otherwise.

    mlflow ui --backend-store-uri URI
    """

    def __init__(self, uri: str = "sqlite:///mlflow.db", experiment: str | None = None) -> None:
        mlflow = _library("mlflow", "pip install 'searchitect[tracking]'")
        self.client = mlflow.MlflowClient(uri)
        self.name = experiment
        self._experiment: str | None = None

    def plan(self, facts: dict[str, Any]) -> None:
        """The study has a name now."""
        self.name = self.name or str(facts.get("name") or "searchitect")

    @property
    def experiment(self) -> str:
        """The experiment's id; it is made when it is first needed."""
        if self._experiment is None:
            name = self.name or "searchitect"
            known = self.client.get_experiment_by_name(name)
            self._experiment = str(known.experiment_id if known else self.client.create_experiment(name))
        return self._experiment

    def trial(self, trial: Trial) -> None:
        """A trial has ended."""
        client = self.client
        begun = None if trial.started is None else int(1_000 * trial.started)
        run = client.create_run(self.experiment, begun, about(trial), f"trial-{trial.number:04d}").info.run_id
        for name, value in trial.architecture.decisions.items():
            client.log_param(run, _key(name), value)
        for step, numbers in curve(trial):
            for name, value in numbers.items():
                client.log_metric(run, _key(f"curve/{name}"), value, step=step)
        for name, value in outcome(trial).items():
            client.log_metric(run, _key(name), value)
        ended = None if trial.finished is None else int(1_000 * trial.finished)
        client.set_terminated(run, "FAILED" if trial.failure is not None else "FINISHED", ended)

    def end(self, summary: dict[str, Any]) -> None:
        """The verdict as a tag of the experiment."""
        if summary.get("verdict"):
            self.client.set_experiment_tag(self.experiment, "verdict", summary["verdict"]["sentence"])


def _key(name: str) -> str:
    """A name that MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)


class WandB(Observer):
    """One run of Weights & Biases for each trial, grouped by the study; mode="offline" sends nothing."""

    def __init__(self, project: str = "searchitect", mode: str = "offline", folder: str | Path = "runs") -> None:
        self.wandb = _library("wandb", "pip install wandb")
        self.options = {"project": project, "mode": mode, "dir": str(folder)}
        self.group = project

    def plan(self, facts: dict[str, Any]) -> None:
        """The study has a name now."""
        self.group = str(facts.get("name") or self.group)

    def trial(self, trial: Trial) -> None:
        """A trial has ended."""
        run = self.wandb.init(
            **self.options, group=self.group, name=f"trial-{trial.number:04d}", reinit=True,
            config=dict(trial.architecture.decisions) | {"about": about(trial)},
        )  # fmt: skip
        for step, numbers in curve(trial):
            run.log({f"curve/{name}": value for name, value in numbers.items()}, step=step)
        run.summary.update(outcome(trial))
        run.finish(exit_code=int(trial.failure is not None))
