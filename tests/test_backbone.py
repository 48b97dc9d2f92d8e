"""A pretrained module as a frozen or a trained stem: what is frozen comes out of a search as it went in."""

import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_iris
from torch import nn

from searchitect import OUTPUTS, Space, lazy, one_of, search


def pretrained():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    nn.init.constant_(net[0].weight, 0.5)
    return net


class Backbone(nn.Module):
    def __init__(self, frozen):
        super().__init__()
        self.net, self.frozen = pretrained(), frozen
        self.net.requires_grad_(not frozen)

    def train(self, mode=True):
        super().train(mode)
        if self.frozen:
            self.net.eval()
        return self

    def forward(self, x):
        return self.net(x)


L = lazy(nn)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_a_stem_is_frozen_or_trained(tmp_path, frozen):
    head = L.LazyLinear(one_of(8, 16))
    space = Space(L.Sequential(lazy(Backbone)(frozen=frozen), head, L.ReLU(), L.LazyLinear(OUTPUTS)))
    study = search(
        space, load_iris(return_X_y=True), trials=1, epochs=2, executor="serial", path=tmp_path / "s", finalize=False,
        selftest=False, recipe={"weight_decay": 0.1},
    )  # fmt: skip
    weights = load_file(study.path / "best" / "weights.safetensors")
    stem = {name: value for name, value in weights.items() if value.shape == (6, 4)}
    assert len(stem) == 1
    same = torch.equal(next(iter(stem.values())), torch.full((6, 4), 0.5))
    assert same is frozen
    statistics = [value for name, value in weights.items() if name.endswith("running_mean")]
    assert bool((statistics[0] == 0).all()) is frozen
