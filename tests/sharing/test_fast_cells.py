"""Methods with fast cells take the steps that they take the plain way, in double precision and under the same noise."""

from pathlib import Path

import pytest
import torch
from helpers_sharing import batch, recorded, setup_of
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from searchitect.nets import outside
from searchitect.nets.cells import Cell, TwoInputCell
from searchitect.nets.mixed import speed_up
from searchitect.sharing import METHODS, Start, SupernetSearch, method_class
from searchitect.sharing.unrolled import exact, finite
from searchitect.spaces import load_space
from searchitect.training import Recipe, TrainData

SHAPE = (3, 8, 8)


def prepared(name, space, **options):
    """The method the plain way and with fast cells, from the same start."""
    found = []
    for fast in (False, True):
        cls = method_class(name)
        setup = setup_of(space, SHAPE, F.cross_entropy)
        if cls.around(**options) is not None:
            return []
        if fast:
            speed_up(setup.net, always=True)
        found.append(cls(setup, **options))
    return found


def largest(a, b):
    """The largest difference over the largest value of all."""
    a, b = (torch.cat([t.detach().flatten() for t in tensors]) for tensors in (a, b))
    return float((a - b).abs().max() / b.abs().max())


CASES = [(name, {}) for name in METHODS if name not in ("pcdarts", "darts")]
CASES += [("pcdarts", {"k": 1}), ("darts", {}), ("darts", {"order": 2}), ("darts", {"order": 2, "second": "finite"})]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_are_those_of_the_plain_way(name, options):
    plain, fast = prepared(name, load_space("nb201", cells=1, width=4), **options)
    moves = []
    for method in (plain, fast):
        steps = recorded(method) if hasattr(method, "logits") else []
        one, two = batch(SHAPE, seed=1), batch(SHAPE, seed=2)
        for draw in (5, 6):
            method.architecture_step(one, two, draw, 0.5, 0.1)
            method.setup.optimizer.zero_grad(set_to_none=True)
            loss = method.weights_step(one, draw, 0.5)
            method.setup.optimizer.step()
        used = [p.grad for p in method.setup.net.parameters() if p.grad is not None]
        values = list(method.logits.values.values()) if steps else []
        alphas = [torch.zeros_like(a) if g is None else g for step in steps for g, a in zip(step, values, strict=True)]
        moves.append((loss, used, alphas, list(method.setup.net.parameters())))
    (true, gradients, alphas, weights), (loss, others, moved, new) = moves
    assert float(loss) == pytest.approx(float(true), rel=1e-11)
    assert len(gradients) == len(others) > 10
    assert largest(others, gradients) < 1e-9  # after a step in between
    assert largest(new, weights) < 1e-10
    assert len(alphas) == len(moved)
    if alphas:
        assert largest(moved, alphas) < 1e-8


def test_the_exact_second_order_is_that_of_differences():
    """With cells run as a whole where they can be, on a loss so smooth that small differences are exact enough."""
    _, fast = prepared("darts", load_space("nb201", cells=1, width=4), order=2)
    train, search = batch(SHAPE, seed=1), batch(SHAPE, seed=2)
    _, true = exact(fast.setup, fast.logits, train, search, 0.1)
    _, near = finite(fast.setup, fast.logits, train, search, 0.1, radius=1e-6)
    assert largest(near, true) < 1e-4


def test_what_lies_outside_of_cells_is_cheap_to_differentiate_twice_too(monkeypatch):
    """The same gradients; and the library's gradients of convolutions and BatchNorm, whose derivatives are slow, are no
    part of the graph any more."""
    space = load_space("nb201", cells=1, width=4)
    found, layers = [], []
    for least in (1 << 40, 0):
        monkeypatch.setattr(outside, "LEAST", least)
        _, method = prepared("darts", space, order=2)
        with torch.no_grad():
            for i, alpha in enumerate(method.logits.tensors()):
                alpha.normal_(generator=torch.Generator().manual_seed(i))
        with Backwards() as count:
            found.append(exact(method.setup, method.logits, batch(SHAPE, seed=1), batch(SHAPE, seed=2), 0.1)[1])
        layers.append(count.double)
        assert not any("forward" in vars(layer) for layer in method.setup.net.modules())
    assert largest(found[1], found[0]) < 1e-9
    assert layers[0] > 5
    assert layers[1] == 0


class Backwards(TorchDispatchMode):
    """Counts gradients of the library's own BatchNorm and convolution that autograd is to differentiate."""

    def __init__(self):
        super().__init__()
        self.double = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        y = function(*args, **(kwargs or {}))
        name = function.name()
        library = name == "aten::convolution_backward" or "batch_norm_backward" in name
        self.double += library and torch.is_grad_enabled()
        return y


