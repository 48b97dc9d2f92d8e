"""Where channels last is used: not in networks that would end the process."""

import subprocess
import sys

import pytest
import torch
from torch import nn

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


ALONE = """
from torch import nn
from searchitect.training import Recipe, fit, prepare
from searchitect.training.data import load
data, _ = prepare(load("digits", limit_train=200), list(range(160)), list(range(160, 200)))
narrow = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 12, 1, 2, bias=False), nn.AdaptiveAvgPool2d(1),
                       nn.Flatten(), nn.Linear(12, 10))
print(fit(narrow, data, Recipe(batch_size=32), epochs=2, seed=0).epochs)
"""


def test_a_network_that_channels_last_would_end_is_trained():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr[-2000:]
