"""Fast cells against the plain way, module after module, in float64: published supernets, then those of spaces."""

import copy
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

import searchitect.nets as nets
from searchitect.nets import Depthwise, SameConv, Skip, Zero, supernet
from searchitect.nets.gates import shares_of, weigh
from searchitect.nets.mixed import speed_up
from searchitect.nets.mixing import node
from searchitect.nets.weighted import maximum
from searchitect.space import OUTPUTS, Space, lazy, one_of, subset
from searchitect.spaces import load_space

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
try:
    import plain_supernet as plain
    import supernet_step
    from mixed_cells import fast
finally:
    sys.path.pop(0)

EXACT, EXACT_GRADIENT = 1e-12, 1e-10


def settings(space="nb201", method="darts", **more):
    layers = {"nb201": 1, "darts": 3}[space]
    known = {"channels": 4, "layers": layers, "batch": 2, "size": 8, "seed": 0, "rounds": 1, "network": "published"}
    return Namespace(space=space, method=method, **known | more)


def relative(value, true):
    return float((value - true).abs().max() / true.abs().max())


def images(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


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


@pytest.mark.parametrize("method", ["darts", "drnas", "gdas", "proxyless", "single"])
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
    slow = plain.Cell(plain_edges)
    with torch.no_grad():
        slow(x, torch.ones(3, 7))  # the bodies are made by the first input
        for number, (_, parameter) in enumerate(slow.named_parameters()):
            parameter.copy_(images(*parameter.shape, seed=number))
    compare(slow, fast(slow), torch.rand(3, 7, dtype=torch.float64), x)
    compare(slow, fast(slow), torch.ones(3, 7).double(), x, [[4, 1], [], [0, 6]])


@pytest.mark.parametrize(("size", "stride"), [(7, 1), (8, 1), (8, 2)])
def test_one_darts_edge(size, stride):
    slow = plain.Cell([plain.darts_edge(4, stride)]).double()
    compare(slow, fast(slow), torch.rand(1, 8, dtype=torch.float64), images(2, 4, size, size))


# -- supernets of spaces ---------------------------------------------------------------------------------

L, N = lazy(nn), lazy(nets)
SHAPE = (3, 8, 8)


def odd_space():
    """A cell with options that the fast code does not know beside those that it knows, and gates inside an option."""

    def edge(name):
        nested = L.Sequential(L.LazyConv2d(4, 1), one_of(L.Tanh(), L.ReLU(), name="inner"))
        conv = L.Sequential(L.ReLU(), L.LazyConv2d(4, 3, padding=1, bias=False), L.LazyBatchNorm2d(eps=1e-2))
        options = {"none": N.Zero(), "skip": N.Skip(), "point": N.SameConv(1), "other": conv, "nested": nested}
        return one_of(**options, bare=L.LazyBatchNorm2d(affine=False), name=name)

    cell = N.Cell([edge("a"), L.Identity(), edge("c")])
    return Space(L.Sequential(L.LazyConv2d(4, 1), cell, L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS)))


def weighed_nodes():
    """Two-input cells whose nodes have fixed edges, a subset of three and one that is no subset of edges."""

    def edge(j):
        return N.Edge(j, one_of(conv=N.SameConv(3), deep=N.Depthwise(3, dilation=2), pool=L.AvgPool2d(3, 1, 1)))

    nodes = [subset(a=edge(0), b=edge(1), k=2), subset(a=edge(0), b=edge(1), c=edge(2), k=2, name="second")]
    nodes.append(subset(a=N.Edge(3, L.Identity()), b=edge(1), k=1))
    cells = [N.TwoInputCell(4, nodes)]
    head = L.Sequential(L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS))
    return Space(N.TwoInputChain(L.LazyConv2d(4, 1), cells, head))


SPACES = {
    "nb201": lambda: load_space("nb201", cells=1, width=4),
    "darts": lambda: load_space("darts", cells=3, width=4),
    "odd": odd_space,
    "nodes": weighed_nodes,
}


