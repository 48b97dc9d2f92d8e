"""A loss or step of the user in our training: what is minimised, and what is said when it is none."""

import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchitect.errors import UsageError
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, TrainData, fit
from searchitect.training.own import Own
from searchitect.training.terms import Course, Goal

RECIPE = Recipe(batch_size=24, augment="none")


def rows():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(48, 5, generator=generator), torch.arange(48) % 3
    return TrainData(x, y, x[:12], y[:12], "classification", 3)


def trained(own, recipe=RECIPE):
    with seeded_torch(0):
        model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    result = fit(model, rows(), recipe, epochs=3, seed=1, goal=Goal(own=own))
    return torch.cat([p.detach().flatten() for p in model.parameters()]), result


def smooth(outputs, y):
    return F.cross_entropy(outputs, y, label_smoothing=0.2)


def smooth_step(network, x, y):
    return smooth(network(x), y)


def doubled_step(network, x, y):
    return 2 * smooth(network(x), y)


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


def test_the_identities_are_those_of_the_functions_as_they_were_given():
    assert Own().identities == {}
    first, second = Own(loss=smooth).identities, Own(loss=F.cross_entropy).identities
    assert first != second
    assert first == Own(loss=smooth).identities
    assert first == Own(loss=smooth).checked().identities
    assert first == pickle.loads(pickle.dumps(Own(loss=smooth))).identities
    assert set(Own(smooth, smooth_step).identities) == {"loss", "step"}
    counting = Counting()
    own = Own(loss=counting)
    before = own.identities
    counting.calls += 1
    assert own.identities == before != Own(loss=counting).identities


class Counting:
    calls = 0

    def __call__(self, outputs, y):
        return F.cross_entropy(outputs, y)


def weighed(weight):
    return lambda outputs, y: weight * F.cross_entropy(outputs, y)


def taught(shift=0.0, **changes):
    answers = (torch.arange(144.0).reshape(48, 3) + shift).softmax(1)
    return replace(rows(), soft=answers, **{"soft_weight": 0.5, "temperature": 2.0, **changes})


def heavy(first):
    return replace(rows(), weights=torch.tensor([first, 2 - first]).repeat(24))


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ((Own(loss=smooth), rows()), (Own(), rows()), "loss()"),
        ((Own(), rows()), (Own(loss=smooth), rows()), "loss()"),
        ((Own(loss=weighed(1.0)), rows()), (Own(loss=weighed(2.0)), rows()), "loss()"),
        ((Own(loss=nn.CrossEntropyLoss()), rows()), (Own(loss=nn.CrossEntropyLoss(label_smoothing=0.1)), rows()),
         "loss()"),
        ((Own(loss=smooth), rows()), (Own(step=doubled_step), rows()), "loss(), step()"),
        ((Own(), taught()), (Own(), rows()), "answers of a teacher"),
        ((Own(), taught()), (Own(), taught(torch.arange(3.0))), "answers of a teacher"),
        ((Own(), taught()), (Own(), taught(soft_weight=0.25)), "answers of a teacher"),
        ((Own(), taught()), (Own(), taught(temperature=4.0)), "answers of a teacher"),
        ((Own(), heavy(0.5)), (Own(), heavy(1.5)), "weights of rows"),
    ],
)  # fmt: skip
def test_a_checkpoint_is_only_continued_by_what_it_was_trained_to(tmp_path, before, after, word):
    def run(own, data, epochs, file=None):
        with seeded_torch(0):
            model = nn.Linear(5, 3)
        course = Course(3, file)
        return fit(model, data, RECIPE, epochs=epochs, seed=1, goal=Goal(own=own), course=course), model.weight

    file = tmp_path / "state"
    run(*before, 2, file)
    whole, straight = run(*before, 3)
    again, weights = run(*before, 3, file)
    assert (again.resumed, again.notes) == (2, ())
    assert torch.equal(weights, straight)
    fresh, straight = run(*after, 3)
    other, weights = run(*after, 3, file)
    assert (other.resumed, other.curve) == (0, fresh.curve)
    assert other.notes == (f"a checkpoint of another training was not used: another {word}",)
    assert torch.equal(weights, straight)
    assert other.curve != whole.curve


def test_a_loss_that_collects_as_it_runs_is_continued_in_another_worker(tmp_path):
    def run(epochs):
        seen = []

        def loss(outputs, y):
            seen.append(len(y))
            return F.cross_entropy(outputs, y)

        own = Own(loss=loss)
        own.loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))  # a training before this one
        return fit(nn.Linear(5, 3), rows(), RECIPE, epochs=epochs, seed=1, goal=Goal(own=own),
                   course=Course(2, tmp_path / "state"))  # fmt: skip

    run(1)
    assert run(2).resumed == 1
