"""Distillation: its loss and gradient by the paper's formulas, the teacher's mean, mixed rows, and a whole training."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchitect.errors import DataError
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, TrainData, fit
from searchitect.training.augment import augment
from searchitect.training.losses import augmented, hard, soft, soft_targets

Z = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 3.0]])
V = torch.tensor([[1.0, 0.0, -2.0], [0.0, 1.5, 0.3]])
Y = torch.tensor([0, 2])


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 20.0])
def test_the_soft_loss_and_its_gradient_are_the_papers(temperature):
    z, v = Z.double().requires_grad_(), V.double()
    q = soft_targets([v], "classification", temperature)
    loss = soft(z, q, "classification", temperature)
    p, own = softmax(v.numpy() / temperature), softmax(z.detach().numpy() / temperature)
    assert loss.item() == pytest.approx(temperature**2 * (p * np.log(p / own)).sum(1).mean(), rel=1e-9)
    loss.backward()
    # equation 2, (1 / T) (q - p) for each row, times T² and over two rows
    np.testing.assert_allclose(z.grad.numpy(), temperature * (own - p) / 2, rtol=1e-9)


def test_a_hot_teacher_asks_for_its_outputs_themselves():
    """Equation 4: with outputs of mean zero the gradient goes to (z - v) / N, here over two rows, as T grows."""
    z, v = ((t - t.mean(1, keepdim=True)).double() for t in (Z, V))
    z.requires_grad_()
    soft(z, soft_targets([v], "classification", 1e4), "classification", 1e4).backward()
    torch.testing.assert_close(z.grad, (z.detach() - v) / 3 / 2, rtol=1e-3, atol=1e-5)


def test_several_networks_teach_by_their_mean():
    q = soft_targets([Z, V], "classification", 2.0)
    np.testing.assert_allclose(q.numpy(), (softmax(Z.numpy() / 2) + softmax(V.numpy() / 2)) / 2, rtol=1e-6)
    assert torch.equal(soft_targets([Z, V], "regression", 2.0), (Z + V) / 2)
    assert soft_targets([torch.tensor([1.0, 3.0])], "regression", 1.0).shape == (2, 1)
    assert soft(Z, Z.softmax(1), "classification", 1.0).item() == pytest.approx(0.0, abs=1e-6)
    assert soft(Z, V, "regression", 3.0).item() == pytest.approx(((Z - V) ** 2).mean().item())


def test_rows_count_by_their_weights():
    weights = torch.tensor([0.5, 1.5])
    q = soft_targets([V], "classification", 2.0)
    alone = [soft(Z[i : i + 1], q[i : i + 1], "classification", 2.0).item() for i in (0, 1)]
    assert soft(Z, q, "classification", 2.0, weights).item() == pytest.approx((0.5 * alone[0] + 1.5 * alone[1]) / 2)
    each = F.cross_entropy(Z, Y, reduction="none", label_smoothing=0.1)
    assert hard(Z, Y, "classification", 0.1, weights).item() == pytest.approx((weights * each).mean().item())
    numbers = hard(Z, V, "regression", weights=weights).item()
    assert numbers == pytest.approx((weights * ((Z - V) ** 2).mean(1)).mean().item())


@pytest.mark.parametrize("names", [("crop",), ("crop", "mixup")])
def test_mixed_rows_get_mixed_answers_and_the_draws_are_the_same(names):
    x = torch.randn(6, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    y, q = torch.arange(6) % 3, torch.rand(6, 3, generator=torch.Generator().manual_seed(1))
    own = augmented(names, x, y, q, 3, torch.Generator().manual_seed(5))
    usual = augment(names, x, y, 3, torch.Generator().manual_seed(5))
    assert torch.equal(own[0], usual[0])
    assert torch.equal(own[1], usual[1])
    if "mixup" not in names:
        assert own[2] is q
        return
    hot = F.one_hot(y, 3).float()
    other = augmented(names, x, y, hot, 3, torch.Generator().manual_seed(5))
    assert torch.equal(other[2], other[1]), "answers are mixed exactly as the labels are"
    assert not torch.equal(own[2], q)


def rows(soft_targets=None, weight=0.0, temperature=1.0):
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return TrainData(x, y, x, y, "classification", 2, soft=soft_targets, soft_weight=weight, temperature=temperature)


def trained(data, **changes):
    with seeded_torch(0):
        model = nn.Linear(4, 2)
    result = fit(model, data, Recipe(batch_size=16, weight_decay=0.0, **changes), epochs=12, seed=1)
    return model, result


def test_a_teacher_is_followed_even_where_it_contradicts_the_labels():
    wrong = torch.tensor([[0.0, 1.0], [1.0, 0.0]])[rows().y]
    model, result = trained(rows(wrong, 1.0, 2.0), lr=0.1)
    assert result.metrics["accuracy"] < 0.1
    for weight, expected in ((0.0, 1.0), (0.1, 1.0)):
        assert trained(rows(wrong, weight), lr=0.1)[1].metrics["accuracy"] > expected - 0.1
    unmoved, _ = trained(rows(wrong, 0.0), lr=0.1)
    plain, _ = trained(rows(), lr=0.1)
    assert torch.equal(unmoved.weight, plain.weight), "a weight of zero is no teacher"
    assert not torch.equal(model.weight, plain.weight)


def test_answers_must_be_one_for_each_row_and_output():
    with pytest.raises(DataError, match=r"a teacher's answers have shape \(64, 3\): not one for each row and output"):
        rows(torch.zeros(64, 3))
