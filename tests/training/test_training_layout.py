"""Where channels last is used: not in networks that would end the process."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from searchitect.training import Recipe, fit, prepare
from searchitect.training.data import load
from searchitect.training.layout import lay_out, may_be_last


def narrow(channels, kernel=1, stride=2):
    """A network with one such convolution."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.Conv2d(channels, 12, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "last"),
    [
        (narrow(6), False), (narrow(7), False), (narrow(8), True), (narrow(6, kernel=3), True),
        (narrow(6, stride=1), True), (nn.Linear(3, 2), False),
    ],
)  # fmt: skip
def test_narrow_convolutions_with_stride_keep_the_usual_layout(model, last):
    assert may_be_last(model) is last


def test_weights_are_laid_out():
    model = narrow(8)
    lay_out(model, last=True)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    lay_out(model, last=False)
    assert model[0].weight.is_contiguous()


def test_a_network_that_channels_last_would_end_is_trained():
    if os.environ.get("IN_A_PROCESS_OF_ITS_OWN"):
        data, _ = prepare(load("digits", limit_train=200), list(range(160)), list(range(160, 200)))
        result = fit(narrow(4), data, Recipe(batch_size=32), epochs=2, seed=0)
        assert result.metrics["accuracy"] > 0
        return
    test = f"{__file__}::test_a_network_that_channels_last_would_end_is_trained"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(
        command, env=os.environ | {"IN_A_PROCESS_OF_ITS_OWN": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