@pytest.mark.parametrize("change", ["hook", "eval", "slow"])
def test_layers_outside_of_cells_that_must_stay_as_they_are_do(change):
    _, method = prepared("darts", load_space("nb201", cells=1, width=4))
    net = method.setup.net
    stem, norm, called = net.root[0], net.root[1], []
    if change == "hook":
        stem.register_forward_hook(lambda *_: called.append(1))
    elif change == "slow":
        net.whole(Cell, None)
        net.whole(TwoInputCell, None)
    with outside.cheap_twice(net):
        assert ("forward" in vars(stem)) == (change == "eval")
        assert ("forward" in vars(norm)) == (change != "slow")
        if change == "eval":
            x = torch.randn(2, 4, 200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            norm.eval()
            by_hand = (x - norm.running_mean.reshape(1, -1, 1, 1)) / (1 + norm.eps) ** 0.5
            assert (norm(x) - by_hand).abs().max() < 1e-12, "the running statistics, not those of the batch"
    assert "forward" not in vars(norm)


@pytest.mark.slow
def test_the_second_order_of_the_darts_space_is_that_of_the_plain_way(monkeypatch):
    """Separable convolutions, grids, pooling with BatchNorm of its own, two reductions, and inputs that are halved; and
    the stem, which is no cell."""
    monkeypatch.setattr(outside, "LEAST", 0)
    found = []
    for method in prepared("darts", load_space("darts", cells=3, width=4), order=2):
        with torch.no_grad():
            for i, alpha in enumerate(method.logits.tensors()):
                alpha.normal_(generator=torch.Generator().manual_seed(i))
        first = [g.clone() for g in exact(method.setup, method.logits, batch(SHAPE), batch(SHAPE, seed=2), 0.0)[1]]
        whole = exact(method.setup, method.logits, batch(SHAPE), batch(SHAPE, seed=2), 0.1)[1]
        found.append([a - b for a, b in zip(whole, first, strict=True)])
    assert largest(found[1], found[0]) < 1e-9
    assert max(float(t.abs().max()) for t in found[0]) > 1e-4


class Convolutions(TorchDispatchMode):
    """Counts convolutions and gradients of kernels, whoever asks for them."""

    def __init__(self):
        super().__init__()
        self.forward = self.kernels = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name()
        self.forward += name == "aten::convolution"
        self.kernels += name == "aten::convolution_backward" and args[10][1]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("way", [0, 1])
def test_gdas_runs_what_it_draws_and_nothing_else(way):
    """Stem, two reductions of three convolutions each, and what was drawn on six edges in three cells."""
    method = prepared("gdas", load_space("nb201", cells=1, width=4))[way]
    for draw in range(4):
        shares = method._drawn(draw, 0.5)
        chosen = [list(method.setup.net.decisions()[name])[int(share.argmax())] for name, share in shares.items()]
        drawn = sum(label.startswith("nor_conv") for label in chosen)
        pools = sum(label.startswith("avg") for label in chosen)
        with Convolutions() as count, torch.no_grad():
            method.setup.net.mix(batch(SHAPE).x, shares)
        alone = [name for name in chosen if name == "nor_conv_1x1"]
        least = 7 + 3 * (drawn - len(alone))
        assert least <= count.forward <= 7 + 3 * (drawn + len(alone) + 2 * pools)  # as products, or a sum over windows


def test_an_architecture_step_computes_no_gradients_of_kernels():
    """Folded convolutions apart, whose products with the gradient are what the shares need, and are counted as such."""
    _, fast = prepared("darts", load_space("nb201", cells=1, width=4))
    with Convolutions() as count:
        fast.architecture_step(batch(SHAPE), batch(SHAPE, seed=2), 1, 0.5, 0.1)
    shares_need = 3 * 6 * 2  # z zᵀ and dy zᵀ for the 1×1 convolution of every edge
    assert count.kernels <= shares_need
    with Convolutions() as count:
        fast.weights_step(batch(SHAPE), 1, 0.5)
    assert count.kernels >= 3 * 6 + 7


def test_a_search_with_fast_cells_goes_on_bit_for_bit(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(96, 3, 16, 16, generator=generator), torch.arange(96) % 3
    data = TrainData(x[:64], y[:64], x[64:], y[64:], "classification", 3)

    def search():
        start = Start(load_space("nb201", cells=1, width=8), (3, 16, 16), 3, 0, 2, Recipe(batch_size=32))
        return SupernetSearch("darts", start, data)

    whole, begun, resumed = search(), search(), search()
    for number in (1, 2):
        whole.epoch(number)
    begun.epoch(1)
    begun.save(Path(tmp_path))
    assert resumed.load(Path(tmp_path))
    resumed.epoch(2)
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, resumed.net.state_dict()[name]), name
    plain = SupernetSearch(
        "darts", Start(whole.start.space, (3, 16, 16), 3, 0, 2, Recipe(batch_size=32), {"fast": False}), data
    )
    plain.epoch(1)
    weights = zip(plain.net.parameters(), begun.net.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in weights)  # the fast cells were used
    assert all(
        torch.allclose(a, b, atol=1e-4) for a, b in zip(plain.net.parameters(), begun.net.parameters(), strict=True)
    )
