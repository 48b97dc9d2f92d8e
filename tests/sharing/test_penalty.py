"""Expected costs against enumeration, tables against counts of their own, limits against brute force."""

import math

import pytest
import torch
from helpers_sharing import L, cell_space, head, mixed_space, partial_space

from searchitect.errors import SpaceError, UsageError
from searchitect.nets import Costs, supernet
from searchitect.nets.gates import SubsetGate
from searchitect.sharing.costing import conditions, cost_table
from searchitect.sharing.limits import within
from searchitect.sharing.logits import weighed
from searchitect.sharing.penalty import CostTable, Penalty
from searchitect.space import Space, one_of, repeat
from searchitect.spaces import load_space

SHAPE = (3, 4, 4)


def nested_space():
    """A choice below a choice, choices in copies, and a tied one at two places."""

    def conv(kernel):
        return L.LazyConv2d(4, kernel, padding="same")

    def block():
        return one_of(L.ReLU(), conv=conv(3), deep=L.Sequential(conv(1), one_of(conv(3), conv(5))))

    tied = one_of(L.Tanh(), conv=conv(3), tie="tied")
    return Space(L.Sequential(conv(1), tied, repeat(block, 1, 3, name="copies"), tied, *head()))


def random_shares(net, seed=0, members=False):
    generator = torch.Generator().manual_seed(seed)
    names = weighed(net, members=members)
    return {n: torch.randn(len(o), generator=generator, dtype=torch.float64).softmax(0) for n, o in names.items()}


def enumerated(space, net, table, shares):
    """Σ over all architectures of their probability times their cost; a subset is uniform."""
    labels, total, mass = weighed(net), 0.0, 0.0
    for architecture in space.enumerate():
        p = 1.0
        for name, value in architecture.decisions.items():
            decision = space.by_name[name]
            p *= float(shares[name][labels[name].index(value)]) if name in shares else 1.0 / decision.n
        total, mass = total + p * table.of(architecture), mass + p
    assert mass == pytest.approx(1.0)
    return total


@pytest.mark.parametrize("make", [cell_space, nested_space, partial_space])
@pytest.mark.parametrize("metric", ["params", "macs"])
def test_the_expected_cost_is_the_mean_over_all_architectures(make, metric):
    space = make()
    net = supernet(space, SHAPE, outputs=3)
    table = cost_table(net, metric)
    for seed in range(2):
        shares = random_shares(net, seed)
        assert float(table.expected(shares)) == pytest.approx(enumerated(space, net, table, shares), rel=1e-6)


@pytest.mark.parametrize("make", [cell_space, nested_space, partial_space])
def test_differences_of_costs_are_those_of_whole_networks(make):
    """What architectures cost beside each other, by the table of options and by `Costs`, which builds nothing."""
    space = make()
    net = supernet(space, SHAPE, outputs=3)
    whole = Costs(space, SHAPE, 3)
    tables = {metric: cost_table(net, metric) for metric in ("params", "macs")}
    first = space.sample(0)
    for i in range(12):
        other = space.sample(i)
        for metric, table in tables.items():
            expected = getattr(whole.of(other), metric) - getattr(whole.of(first), metric)
            assert table.of(other) - table.of(first) == pytest.approx(expected), (metric, other.decisions)


def test_gradients_are_those_of_differences():
    space = nested_space()
    net = supernet(space, SHAPE, outputs=3)
    penalty = Penalty(cost_table(net, "macs"), 0.7)
    shares = {name: share.requires_grad_() for name, share in random_shares(net).items()}
    found = dict(zip(shares, torch.autograd.grad(penalty(shares), list(shares.values())), strict=True))
    for name, share in shares.items():
        for i in range(len(share)):
            sides = []
            for sign in (1, -1):
                moved = {n: s.detach().clone() for n, s in shares.items()}
                moved[name][i] += sign * 1e-5
                sides.append(float(penalty(moved)))
            assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(float(found[name][i]), rel=1e-6, abs=1e-8)


def test_the_even_mixture_costs_the_weight():
    net = supernet(nested_space(), SHAPE, outputs=3)
    for weight in (0.0, 0.1, 3.0):
        even = {name: torch.full((len(o),), 1.0 / len(o)) for name, o in weighed(net).items()}
        assert float(Penalty(cost_table(net, "params"), weight)(even)) == pytest.approx(weight, rel=1e-5)


def test_one_architecture_costs_as_its_one_hot_shares():
    space = nested_space()
    net = supernet(space, SHAPE, outputs=3)
    penalty = Penalty(cost_table(net, "macs"), 2.0)
    for i in range(10):
        architecture = space.sample(i)
        shares = {}
        for name, labels in weighed(net).items():
            value = architecture.decisions.get(name, labels[0])
            shares[name] = torch.tensor([float(label == value) for label in labels])
        assert penalty.of(architecture) == pytest.approx(float(penalty(shares)), rel=1e-5)


def test_weights_of_edges_count_k_times():
    space = partial_space()
    net = supernet(space, SHAPE, outputs=3)
    table = cost_table(net, "params")
    even = {n: torch.full((len(o),), 1.0 / len(o)) for n, o in weighed(net, members=True).items()}
    plain = {n: s for n, s in even.items() if n not in table.subsets}
    assert float(table.expected(even)) == pytest.approx(float(table.expected(plain)), rel=1e-6)  # 2 of 3 either way
    (name,) = table.subsets
    sure = even | {name: torch.tensor([0.5, 0.5, 0.0])}
    assert float(table.expected(sure)) == pytest.approx(float(table.expected(plain)), rel=1e-6)
    narrow = CostTable("params", [p for p in table.places if p.needs[name] == {"c"}], table.labels, table.subsets)
    assert float(narrow.expected(sure)) == 0.0


