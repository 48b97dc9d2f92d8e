"""Slices against tensors cut by hand, and BatchNorm statistics against their definition."""

import pytest
import torch
from helpers_nets import L
from torch import nn
from torch.nn import functional as F

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.nets import recalibrate, reestimate, supernet
from searchitect.nets.slices import cut, kind_of, largest, started
from searchitect.space import Space, lazy, one_of
from searchitect.torchseeds import seeded_torch

N = lazy(nets)


def noise(*shape: int) -> torch.Tensor:
    with seeded_torch(0):
        return torch.randn(*shape)


def path_of(layers, shape, **decisions):
    """A supernet's path, its tensors, and an input."""
    space = Space(L.Sequential(*layers))
    net = supernet(space, shape).eval()
    x = noise(2, *shape)
    return net(x, space.architecture(decisions)), dict(net.named_parameters()), x


def test_a_convolution_keeps_its_first_channels_and_the_middle_of_its_window():
    width, kernel = one_of(2, 4, 6, tie="width"), one_of(1, 3, 7, tie="kernel")
    layers = [L.LazyConv2d(width, kernel, padding=kernel // 2), L.LazyConv2d(5, 3, stride=2)]
    y, own, x = path_of(layers, (3, 9, 9), width=4, kernel=3)
    assert own["root.0.weight"].shape == (6, 3, 7, 7)
    assert own["root.1.weight"].shape == (5, 6, 3, 3)
    inner = F.conv2d(x, own["root.0.weight"][:4, :, 2:5, 2:5], own["root.0.bias"][:4], padding=1)
    torch.testing.assert_close(y, F.conv2d(inner, own["root.1.weight"][:, :4], own["root.1.bias"], stride=2))


def test_depthwise_and_grouped_convolutions():
    width, groups = one_of(4, 8, tie="width"), one_of(1, 2, tie="groups")
    layers = [L.LazyConv1d(width, 1), L.LazyConv1d(width, 3, groups=width), L.LazyConv1d(6, 1, groups=groups)]
    y, own, x = path_of(layers, (3, 9), width=4, groups=2)
    assert own["root.1.weight"].shape == (8, 1, 3)
    assert own["root.2.weight"].shape == (6, 8, 1)
    z = F.conv1d(x, own["root.0.weight"][:4], own["root.0.bias"][:4])
    z = F.conv1d(z, own["root.1.weight"][:4], own["root.1.bias"][:4], groups=4)
    torch.testing.assert_close(y, F.conv1d(z, own["root.2.weight"][:, :2], own["root.2.bias"], groups=2))


def test_linear_and_layer_norm():
    dim = one_of(2, 4, tie="dim")
    y, own, x = path_of([L.LazyLinear(dim), L.LayerNorm(dim), L.Linear(dim, dim * 3)], (5,), dim=2)
    z = F.layer_norm(F.linear(x, own["root.0.weight"][:2], own["root.0.bias"][:2]), (2,))
    torch.testing.assert_close(y, F.linear(z, own["root.2.weight"][:6, :2], own["root.2.bias"][:6]))


def test_attention_cuts_query_key_and_value_each():
    dim = one_of(4, 8, tie="dim")
    net = supernet(Space(L.Sequential(L.LazyLinear(dim), N.SelfAttention(dim, 2))), (5, 3)).eval()
    x, architecture = noise(2, 5, 3), net.space.architecture({"dim": 4})
    own = dict(net.named_parameters())
    z = F.linear(x, own["root.0.weight"][:4], own["root.0.bias"][:4])
    weight, bias = own["root.1.inward__weight"], own["root.1.inward__bias"]
    assert weight.shape == (24, 8)
    q, k, v = (F.linear(z, weight[i : i + 4, :4], bias[i : i + 4]) for i in (0, 8, 16))
    q, k, v = (t.reshape(2, 5, 2, 2).transpose(1, 2) for t in (q, k, v))
    seen = ((q @ k.transpose(2, 3) / 2**0.5).softmax(-1) @ v).transpose(1, 2).reshape(2, 5, 4)
    expected = F.linear(seen, own["root.1.outward__weight"][:4, :4], own["root.1.outward__bias"][:4])
    torch.testing.assert_close(net(x, architecture), expected)


def test_batch_norm_keeps_statistics_of_the_channels_that_it_saw():
    width = one_of(2, 4, tie="width")
    net = supernet(Space(L.Sequential(L.LazyLinear(width), L.LazyBatchNorm1d())), (3,))
    x = noise(6, 3)
    net(x, net.space.architecture({"width": 2}))
    norm = net.root[1]
    z = F.linear(x, net.root[0].weight[:2], net.root[0].bias[:2])
    torch.testing.assert_close(norm.running_mean, torch.cat([0.1 * z.mean(0), torch.zeros(2)]))
    torch.testing.assert_close(norm.running_var, torch.cat([0.9 + 0.1 * z.var(0), torch.ones(2)]))
    assert int(norm.num_batches_tracked) == 1


def test_cuts():
    whole = torch.arange(2 * 3 * 5 * 5).reshape(2, 3, 5, 5)
    assert torch.equal(cut("window", (2, 3, 5, 5), (1, 2, 3, 1))(whole), whole[:1, :2, 1:4, 2:3])
    assert torch.equal(cut("first", (2, 3, 5, 5), (1, 2, 3, 1))(whole), whole[:1, :2, :3, :1])
    assert cut("first", (2, 3), (2, 3)) is None
    part = cut("thirds", (6, 2), (3, 1))(torch.arange(12).reshape(6, 2))
    assert part.tolist() == [[0], [4], [8]]
    for needed in ((3, 3), (2,), (1, 4)):
        with pytest.raises(ValueError, match="is no part of"):
            cut("first", (2, 3), needed)
    assert largest([(1, 4), (3, 2)]) == (3, 4)
    attention = nets.SelfAttention(4, 2)
    assert kind_of(attention, "inward.weight") == "thirds"
    assert kind_of(attention, "outward.weight") == "first"
    assert kind_of(nn.Sequential(nn.Conv1d(1, 1, 1)), "0.weight") == "window"
    assert kind_of(nn.Conv1d(1, 1, 1), "bias") == "first"


def test_start_values_are_those_of_the_widest_layer_or_like_them():
    wide, narrow = noise(20, 30) * 0.1, noise(40, 5)
    assert torch.equal(started((20, 30), [narrow, wide]), wide)
    with seeded_torch(0):
        drawn = started((40, 30), [narrow, wide])
    assert drawn.shape == (40, 30)
    assert float(drawn.std()) == pytest.approx(0.1, rel=0.1)
    assert started((6,), [torch.ones(4), torch.ones(2)]).tolist() == [1.0] * 6
    assert started((3,), [torch.zeros(2, dtype=torch.long)]).dtype == torch.long


# -- statistics ------------------------------------------------------------------------------------------


def test_statistics_are_the_plain_mean_over_batches():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3, momentum=0.3), nn.ReLU(), nn.BatchNorm1d(3))
    batches = [noise(8, 3) + i for i in range(4)]
    for batch in batches:
        model(batch * 5)  # statistics that must be forgotten
    weights = [p.clone() for p in model.parameters()]
    assert reestimate(model, batches) is model
    means, variances = (torch.stack([f(b, 0) for b in batches]).mean(0) for f in (torch.mean, torch.var))
    torch.testing.assert_close(model[1].running_mean, means)  # dropout was off
    torch.testing.assert_close(model[1].running_var, variances)
    inner = [torch.relu((b - b.mean(0)) / (b.var(0, unbiased=False) + 1e-5).sqrt()) for b in batches]
    torch.testing.assert_close(model[3].running_mean, torch.stack([z.mean(0) for z in inner]).mean(0))
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert (model[1].momentum, model[3].momentum) == (0.3, 0.1)
    assert not any(module.training for module in model.modules())


def test_statistics_without_batches_or_without_norms():
    with pytest.raises(UsageError, match="at least one batch"):
        reestimate(nn.Linear(2, 2), [])
    model = nn.Linear(2, 2)
    assert not reestimate(model, [torch.ones(1, 2)]).training


def test_recalibration_is_the_statistics_of_the_path_alone():
    width = one_of(2, 4, tie="width")
    net = supernet(Space(L.Sequential(L.LazyLinear(width), L.LazyBatchNorm1d())), (3,))
    batches = [noise(8, 3), noise(8, 3) * 2 + 1]
    model = recalibrate(net, net.space.architecture({"width": 2}), batches)
    inner = [F.linear(b, net.root[0].weight[:2], net.root[0].bias[:2]) for b in batches]
    torch.testing.assert_close(model[1].running_mean, torch.stack([z.mean(0) for z in inner]).mean(0))
    torch.testing.assert_close(model[1].running_var, torch.stack([z.var(0) for z in inner]).mean(0))
    assert net.root[1].running_mean.tolist() == [0.0] * 4
