"""Building where the shape of the input is not known."""

import pytest
import torch
from helpers_nets import L

from searchitect.errors import UsageError
from searchitect.nets import build
from searchitect.space import Space, one_of

SIZED = Space(L.Sequential(L.Linear(4, 8), one_of(L.ReLU(), L.Tanh()), L.Linear(8, 2)))


def test_without_a_sample_the_same_network_is_built():
    architecture = SIZED.sample(0)
    bare, tried = build(SIZED, architecture, None, seed=5), build(SIZED, architecture, (4,), seed=5)
    assert bare.training
    for name, tensor in tried.state_dict().items():
        assert torch.equal(bare.state_dict()[name], tensor), name


def test_a_width_that_only_an_input_could_tell_is_named_with_the_way_out():
    space = Space(L.Sequential(L.Linear(4, 4), L.LazyLinear(one_of(2, 3))))
    with pytest.raises(UsageError, match=r"'1' \(LazyLinear\): its width follows from its input.*pass sample="):
        build(space, space.sample(0), None)
