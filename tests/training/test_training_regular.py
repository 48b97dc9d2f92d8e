"""Drop path and the auxiliary classifier: what they compute, that they resume, and that nothing stays of them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchitect.errors import UsageError
from searchitect.evaluators.train import places
from searchitect.nets import build
from searchitect.spaces import load_space
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, TrainData, fit
from searchitect.training.regular import Places, Regular
from searchitect.training.terms import Course, Goal


class Net(nn.Module):
    """Two operations that are summed, and a head."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x):
        return self.head(self.first(x) + self.second(x))


def net():
    with seeded_torch(0):
        return Net()


def rows(count=48):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(count, 1, 6, 6, generator=generator), torch.arange(count) % 3
    return TrainData(x, y, x[:12], y[:12], "classification", 3)


def trained(recipe, epochs=3, **options):
    model = net()
    spots = Places((model.first, model.second), model.first)
    goal = Goal(places=options.pop("places", spots))
    result = fit(model, rows(), recipe, epochs=epochs, seed=5, goal=goal, course=Course(**options))
    return model, result


def test_samples_are_left_out_with_the_probability_and_others_scaled():
    model = net().train()
    regular = Regular(model, Places((model.first,)), 0.4, 0.0)
    x = torch.randn(4000, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    plain = model.first(x)
    with seeded_torch(2), regular.epoch(0.5):
        y = model.first(x)
        model.eval()
        assert torch.equal(model.first(x), plain)
    kept = y.flatten(1).abs().sum(1) > 0
    assert regular.p == pytest.approx(0.2)
    assert kept.float().mean().item() == pytest.approx(0.8, abs=0.02)  # three deviations of 4,000 draws
    assert torch.allclose(y[kept], plain[kept] / 0.8)
    assert torch.equal(model.train().first(x), plain)  # the hook is gone


def test_the_probability_rises_linearly_from_nothing(monkeypatch):
    seen, epoch = [], Regular.epoch

    def watched(self, done):
        seen.append(self.drop_path * done)
        return epoch(self, done)

    monkeypatch.setattr(Regular, "epoch", watched)
    trained(Recipe(drop_path=0.3), epochs=4)
    assert seen == pytest.approx([0.0, 0.075, 0.15, 0.225])


def test_the_gradient_is_that_of_both_losses():
    model, data = net(), rows()
    regular = Regular(model, Places((), model.first), 0.0, 0.4)
    regular.prepare(data.x[:2], 3, 7)
    with regular.epoch(0.0):
        loss = F.cross_entropy(model(data.x), data.y)
        (loss + regular.loss(lambda more: F.cross_entropy(more, data.y))).backward()
    found = [p.grad.clone() for p in regular.whole.parameters()]
    h = model.first(data.x)
    direct = F.cross_entropy(model.head(h + model.second(data.x)), data.y)
    direct = direct + 0.4 * F.cross_entropy(regular.head(h), data.y)
    expected = torch.autograd.grad(direct, list(regular.whole.parameters()))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    assert regular.loss(lambda _: torch.tensor(1.0)) == 0.0  # a map counts once


def test_the_classifier_is_the_published_one():
    regular = Regular(model := net(), Places((), model.first), 0.0, 0.4)
    regular.prepare(torch.zeros(2, 1, 6, 6), 10, 0)
    shapes = [tuple(p.shape) for p in regular.head.parameters() if p.dim() > 1]
    assert shapes == [(128, 4, 1, 1), (768, 128, 2, 2), (10, 768)]


def test_nothing_stays_in_the_network():
    model, result = trained(Recipe(drop_path=0.2, auxiliary=0.4))
    assert list(model.state_dict()) == list(net().state_dict())
    assert not any(module._forward_hooks for module in model.modules())
    assert result.metrics["accuracy"] >= 0


def test_both_change_the_training_and_without_them_it_is_the_same_to_the_bit():
    plain, _ = trained(Recipe(), places=Places())
    same, _ = trained(Recipe())
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), same.parameters(), strict=True))
    for recipe in (Recipe(drop_path=0.5), Recipe(auxiliary=0.4)):
        other, _ = trained(recipe)
        assert not torch.equal(other.first.weight, plain.first.weight)


def test_a_training_goes_on_to_the_same_bits(tmp_path):
    recipe = Recipe(drop_path=0.5, auxiliary=0.4)
    whole, _ = trained(recipe, epochs=4)
    trained(recipe, epochs=2, horizon=4, checkpoint=tmp_path / "state")
    again, result = trained(recipe, epochs=4, checkpoint=tmp_path / "state")
    assert result.resumed == 2
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("number", range(3))
def test_in_darts_all_but_skips_may_be_dropped_and_the_map_is_that_of_the_second_reduction(number):
    space = load_space("darts", cells=6, width=4)
    decisions = space.sample(number).decisions
    model = build(space, space.sample(number), (1, 8, 8), outputs=3)
    found = places(model)
    chosen = [  # operations of one normal and one reduction cell
        (cell, edge, decisions[f"{cell}.{n}.{edge}"])
        for cell in ("normal", "reduce") for n in range(2, 6)
        for edge in str(decisions.get(f"{cell}.{n}", "from0+from1")).split("+")
    ]  # fmt: skip
    kept = {"normal": 0, "reduce": 0}
    for cell, edge, operation in chosen:
        halving = cell == "reduce" and edge in ("from0", "from1")
        kept[cell] += operation != "skip_connect" or halving
    assert len(found.paths) == 4 * kept["normal"] + 2 * kept["reduce"]
    assert found.auxiliary is model.cells[4]


def test_other_networks_have_no_places():
    assert places(net()) == Places()


@pytest.mark.parametrize("options", [{"drop_path": 1.0}, {"drop_path": -0.1}, {"auxiliary": -1.0}])
def test_values_that_make_no_sense_are_refused(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        Recipe(**options)
