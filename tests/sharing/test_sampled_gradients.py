"""The architecture gradients of methods that draw, against analytic expressions under the same draws."""

import math

import pytest
import torch
from helpers_sharing import L, N, Scaled, Square, batch, cell_space, one_gate, recorded, setup_of
from torch.nn import functional as F

from searchitect.sharing import gumbel
from searchitect.sharing.drnas import DrNas
from searchitect.sharing.gdas import Gdas
from searchitect.sharing.proxyless import Proxyless, pair_gradient
from searchitect.sharing.snas import Snas
from searchitect.space import OUTPUTS, Space, lazy, one_of

OPTIONS = (L.Tanh, L.Identity, lazy(Square), L.Sigmoid)
FUNCTIONS = (torch.tanh, lambda x: x, lambda x: x * x, torch.sigmoid)


def toy(cls, **options):
    """A method over one gate of four functions and a linear head, alphas away from zero; the gate's name."""
    space = Space(L.Sequential(one_of(*(option() for option in OPTIONS), name="gate"), L.LazyLinear(OUTPUTS)))
    method = cls(setup_of(space, (5,), F.cross_entropy), **options)
    ((name, alpha),) = method.logits.values.items()
    with torch.no_grad():
        alpha.copy_(torch.tensor([0.3, -0.5, 0.8, 0.1]))
    return method, name, alpha.detach().clone()


def by_output(method, search, shares):
    """Σ of (∂L/∂y) · f_i(x) for each option, where y is the gate's output under `shares`: the gradient of shares."""
    head = method.setup.net.root[1]
    values = [f(search.x) for f in FUNCTIONS]
    y = sum(s * v for s, v in zip(shares.tolist(), values, strict=True)).requires_grad_()
    loss = F.cross_entropy(F.linear(y, head.weight, head.bias), search.y)
    (slope,) = torch.autograd.grad(loss, y)
    return float(loss.detach()), torch.stack([(slope * v).sum() for v in values])


@pytest.mark.parametrize("draw", range(5))
def test_gdas_follows_the_share_of_the_option_that_was_drawn(draw):
    """∂L/∂α_k = (∂L/∂y · f_c) s_c (δ_ck - s_k) / τ."""
    method, name, alpha = toy(Gdas, first=2.0, last=1.0)
    search, found = batch((5,)), recorded(method)
    noise = gumbel.noise({name: alpha}, draw)[name]
    temperature = 1.75  # a quarter of the way from 2 to 1
    p = alpha.exp() / alpha.exp().sum()
    s = ((p.log() + noise) / temperature).exp()
    s = s / s.sum()
    c = int(s.argmax())
    loss = method.architecture_step(search, search, draw, 0.25, 0.1)
    expected_loss, slopes = by_output(method, search, torch.eye(4, dtype=torch.float64)[c])
    assert float(loss) == pytest.approx(expected_loss)
    torch.testing.assert_close(found[0][0], slopes[c] * s[c] * (torch.eye(4)[c] - s) / temperature)


@pytest.mark.parametrize("draw", range(5))
def test_snas_follows_all_shares(draw):
    """∂L/∂α_k = Σ_i (∂L/∂y · f_i) s_i (δ_ik - s_k) / τ."""
    method, name, alpha = toy(Snas, first=1.0, last=0.2)
    search, found = batch((5,)), recorded(method)
    noise = gumbel.noise({name: alpha}, draw)[name]
    s = ((alpha.log_softmax(0) + noise) / 0.6).softmax(0)
    loss = method.architecture_step(search, search, draw, 0.5, 0.1)
    expected_loss, slopes = by_output(method, search, s)
    assert float(loss) == pytest.approx(expected_loss)
    jacobian = (torch.diag(s) - torch.outer(s, s)) / 0.6
    torch.testing.assert_close(found[0][0], jacobian @ slopes)


def test_one_hot_shares_are_exactly_zero_and_one():
    alphas = {"a": torch.randn(7, generator=torch.Generator().manual_seed(0)).requires_grad_()}
    for draw in range(50):
        (share,) = gumbel.hard(gumbel.soft(alphas, gumbel.noise(alphas, draw), 0.7)).values()
        assert sorted(share.tolist()) == [0.0] * 6 + [1.0]


