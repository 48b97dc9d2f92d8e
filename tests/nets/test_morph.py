"""Children that compute what their parents do: after widening, deepening and kernel growth, to 1e-5."""

import math

import pytest
import torch
from torch import nn

from searchitect import OUTPUTS, Space, lazy, nets, one_of, repeat
from searchitect.nets import build
from searchitect.nets.morph import difference, grow, neutralise
from searchitect.torchseeds import seeded_torch

L, N = lazy(nn), lazy(nets)
X = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def block():
    return L.Sequential(L.LazyConv2d(8, 3, padding="same", bias=False), L.LazyBatchNorm2d(), L.ReLU())


def space():
    return Space(L.Sequential(
        L.LazyConv2d(one_of(4, 6, 10, name="width"), one_of(1, 3, 5, name="kernel"), padding="same"),
        L.LazyBatchNorm2d(), L.ReLU(), L.LazyConv2d(8, 3, padding=1), L.LazyBatchNorm2d(), L.ReLU(),
        repeat(block, 1, 3, name="depth"),
        repeat(lambda: N.Residual(L.Sequential(L.ReLU(), L.LazyConv2d(8, 3, padding=1), L.LazyBatchNorm2d())), 1, 2,
               name="blocks"),
        L.Flatten(), L.LazyLinear(one_of(12, 20, name="hidden")), L.ReLU(), L.LazyLinear(OUTPUTS),
    ))  # fmt: skip


def trained(one, architecture, seed=0):
    """Random weights and BatchNorm statistics that are not those of a new network."""
    model = build(one, architecture, (3, 9, 9), outputs=4, seed=seed)
    with seeded_torch(seed):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2.0)
                nn.init.normal_(module.bias)
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model


def with_decisions(one, **values):
    base = {"width": 4, "kernel": 1, "depth": 1, "blocks": 1, "hidden": 12} | values
    for architecture in one.enumerate():
        short = {name.rpartition(".")[2]: v for name, v in architecture.decisions.items()}
        if all(short.get(name) == value for name, value in base.items()):
            return architecture
    raise AssertionError(base)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 6}, {"width": 10}, {"kernel": 3}, {"kernel": 5}, {"depth": 2}, {"depth": 3}, {"blocks": 2},
        {"hidden": 20}, {"width": 10, "kernel": 5, "depth": 3, "blocks": 2, "hidden": 20},
    ],
    ids=str,
)  # fmt: skip
def test_what_grows_computes_the_same(change):
    one = space()
    parent = trained(one, with_decisions(one))
    child = build(one, with_decisions(one, **change), (3, 9, 9), outputs=4, seed=7)
    assert difference(parent, child, X) > 1e-2  # before
    found = grow(parent, child)
    assert difference(parent, child, X) <= 1e-5
    assert found.whole > 0
    assert sum(found) == len(child.state_dict())
    optimizer = torch.optim.SGD(child.parameters(), 0.1)
    for _ in range(2):  # after one step, all that is new learns
        optimizer.zero_grad()
        child(X).square().sum().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in child.parameters())


def test_what_stays_the_same_is_copied_and_what_shrinks_keeps_what_fits():
    one = space()
    parent = trained(one, with_decisions(one, width=10, kernel=5))
    twin = build(one, with_decisions(one, width=10, kernel=5), (3, 9, 9), outputs=4, seed=3)
    assert grow(parent, twin).fresh == grow(parent, twin).part == 0
    assert all(map(torch.equal, parent.state_dict().values(), twin.state_dict().values()))
    small = build(one, with_decisions(one, width=4, kernel=1), (3, 9, 9), outputs=4, seed=3)
    assert grow(parent, small).part > 0
    torch.testing.assert_close(small[0].weight[:, :, 0, 0], parent[0].weight[:4, :, 2, 2])
    assert 0 < difference(parent, small, X) < math.inf


def test_another_operation_stays_as_drawn():
    one = Space(L.Sequential(one_of(L.LazyConv2d(4, 3), L.Sequential(L.LazyConv2d(4, 3), L.ReLU())), L.Flatten(),
                             L.LazyLinear(2)))  # fmt: skip
    parent, child = (build(one, a, (3, 5, 5), seed=i) for i, a in enumerate(one.enumerate()))
    before = [p.clone() for p in child[0].parameters()]
    found = grow(parent, child)
    assert found.fresh == 2
    assert all(map(torch.equal, before, child[0].parameters()))
    assert torch.equal(parent[2].weight, child[2].weight)


def test_depthwise_grouped_and_users_layers():
    def pair(*makers):
        with seeded_torch(0):
            return [nn.Sequential(make()) for make in makers]

    parent, child = pair(lambda: nn.Conv2d(4, 4, 3, groups=4), lambda: nn.Conv2d(6, 6, 3, groups=6))
    assert grow(parent, child) == (0, 2, 0)
    assert torch.equal(child[0].weight[:4], parent[0].weight)
    parent, child = pair(lambda: nn.Conv2d(4, 4, 3, groups=2), lambda: nn.Conv2d(8, 8, 3, groups=2))
    assert grow(parent, child) == (0, 1, 1)  # groups would mix: only the bias fits
    parent, child = pair(lambda: nn.Bilinear(3, 3, 2), lambda: nn.Bilinear(3, 4, 2))
    assert grow(parent, child) == (1, 0, 1)


def test_a_new_layer_passes_its_input_on_only_where_it_can():
    x = torch.rand(2, 4, 5, 5)
    norm = nn.BatchNorm2d(4)
    norm.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    for module in (nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2, groups=4), norm, nn.ReLU(),
                   nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.BatchNorm2d(4), nn.ReLU()),
                   nets.Residual(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Dropout(0.5)))):  # fmt: skip
        assert neutralise(module)
        torch.testing.assert_close(module.eval()(x), x, rtol=1e-5, atol=1e-6)
    for module in (nn.Conv2d(4, 4, 3), nn.Conv2d(4, 8, 3, padding=1), nn.MaxPool2d(3, 1, 1), nn.Linear(4, 5),
                   nets.Residual(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())), nn.Conv2d(4, 4, 3, 2, 1),
                   nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh())):  # fmt: skip
        before = [p.clone() for p in module.parameters()]
        assert not neutralise(module)
        assert all(map(torch.equal, before, module.parameters()))
