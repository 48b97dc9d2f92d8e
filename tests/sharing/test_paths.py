"""Methods that train single paths: strict fairness, uniform draws, and the policy of ENAS against enumeration."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from helpers_sharing import L, batch, cell_space, head, mixed_space, setup_of, toy_space
from torch.nn import functional as F

from searchitect.errors import UsageError
from searchitect.policies.base import Sample
from searchitect.seeds import stream
from searchitect.sharing import Start, SupernetSearch
from searchitect.sharing.enas import Enas
from searchitect.sharing.fairnas import FairNas
from searchitect.sharing.method import Batch
from searchitect.sharing.penalty import CostTable, Penalty, Place
from searchitect.sharing.spos import Spos
from searchitect.sharing.uniform import best_drawn, fair_paths, uniform_shares
from searchitect.space import Space, one_of
from searchitect.training import Recipe, TrainData
from searchitect.training.own import Own


@pytest.mark.parametrize("draw", range(20))
def test_each_option_is_on_exactly_one_path(draw):
    space = cell_space()
    paths = fair_paths(space, draw)
    assert len(paths) == 4
    for decision in space.decisions:
        assert sorted(path.decisions[decision.name] for path in paths) == sorted(decision.labels)


def test_fewer_options_go_round_and_are_even_over_draws():
    options = [L.ReLU(), L.Tanh(), L.Sigmoid(), L.GELU(), L.SiLU()]
    space = Space(L.Sequential(one_of(*options, name="five"), one_of(L.ReLU(), L.Tanh(), name="two"), *head()))
    counts = Counter()
    for draw in range(400):
        values = [path.decisions["two"] for path in fair_paths(space, draw)]
        assert sorted(Counter(values).values()) == [2, 3]
        counts.update(values)
    assert abs(counts["ReLU"] - counts["Tanh"]) < 4 * 400**0.5


def test_nested_spaces_give_valid_paths():
    space = mixed_space()
    for draw in range(30):
        for path in fair_paths(space, draw):
            space.validate(path)


@pytest.mark.parametrize("distil", [False, True])
def test_a_sandwich_is_the_mean_of_the_largest_the_smallest_and_what_is_between(distil):
    setup = setup_of(mixed_space(), (3, 6, 6), F.cross_entropy)
    setup.each = partial(F.cross_entropy, reduction="none")
    rows, net = batch((3, 6, 6)), setup.net
    loss = Spos(setup, sandwich=2, distil=distil).weights_step(rows, 5, 0.0)
    found = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    between = [net.space.sample(stream(5, i, "path")) for i in range(2)]
    outputs = [net(rows.x, path) for path in (net.largest(), *between, net.smallest())]
    answers = outputs[0].detach().softmax(1)
    losses = [F.cross_entropy(outputs[0], rows.y)]
    for other in outputs[1:]:
        taught = -(answers * other.log_softmax(1)).sum(1).mean()
        losses.append(taught if distil else F.cross_entropy(other, rows.y))
    expected = torch.autograd.grad(sum(losses) / 4, [dict(net.named_parameters())[name] for name in found])
    assert float(loss) == pytest.approx(float(sum(losses).detach()) / 4)
    for got, slope in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(got, slope)


def test_a_sandwich_learns_numbers_from_the_largest():
    setup = setup_of(mixed_space(), (3, 6, 6), F.mse_loss)
    setup.each = lambda outputs, y: (outputs - y).square().mean(1)
    rows = batch((3, 6, 6))
    rows = Batch(rows.x, torch.ones(6, 3, dtype=torch.float64), torch.arange(6.0, dtype=torch.float64))
    answers = torch.zeros(6, 3, dtype=torch.float64)
    y = setup.net(rows.x, setup.net.smallest())
    found = setup.taught(setup.path(setup.net.smallest()), rows, answers)
    assert float(found.detach()) == pytest.approx(float((rows.weights * y.square().mean(1)).mean().detach()))


@pytest.mark.parametrize(
    ("options", "word"), [({"sandwich": -1}, "0 or more"), ({"distil": True}, "False without a sandwich")]
)
def test_wrong_sandwiches_are_named(options, word):
    with pytest.raises(UsageError, match=word):
        Spos(setup_of(cell_space(), (3, 4, 4), F.cross_entropy), **options)


def test_a_step_of_ones_own_cannot_be_taught():
    setup = setup_of(cell_space(), (3, 4, 4), F.cross_entropy)
    setup.step = lambda network, x, y: F.cross_entropy(network(x), y)
    with pytest.raises(UsageError, match="hides the outputs"):
        Spos(setup, sandwich=1, distil=True)


def test_a_loss_of_ones_own_cannot_be_taught():
    """Or all but the largest path would learn another loss than the one that was asked for."""
    rows = batch((3, 4, 4), 12, dtype=torch.float32)
    data = TrainData(rows.x, rows.y, rows.x, rows.y, "classification", 3)
    options = {"sandwich": 1, "distil": True}
    given = (cell_space(), (3, 4, 4), 3, 0, 1, Recipe(batch_size=6), options)
    with pytest.raises(UsageError, match="False with loss="):
        SupernetSearch("spos", Start(*given, own=Own(F.multi_margin_loss)), data)
    assert SupernetSearch("spos", Start(*given), data).epoch(1).losses["train"] > 0


def test_a_fair_step_is_the_mean_gradient_of_its_paths():
    """And the weights of every option get some of it, each from one path."""
    setup = setup_of(cell_space(), (3, 4, 4), F.cross_entropy)
    rows, net = batch((3, 4, 4)), setup.net
    loss = FairNas(setup).weights_step(rows, 5, 0.0)
    found = {name: p.grad.clone() for name, p in net.named_parameters()}
    losses = [F.cross_entropy(net(rows.x, path), rows.y) for path in fair_paths(net.space, 5)]
    expected = torch.autograd.grad(sum(losses) / 4, list(net.parameters()))
    assert float(loss) == pytest.approx(float(sum(losses).detach()) / 4)
    for got, slope in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(got, slope)


def test_uniform_paths_use_each_option_as_often():
    setup = setup_of(cell_space(), (3, 4, 4), F.cross_entropy)
    seen, n, net = Counter(), 400, setup.net
    forward, net.forward = net.forward, lambda x, path: (seen.update(path.decisions.items()), forward(x, path))[1]
    for draw in range(n):
        Spos(setup).weights_step(batch((3, 4, 4), rows=2), draw, 0.0)
    assert len(seen) == 12
    assert all(abs(count - n / 4) < 4 * (n * 3 / 16) ** 0.5 for count in seen.values())


def test_shares_of_search_only_options_are_zero():
    space = Space(L.Sequential(one_of(L.ReLU(), L.Tanh(), search_only={"none": L.Identity()}, name="a"), *head()))
    setup = setup_of(space, (3, 4, 4), F.cross_entropy)
    ((_, share),) = uniform_shares(setup.net).items()
    assert share.tolist() == [0.5, 0.5, 0.0]


def test_the_best_of_the_drawn_paths_is_taken():
    setup = setup_of(cell_space(), (3, 4, 4), F.cross_entropy, seed=3)
    seen = []

    def judge(architecture):
        seen.append(architecture)
        return sum(value != "conv" for value in architecture.decisions.values())

    best = best_drawn(setup, 12, judge)
    assert seen == list(dict.fromkeys(setup.net.space.sample(stream(3, i, "derive")) for i in range(12)))
    assert judge(best) == min(map(judge, list(seen)))
    assert Spos(setup, drawn=12).derive(judge) == FairNas(setup, drawn=12).derive(judge) == best


# -- ENAS ------------------------------------------------------------------------------------------------


def test_a_policy_step_climbs_the_expected_reward():
    """The mean of the step over all architectures, each by its probability, is 0.95 times the gradient of the expected
    reward (a moving average with the reward itself in it as baseline), which is taken by differences."""
    setup = setup_of(toy_space(), (5,), F.cross_entropy)
    search = batch((5,))
    method = Enas(setup, samples=1, decay=0.95, entropy=0.0)
    policy, space = method.policy, setup.net.space
    architectures = list(space.enumerate())
    with torch.no_grad():
        rewards = np.array([-float(F.cross_entropy(setup.net(search.x, a), search.y)) for a in architectures])
    p = np.exp(policy.log_probs(architectures))
    assert p.sum() == pytest.approx(1.0)
    weighted = []
    policy.ascend = lambda found, entropy: weighted.extend(found)
    for architecture in architectures:
        policy.sample = lambda draws, a=architecture: Sample(a, 0.0)
        method.baseline = -1.3
        method.architecture_step(search, search, 0, 0.0, 0.1)
    for (got, weight), architecture, reward in zip(weighted, architectures, rewards, strict=True):
        assert got == architecture
        assert weight == pytest.approx(0.95 * (reward + 1.3))
    found = policy.gradient([(a, chance * weight) for (a, weight), chance in zip(weighted, p, strict=True)])
    flat = np.concatenate([slope.ravel() for slope in found.values()])
    for seed in range(3):
        way = torch.randn(len(policy.vector), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        sides = []
        for sign in (1, -1):
            policy.vector += sign * 1e-4 * way
            sides.append(np.exp(policy.log_probs(architectures)) @ rewards)
            policy.vector -= sign * 1e-4 * way
        assert 0.95 * (sides[0] - sides[1]) / 2e-4 == pytest.approx(flat @ way.numpy(), rel=1e-5, abs=1e-9)


def test_the_baseline_is_a_moving_average():
    setup = setup_of(toy_space(), (5,), F.cross_entropy)
    method = Enas(setup, samples=2, decay=0.9)
    weighted, rewards = [], []
    method.policy.ascend = lambda found, entropy: weighted.append((found, entropy))
    for step in range(4):
        method.architecture_step(batch((5,)), batch((5,), seed=step), step, 0.0, 0.1)
        paths = [a for a, _ in weighted[-1][0]]
        rows = batch((5,), seed=step)
        rewards += [-float(F.cross_entropy(setup.net(rows.x, a).detach(), rows.y)) for a in paths]
    baseline, expected = rewards[0], []
    for i, reward in enumerate(rewards):
        baseline = baseline if i == 0 else 0.9 * baseline + 0.1 * reward
        expected.append((reward - baseline) / 2)
    assert [w for found, _ in weighted for _, w in found] == pytest.approx(expected)
    assert {entropy for _, entropy in weighted} == {1e-4}
    assert expected[0] == 0.0


def test_costs_are_taken_from_the_reward():
    setup = setup_of(toy_space(), (5,), F.cross_entropy)
    (name, *_), (labels, *_) = zip(*setup.net.decisions().items(), strict=True)
    table = CostTable("macs", [Place(name, (0.0, 3.0, 6.0), {})], {name: labels})
    setup.penalty = Penalty(table, 2.0)
    method, search = Enas(setup, samples=1), batch((5,))
    method.policy.sample = lambda draws: Sample(setup.net.space.at(0), 0.0)
    loss = method.architecture_step(search, search, 0, 0.0, 0.1)
    value = setup.net.space.at(0).decisions[name]
    cost = {"Tanh": 0.0, "Identity": 3.0, "Linear": 6.0}[value]
    assert method.baseline == pytest.approx(-float(loss) - 2.0 * cost / 3.0)


def test_the_policy_s_shares_are_frequencies():
    method = Enas(setup_of(mixed_space(), (3, 4, 4), F.cross_entropy))
    drawn = [method.policy.sample(stream(0, i, "shares")).architecture.decisions for i in range(64)]
    for name, share in method.shares().items():
        values = [decisions[name] for decisions in drawn if name in decisions]
        counts = [values.count(label) for label in method.setup.net.decisions()[name]]
        assert share.tolist() == pytest.approx([count / len(values) for count in counts])
