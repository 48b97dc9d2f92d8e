"""Trials trained with Accelerate; where it is not installed, test_interop_contract.py holds the other side."""

import importlib

import pytest
import torch
from torch import nn

from searchitect import Space, lazy, one_of, search

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed (extra 'accelerate')")
with_accelerate = importlib.import_module("searchitect.interop.accelerate").with_accelerate

L = lazy(nn)
SPACE = Space(L.Sequential(L.LazyLinear(one_of(2, 4)), L.LazyLinear(1)))


def test_every_trial_has_an_accelerator_of_its_own_and_leaves_none(tmp_path):
    seen = []

    @with_accelerate(gradient_accumulation_steps=2)
    def evaluate(model, trial, accelerator):
        seen.append((accelerator, accelerator.gradient_accumulation_steps))
        x = torch.arange(8.0)[:, None] / 8
        model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.1))
        for step in range(3):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), 2 * x)
            accelerator.backward(loss)
            optimizer.step()
            trial.report(step, loss=loss.item())
        return loss.item()

    study = search(
        SPACE,
        evaluate=evaluate,
        objectives="loss",
        sample=(1,),
        trials=2,
        path=tmp_path / "s",
        executor="serial",
        finalize=False,
    )
    assert [steps for _, steps in seen] == [2, 2]
    assert seen[0][0] is not seen[1][0]
    assert accelerate.state.AcceleratorState._shared_state == {}
    assert all(len(t.measurement.curve) == 3 for t in study.trials)
