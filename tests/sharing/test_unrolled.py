"""Second-order steps against brute force: the unrolled step is written out again and differentiated by differences."""

import itertools

import pytest
import torch
from helpers_sharing import batch, cell_space, setup_of, toy_space
from torch.nn import functional as F

from searchitect.sharing.darts import Darts
from searchitect.sharing.unrolled import exact, finite

LR = 0.1


def outputs(weights, x, alphas):
    """The toy network, written by hand: weights by name, shares from alphas."""
    w = {name.removeprefix("root."): tensor for name, tensor in weights.items()}
    first, second = (alpha.softmax(0) for alpha in alphas)
    h = F.linear(x, w["0.weight"], w["0.bias"])
    linear = F.linear(h, w["1.candidates.2.weight"], w["1.candidates.2.bias"])
    h = first[0] * h.tanh() + first[1] * h + first[2] * linear
    h = F.linear(h, w["2.weight"], w["2.bias"])
    h = second[0] * h * h + second[1] / (1 + (-h).exp())
    return F.linear(h, w["4.weight"], w["4.bias"])


def after_a_step(setup, train, search, alphas):
    """The loss on the search batch with weights one step further, by formulas alone."""
    weights = {n: p.detach().clone().requires_grad_() for n, p in setup.net.named_parameters()}
    inner = F.cross_entropy(outputs(weights, train.x, alphas), train.y)
    slopes = torch.autograd.grad(inner, list(weights.values()))
    moved = {}
    for (name, w), slope, p in zip(weights.items(), slopes, setup.net.parameters(), strict=True):
        group = setup.optimizer.param_groups[0]
        velocity = setup.optimizer.state.get(p, {}).get("momentum_buffer", torch.zeros_like(w))
        moved[name] = (w - LR * (group["momentum"] * velocity + slope + group["weight_decay"] * w)).detach()
    return float(F.cross_entropy(outputs(moved, search.x, alphas), search.y))


def by_differences(setup, train, search, alphas, step=1e-4):
    found = [torch.zeros_like(a) for a in alphas]
    for alpha, slopes in zip(alphas, found, strict=True):
        for i in range(len(alpha)):
            sides = []
            for sign in (1, -1):
                kept = alpha[i].clone()
                alpha[i] += sign * step
                sides.append(after_a_step(setup, train, search, alphas))
                alpha[i] = kept
            slopes[i] = (sides[0] - sides[1]) / (2 * step)
    return found


def moving(seed, space=None, shape=(5,), dtype=torch.float64):
    """A setup whose optimizer has some momentum already, a method over it, and two batches."""
    setup = setup_of(space or toy_space(), shape, F.cross_entropy, seed=seed, decay=0.01, dtype=dtype)
    method = Darts(setup, order=2)
    for alpha in method.logits.tensors():
        with torch.no_grad():
            alpha.normal_(generator=torch.Generator().manual_seed(seed))
    for i in range(3):
        setup.optimizer.zero_grad()
        method.weights_step(batch(shape, 8, seed=100 + i, dtype=dtype), 0, 0.0)
        setup.optimizer.step()
    setup.optimizer.zero_grad()
    return setup, method, batch(shape, 8, seed=1 + seed, dtype=dtype), batch(shape, 8, seed=50 + seed, dtype=dtype)


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_gradient_is_that_of_brute_force(seed):
    setup, method, train, search = moving(seed)
    alphas = [a.detach().clone() for a in method.logits.tensors()]
    loss, found = exact(setup, method.logits, train, search, LR)
    assert float(loss) == pytest.approx(after_a_step(setup, train, search, alphas), abs=1e-12)
    for got, expected in zip(found, by_differences(setup, train, search, alphas), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


def test_the_second_term_matters_here():
    """Else the tests above could not tell second order from first."""
    setup, method, train, search = moving(0)
    _, second = exact(setup, method.logits, train, search, LR)
    _, none = exact(setup, method.logits, train, search, 0.0)
    assert norm([a - b for a, b in zip(second, none, strict=True)]) > 0.01 * norm(second)


@pytest.mark.parametrize("seed", range(3))
def test_the_published_difference_becomes_exact_as_its_radius_falls(seed):
    setup, method, train, search = moving(seed)
    loss, expected = exact(setup, method.logits, train, search, LR)
    errors = []
    for radius in (1.0, 0.1, 0.01, 1e-3):
        same, found = finite(setup, method.logits, train, search, LR, radius)
        assert float(same) == pytest.approx(float(loss), abs=1e-12)
        errors.append(norm([a - b for a, b in zip(found, expected, strict=True)]) / norm(expected))
    assert errors[-1] < 1e-6
    assert all(late < early for early, late in itertools.pairwise(errors))
    assert errors[2] < 0.02 * errors[1]  # a central difference: its error falls with the square of the radius


@pytest.mark.parametrize("way", [exact, finite])
def test_no_gradient_reaches_the_weights_and_they_stay(way):
    setup, method, train, search = moving(0, cell_space(), (3, 4, 4))
    before = [p.detach().clone() for p in setup.net.parameters()]
    _, found = way(setup, method.logits, train, search, LR)
    assert norm(found) > 0
    assert all(p.grad is None for p in setup.net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, setup.net.parameters(), strict=True))


def test_both_ways_agree_with_batch_norm():
    setup, method, train, search = moving(0, cell_space(), (3, 4, 4))
    _, expected = exact(setup, method.logits, train, search, LR)
    _, found = finite(setup, method.logits, train, search, LR, 1e-4)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("way", [exact, finite])
def test_a_cost_term_is_added_once(way):
    setup, method, train, search = moving(1)
    _, plain = way(setup, method.logits, train, search, LR)
    first = next(iter(method.logits.values))
    setup.penalty = lambda shares: 3.0 * shares[first][1]
    loss, charged = way(setup, method.logits, train, search, LR)
    p = method.logits.detached()[first]
    torch.testing.assert_close(charged[0] - plain[0], 3.0 * p[1] * (torch.eye(3, dtype=p.dtype)[1] - p))
    torch.testing.assert_close(charged[1], plain[1])
    setup.penalty = None
    assert float(loss) == float(way(setup, method.logits, train, search, LR)[0])  # the loss without the cost is told


def norm(tensors):
    return float(torch.cat([t.flatten() for t in tensors]).norm())
