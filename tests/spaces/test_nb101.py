"""The space of NAS-Bench-101 against what was published, and its cell against sums written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchitect import search
from searchitect.errors import BuildError, UsageError
from searchitect.finalize import read_bundle, rebuild, run_bundle
from searchitect.nets import Costs, VertexCell, build
from searchitect.space import Space
from searchitect.spaces import load_space, nb101
from searchitect.testing.space import SpaceContract
from searchitect.torchseeds import seeded_torch

FIRST = ("0-1 0-4 0-5 1-2 2-3 3-5 3-out 4-5 5-out", "conv_3x3 max_pool_3x3 conv_3x3 conv_3x3 conv_1x1")


class TestSmall(SpaceContract):
    size = (2**6 * 3**2, 0)
    shape, outputs = (3, 8, 8), 10
    draws = 200

    def make(self) -> Space:
        return load_space("nb101", vertices=4, cells=1, width=6)


@pytest.mark.parametrize(("cell", "params"), [(nb101.INCEPTION, 2_694_282), (FIRST, 8_555_530)])
def test_parameters_are_the_published_ones(cell, params):
    """`trainable_parameters` of the Inception-like cell and of the first entry of the benchmark, on CIFAR-10."""
    space = load_space("nb101", width=128)
    assert Costs(space, (3, 32, 32), 10).of(space.architecture(nb101.decisions(*cell))).params == params


def test_the_network_is_the_published_skeleton():
    space = load_space("nb101", width=8)
    model = build(space, space.architecture(space.baseline), (3, 13, 13), outputs=10)
    sizes = []
    for part in model:
        if isinstance(part, nn.MaxPool2d) or part is model[3]:
            part.register_forward_hook(lambda _m, _i, y: sizes.append(tuple(y.shape[1:])))
    model(torch.zeros(2, 3, 13, 13))
    assert sizes == [(8, 13, 13), (8, 7, 7), (16, 4, 4)]  # an odd side is rounded up, as "same" padding does
    cells = [m for m in model.modules() if isinstance(m, VertexCell)]
    assert [cell.vertices[-1][1] for cell in cells] == [8] * 3 + [16] * 3 + [32] * 3
    assert len({id(p) for cell in cells for p in cell.parameters()}) == 9 * (2 + 2) * 3  # ties decisions, not weights


def projected(x: torch.Tensor, block: nn.Sequential) -> torch.Tensor:
    conv, norm, _ = block
    mean, var = norm.running_mean[:, None, None], norm.running_var[:, None, None]
    y = F.conv2d(x, conv.weight, padding=conv.kernel_size[0] // 2)
    y = (y - mean) / (var + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    return y.clamp(min=0)


def test_a_cell_is_the_sum_written_out():
    """Three vertices share 8 channels, so that one has 3, another 3, the last 2, and what the second sends is cut."""
    with seeded_torch(0), torch.no_grad():
        cell = VertexCell([("conv_3x3", 3, [0]), ("conv_1x1", 3, [0]), ("max_pool_3x3", 2, [1, 2]),
                           ("output", 8, [0, 1, 2, 3])])  # fmt: skip
        x = torch.randn(2, 5, 6, 6)
        cell(x)
        for module in cell.modules():
            if isinstance(module, nn.BatchNorm2d):
                for value in (module.weight, module.bias, module.running_mean):
                    value.normal_()
                module.running_var.uniform_(0.5, 2.0)
        cell.eval()
        first = projected(projected(x, cell.projections["1"]), cell.operations[0])
        second = projected(projected(x, cell.projections["2"]), cell.operations[1])
        third = F.max_pool2d(first[:, :2] + second[:, :2], 3, 1, 1)
        wanted = torch.cat([first, second, third], 1) + projected(x, cell.projections["4"])
        assert torch.allclose(cell(x), wanted, atol=1e-5)
    assert sorted(cell.projections) == ["1", "2", "4"]


def twin_pools(space: Space) -> list:
    """A convolution, pooled twice for two convolutions, or once for both: two cells, one function."""
    twice = nb101.decisions("0-1 1-2 1-3 2-4 3-5 4-out 5-out", "conv_3x3 max_pool_3x3 max_pool_3x3 conv_3x3 conv_1x1")
    once = nb101.decisions("0-1 1-2 2-3 2-4 3-out 4-out", "conv_3x3 max_pool_3x3 conv_3x3 conv_1x1")
    return [space.architecture(twice), space.architecture(once)]


def test_equal_keys_are_equal_functions():
    space = load_space("nb101", cells=1, width=8)
    twice, once = twin_pools(space)
    assert space.key(twice) == space.key(once)
    models = [build(space, one, (3, 8, 8), outputs=3, seed=1) for one in (twice, once)]
    states = [model.state_dict() for model in models]
    assert [tuple(v.shape) for v in states[0].values()] == [tuple(v.shape) for v in states[1].values()]
    models[1].load_state_dict(dict(zip(states[1], states[0].values(), strict=True)))
    with torch.no_grad():
        x = torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8)
        assert torch.equal(models[0](x), models[1](x))


def test_isomorphic_cells_are_one_and_others_are_not():
    space = load_space("nb101", cells=1)

    def key(edges: str, operations: str) -> str:
        return space.key(space.architecture(nb101.decisions(edges, operations)))

    shared = key("0-1 0-2 0-3 1-out 2-out 3-out", "conv_1x1 conv_3x3 max_pool_3x3")
    assert shared == key("0-5 0-3 0-2 5-out 2-out 3-out", "conv_1x1 conv_3x3 conv_1x1 conv_3x3 max_pool_3x3")
    assert shared == key(
        "0-1 0-2 0-3 1-out 2-out 3-out 0-4 4-5", "max_pool_3x3 conv_3x3 conv_1x1"
    )  # 4 and 5 lead nowhere
    assert shared != key("0-1 0-2 0-3 1-out 2-out 3-out 0-out", "conv_1x1 conv_3x3 max_pool_3x3")
    assert shared != key("0-1 0-2 0-3 1-out 2-out 3-out", "conv_1x1 conv_3x3 conv_3x3")
    assert key("0-1 1-out 0-2 2-out", "conv_3x3 conv_3x3") != key("0-1 1-out", "conv_3x3")  # weights of their own


def test_limits_come_back_from_a_file_without_code():
    space = load_space("nb101")
    again = Space.from_json(space.to_json())
    answers = [again.allows(again.sample(i)) for i in range(40)]
    assert answers == [space.allows(space.sample(i)) for i in range(40)]
    assert True in answers
    assert False in answers


def test_a_cell_without_a_path_says_so():
    space = load_space("nb101", cells=1)
    cut = space.architecture(space.baseline | {"0-1": 0, "0-6": 0})
    costs = Costs(space, (3, 8, 8), 10)
    with pytest.raises(BuildError, match=r"'stage0\.0' \(VertexCell\): no path leads from the input to the output"):
        costs.of(cut)
    with pytest.raises(BuildError, match="no path leads from the input to the output: add an edge"):
        build(space, cut, (3, 8, 8), outputs=10)
    assert not costs.feasible(cut)


@pytest.mark.parametrize(
    "vertices",
    [[("conv_5x5", 4, [0]), ("output", 4, [1])], [("conv_3x3", 4, [0]), ("output", 5, [1])],
     [("conv_3x3", 4, [2]), ("output", 4, [1])], [("conv_3x3", 4, []), ("output", 4, [1])],
     [("conv_3x3", 2, [0]), ("conv_3x3", 4, [1]), ("output", 4, [2])], [("conv_3x3", 4, [0])]],
)  # fmt: skip
def test_vertices_that_do_not_fit_are_refused(vertices):
    with pytest.raises(ValueError, match=r"vertex \d is .*write one of"):
        VertexCell(vertices)


@pytest.mark.slow
def test_a_search_leaves_a_bundle_that_needs_only_torch(tmp_path):
    space = load_space("nb101", cells=1, width=6)
    study = search(space, "digits", path=tmp_path / "s", trials=3, epochs=1, executor="serial", seed=0,
                   strategy="regularized-evolution")  # fmt: skip
    done = [trial for trial in study.trials if trial.value("accuracy") is not None]
    assert len(done) >= 3
    assert all(space.allows(trial.architecture) for trial in study.trials)
    x = torch.linspace(-1, 1, 3 * 64).reshape(3, 1, 8, 8)
    with torch.no_grad():
        wanted = rebuild(read_bundle(tmp_path / "s" / "best"), None)(x)
        assert torch.allclose(run_bundle(tmp_path / "s" / "best", run_its_code=True).load()(x), wanted, atol=1e-5)
    assert "VertexCell" in (tmp_path / "s" / "best" / "model.py").read_text()


def test_numbers_that_cannot_be():
    for wrong in ({"vertices": 3}, {"vertices": 8}, {"cells": 0}, {"width": 4}):
        with pytest.raises(UsageError, match="write 4 to 7 vertices"):
            load_space("nb101", **wrong)