@pytest.mark.parametrize("make", [cell_space, nested_space, mixed_space])
def test_latencies_are_positive_and_convolutions_are_slower(make):
    net = supernet(make(), SHAPE, outputs=3)
    table = cost_table(net, "latency_ms")
    assert net.training
    for name, costs, _ in table.places:
        assert all(0 <= cost < 1000 for cost in costs)
        assert max(costs) > 0, name
    if make is cell_space:
        for name, costs, _ in table.places:
            cost = dict(zip(table.labels[name], costs, strict=True))
            assert cost["conv"] > cost["skip"] > 0


def test_measuring_costs_leaves_the_supernet_as_it_is():
    net = supernet(cell_space(), SHAPE, outputs=3)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for metric in ("params", "macs", "latency_ms"):
        cost_table(net, metric)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_what_brings_a_gate_in():
    needs = {gate.name: wanted for gate, wanted in conditions(supernet(nested_space(), SHAPE, outputs=3)).items()}
    assert needs["copies"] == {}
    assert needs["copies.1"] == {"copies": {2, 3}}
    inner = next(name for name in needs if name.startswith("copies.2.deep"))
    assert needs[inner] == {"copies": {3}, "copies.2": {"deep"}}


def test_other_metrics_and_negative_weights_are_refused():
    net = supernet(cell_space(), SHAPE, outputs=3)
    with pytest.raises(UsageError, match="write params, macs or latency_ms"):
        cost_table(net, "beauty")
    with pytest.raises(UsageError, match="penalty_weight"):
        Penalty(cost_table(net, "params"), -1.0)
    assert Penalty(CostTable("params", [], {}), 1.0).unit == 1.0


# -- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_best_within_a_limit_is_that_of_brute_force(seed):
    space = cell_space()
    net = supernet(space, SHAPE, outputs=3)
    shares, costs = random_shares(net, seed), Costs(space, SHAPE, 3)
    labels = weighed(net)

    def chance(architecture):
        return math.prod(float(shares[n][labels[n].index(v)]) for n, v in architecture.decisions.items())

    everything = list(space.enumerate())
    for limit in sorted({costs.of(a).params for a in everything}):
        best = max((a for a in everything if costs.of(a).params <= limit), key=chance)
        found = within(net, net.derive(shares), shares, lambda a, most=limit: costs.of(a).params <= most)
        assert chance(found) == pytest.approx(chance(best))


def test_what_is_feasible_stays():
    space = cell_space()
    net = supernet(space, SHAPE, outputs=3)
    assert within(net, space.sample(3), random_shares(net), lambda _: True) == space.sample(3)


def test_kernels_count_too():
    space = Space(L.Sequential(L.LazyConv2d(4, one_of(1, 3, 5), padding="same"), one_of(L.ReLU(), L.Tanh()), *head()))
    net = supernet(space, SHAPE, outputs=3)
    shares = {"0.kernel_size": torch.tensor([0.1, 0.3, 0.6]), "1": torch.tensor([0.4, 0.6])}
    found = within(net, net.derive(shares), shares, lambda a: a.decisions["0.kernel_size"] != 5)
    assert found.decisions == {"0.kernel_size": 3, "1": "Tanh"}


def test_weighed_edges_are_given_up_last():
    space = partial_space()
    net = supernet(space, SHAPE, outputs=3)
    shares = {n: torch.full((len(o),), 1.0 / len(o)) for n, o in weighed(net, members=True).items()}
    (edges,) = (gate.name for gate in net.gates if isinstance(gate, SubsetGate))
    shares[edges] = torch.tensor([0.5, 0.3, 0.2])
    first = net.derive(shares)
    assert first.decisions[edges] == "a+b"
    assert within(net, first, shares, lambda a: a.decisions[edges] != "a+b").decisions[edges] == "a+c"


def test_limits_that_nothing_keeps_are_named():
    net = supernet(cell_space(), SHAPE, outputs=3)
    with pytest.raises(SpaceError, match=r"64 tried.*loosen a limit"):
        within(net, net.space.sample(0), random_shares(net), lambda _: False)


def test_nested_choices_are_repaired():
    space = nested_space()
    net = supernet(space, SHAPE, outputs=3)
    costs = Costs(space, SHAPE, 3)
    most = sorted(costs.of(space.sample(i)).params for i in range(40))[4]
    for seed in range(3):
        shares = random_shares(net, seed)
        found = within(net, net.derive(shares), shares, lambda a: costs.of(a).params <= most)
        space.validate(found)
        assert costs.of(found).params <= most


def test_published_spaces_have_tables():
    for name in ("nb201", "darts"):
        space = load_space(name, width=4, **({"cells": 1} if name == "nb201" else {"cells": 3}))
        net = supernet(space, (3, 8, 8), outputs=3)
        table, whole = cost_table(net, "macs"), Costs(space, (3, 8, 8), 3)
        a, b = space.sample(1), space.sample(2)
        assert table.of(a) - table.of(b) == pytest.approx(whole.of(a).macs - whole.of(b).macs)
