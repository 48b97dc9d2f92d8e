"""Plans with every size written out: the same network, layer by layer."""

import inspect

import torch
from torch import nn

from searchitect import nets
from searchitect.finalize.sizes import SIZES, concrete
from searchitect.nets import build_plan
from searchitect.space import OUTPUTS, Space, lazy, one_of, repeat
from searchitect.spaces import darts, nb201, transformer

L, N = lazy(nn), lazy(nets)


class Twice(nn.Module):
    """A class of the user's around built modules."""

    def __init__(self, parts, by=2):
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.by = by

    def forward(self, x):
        return self.by * sum(part(x) for part in self.parts.values())


def text(plan):
    return repr(plan).replace("bias=True, ", "").replace(", device=None, dtype=None", "")


def test_every_lazy_layer_of_torch_is_in_the_table():
    layers = {n for n in dir(nn) if n.startswith("Lazy")}
    assert set(SIZES) == layers
    for name, size in SIZES.items():
        first = next(iter(inspect.signature(getattr(nn, name.removeprefix("Lazy"))).parameters))
        assert first == size


def test_sizes_are_those_of_the_inputs_also_where_one_part_is_used_twice():
    block = L.Sequential(L.LazyLinear(8), L.ReLU())  # the same object in both places, for inputs of 5 and of 8
    space = Space(L.Sequential(repeat(block, 2, 3), L.LazyLinear(OUTPUTS)))
    plan = space.plan(space.sample(0), 3)
    found = text(concrete(plan, (5,), space.targets, 3))
    assert "Lazy" not in found
    assert "in_features=5, out_features=8" in found
    assert "in_features=8, out_features=8" in found
    assert found.count("in_features=8, out_features=3") == 1
    assert "Lazy" in repr(plan), "the plan that was given is left as it was"


def test_the_written_out_network_is_the_same_one():
    spaces = [
        (nb201.space(cells=1, width=4), (1, 8, 8)), (darts.space(width=4, cells=3), (1, 8, 8)),
        (transformer.space(dims=(16, 32), depth=2), (1, 16, 16)),
        (Space(L.Sequential(lazy(Twice)({"a": L.LazyLinear(4), "b": L.LazyLinear(4)}, by=one_of(2, 3)),
                            L.LazyBatchNorm1d(), N.Residual(L.LazyLinear(4)))), (6,)),
    ]  # fmt: skip
    for space, shape in spaces:
        plan = space.plan(space.sample(3), 4)
        full = concrete(plan, shape, space.targets, 4)
        assert "Lazy" not in repr(full)
        one, other = (build_plan(p, shape, targets=space.targets, outputs=4, seed=1) for p in (plan, full))
        other.load_state_dict(one.state_dict())
        x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(one.eval()(x), other.eval()(x)), space.name


def test_a_users_class_that_is_called_like_a_lazy_layer_stays_as_it_is():
    class LazyLinear(nn.Linear):
        pass

    space = Space(L.Sequential(lazy(LazyLinear)(3, one_of(2, 4))))
    plan = concrete(space.plan(space.sample(0)), (3,), space.targets, None)
    assert plan.args["*"][0].target.endswith("LazyLinear")
    assert "in_features" in plan.args["*"][0].args