def test_options_are_drawn_by_their_probabilities():
    """Gumbel-max: arg max of log p + g is a draw from p, whatever the temperature."""
    alpha = {"a": torch.tensor([0.0, 1.0, -1.0, 0.5])}
    counts, n = torch.zeros(4), 4000
    for draw in range(n):
        counts += gumbel.hard(gumbel.soft(alpha, gumbel.noise(alpha, draw), 3.0))["a"]
    p = alpha["a"].softmax(0)
    assert ((counts / n - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


def test_temperatures_fall_in_a_line():
    found = [gumbel.temperature(t, 10.0, 0.1) for t in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert found == pytest.approx([10, 10, 5.05, 0.1, 0.1])


@pytest.mark.parametrize(("cls", "each"), [(Gdas, 1), (Proxyless, 1), (Snas, 3), (DrNas, 3)])
def test_only_what_was_drawn_is_run(cls, each):
    """Calls of options in a weights step: one for each gate, or all (a Zero is never run beside others)."""
    setup = setup_of(cell_space(), (3, 4, 4), F.cross_entropy)
    method, calls = cls(setup), []
    for gate in setup.net.gates:
        for option in gate.candidates:
            option.register_forward_hook(lambda module, *_: calls.append(module))
    for draw in range(3):
        calls.clear()
        method.weights_step(batch((3, 4, 4)), draw, 0.5)
        assert len(calls) == each * len(setup.net.gates)
    calls.clear()
    method.architecture_step(batch((3, 4, 4)), batch((3, 4, 4), seed=1), 3, 0.5, 0.1)
    most = {Gdas: 1, Proxyless: 2}.get(cls, 3) * len(setup.net.gates)
    assert 0 < len(calls) <= most


# -- DrNAS -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("power", [1, 2])
def test_the_pathwise_gradient_of_a_dirichlet_is_that_of_the_expectation(power):
    """E[f(θ)] for f = (c · θ)^power is known: c · β / β0, and its square plus the variance."""
    values = (0.5, -1.0, 2.0)
    space = one_gate(*(lazy(Scaled)(v) for v in values))
    setup = setup_of(space, (1,), lambda outputs, y: outputs.mean() ** power)
    method = DrNas(setup, regularise=0.0, lr=1e-12)
    (alpha,) = method.logits.tensors()
    with torch.no_grad():
        alpha.copy_(torch.tensor([0.7, -0.4, 0.2]))
    beta, c = method._concentrations(), torch.tensor(values, dtype=torch.float64)
    (b,) = beta.values()
    mean = c @ b / b.sum()
    expectation = mean
    if power == 2:
        theta = b / b.sum()
        expectation = mean**2 + ((c**2 @ theta) - mean**2) / (b.sum() + 1)
    (expected,) = torch.autograd.grad(expectation, alpha)
    ones = batch((1,))._replace(x=torch.ones(2, 1, dtype=torch.float64))
    found = recorded(method)
    n = 1000
    for draw in range(n):
        method.architecture_step(ones, ones, draw, 0.0, 0.1)
    samples = torch.stack([gradients[0] for gradients in found])
    error = samples.std(0) / math.sqrt(n)
    assert (error < 0.2 * expected.abs().max()).all()
    assert ((samples.mean(0) - expected).abs() < 4 * error).all()


def test_the_divergence_from_the_flat_dirichlet():
    """KL(Dir(β) ‖ Dir(1)) by its formula; it pulls β towards 1."""
    setup = setup_of(one_gate(*(lazy(Scaled)(v) for v in (1.0, 1.0))), (1,), lambda outputs, y: 0.0 * outputs.sum())
    method = DrNas(setup, regularise=1.0)
    (alpha,) = method.logits.tensors()
    with torch.no_grad():
        alpha.copy_(torch.tensor([0.5, -0.2]))
    b = torch.nn.functional.elu(alpha) + 1
    total = b.sum()
    divergence = total.lgamma() - b.lgamma().sum() + ((b - 1) * (b.digamma() - total.digamma())).sum()
    (expected,) = torch.autograd.grad(divergence, alpha)
    found = recorded(method)
    method.architecture_step(batch((1,)), batch((1,)), 0, 0.0, 0.1)
    torch.testing.assert_close(found[0][0], expected)


def test_dirichlet_shares_are_the_mean():
    method = DrNas(setup_of(one_gate(lazy(Scaled)(1.0), L.Identity()), (1,), F.cross_entropy))
    (alpha,) = method.logits.tensors()
    with torch.no_grad():
        alpha.copy_(torch.tensor([1.0, -1.0]))
    (share,) = method.shares().values()
    b = torch.tensor([2.0, math.exp(-1.0)], dtype=torch.float64)
    torch.testing.assert_close(share, b / b.sum())


# -- ProxylessNAS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", range(6))
def test_the_gate_gradient_is_that_of_the_expectation_over_the_pair(draw):
    """For a loss linear in the gates: E = Σ over the pair of p_j L_j, by central differences in α."""
    values = (0.5, -1.0, 2.0, 3.0)
    space = one_gate(*(lazy(Scaled)(v) for v in values))
    method = Proxyless(setup_of(space, (1,), lambda outputs, y: outputs.mean()))
    (alpha,) = method.logits.tensors()
    with torch.no_grad():
        alpha.copy_(torch.tensor([0.3, -0.5, 0.8, 0.1]))
    start, (pair,) = alpha.detach().clone(), method._pairs(draw)[0].values()
    ones = batch((1,))._replace(x=torch.ones(2, 1, dtype=torch.float64))
    found = recorded(method)
    loss = method.architecture_step(ones, ones, draw, 0.0, 0.1)
    assert float(loss) in [pytest.approx(values[i]) for i in pair]

    def expectation(a):
        p = a[pair].softmax(0)
        return float(sum(p[j] * values[i] for j, i in enumerate(pair)))

    h = 1e-5
    steps = h * torch.eye(4, dtype=torch.float64)
    expected = [(expectation(start + step) - expectation(start - step)) / (2 * h) for step in steps]
    torch.testing.assert_close(found[0][0], torch.tensor(expected, dtype=torch.float64), atol=1e-8, rtol=1e-6)
    assert [i for i in range(4) if found[0][0][i] != 0] == sorted(pair)


def test_other_probabilities_stay_when_a_pair_moves():
    method, _, start = toy(Proxyless, lr=0.1)
    (alpha,) = method.logits.tensors()
    for draw in range(20):
        before, ((pair,), _) = alpha.detach().softmax(0), (d.values() for d in method._pairs(draw))
        method.architecture_step(batch((5,)), batch((5,), seed=draw), draw, 0.0, 0.1)
        after = alpha.detach().softmax(0)
        others = [i for i in range(4) if i not in pair]
        torch.testing.assert_close(before[others], after[others], atol=1e-12, rtol=0)
        assert not torch.equal(before[pair], after[pair])
    assert (alpha.detach() - start).abs().max() > 0.1


def test_a_zero_in_the_pair_counts_as_an_output_of_zeros():
    method = Proxyless(setup_of(one_gate(N.Zero(), lazy(Scaled)(2.0)), (1,), lambda outputs, y: outputs.mean()))
    (alpha,) = method.logits.tensors()
    start = alpha.detach().clone()
    ones = batch((1,))._replace(x=torch.ones(2, 1, dtype=torch.float64))
    found, losses = recorded(method), set()
    for draw in range(10):
        with torch.no_grad():
            alpha.copy_(start)
        losses.add(float(method.architecture_step(ones, ones, draw, 0.0, 0.1)))
        p = start.softmax(0)
        torch.testing.assert_close(found[-1][0], p * (torch.tensor([0.0, 2.0]) - 2.0 * p[1]))
    assert {round(loss, 20) for loss in losses} == {0.0, 2.0}  # either of them was active


def test_gates_that_were_not_reached_get_no_gradient():
    assert pair_gradient(torch.ones(3), None, [0, 2]).tolist() == [0.0, 0.0, 0.0]
