"""First and second derivatives of what fast cells are made of, against differences in float64."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from searchitect.nets.convolutions import Geometry, convolution
from searchitect.nets.folded import Term, folded_relus, folded_sum
from searchitect.nets.mixing import Source, Step, differentiated_twice, node
from searchitect.nets.normed import gated_norm, normalised, products
from searchitect.nets.weighted import average, maximum, rectified, weighted_sum


def tensor(*shape, seed=0, grad=True):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
    return x.requires_grad_(grad)


def twice(function, *inputs):
    """Whether both derivatives are those of differences, for all inputs and the gradients of the outputs."""
    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


def normalising(weight=None, bias=None, channels=3):
    """What a BatchNorm is to the functions, with weights that are inputs of the check."""
    tracked = dict.fromkeys(("num_batches_tracked", "running_mean", "running_var"))
    return SimpleNamespace(weight=weight, bias=bias, eps=1e-2, momentum=0.1, **tracked)


GEOMETRIES = [
    (3, Geometry()), (3, Geometry(2)), (1, Geometry()), (3, Geometry(1, 2)),
    (3, Geometry(1, 1, 4)), (5, Geometry(1, 1, 4)), (5, Geometry(2, 1, 4)), (5, Geometry(1, 2, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("size", "geometry"), GEOMETRIES)
def test_convolutions(size, geometry):
    x, kernel = tensor(2, 4, 5, 6), tensor(4, 4 // geometry.groups, size, size, seed=1)
    padding = geometry.dilation * (size // 2)
    true = F.conv2d(x, kernel, None, geometry.stride, padding, geometry.dilation, geometry.groups)
    torch.testing.assert_close(convolution(x, kernel, geometry), true)
    twice(lambda x, kernel: convolution(x, kernel, geometry), x, kernel)


def test_a_gradient_for_the_input_alone_computes_none_for_the_kernel(monkeypatch):
    called = []
    from searchitect.nets import convolutions

    true = convolutions.kernel_gradient
    monkeypatch.setattr(convolutions, "kernel_gradient", lambda *a: (called.append(1), true(*a))[1])
    x, kernel = tensor(2, 4, 5, 6), tensor(4, 4, 3, 3, seed=1)
    y = convolution(x, kernel, Geometry())
    (back,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    torch.autograd.grad(back.square().sum(), x)
    assert not called
    torch.autograd.grad(convolution(x, kernel, Geometry()).square().sum(), kernel)
    assert len(called) == 1


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_gated_norms(affine, gated):
    x, gate = tensor(3, 4, 2, 3), tensor(1, seed=1)
    scale, shift = tensor(4, seed=2), tensor(4, seed=3)

    def run(x, gate, scale, shift):
        norm = normalising(scale, shift) if affine else normalising()
        return gated_norm(gate[0] if gated else None, norm, x)

    wanted = (x, gate.requires_grad_(gated), scale.requires_grad_(affine), shift.requires_grad_(affine))
    twice(run, *wanted)
    norm = nn.BatchNorm2d(4, eps=1e-2, affine=affine).double()
    if affine:
        norm.load_state_dict({"weight": scale, "bias": shift}, strict=False)
    torch.testing.assert_close(run(*wanted), (gate[0] if gated else 1.0) * norm(x))


def test_norms_alone():
    x = tensor(3, 4, 2, 3)
    twice(lambda x: normalised(x, 1e-2)[0], x)
    y, mean, variance = normalised(x, 1e-2)
    torch.testing.assert_close(mean, x.mean((0, 2, 3)).detach())
    torch.testing.assert_close(variance, x.var((0, 2, 3), correction=0).detach())
    torch.testing.assert_close(products(y.detach(), x.detach()), (y * x).sum((0, 2, 3)).detach())


@pytest.mark.parametrize(("channels", "affine"), [(3, False), (3, True), (34, False)])
@pytest.mark.parametrize("apart", [False, True])
def test_folded_convolutions(channels, affine, apart):
    """34 channels go another way than 3: products of matrices instead of convolutions."""
    zs = [tensor(2, channels, 3, 2, seed=k) for k in range(2)]
    kernels = [tensor(channels, channels, 1, 1, seed=10 + k) for k in range(2)]
    gates, scales, shifts = tensor(2, seed=20), tensor(2, channels, seed=21), tensor(2, channels, seed=22)

    def terms(gates, scales, shifts, *tensors):
        norms = [normalising(a, b) if affine else normalising() for a, b in zip(scales, shifts, strict=True)]
        return [
            Term(z, SimpleNamespace(weight=w), norm, gate)
            for z, w, norm, gate in zip(tensors[:2], tensors[2:], norms, gates, strict=True)
        ]

    def run(*inputs):
        return tuple(folded_relus(terms(*inputs))) if apart else folded_sum(terms(*inputs))

    inputs = (gates, scales.requires_grad_(affine), shifts.requires_grad_(affine), *zs, *kernels)
    twice(run, *inputs)
    true = [
        gate * F.batch_norm(F.conv2d(z, w), None, None, a if affine else None, b if affine else None, True, 0.0, 1e-2)
        for gate, z, w, a, b in zip(gates, zs, kernels, scales, shifts, strict=True)
    ]
    torch.testing.assert_close(run(*inputs), tuple(map(torch.relu, true)) if apart else sum(true))


def test_sums_averages_and_maxima():
    x, y, gates = tensor(2, 3, 4, 4), tensor(2, 3, 4, 4, seed=1), tensor(2, seed=2)
    twice(lambda g, x, y: weighted_sum(list(g.unbind()), [x, y]), gates, x, y)
    twice(lambda x: average(nn.AvgPool2d(3, 1, 1, count_include_pad=False), x), x)
    twice(lambda x: maximum(nn.MaxPool2d(3, 1, 1), x).square(), x)


def test_sums_with_fixed_gates_keep_no_tensors():
    x, gates = tensor(2, 3, 4, 4), tensor(2, seed=2)
    kept = {}
    for name, values in (("fixed", gates.detach()), ("learned", gates)):
        found = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, f=found: (f.append(t.numel()), t)[1], lambda t: t):
            weighted_sum(list(values.unbind()), [x * 1, x * 2])
        kept[name] = max(found)
    assert kept["fixed"] < x.numel() <= kept["learned"]


def test_what_is_made_again_gives_the_same_derivatives():
    """A ReLU that is not kept, a convolution and a folded one behind it."""
    x, kernel = tensor(2, 3, 4, 4), tensor(3, 3, 3, 3, seed=1)
    point, gate = tensor(3, 3, 1, 1, seed=2), tensor(1, seed=3)

    def run(x, kernel, point, gate):
        z = rectified(x)
        term = Term(z, SimpleNamespace(weight=point), normalising(), gate[0], x)
        return convolution(z, kernel, Geometry(), x) + folded_sum([term])

    twice(run, x, kernel, point, gate)
    z = torch.relu(x)
    norm = F.batch_norm(F.conv2d(z, point), None, None, None, None, True, 0.0, 1e-2)
    torch.testing.assert_close(run(x, kernel, point, gate), F.conv2d(z, kernel, None, 1, 1) + gate * norm)


def test_a_sparing_state_keeps_no_relu_unless_it_is_differentiated_twice():
    kept = {}
    x, gate, point = tensor(2, 3, 4, 4), tensor(1, seed=3), nn.Conv2d(3, 3, 3, padding=1, bias=False).double()
    option = nn.Sequential(nn.ReLU(), point, nn.BatchNorm2d(3, affine=False).double())
    for twice_over in (False, True):
        found = {}
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t, f=found: (f.update({t.data_ptr(): t}), t)[1], lambda t: t
        )
        with hooks, differentiated_twice() if twice_over else nullcontext():
            source = Source(x, sparing=True)
            node([Step(source, option, gate[0])])
        relu = torch.relu(source.x)
        kept[twice_over] = any(t.shape == relu.shape and torch.equal(t, relu) for t in found.values())
    assert kept == {False: False, True: True}
