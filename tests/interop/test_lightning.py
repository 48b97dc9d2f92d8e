"""Trials trained by Lightning; where it is not installed, test_interop_contract.py holds the other side."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from searchitect import Space, lazy, one_of, search
from searchitect.errors import TrialError, UsageError
from searchitect.evaluators.base import Task
from searchitect.evaluators.function import LiveTrial
from searchitect.space import Architecture

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed (extra 'lightning')")
fit_with_lightning = importlib.import_module("searchitect.interop.lightning").fit_with_lightning
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on few batches and workers of loaders


class Line(pl.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def training_step(self, batch, _):
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val/loss", self.training_step(batch, 0))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def loaders():
    x = torch.arange(8.0)[:, None] / 8
    return DataLoader(TensorDataset(x, 2 * x), 4), DataLoader(TensorDataset(x, 2 * x), 8)


def a_trial(stop=lambda: False, epochs=3):
    heard = []
    live = SimpleNamespace(device="cpu", threads=1, folder=None, report=heard.append, should_stop=stop)
    return LiveTrial(Task(0, {}, 0, epochs), live, Architecture("toy", {}), 1), heard


def test_each_validation_is_a_point_of_the_curve():
    network = nn.Linear(1, 1)
    trial, heard = a_trial()
    found = fit_with_lightning(Line, loaders, "val_loss")(network, trial)
    assert [point["step"] for point in trial.curve] == [0, 1, 2]
    assert heard == trial.curve
    x, y = next(iter(loaders()[1]))
    assert found["val_loss"] == pytest.approx(float(nn.functional.mse_loss(network(x), y)))
    assert found["val_loss"] < trial.curve[0]["val_loss"]


def test_it_ends_when_the_study_asks():
    trial, _ = a_trial(stop=lambda: True, epochs=50)
    fit_with_lightning(Line, loaders, "val_loss")(nn.Linear(1, 1), trial)
    assert len(trial.curve) == 1


def test_a_goal_that_is_not_logged_names_what_is():
    with pytest.raises(TrialError, match=r"'accuracy' was not logged; val_loss was"):
        fit_with_lightning(Line, loaders, "accuracy")(nn.Linear(1, 1), a_trial()[0])


def test_the_device_is_the_studys():
    with pytest.raises(UsageError, match="devices of the Trainer is decided by the study"):
        fit_with_lightning(Line, loaders, "val_loss", devices=2)


def test_a_whole_search(tmp_path):
    L = lazy(nn)
    space = Space(L.Sequential(L.LazyLinear(one_of(2, 4)), L.LazyLinear(1)))
    evaluate = fit_with_lightning(Line, loaders, "val_loss", max_epochs=2)
    study = search(
        space, evaluate=evaluate, objectives="min val_loss", sample=(1,), trials=2, path=tmp_path / "s",
        executor="serial", finalize=False,
    )  # fmt: skip
    assert all(len(t.measurement.curve) == 2 for t in study.trials)
