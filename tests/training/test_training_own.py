"""A loss or step of the user in our training: what is minimised, and what is said when it is none."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchitect.errors import UsageError
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, TrainData, fit
from searchitect.training.own import Own

RECIPE = Recipe(batch_size=24, augment="none")


def rows():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(48, 5, generator=generator), torch.arange(48) % 3
    return TrainData(x, y, x[:12], y[:12], "classification", 3)


def trained(own, recipe=RECIPE):
    with seeded_torch(0):
        model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    result = fit(model, rows(), recipe, epochs=3, seed=1, own=own)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), result


def smooth(outputs, y):
    return F.cross_entropy(outputs, y, label_smoothing=0.2)


def smooth_step(network, x, y):
    return smooth(network(x), y)


def test_the_usual_loss_written_by_hand_trains_to_the_same_bits():
    usual, _ = trained(Own(), Recipe(batch_size=24, augment="none", label_smoothing=0.2))
    by_loss, result = trained(Own(loss=smooth))
    by_step, _ = trained(Own(step=smooth_step))
    assert torch.equal(usual, by_loss)
    assert torch.equal(usual, by_step)
    assert not torch.equal(usual, trained(Own())[0])
    assert set(result.metrics) >= {"accuracy", "loss"}  # what is scored stays what it was


def test_a_step_may_call_the_network_twice():
    calls = []

    def twice(network, x, y):
        calls.append(len(x))
        return F.cross_entropy(network(x), y) + 0.1 * (network(x + 0.1) - network(x)).pow(2).mean()

    weights, _ = trained(Own(step=twice))
    assert calls == [24] * 6
    assert not torch.equal(weights, trained(Own())[0])


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (Own(loss=lambda outputs, y: F.cross_entropy(outputs, y, reduction="none")), r"loss\(outputs, y\).*\(24,\)"),
        (Own(loss=lambda outputs, y: 0.5), r"returned float"),
        (Own(step=lambda network, x, y: None), r"step\(network, x, y\) returned NoneType"),
        (Own(step=lambda network, x, y: network(x).mean().detach()), "no gradient leads back"),
    ],
)
def test_what_is_no_loss_is_refused(own, words):
    with pytest.raises(UsageError, match=words):
        trained(own)


def test_what_is_no_function_is_refused():
    with pytest.raises(UsageError, match=r"loss=3 is not a function; write def loss\(outputs, y\)"):
        Own(loss=3)


def test_the_description_changes_with_the_code():
    assert Own().describe() == {}
    first, second = Own(loss=smooth).describe(), Own(loss=F.cross_entropy).describe()
    assert first != second
    assert first == Own(loss=smooth).describe()
    assert set(Own(smooth, smooth_step).describe()) == {"loss", "step"}