def two_nets(space):
    """The plain way and the fast one, with the same weights."""
    slow, fast = (supernet(space, SHAPE, outputs=5, seed=3).double() for _ in range(2))
    with torch.no_grad():
        for number, (a, b) in enumerate(zip(slow.parameters(), fast.parameters(), strict=True)):
            a.add_(0.1 * images(*a.shape, seed=number)), b.copy_(a)  # scales that are not 1
    speed_up(fast, always=True)
    return slow, fast


def alike(slow, fast, run, alphas=()):
    """Outputs, gradients of all weights and of the alphas, and running statistics agree; says how many gradients."""
    results = []
    for net in (slow, fast):
        net.zero_grad()
        y = run(net)
        found = torch.autograd.grad(
            (y * images(*y.shape, seed=2)).sum(), [*net.parameters(), *alphas], allow_unused=True, retain_graph=True
        )  # fmt: skip
        names = [name for name, _ in net.named_parameters()] + [f"alpha{i}" for i in range(len(alphas))]
        results.append((y.detach(), dict(zip(names, found, strict=True))))
    (true, gradients), (y, others) = results
    assert relative(y, true) < EXACT
    largest = max(float(g.abs().max()) for g in gradients.values() if g is not None)
    for name, gradient in gradients.items():
        assert (gradient is None) == (others[name] is None), name
        if gradient is not None and gradient.abs().max() > 1e-9 * largest:  # some are zero but for rounding
            assert relative(others[name], gradient) < EXACT_GRADIENT, name
    for (name, buffer), (_, kept) in zip(fast.named_buffers(), slow.named_buffers(), strict=True):
        assert torch.allclose(buffer.double(), kept.double(), rtol=1e-12, atol=1e-14), name
    return sum(gradient is not None for gradient in gradients.values())


def mixture(net, *, members=False, seed=4):
    """Softmax shares of all decisions, and what they are the softmax of."""
    names = net.decisions(members=members).items()
    alphas = [images(len(labels), seed=seed + i).requires_grad_() for i, (_, labels) in enumerate(names)]
    return {name: a.softmax(0) for (name, _), a in zip(names, alphas, strict=True)}, alphas


@pytest.mark.parametrize(
    ("name", "members"), [("nb201", False), ("darts", True), ("odd", False), ("nodes", False), ("nodes", True)]
)
def test_mixtures_of_a_space_equal_the_plain_way(name, members):
    slow, fast = two_nets(SPACES[name]())
    shares, alphas = mixture(slow, members=members)
    everything = len(list(slow.parameters())) + len(alphas)
    assert alike(slow, fast, lambda net: net.mix(images(4, *SHAPE), shares), alphas) > 0.9 * everything


@pytest.mark.parametrize("name", SPACES)
def test_paths_of_a_space_equal_the_plain_way(name):
    space = SPACES[name]()
    slow, fast = two_nets(space)
    for seed in range(3):
        architecture = space.sample(seed)
        assert alike(slow, fast, lambda net, a=architecture: net(images(4, *SHAPE), a)) > 0


@pytest.mark.parametrize("name", ["nb201", "odd", "nodes"])
def test_shares_of_zero_and_one_and_fixed_values(name):
    slow, fast = two_nets(SPACES[name]())
    shares, alphas = mixture(slow)
    values = {}
    for i, (decision, labels) in enumerate(slow.decisions().items()):
        if i % 3 == 1:
            shares[decision] = nn.functional.one_hot(torch.tensor(i % len(labels)), len(labels)).double()
        elif i % 3 == 2:
            del shares[decision]
            values[decision] = slow.space.by_name[decision].labels[0]
    alike(slow, fast, lambda net: net.mix(images(4, *SHAPE), shares, values), alphas)


@pytest.mark.parametrize("name", ["nb201", "nodes"])
def test_evaluation_and_odd_sizes(name):
    slow, fast = two_nets(SPACES[name]())
    shares, alphas = mixture(slow)
    alike(slow, fast, lambda net: net.mix(images(3, 3, 7, 9), shares), alphas)
    alike(slow.eval(), fast.eval(), lambda net: net.mix(images(3, 3, 7, 9), shares), alphas)


