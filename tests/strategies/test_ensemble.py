"""The ensemble's formulas against autograd, finite differences and a hand-written step."""

import numpy as np
import pytest
import torch

from searchitect.strategies.ensemble import Ensemble, Layer, forward, gradients, initial


def data(rows=40, columns=6, outputs=2, seed=0):
    source = np.random.Generator(np.random.PCG64(seed))
    x = source.normal(size=(rows, columns))
    return x, np.column_stack([np.sin(x[:, 0]) + x[:, 1] * x[:, 2]] * outputs)


def wide(layers):
    return [Layer(*(part.astype(np.float64) for part in layer)) for layer in layers]


def test_gradients_against_autograd():
    x, y = data()
    layers = wide(initial([6, 5, 4, 2], 3, seed=1))
    entering = forward(layers, x)
    found = gradients(layers, entering, (entering[-1] - y) / len(x))
    parameters = [[torch.tensor(part, requires_grad=True) for part in layer] for layer in layers]
    value = torch.tensor(x)
    for depth, (weight, bias) in enumerate(parameters):
        value = value @ weight + bias
        value = torch.relu(value) if depth < 2 else value
    loss = 0.5 * ((value - torch.tensor(y)) ** 2).sum() / len(x)
    loss.backward()
    for layer, (weight, bias) in zip(found, parameters, strict=True):
        assert np.allclose(layer.weight, weight.grad.numpy(), atol=1e-12)
        assert np.allclose(layer.bias, bias.grad.numpy(), atol=1e-12)


def test_gradients_against_finite_differences():
    x, y = data(rows=7, columns=3, outputs=1)
    layers = wide(initial([3, 4, 1], 2, seed=3))

    def loss(changed):
        return 0.5 * ((forward(changed, x)[-1] - y) ** 2).sum() / len(x)

    entering = forward(layers, x)
    found = gradients(layers, entering, (entering[-1] - y) / len(x))
    for depth, place in ((0, (1, 2, 3)), (1, (0, 2, 0))):
        up, down = (wide(layers) for _ in range(2))
        up[depth].weight[place] += 1e-5
        down[depth].weight[place] -= 1e-5
        assert found[depth].weight[place] == pytest.approx((loss(up) - loss(down)) / 2e-5, rel=1e-5)


def test_a_whole_training_equals_torch_adamw_on_full_batches():
    """With a batch of all rows their order does not matter: the same weights as torch's AdamW with the same rates."""
    x, y = data(rows=20)
    steps, rate, decay = 30, 0.01, 0.5
    ensemble = Ensemble(2, (5,), steps, rate, decay, seed=9)
    ensemble.fit(x, y, batch=20)
    scaled = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    parts = [[torch.tensor(p.copy(), requires_grad=True) for p in layer] for layer in initial([6, 5, 2], 2, seed=9)]
    weights = {"params": [w for w, _ in parts], "weight_decay": decay}
    adam = torch.optim.AdamW([weights, {"params": [b for _, b in parts], "weight_decay": 0.0}], lr=rate)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        value = torch.relu(torch.tensor(scaled) @ parts[0][0] + parts[0][1]) @ parts[1][0] + parts[1][1]
        adam.zero_grad()
        (0.5 * ((value - torch.tensor(y.astype(np.float32))) ** 2).sum() / len(x)).backward()
        adam.step()
    for layer, (weight, bias) in zip(ensemble.layers, parts, strict=True):
        assert np.allclose(layer.weight, weight.detach().numpy(), atol=2e-4)
        assert np.allclose(layer.bias, bias.detach().numpy(), atol=2e-4)


def test_it_learns_and_its_members_disagree_more_where_it_saw_nothing():
    x, y = data(rows=200, columns=4)
    ensemble = Ensemble(5, (32, 32), 400, 0.01, 0.1, seed=0)
    ensemble.fit(x[:150], y[:150])
    inside = ensemble.predict(x[150:])
    assert inside.shape == (5, 50, 2)
    residual = y[150:, 0] - inside.mean(axis=0)[:, 0]
    assert residual.var() < 0.4 * y[150:, 0].var()
    outside = ensemble.predict(x[150:] * 4.0)
    assert outside.std(axis=0).mean() > 2.0 * inside.std(axis=0).mean()


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    x, y = data()
    made = []
    for seed in (0, 0, 1):
        ensemble = Ensemble(2, (8,), 20, 0.01, 0.1, seed)
        ensemble.fit(x, y)
        made.append(ensemble.predict(x))
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_what_is_not_known_is_not_learned_from():
    """An output that is NaN in some rows: their values there change nothing, the others do."""
    x, y = data()
    masked = y.copy()
    masked[5:, 1] = np.nan
    one = Ensemble(2, (8,), 50, 0.01, 0.1, 4)
    one.fit(x, masked)
    two = Ensemble(2, (8,), 50, 0.01, 0.1, 4)
    two.fit(x, y)
    assert np.isfinite(one.predict(x)).all()
    assert not np.array_equal(one.predict(x), two.predict(x))


def test_columns_that_say_nothing_about_new_rows_are_left_out():
    x, y = data(columns=3)
    rare = np.zeros(len(x))
    rare[7] = 1.0
    twice = rare.copy()
    twice[9] = 1.0
    ensemble = Ensemble(2, (4,), 5, 0.01, 0.1, 0)
    ensemble.fit(np.column_stack([x, np.ones(len(x)), rare, twice]), y)
    assert ensemble.columns.tolist() == [0, 1, 2, 5]
    same = Ensemble(2, (4,), 5, 0.01, 0.1, 0)
    same.fit(np.ones((4, 3)), np.zeros((4, 1)))  # nothing to tell rows apart: still a prediction
    assert np.isfinite(same.predict(np.ones((2, 3)))).all()
