"""Means of weights: torch's own averaging as the independent number, statistics by hand, and that they resume."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from searchitect.errors import UsageError
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, TrainData, fit
from searchitect.training.average import Average, first_of_swa, reestimate
from searchitect.training.recipe import rate
from searchitect.training.terms import Course


def net():
    with seeded_torch(0):
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def rows(count=53):
    x = torch.randn(count, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1
    return TrainData(x, torch.arange(count) % 3, x[:12], torch.arange(12) % 3, "classification", 3)


def trained(epochs=4, **changes):
    model = net()
    options = {name: changes.pop(name) for name in ("horizon", "checkpoint") if name in changes}
    recipe = Recipe(batch_size=8, **changes)
    return model, fit(model, rows(), recipe, epochs=epochs, seed=3, course=Course(**options))


def walk(model, steps):
    """Other weights after each step."""
    for step in range(steps):
        with torch.no_grad(), seeded_torch(step):
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        yield step


def test_ema_is_that_of_torch_with_the_usual_warm_up():
    model = net()
    own = Average(model, "ema", 0.6)
    theirs = AveragedModel(model, avg_fn=lambda m, w, n: m + (w - m) * (1 - min(0.6, n / (9 + n))))
    for _ in walk(model, 30):
        own.step()
        theirs.update_parameters(model)
        own.epoch(1, 1)
    for mean, expected in zip(own.mean, theirs.module.parameters(), strict=True):
        assert torch.allclose(mean, expected, atol=1e-6)
    assert own.count == 30


def test_swa_is_the_plain_mean_over_the_last_quarter_of_the_epochs():
    model = net()
    own, seen = Average(model, "swa", 0.0), []
    for step in walk(model, 8):
        own.step()
        own.epoch(step + 1, 8)
        if step + 1 >= 6:
            seen.append([p.detach().clone() for p in model.parameters()])
    assert own.count == 3
    for mean, *each in zip(own.mean, *seen, strict=True):
        assert torch.allclose(mean, torch.stack(each).mean(0), atol=1e-6)
    assert [first_of_swa(n) for n in (1, 2, 4, 8, 30)] == [1, 2, 3, 6, 23]


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_rate_of_swa_stays_in_the_last_quarter(schedule):
    usual, swa = (Recipe(schedule=schedule, average=kind) for kind in ("none", "swa"))
    rates = [rate(swa, step, 100) for step in range(100)]
    assert rates[:75] == [rate(usual, step, 100) for step in range(75)]
    assert set(rates[75:]) == {rate(usual, 75, 100)}


def test_statistics_are_means_over_batches_as_torch_and_numpy_count_them():
    data, model = rows(48), net()
    inner = model[0](data.x).detach()
    with torch.no_grad():
        model[1].running_mean += 7
    other = net()
    update_bn([data.x[i : i + 8] for i in range(0, 48, 8)], other.train())
    modes = [m.training for m in model.modules()]
    reestimate(model, data.x, 8)
    assert torch.allclose(model[1].running_mean, inner.mean(0), atol=1e-6)
    assert torch.allclose(model[1].running_var, torch.stack([b.var(0) for b in inner.split(8)]).mean(0), atol=1e-5)
    assert torch.allclose(model[1].running_mean, other[1].running_mean, atol=1e-6)
    assert torch.allclose(model[1].running_var, other[1].running_var, atol=1e-5)
    assert (model[1].momentum, [m.training for m in model.modules()]) == (0.1, modes)
    plain = nn.Linear(5, 3)
    reestimate(plain, data.x, 8)  # nothing to estimate, and nothing is run


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_training_hands_over_the_mean_and_scores_it(kind):
    """Trained once more by hand: the same steps, the mean kept by torch."""
    model, result = trained(average=kind, average_decay=0.8)
    other = net()
    theirs = AveragedModel(other, avg_fn=lambda m, w, n: m + (w - m) * (
        1 / (n + 1) if kind == "swa" else 1 - min(0.8, n / (9 + n))))  # fmt: skip
    step = torch.optim.AdamW.step

    def watched(self, *arguments, **options):
        found = step(self, *arguments, **options)
        if kind == "ema":
            theirs.update_parameters(other)
        return found

    def at_the_end(epoch, _entry):
        if kind == "swa" and 3 <= epoch < 4:
            theirs.update_parameters(other)

    torch.optim.AdamW.step = watched
    try:
        recipe = Recipe(batch_size=8, average=kind, average_decay=0.0 if kind == "ema" else 0.8)
        original = Average.finish
        Average.finish = lambda self, x, size: None
        fit(other, rows(), recipe, epochs=4, seed=3, course=Course(report=at_the_end))
    finally:
        torch.optim.AdamW.step, Average.finish = step, original
    if kind == "swa":
        theirs.update_parameters(other)
    for mine, expected in zip(model.parameters(), theirs.module.parameters(), strict=True):
        assert torch.allclose(mine, expected, atol=1e-5)
    last, _ = trained()
    assert not torch.allclose(model[0].weight, last[0].weight, atol=1e-4), "the last weights are others"
    inner = torch.cat([model[0](rows().x)])
    assert torch.allclose(model[1].running_mean, torch.stack(
        [b.mean(0) for b in inner.split(8)]).mean(0), atol=1e-5)  # fmt: skip
    with torch.no_grad():
        right = (model(rows().x[:12]).argmax(1) == torch.arange(12) % 3).float().mean().item()
    assert result.metrics["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_pause_changes_no_bit(tmp_path, kind):
    whole, _ = trained(average=kind)
    file = tmp_path / "state.safetensors"
    paused, first = trained(epochs=3, horizon=4, checkpoint=file, average=kind)
    plain, _ = trained(epochs=3, horizon=4, **({} if kind == "ema" else {"average": kind}))
    assert torch.equal(paused[0].weight, plain[0].weight), "a training that pauses keeps its last weights"
    again, result = trained(epochs=4, horizon=4, checkpoint=file, average=kind)
    assert (first.resumed, result.resumed) == (0, 3)
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_one_weight_is_no_mean_and_costs_no_pass():
    once, _ = trained(epochs=1, average="swa")
    plain, _ = trained(epochs=1, average="none")
    # with one epoch the schedules of the two differ in the last quarter; the network's statistics are its own
    assert once[1].num_batches_tracked == plain[1].num_batches_tracked == 7


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="average='mean' is not known; use none or ema or swa"):
        Recipe(average="mean")
    with pytest.raises(UsageError, match="average='ema' takes the mean at the end of the schedule, early_stop=3"):
        Recipe(average="ema", early_stop=3)
    with pytest.raises(UsageError, match=r"average_decay=1\.5 must be a number between 0 and 1"):
        Recipe(average_decay=1.5)
