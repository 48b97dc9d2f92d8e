import itertools
import pickle

import pytest
import torch
from helpers_nets import L, counted
from torch import nn
from torch.nn import functional as F

import searchitect.nets as nets
from searchitect.errors import ArchitectureError, BuildError, SpaceError, TrialError, UsageError
from searchitect.nets import supernet
from searchitect.nets.gates import ChoiceGate, DepthGate, SubsetGate
from searchitect.space import OUTPUTS, Space, integer, lazy, named, one_of, real, repeat, subset
from searchitect.spaces import load_space
from searchitect.torchseeds import seeded_torch

N = lazy(nets)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    with seeded_torch(seed):
        return torch.randn(*shape, dtype=torch.float64)


def three() -> Space:
    """Two tied choices of three linear maps, and a depth."""
    option = {"a": L.Linear(4, 4), "b": L.Linear(4, 4), "c": L.Identity()}
    choice = one_of(tie="op", **option)
    return Space(L.Sequential(choice, L.Tanh(), choice, named("deep", repeat(lambda: L.Linear(4, 4), 1, 3))))


def test_a_mixture_is_the_sum_written_out():
    net = supernet(three(), (4,)).double()
    first, second, deep = net.gates
    assert [type(gate) for gate in net.gates] == [ChoiceGate, ChoiceGate, DepthGate]
    assert (first.name, second.name, deep.name) == ("op", "op", "deep")
    assert len({gate.place for gate in net.gates}) == 3
    assert net.decisions() == {"op": ("a", "b", "c"), "deep": (1, 2, 3)}
    x, w, v = noise(5, 4), torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.1, 0.6, 0.3])

    def mixed(gate, x):
        a, b, _ = gate.candidates
        return 0.2 * (x @ a.weight.T + a.bias) + 0.3 * (x @ b.weight.T + b.bias) + 0.5 * x

    y = mixed(second, torch.tanh(mixed(first, x)))
    expected = 0.0
    for share, layer in zip(v.tolist(), deep.copies, strict=True):
        y = y @ layer.weight.T + layer.bias
        expected = expected + share * y
    weights = {"op": w.double(), "deep": v.double()}
    torch.testing.assert_close(net.mix(x, weights), expected, atol=1e-7, rtol=1e-7)  # shares of float32 as numbers
    assert torch.equal(net(x, weights=weights), net.mix(x, weights))


