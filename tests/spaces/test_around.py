"""Spaces around networks of the user's: the original is a point of it, all points can be built, edits are as said."""

import copy
import pickle

import pytest
import torch
import torch.nn as nn
from around_models import (
    MODELS,
    Attention,
    Basic,
    Crossed,
    Decides,
    Gated,
    Layer,
    Maps,
    ResNet,
    Transformer,
    Two,
    perceptron,
)

from searchitect import Space, build, load_space, search, space_around
from searchitect.errors import SpaceError, UsageError
from searchitect.nets import Costs, Mean, Tokens, supernet
from searchitect.spaces.around import with_weights
from searchitect.testing.space import SpaceContract
from searchitect.torchseeds import seeded_torch


def model(name):
    make, shape = MODELS[name]
    with seeded_torch(7):
        network = make()
        x = torch.randn(5, *shape)
        for _ in range(2):  # BatchNorm statistics of its own
            network(x)
    return network, shape, x


@pytest.mark.parametrize("name", MODELS)
def test_the_original_is_a_point_with_the_same_function(name):
    network, shape, x = model(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    mode = network.training
    space = space_around(network, x)
    carried = with_weights(space, network, x)
    with torch.no_grad():
        wanted = copy.deepcopy(network).eval()(x)
        assert torch.allclose(carried(x), wanted, rtol=1e-5, atol=1e-5)
    baseline = space.architecture(space.baseline)
    params = sum(p.numel() for p in network.parameters())
    assert Costs(space, shape, wanted.shape[-1]).of(baseline).params == params
    assert network.training is mode
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_all_points_can_be_built_and_run(name):
    network, shape, x = model(name)
    space = space_around(network, shape)
    costs = Costs(space, shape, 3)
    for seed in range(60):
        architecture = space.sample(seed)
        cost = costs.of(architecture)  # raises where something does not fit
        if seed < 3:
            made = build(space, architecture, shape, outputs=3)
            assert made(x).shape == (5, 3)
            assert sum(p.numel() for p in made.parameters()) == cost.params


@pytest.mark.parametrize("name", MODELS)
def test_smaller_and_larger_ones_are_there(name):
    network, shape, _ = model(name)
    space = space_around(network, shape)
    costs = Costs(space, shape, 10)
    own = costs.of(space.architecture(space.baseline)).params
    others = [costs.of(space.sample(seed)).params for seed in range(25)]
    if name != "layer":  # which has nothing to choose
        assert min(others) < own < max(others)


class TestAroundResidual(SpaceContract):
    shape, outputs, builds, draws, brute = (3, 8, 8), 10, 2, 300, 500

    def make(self):
        return space_around(ResNet(1), self.shape)


class TestAroundTransformer(SpaceContract):
    shape, outputs, builds, draws, brute = (3, 16, 16), 10, 2, 300, 500
    targets = {f"{Attention.__module__}.Attention": Attention}  # noqa: RUF012 - as the contract has it

    def make(self):
        return space_around(Transformer(), self.shape)


def test_the_choices_of_a_perceptron_are_counted_by_hand():
    space = space_around(perceptron(), (20,))
    values = {d.name: d.labels for d in space.decisions}
    assert tuple(values["0.width"]) == (16, 24, 32, 48)
    assert tuple(values["activation"]) == ("ReLU", "SiLU", "GELU")
    assert tuple(values["activation2"]) == ("Tanh", "ReLU", "SiLU", "GELU")
    assert tuple(values["0.depth"]) == (0, 1, 2)
    assert tuple(values["2.depth"]) == (0, 1)  # LayerNorm names its width: it cannot be left out, a copy can follow
    assert tuple(values["4.norm"]) == ("layer", "rms")
    first = 1 + 2 * 4 * 3  # absent, or once or twice with one width and the activation
    second = 4 * 4 * 2 * (1 + 2)  # width, activation, norm; a copy has a norm of its own
    assert int(space.size) == first * second == len(set(space.enumerate()))


def test_widths_joined_by_a_sum_are_one_decision():
    space = space_around(ResNet(3), (3, 16, 16))
    widths = {d.name for d in space.decisions if d.name.endswith("width")}
    # one for each stage's stream (the first with the stem's), one inside each of nine blocks
    stream = {name for name in widths if "conv1" not in name}
    assert len(stream) == 3
    assert {d.name for d in space.decisions if d.name.endswith(".depth")} >= {"conv.depth"}
    depths = [d for d in space.decisions if d.name.endswith("depth") and d.low >= 1]
    assert [tuple(d.labels) for d in depths] == [(1, 2, 3, 4), (1, 2, 3), (1, 2, 3)]


def test_kernels_keep_the_size_and_others_are_noted():
    odd = nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.ReLU(), nn.Conv2d(8, 8, 5, 2, 2), nn.Flatten(), nn.LazyLinear(2))
    odd(torch.zeros(1, 3, 16, 16))
    space = space_around(odd, (3, 16, 16))
    assert tuple(space.by_name["2.kernel"].labels) == (3, 5, 7)
    assert "0.kernel" not in space.by_name
    assert space.notes == ("0 keeps its kernel (4, 4) with padding (0, 0)",)


