"""The optimizer's steps against torch's."""

import numpy as np
import pytest
import torch

from searchitect.errors import UsageError
from searchitect.policies.climbing import Climber
from searchitect.seeds import stream


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.5), ("adam", 0.1), ("adam", 0.001)])
def test_steps_are_those_of_torch_uphill(optimizer, lr):
    theirs = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    torchs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]([theirs], lr=lr, maximize=True)
    ours, climber = np.zeros(5), Climber(5, lr, optimizer)
    for turn in range(20):
        draws = stream(0, turn, "gradient")
        gradient = np.array([draws.normal() * 10.0 ** (i - 3) for i in range(5)])
        ours = ours + climber.step(gradient)
        theirs.grad = torch.tensor(gradient)
        torchs.step()
        assert ours == pytest.approx(theirs.detach().numpy(), rel=1e-9, abs=1e-12)
    assert np.abs(ours).min() > 1e-4


def test_plain_steps_keep_no_state_and_adams_do():
    plain, adam = Climber(3, 0.1, "sgd"), Climber(3, 0.1, "adam")
    for climber in (plain, adam):
        climber.step(np.ones(3))
    assert plain.snapshot() == {}
    later = Climber(3, 0.1, "adam")
    later.restore(adam.snapshot())
    assert np.array_equal(later.step(np.array([1.0, -2.0, 0.0])), adam.step(np.array([1.0, -2.0, 0.0])))
    assert later.steps == 2


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_is_positive(lr):
    with pytest.raises(UsageError, match="lr="):
        Climber(3, lr)