def test_copies_and_files_are_those_of_the_plain_supernet():
    slow, fast = two_nets(SPACES["nodes"]())
    assert [n for n, _ in slow.named_parameters()] == [n for n, _ in fast.named_parameters()]
    copied = copy.deepcopy(fast)
    copied.load_state_dict(slow.state_dict(), strict=True)
    shares, alphas = mixture(slow)
    alike(slow, copied, lambda net: net.mix(images(4, *SHAPE), shares), alphas)


def test_an_option_with_a_hook_is_called():
    _, fast = two_nets(SPACES["nb201"]())
    called = []
    gate = fast.gates[0]
    gate.candidates[2].register_forward_hook(lambda *_: called.append("hook"))
    forward = gate.candidates[3].forward
    gate.candidates[3].forward = lambda x: (called.append("own"), forward(x))[1]
    shares, _ = mixture(fast)
    fast.mix(images(4, *SHAPE), shares)
    assert sorted(called) == ["hook", "own"]


@pytest.mark.parametrize("name", ["nb201", "nodes"])
def test_gradients_can_be_differentiated_again(name):
    """Products with the Hessian of the shares, against the plain way and against differences of gradients."""
    slow, fast = two_nets(SPACES[name]())
    starts = [images(len(labels), seed=4 + i) for i, labels in enumerate(slow.decisions().values())]
    along = [images(len(start), seed=50 + i) for i, start in enumerate(starts)]

    def gradients(net, step=0.0, again=False):
        alphas = [(a + step * v).requires_grad_() for a, v in zip(starts, along, strict=True)]
        shares = {name: a.softmax(0) for name, a in zip(net.decisions(), alphas, strict=True)}
        loss = net.mix(images(3, 3, 6, 6), shares).pow(2).sum()
        return torch.autograd.grad(loss, alphas, create_graph=again), alphas

    products = []
    for net in (slow, fast):
        found, alphas = gradients(net, again=True)
        products.append(torch.autograd.grad(sum((g * v).sum() for g, v in zip(found, along, strict=True)), alphas))
    size = 1e-5
    pairs = zip(gradients(fast, size)[0], gradients(fast, -size)[0], strict=True)
    for true, product, (up, down) in zip(*products, pairs, strict=True):
        assert relative(product, true) < EXACT_GRADIENT
        assert float((product - (up - down) / (2 * size)).abs().max()) < 1e-4 * max(
            float(p.abs().max()) for p in products[0]
        )


@pytest.mark.parametrize(("numbers", "mixed", "path"), [(1 << 15, 0, 0), (1 << 16, 3, 0), (1 << 17, 3, 3)])
def test_small_states_are_not_worth_it(monkeypatch, numbers, mixed, path):
    """Cells that are run as a whole ask for the one sum of each of their three nodes."""
    net = supernet(load_space("nb201", cells=1, width=4), SHAPE, outputs=5)
    speed_up(net)
    counted = []
    monkeypatch.setattr("searchitect.nets.mixed.node", lambda steps: (counted.append(1), node(steps))[1])
    whole = next(m for m in net.modules() if type(m).__name__ == "Whole")
    x = torch.randn(numbers // 256, 4, 8, 8)
    with net._doing(weigh) as run:
        run.shares = {name: shares_of(name, torch.full((5,), 0.2)) for name in net.decisions()}
        whole(x)
        assert len(counted) == mixed
        run.shares = {name: shares_of(name, torch.eye(5)[3]) for name in net.decisions()}
        whole(x)
        assert len(counted) == mixed + path


@pytest.mark.parametrize("size", [6, 200])
@pytest.mark.parametrize("settings", [(3, 1, 1), (3, 2, 1), (2, 2, 0, 1, False, True)])
def test_maxima_keep_their_places_in_fewer_bytes(size, settings):
    """200×200 places do not fit into two bytes."""
    pool, x = nn.MaxPool2d(*settings), images(1, 2, size, size).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        y = maximum(pool, x)
    assert torch.equal(y, pool(x))
    assert [t.dtype for t in kept if not t.is_floating_point()] == [torch.int16 if size == 6 else torch.int32]
    back = [torch.autograd.grad((out * images(*out.shape, seed=2)).sum(), x)[0] for out in (y, pool(x))]
    assert torch.equal(*back)