def test_what_is_not_touched_is_told():
    space = space_around(Transformer(), (3, 16, 16))
    text = "\n".join(space.notes)
    assert "layers.0.attn (Attention) stays as it is" in text
    assert "patch keeps its width 16: layers.0.attn needs it" in text
    assert tuple(space.by_name["layers.0.mlp.0.width"].labels) == (32, 48, 64, 96)
    assert tuple(space.by_name["layers.0.n1.depth"].labels) == (1, 2, 3)  # attention and perceptron together
    assert space.by_name["layers.0.n1.block"].labels == ("own", "depthwise")


def test_a_path_that_depends_on_the_data_is_named_with_its_line():
    with pytest.raises(SpaceError, match=r"Decides: its forward decides .*around_models\.py line \d+ in forward"):
        space_around(Decides(), (3,))
    inside = space_around(nn.Sequential(nn.Linear(3, 3), Decides(), nn.Linear(3, 2)), (3,))
    assert any("1 (Decides) stays as it is: its forward decides" in note for note in inside.notes)


def test_other_networks_are_refused_with_the_place():
    with pytest.raises(SpaceError, match="lines meet that come from different places"):
        space_around(Crossed(), (4,))
    with pytest.raises(SpaceError, match=r"Gated.*'secret' is not kept as an attribute"):
        space_around(nn.Sequential(nn.Linear(4, 4), Gated(4, 0)), (4,))
    kept = space_around(nn.Sequential(nn.Linear(4, 4), Gated(4, 0, keep=True), nn.Linear(4, 2)), (4,))
    assert any("`mul`" in note for note in kept.notes)
    with pytest.raises(UsageError, match="batch dimension"):
        space_around(perceptron(), torch.zeros(20))
    with pytest.raises(UsageError, match="got int"):
        space_around(3, (4,))
    with pytest.raises(SpaceError, match="Two: its forward takes more or less than one input"):
        space_around(Two(), (4,))
    with pytest.raises(SpaceError, match=r"fails on the sample, at '0': mat1.*; give one that it takes$"):
        space_around(perceptron(), (7,))
    shared = nn.Linear(4, 4)
    with pytest.raises(SpaceError, match="more than once"):
        space_around(nn.Sequential(shared, nn.ReLU(), shared), (4,))


def test_networks_that_give_maps_keep_their_channels():
    space = space_around(Maps(), (3, 8, 8))
    assert build(space, space.sample(3), (3, 8, 8), outputs=99)(torch.zeros(2, 3, 8, 8)).shape == (2, 4, 8, 8)
    assert "last keeps its width 4: it is the network's output" in space.notes
    assert "first.width" in space.by_name


def test_it_prints_travels_and_has_a_supernet():
    network, shape, _ = model("resnet8")
    space = space_around(network, shape, name="mine")
    assert space.name == "around mine"
    assert "depthwise = Residual" in space.draw()
    assert "Residual" in space.draw(space.architecture(space.baseline))
    back = pickle.loads(pickle.dumps(space))
    assert (back.fingerprint, back.notes, back.baseline) == (space.fingerprint, space.notes, space.baseline)
    assert Space.from_json(space.to_json()).fingerprint == space.fingerprint
    assert sum(p.numel() for p in supernet(space, shape, outputs=10).parameters()) > 1000
    assert load_space("mlp").notes == ()


@pytest.mark.slow
def test_a_search_compares_with_the_original_and_exports(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 16, 2, 2), Basic(16, 16), Tokens(), Layer(16, 2), Mean(1), nn.Linear(16, 10))
    space = space_around(network, (1, 8, 8))
    study = search(
        space, "digits", trials=2, epochs=1, seeds=3, limit_train=300, path=tmp_path / "study", executor="serial"
    )  # fmt: skip
    assert study.meta["baseline"] == {"kind": "architecture", "decisions": space.architecture(space.baseline).decisions}
    assert study.verdict.sentence
    study.export(tmp_path / "shipped")
    from searchitect.finalize import opening

    made = opening.run_bundle(tmp_path / "shipped", run_its_code=True)
    assert len(made.predict(torch.zeros(3, 1, 8, 8).numpy())) == 3