def test_gradients_of_the_weights_agree_with_finite_differences():
    net = supernet(three(), (4,)).double()
    x = noise(5, 4)

    def loss(op, deep):
        return net.mix(x, {"op": op.softmax(0), "deep": deep.softmax(0)}).pow(2).sum()

    inputs = (noise(3, seed=1).requires_grad_(), noise(3, seed=2).requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


def test_places_may_have_weights_of_their_own():
    net = supernet(three(), (4,)).double()
    first, second, _ = net.gates
    x, a, c = noise(5, 4), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    deep = torch.tensor([1.0, 0.0, 0.0])
    y = net.mix(x, {first.place: a, second.place: c, "deep": deep})
    torch.testing.assert_close(y, net.gates[2].copies[0](torch.tanh(first.candidates[0](x))))
    assert torch.equal(net.mix(x, {"op": c, first.place: a, "deep": deep}), y)  # a place goes before its name
    assert net.derive({first.place: a * 0.5, second.place: c, "deep": deep}).decisions == {"op": "c", "deep": 1}


def test_an_option_of_zero_weight_is_not_run():
    net = supernet(three(), (4,))
    ran = []
    for gate in net.gates[:2]:
        for label, candidate in zip(gate.labels, gate.candidates, strict=True):
            candidate.register_forward_hook(lambda *_args, label=label: ran.append(label))
    for layer in net.gates[2].copies:
        layer.register_forward_hook(lambda *_args: ran.append("layer"))
    net.mix(torch.zeros(2, 4), {"op": torch.tensor([0.0, 1.0, 0.0]), "deep": torch.tensor([0.5, 0.5, 0.0])})
    assert ran == ["b", "b", "layer", "layer"]
    ran.clear()
    net(torch.zeros(2, 4), net.space.architecture({"op": "a", "deep": 1}))
    assert ran == ["a", "a", "layer"]


def test_a_sampled_one_hot_with_gradient_runs_one_operation():
    net = supernet(three(), (4,)).double()
    logits = noise(3).requires_grad_()
    soft = logits.softmax(0)
    hard = F.one_hot(soft.argmax(), 3) - soft.detach() + soft
    loss = net.mix(noise(5, 4), {"op": hard, "deep": torch.tensor([0.0, 1.0, 0.0])}).sum()
    (gradient,) = torch.autograd.grad(loss, [logits])
    assert gradient.abs().sum() > 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_kernels_weighed_by_slicing_are_one_convolution_with_the_weighed_kernel():
    kernel = one_of(1, 3, 5, tie="kernel")
    space = Space(L.Sequential(L.Conv2d(2, 3, kernel, padding=kernel // 2, bias=False)))
    net = supernet(space, (2, 9, 9)).double()
    net.require_mixable()
    (large,) = net.parameters()
    assert large.shape == (3, 2, 5, 5)
    blended = 0.5 * large
    blended[:, :, 1:4, 1:4] = blended[:, :, 1:4, 1:4] + 0.3 * large[:, :, 1:4, 1:4]
    blended[:, :, 2:3, 2:3] = blended[:, :, 2:3, 2:3] + 0.2 * large[:, :, 2:3, 2:3]
    x = noise(2, 2, 9, 9)
    y = net.mix(x, {"kernel": torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)})
    torch.testing.assert_close(y, F.conv2d(x, blended, padding=2), atol=1e-12, rtol=1e-12)


def test_two_sizes_in_one_layer_are_weighed_by_their_product():
    conv = L.Conv1d(2, 2, one_of(1, 3, tie="k"), padding="same", dilation=one_of(1, 2, tie="d"), bias=False)
    net = supernet(Space(L.Sequential(conv)), (2, 9)).double()
    x, k, d = noise(1, 2, 9), torch.tensor([0.4, 0.6]).double(), torch.tensor([0.1, 0.9]).double()
    expected = sum(
        k[i] * d[j] * net(x, net.space.architecture({"k": (1, 3)[i], "d": (1, 2)[j]}))
        for i, j in itertools.product(range(2), range(2))
    )
    torch.testing.assert_close(net.mix(x, {"k": k, "d": d}), expected)
    torch.testing.assert_close(
        net.mix(x, {"k": k}, {"d": 2}),
        sum(k[i] * net(x, net.space.architecture({"k": (1, 3)[i], "d": 2})) for i in range(2)),
    )


# -- hooks -----------------------------------------------------------------------------------------------


def test_the_primitive_decides_what_a_gate_gives():
    net = supernet(three(), (4,))
    x, met = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), []

    def combine(gate, x):
        met.append((gate.name, gate.place))
        return gate.pick(0, x) if isinstance(gate, DepthGate) else torch.stack(gate.outputs(x)).amax(0)

    y = net.run(x, combine)
    assert met == [(gate.name, gate.place) for gate in net.gates]
    biggest = torch.stack([c(x) for c in net.gates[0].candidates]).amax(0)
    again = torch.stack([c(torch.tanh(biggest)) for c in net.gates[1].candidates]).amax(0)
    torch.testing.assert_close(y, net.gates[2].copies[0](again))
    with pytest.raises(UsageError, match="does not know what to run"):
        net(x)


def test_candidates_may_see_a_part_of_the_channels():
    def quarter(gate, inner, x):
        part = x.shape[1] // 4
        y, rest = inner(x[:, :part]), x[:, part:]
        if y.shape[2:] != rest.shape[2:]:
            rest = F.max_pool2d(rest, 2, 2)
        return torch.cat([y, rest], dim=1)

    space = load_space("darts", cells=3, width=8)
    net = supernet(space, (3, 8, 8), outputs=3, around=quarter)
    whole = supernet(space, (3, 8, 8), outputs=3)
    assert sum(p.numel() for p in net.parameters()) < 0.7 * sum(p.numel() for p in whole.parameters())
    weights = {name: torch.full((len(labels),), 1 / len(labels)) for name, labels in net.decisions().items()}
    assert net.mix(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), weights).shape == (2, 3)
    gate = next(g for g in net.gates if isinstance(g, ChoiceGate))
    assert gate.candidates[0].body[1].in_channels == 2  # a quarter of eight
    with pytest.raises(UsageError, match="no stand-alone paths"):
        net.path(space.sample(0))


def test_a_cell_can_be_run_as_a_whole():
    net = supernet(load_space("nb201", cells=1, width=2), (3, 6, 6), outputs=3)
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    weights = {name: torch.full((5,), 0.2) for name in net.decisions()}
    expected, calls = net.mix(x, weights), []

    def slow(cell, run, x):
        calls.append((len(cell.edges), run.shares["0-1"].numbers[0] if run.shares else run.chosen["0-1"]))
        return cell(x)

    net.whole(nets.Cell, slow)
    torch.testing.assert_close(net.mix(x, weights), expected)
    assert calls == [(6, pytest.approx(0.2))] * 3
    calls.clear()
    path = net.space.sample(0)
    net(x, path)
    assert calls == [(6, net.decisions()["0-1"].index(path.decisions["0-1"]))] * 3
    calls.clear()
    net.whole(nets.Cell, None)
    net.mix(x, weights)
    assert not calls


# -- what is made of a space -----------------------------------------------------------------------------


class Power(nn.Module):
    """A user's block with weights that no slice can share."""

    def __init__(self, power: int, scale: float = 1.0) -> None:
        super().__init__()
        self.power, self.scale = power, scale
        self.weight = nn.Parameter(torch.full((3,), float(power)))

    def forward(self, x):
        return self.scale * x**self.power * self.weight


def test_ties_never_share_weights_and_values_get_instances():
    block = lazy(Power)(one_of(1, 2, 3, tie="power"))
    net = supernet(Space(L.Sequential(block, block)), (3,))
    assert len(list(net.parameters())) == 6
    x = torch.full((1, 3), 2.0)
    assert net(x, net.space.architecture({"power": 3})).tolist() == [[(8 * 3) ** 3 * 3.0] * 3]
    assert net(x, net.space.architecture({"power": 1})).tolist() == [[2.0] * 3]


def test_a_module_that_is_given_a_path_keeps_its_weights_apart():
    net = supernet(three(), (4,))
    model = net.path(net.space.architecture({"op": "a", "deep": 1}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(parameter.abs().sum() > 0 for parameter in net.parameters())
    assert isinstance(model, nn.Sequential)
    assert model.training
    assert not net.eval().path(net.space.sample(0)).training


def test_search_only_options_are_weighed_and_never_chosen():
    option = one_of(a=L.Linear(2, 2), b=L.Identity(), search_only={"none": N.Zero()}, tie="op")
    space = Space(L.Sequential(option))
    assert space.size.finite == 2
    assert Space.from_json(space.to_json()).to_json() == space.to_json()
    assert space.fingerprint != Space(L.Sequential(one_of(a=L.Linear(2, 2), b=L.Identity(), tie="op"))).fingerprint
    net = supernet(space, (2,))
    assert net.decisions() == {"op": ("a", "b", "none")}
    x = torch.ones(1, 2)
    assert net.mix(x, {"op": torch.tensor([0.0, 0.25, 0.75])}).tolist() == [[0.25, 0.25]]
    assert net.mix(x, {"op": torch.tensor([0.0, 0.0, 1.0])}).tolist() == [[0.0, 0.0]]
    assert net.derive({"op": torch.tensor([0.1, 0.2, 0.7])}).decisions == {"op": "b"}
    with pytest.raises(SpaceError, match="holds decisions"):
        Space(L.Sequential(one_of(L.ReLU(), L.Tanh(), search_only={"x": one_of(L.ReLU(), L.ELU())}, tie="t")))
    with pytest.raises(SpaceError, match="among modules"):
        one_of(1, 2, search_only={"none": N.Zero()})
    with pytest.raises(SpaceError, match="twice"):
        one_of(a=L.ReLU(), search_only={"a": N.Zero()})


def test_sizes_are_counted_as_torch_counts_them():
    net = supernet(three(), (4,))
    size = net.size()
    assert size.params == 2 * 2 * 20 + 3 * 20
    assert size.path_params == counted(net.path(net.largest()), torch.zeros(1, 4))[0] == 5 * 20
    assert net.largest().decisions == {"op": "a", "deep": 3}
    assert net.smallest().decisions == {"op": "c", "deep": 1}
    assert 0 < size.path_activations < size.activations


def test_a_supernet_is_pickled_with_its_weights():
    net = supernet(three(), (4,)).double().eval()
    again = pickle.loads(pickle.dumps(net))
    x, architecture = noise(2, 4), net.space.sample(1)
    assert torch.equal(again(x, architecture), net(x, architecture))
    assert not again.training


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([L.LazyLinear(one_of(2, 4, tie="w"))], "decision 'w' cannot be weighed: option 2 gives shape"),
        ([L.Linear(3, 3), L.Dropout(real(0.0, 0.5, tie="p"))], "decision 'p' is a real number"),
        ([one_of(a=L.Linear(3, 3), b=L.Linear(3, 5), tie="op"), L.LazyLinear(2)], "decision 'op' cannot be weighed"),
        ([L.LazyLinear(integer(1, 100, tie="w"))], "decision 'w' cannot be weighed"),
    ],
)
def test_weighed_methods_are_refused_before_training(layers, text):
    net = supernet(Space(L.Sequential(*layers)), (3,))
    with pytest.raises((UsageError, SpaceError), match=text):
        net.require_mixable()
    net(torch.ones(2, 3), net.space.sample(0))  # a single path is fine


def test_what_is_fixed_is_not_refused():
    net = supernet(Space(L.Sequential(L.LazyLinear(one_of(2, 4, tie="w")), one_of(L.ReLU(), L.Tanh(), tie="a"))), (3,))
    net.require_mixable({"w": 4})
    assert net.mix(torch.ones(2, 3), {"a": torch.tensor([0.5, 0.5])}, {"w": 2}).shape == (2, 2)
    with pytest.raises(UsageError, match="no such decision"):
        net.require_mixable({"width": 4})
    with pytest.raises(ArchitectureError, match="allowed is 2, 4"):
        net.require_mixable({"w": 3})


def test_missing_and_wrong_weights_are_named():
    net = supernet(Space(L.Sequential(L.LazyLinear(one_of(2, 4, tie="w")), one_of(L.ReLU(), L.Tanh(), tie="a"))), (3,))
    x, a = torch.ones(2, 3), torch.tensor([0.5, 0.5])
    with pytest.raises(UsageError, match="decision 'w' has no value"):
        net.mix(x, {"a": a})
    with pytest.raises(UsageError, match="decision 'a' has no weights"):
        net.mix(x, {}, {"w": 2})
    with pytest.raises(UsageError, match="'a' has 2 options"):
        net.mix(x, {"a": torch.ones(3)}, {"w": 2})
    with pytest.raises(UsageError, match=r"shape \(1, 2\)"):
        net.mix(x, {"a": a[None]}, {"w": 2})
    with pytest.raises(UsageError, match="'w' changes the shape"):
        net.mix(x, {"a": a, "w": torch.tensor([0.5, 0.5])})
    assert torch.equal(net.mix(x, {}, {"w": 2, "a": "Tanh"}), net(x, net.space.architecture({"w": 2, "a": "Tanh"})))
    with pytest.raises(ArchitectureError, match="belongs to space"):
        net(x, three().sample(0))
    with pytest.raises(UsageError, match="decision 'w' has no value"):  # an error leaves nothing behind
        net(x)


class Hoards(nn.Module):
    """Has a part that it never uses."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x):
        return x


class Fixed(nn.Module):
    """Cannot be sliced: three numbers in, three out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x @ torch.diag(self.weight)


class Breaks(nn.Module):
    """Fails with an error of its own."""

    def forward(self, x):
        raise KeyError("lost")


@pytest.mark.parametrize(
    ("layers", "kind", "text"),
    [
        ([lazy(Power)(1, real(0.5, 1.0, tie="s"))], BuildError, "Power.* has weights, and 's' can be more than 64"),
        ([lazy(Power)(integer(1, 90, tie="p"))], BuildError, "Power.* has weights, and 'p' can be more than 64"),
        ([lazy(Hoards)(one_of(L.Linear(3, 3), L.ReLU(), tie="op"))], BuildError, "decision 'op': its options never"),
        ([lazy(Hoards)(L.LazyLinear(2))], BuildError, "LazyLinear of the supernet never received an input"),
        ([L.LazyLinear(one_of(2, 3, tie="w")), lazy(Fixed)()], BuildError, r"Fixed.*with w=2\): a layer that is not"),
        ([L.Linear(4, 3)], BuildError, r"'0' \(Linear\)"),
        ([lazy(Breaks)()], TrialError, "KeyError in your code: 'lost'"),
        ([L.LazyLinear(OUTPUTS)], UsageError, "pass outputs="),
    ],
)
def test_what_cannot_be_shared_is_named(layers, kind, text):
    with pytest.raises(kind, match=text):
        supernet(Space(L.Sequential(*layers)), (3,))


def test_an_input_of_another_size_is_told_apart_from_a_fault():
    net = supernet(Space(L.Sequential(N.Position(), L.Linear(4, one_of(2, 3, tie="w")))), (5, 4))
    assert net(torch.ones(1, 3, 4), net.space.sample(0)).shape[1] == 3  # fewer tokens: the first places
    with pytest.raises(BuildError, match=r"needs more than the dry run allocated"):
        net(torch.ones(1, 6, 4), net.space.sample(0))


def test_a_width_that_shrinks_as_its_decision_grows_is_allocated():
    space = Space(L.Sequential(L.Linear(3, 12 // integer(1, 4, tie="ratio")), L.LazyLinear(2)))
    net = supernet(space, (3,))
    for ratio in (1, 2, 3, 4):
        architecture = space.architecture({"ratio": ratio})
        x = torch.ones(1, 3)
        torch.testing.assert_close(net(x, architecture), net.path(architecture)(x))
    assert net.size().params == 3 * 12 + 12 + 12 * 2 + 2


def test_sizes_that_grow_as_several_values_shrink_are_allocated():
    first, second, width = one_of(1, 2, tie="s1"), one_of(1, 2, tie="s2"), one_of(2, 5, tie="width")
    layers = [L.LazyConv1d(width, 1, stride) for stride in (first, second)]
    space = Space(L.Sequential(*layers, L.Flatten(), L.LazyLinear(2)))
    net = supernet(space, (3, 8))
    assert net.size().params == (3 * 5 + 5) + (5 * 5 + 5) + (5 * 8 * 2 + 2)
    for architecture in space.enumerate():
        x = torch.ones(1, 3, 8)
        torch.testing.assert_close(net(x, architecture), net.path(architecture)(x))


# -- deriving --------------------------------------------------------------------------------------------


def test_darts_are_derived_by_the_published_rule():
    space = load_space("darts", cells=3, width=2)
    net = supernet(space, (3, 8, 8), outputs=2)
    for seed in range(20):
        with seeded_torch(seed):
            weights = {name: torch.randn(8).mul(0.3).softmax(0) for name in net.decisions()}
        found = net.derive(weights).decisions
        for cell, node in itertools.product(("normal", "reduce"), (2, 3, 4, 5)):
            alphas = [weights[f"{cell}.{node}.from{j}"] for j in range(node)]
            # published: sort incoming edges by their strongest operation other than none, keep two
            order = sorted(range(node), key=lambda j: -max(float(alphas[j][o]) for o in range(7)))[:2]
            kept = {j for j in range(node) if f"{cell}.{node}.from{j}" in found}
            assert kept == set(order)
            for j in kept:
                best = max(range(7), key=lambda o: float(alphas[j][o]))
                assert found[f"{cell}.{node}.from{j}"] == net.decisions()[f"{cell}.{node}.from{j}"][best]


def test_weights_of_edges_count_in_the_strength_of_an_edge():
    net = supernet(load_space("darts", cells=3, width=2), (3, 8, 8), outputs=2)
    weights = {name: torch.full((8,), 0.125) for name in net.decisions()}
    weights["normal.5.from4"] = torch.tensor([0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert net.derive(weights).decisions["normal.5"] == "from0+from4"  # the strongest, then the first of equal ones
    edges = torch.tensor([0.1, 0.1, 0.4, 0.3, 0.1])  # 0.4·0.125 > 0.3·0.125 > 0.1·0.3 > 0.1·0.125
    assert net.derive({**weights, "normal.5": edges}).decisions["normal.5"] == "from2+from3"


def test_weighed_members_are_scaled_one_by_one():
    members = subset(a=L.Identity(), b=L.ReLU(), c=L.Tanh(), k=2, tie="some")
    net = supernet(Space(L.Sequential(lazy(Total)(members))), (2,))
    (gate,) = net.gates
    assert isinstance(gate, SubsetGate)
    assert gate.labels == ("a", "b", "c")
    assert net.decisions() == {}
    assert net.decisions(members=True) == {"some": ("a", "b", "c")}
    x = torch.tensor([[-1.0, 2.0]])
    total = x + torch.relu(x) + torch.tanh(x)
    torch.testing.assert_close(net.mix(x, {}), total)
    weighed = 0.5 * x + 0.2 * torch.relu(x) + 0.3 * torch.tanh(x)
    torch.testing.assert_close(net.mix(x, {"some": torch.tensor([0.5, 0.2, 0.3])}), weighed)
    assert net.derive({"some": torch.tensor([0.5, 0.2, 0.3])}).decisions == {"some": "a+c"}
    torch.testing.assert_close(net(x, net.space.architecture({"some": "b+c"})), torch.relu(x) + torch.tanh(x))


class Total(nn.Module):
    """The sum of what a subset gives."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x):
        return sum(self.part(x))
