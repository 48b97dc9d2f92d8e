"""Mixed cells against the plain supernet of benchmarks/, module after module, in float64."""

import copy
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from searchitect.nets import Depthwise, SameConv, Skip, Zero
from searchitect.nets.mixed import MixedCell

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
try:
    import plain_supernet as plain
    import supernet_step
finally:
    sys.path.pop(0)

EXACT, EXACT_GRADIENT = 1e-12, 1e-10


def settings(space="nb201", method="darts", **more):
    layers = {"nb201": 1, "darts": 3}[space]
    known = {"channels": 4, "layers": layers, "batch": 2, "size": 8, "seed": 0, "rounds": 1}
    return Namespace(space=space, method=method, **known | more)


def relative(value, true):
    return float((value - true).abs().max() / true.abs().max())


def images(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def both(edges, cell, plain_cell):
    """The plain cell and the fast one with copies of its modules, in float64."""
    slow = plain_cell(edges).double()
    fast = cell(copy.deepcopy(slow.edges))
    return slow, fast


def compare(slow, fast, weights, x, active=None):
    """Outputs, gradients of input, gates and parameters, and buffers agree."""
    results = []
    for cell in (slow, fast):
        cell.zero_grad()
        gates, start = weights.clone().requires_grad_(), x.clone().requires_grad_()
        y = cell(start, gates, active)
        (y * images(*y.shape, seed=2)).sum().backward()
        named = {"input": start, "gates": gates} | dict(cell.named_parameters())
        results.append((y.detach(), {k: p.grad for k, p in named.items() if p.grad is not None}))
    (y_slow, slow_gradients), (y_fast, fast_gradients) = results
    assert relative(y_fast, y_slow) < EXACT
    assert fast_gradients.keys() == slow_gradients.keys()
    for name, gradient in slow_gradients.items():
        if gradient.abs().max() > 1e-9:  # some are zero but for rounding
            assert relative(fast_gradients[name], gradient) < EXACT_GRADIENT, name
    for (name, buffer), (_, true) in zip(fast.named_buffers(), slow.named_buffers(), strict=True):
        assert torch.allclose(buffer.double(), true.double(), rtol=1e-12, atol=1e-14), name


@pytest.mark.parametrize("method", ["darts", "snas", "gdas", "single"])
@pytest.mark.parametrize("space", ["nb201", "darts"])
def test_whole_networks_equal_the_plain_ones(space, method):
    found = supernet_step.errors(settings(space, method))
    assert found["logits_error"] < EXACT
    assert found["gradient_error"] < EXACT_GRADIENT


def test_the_plain_network_has_the_published_number_of_weights():
    """DARTS' search log says 1.930618 MB for 16 channels and 8 layers."""
    assert sum(p.numel() for p in plain.Darts(16, 8).parameters()) == 1_930_618


def test_names_of_parameters_and_buffers_are_the_plain_ones():
    slow = supernet_step.build(settings("darts"), "plain")
    fast = supernet_step.fast(slow)
    fast.load_state_dict(slow.state_dict(), strict=True)
    slow.load_state_dict(fast.state_dict(), strict=True)
    assert [n for n, _ in slow.named_parameters()] == [n for n, _ in fast.named_parameters()]


def test_a_cell_with_scales_shifts_and_the_modules_of_this_package():
    """Affine BatchNorm, lazily made bodies, a size that cannot be split into grids."""
    plain_edges = []
    for _ in range(3):
        options = [Zero(), Skip(), SameConv(1), SameConv(3), Depthwise(5, dilation=2), Depthwise(3, twice=True)]
        options.append(nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.BatchNorm2d(4)))
        plain_edges.append(nn.ModuleDict({str(k): option for k, option in enumerate(options)}).double())
    x = images(3, 4, 7, 7)
    slow = plain.PlainCell(plain_edges)
    with torch.no_grad():
        slow(x, torch.ones(3, 7))  # the bodies are made by the first input
        for number, (_, parameter) in enumerate(slow.named_parameters()):
            parameter.copy_(images(*parameter.shape, seed=number))
    compare(slow, MixedCell(copy.deepcopy(slow.edges)), torch.rand(3, 7, dtype=torch.float64), x)
    compare(slow, MixedCell(copy.deepcopy(slow.edges)), torch.ones(3, 7).double(), x, [[4, 1], [], [0, 6]])


@pytest.mark.parametrize(("size", "stride"), [(7, 1), (8, 1), (8, 2)])
def test_one_darts_edge(size, stride):
    slow = plain.PlainCell([plain.darts_edge(4, stride)]).double()
    compare(slow, MixedCell(copy.deepcopy(slow.edges)), torch.rand(1, 8, dtype=torch.float64), images(2, 4, size, size))
