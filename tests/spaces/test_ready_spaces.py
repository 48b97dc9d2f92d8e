import importlib
import itertools
import math

import pytest
import torch
from torch import nn

import searchitect.nets as nets
import searchitect.spaces as spaces
from searchitect.errors import UsageError
from searchitect.nets import Costs, build
from searchitect.space import Architecture, Space
from searchitect.spaces import SPACES, auto, load_space, nb201
from searchitect.spaces.automatic import shared
from searchitect.torchseeds import seeded_torch

SHAPES = {
    "cnn": (1, 28, 28), "mlp": (20,), "tcn": (3, 40), "nb201": (3, 12, 12), "mobilenet": (3, 16, 16),
    "darts": (3, 12, 12), "transformer": (3, 16, 16), "macro": (3, 12, 12),
    "gpt": (12,), "ft_transformer": (5,), "resnet": (3, 12, 12), "vit": (3, 12, 12), "rnn": (3, 8),
    "nb101": (3, 12, 12),
}  # fmt: skip
SMALL = {"nb201": {"cells": 1, "width": 4}, "darts": {"cells": 3, "width": 4}, "macro": {"layers": 4, "width": 4},
         "gpt": {"vocabulary": 9, "length": 12, "dims": (4, 8)},
         "ft_transformer": {"dims": (4, 8), "depth": 2}, "resnet": {"widths": (4, 8), "depth": 2},
         "vit": {"dims": (12, 24), "depth": 2}, "rnn": {"length": 8, "widths": (4, 8)},
         "nb101": {"cells": 1, "width": 6}}  # fmt: skip
IMAGES = ("cnn", "nb201", "mobilenet", "darts", "transformer", "macro", "resnet", "vit", "nb101")


def drawn(space: Space, n: int) -> list[Architecture]:
    """The first n random architectures that the space allows."""
    return list(itertools.islice(filter(space.allows, (space.sample(i) for i in itertools.count())), n))


def trains(space: Space, architecture, shape, outputs=3, batch=4):
    """Build, run forward and backward; the cost on paper equals the built network's."""
    model = build(space, architecture, shape, outputs=outputs)
    with seeded_torch(0):
        x = torch.randn(batch, *shape)
        y = model(x)
        assert y.shape == (batch, outputs)
        nn.functional.cross_entropy(y, torch.arange(batch) % outputs).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert Costs(space, shape, outputs).of(architecture).params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("samples", [4, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SPACES)
def test_samples_and_the_baseline_train(name, samples):
    space = load_space(name, **SMALL.get(name, {}))
    assert space.name == name
    for architecture in [space.architecture(space.baseline), *drawn(space, samples)]:
        trains(space, space.validate(architecture), SHAPES[name])


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("shape", [(1, 4, 4), (13, 4, 4), (3, 5, 7), (2, 8, 33), (1, 1, 1)])
def test_any_image_will_do(name, shape):
    options = SMALL.get(name, {}) | ({"patch": 1} if name in ("transformer", "vit") and min(shape[1:]) < 4 else {})
    space = load_space(name, **options)
    for architecture in drawn(space, 4):
        trains(space, architecture, shape)


@pytest.mark.parametrize("size", [4, 5, 8, 14, 19, 20, 28, 32, 64, 95, 96, 224])
def test_cnn_for_its_own_size(size):
    space = load_space("cnn", size=size, width=4)
    trains(space, space.architecture(space.baseline), (1, size, size))
    trains(space, space.sample(size), (3, size, size + 3))


@pytest.mark.parametrize("length", [1, 2, 4, 16, 128, 300, 2000])
def test_tcn_for_its_own_length(length):
    space = load_space("tcn", length=length, widths=(4, 8))
    for architecture in (space.architecture(space.baseline), space.sample(0), space.sample(1)):
        trains(space, architecture, (2, length))


def test_transformer_for_sequences():
    space = load_space("transformer", kind="sequence", patch=3, dims=(8,), depth=1)
    for architecture in (space.architecture(space.baseline), space.sample(0)):
        trains(space, architecture, (2, 12))


@pytest.mark.parametrize("options", [{"depth": 1}, {"widths": (16,)}, {"widths": (16,), "depth": 2}])
def test_mlp_with_few_options(options):
    space = load_space("mlp", **options)
    trains(space, space.architecture(space.baseline), (5,))


@pytest.mark.parametrize(
    ("name", "options"),
    [("cnn", {"stages": 1, "depth": 0}), ("cnn", {"stages": 1, "size": 8}), ("cnn", {"depth": 1}),
     ("mobilenet", {"depth": 1}), ("mobilenet", {"stages": 1}), ("tcn", {"levels": 1, "widths": (8,)}),
     ("darts", {"cells": 3}), ("darts", {"cells": 8}), ("transformer", {"depth": 1}),
     ("macro", {"layers": 1, "halvings": 0}), ("macro", {"layers": 2}), ("macro", {"layers": 9, "halvings": 3})],
)  # fmt: skip
def test_small_variants_have_valid_baselines(name, options):
    space = load_space(name, **options)
    trains(space, space.architecture(space.baseline), SHAPES[name])


def powers(base: int, low: int, high: int) -> int:
    return sum(base**d for d in range(low, high + 1))


def test_exact_sizes():
    assert load_space("nb201").size.finite == 15_625
    assert load_space("nb201", cells=1).size.finite == sum(1 for _ in load_space("nb201", cells=1).enumerate())
    assert load_space("darts").size.finite == 1_037_664_180**2
    for stages, depth in ((1, 0), (2, 1), (3, 2), (4, 3)):
        space = load_space("cnn", size=28, stages=stages, depth=depth)
        # without a second stage the stem's pooling is the only one
        assert space.size.finite == powers(6, 0, depth) ** stages * (4 * 2 * 2) ** stages * _around(stages)
    for depth in (1, 2, 4):
        assert load_space("mlp", depth=depth).size.finite == 4 * 4 * 3 * 4 * powers(3, 0, depth - 1)
        assert load_space("mobilenet", depth=depth).size.finite == 2 * (3 * powers(12, 1, depth)) ** 3
        assert load_space("transformer", depth=depth).size.finite == 2 * 3 * powers(5 * 3 * 2, 1, depth)
        assert load_space("gpt", depth=depth).size.finite == 3 * 3 * powers(5 * 3 * 2, 1, depth)
        assert load_space("resnet", depth=depth).size.finite == 4 * powers(4, 1, depth) ** 3
        assert load_space("vit", depth=depth).size.finite == 3 * 3 * powers(9, 1, depth)
        assert load_space("ft_transformer", depth=depth).size.finite == 3 * 3 * powers(12, 1, depth)
        assert load_space("rnn", nodes=depth).size.finite == 3 * 3 * 4**depth * math.factorial(depth - 1)
    for vertices in (4, 6, 7):
        size = load_space("nb101", vertices=vertices).size.finite
        assert size == 2 ** (vertices * (vertices - 1) // 2) * 3 ** (vertices - 2)
    for layers in (1, 3, 5):
        skips = layers * (layers - 1) // 2
        assert load_space("macro", layers=layers, halvings=1).size.finite == 6**layers * 2**skips
    assert f"{load_space('macro', layers=12).size.finite:.1e}" == "1.6e+29"  # Pham et al. 2018, section 2.3
    for levels in (1, 2, 5):
        assert load_space("tcn", levels=levels).size.finite == 4 * 3 * 3 * 3 * 2 * 2 * powers(4, 1, levels)
    small = load_space("cnn", size=8, stages=1, depth=1)
    assert small.size.finite == sum(1 for _ in small.enumerate())


def _around(stages: int) -> int:
    """Decisions outside the stages: activation, stem kernel, stem, head pixels, dropout, and pooling where used."""
    rest = 3 * 2 * 2 * 4
    strided, pooled = (1 if stages == 1 else 2), 2
    return rest * (strided + pooled)


def test_nb201_is_the_published_network():
    space = load_space("nb201")
    assert [d.name for d in space.decisions] == list(nb201.EDGES)
    assert all(tuple(d.labels) == nb201.OPERATIONS for d in space.decisions)
    model = build(space, space.architecture(dict.fromkeys(nb201.EDGES, "nor_conv_3x3")), (3, 32, 32), outputs=10)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs[1:7]] == [16] * 6
    assert sum(c.kernel_size == (3, 3) for c in convs) == 1 + 3 * 5 * 6 + 2 * 2
    assert len(list(model.children())) == 2 + 3 + 2 + 5


def test_convolutions_of_nb201_may_follow_their_input():
    """Other modules for the same networks: parameters and outputs agree."""
    usual, follows = (load_space("nb201", cells=1, width=4, follow=f) for f in (False, True))
    assert usual.fingerprint != follows.fingerprint
    for i in range(20):
        decisions = usual.sample(i).decisions
        models = [build(s, s.architecture(decisions), (3, 8, 8), outputs=3) for s in (usual, follows)]
        shapes = [[tuple(p.shape) for p in model.parameters()] for model in models]
        assert shapes[0] == shapes[1]
        models[1].load_state_dict(dict(zip(models[1].state_dict(), models[0].state_dict().values(), strict=True)))
        x = torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8)
        assert torch.equal(models[0].eval()(x), models[1].eval()(x))
    same = {}  # who is the same for one is the same for the other; a block of its own is looked into less
    for i in range(300):
        decisions = usual.sample(i).decisions
        key = usual.key(usual.architecture(decisions))
        assert same.setdefault(follows.key(follows.architecture(decisions)), key) == key
    assert len(set(same.values())) > 0.98 * len(same) > 200


def test_darts_cells_stand_where_published():
    model = build(
        load_space("darts", cells=8, width=4), load_space("darts", cells=8, width=4).sample(0), (3, 16, 16), outputs=10
    )
    widths = [cell.older_norm.num_features for cell in model.cells]
    assert widths == [4, 4, 8, 8, 8, 16, 16, 16]
    assert [cell.after_reduction for cell in model.cells] == [False, False, False, True, False, False, True, False]


def test_a_layer_of_macro_adds_its_skips_to_its_operation():
    """The cell against the sum written out, with skips over none, one and two halvings of the map."""
    space = load_space("macro", layers=3, width=4)
    chosen = {"layer1": "conv_5x5", "layer2": "avg_pool_3x3", "layer2.from0": "skip", "layer3": "sep_conv_3x3",
              "layer3.from0": "skip", "layer3.from1": "skip"}  # fmt: skip
    model = build(space, space.architecture(chosen), (3, 13, 13), outputs=3).eval()
    stem, cell = model[:2], model[2]
    with seeded_torch(1), torch.no_grad():
        x = torch.randn(2, 3, 13, 13)
        h0 = stem(x)
        h1 = cell.edges[0](h0)
        h2 = cell.edges[2](h1) + nn.functional.avg_pool2d(h0, 2, ceil_mode=True)
        skips = [nn.functional.avg_pool2d(h, times, ceil_mode=True) for h, times in ((h0, 4), (h1, 4))]
        h3 = cell.edges[5](h2) + sum(skips)
        assert [h.shape[2] for h in (h0, h1, h2, h3)] == [13, 13, 7, 4]
        assert torch.allclose(cell(h0), h3, atol=1e-6)


@pytest.mark.parametrize(("layers", "halvings", "strides"), [(12, 2, [4, 8]), (6, 2, [2, 4]), (9, 3, [2, 4, 6])])
def test_macro_halves_the_map_at_equal_distances(layers, halvings, strides):
    space = load_space("macro", layers=layers, halvings=halvings, width=4)
    model = build(space, space.architecture(space.baseline), (3, 16, 16), outputs=3)
    convs = [m for m in model[2].edges if isinstance(m, nets.SameConv)]
    assert [i for i, conv in enumerate(convs) if conv.stride == 2] == strides


@pytest.mark.parametrize("name", SPACES)
def test_files_say_size_source_and_baseline(name):
    text = importlib.import_module(SPACES[name].partition(":")[0]).__doc__
    assert all(word in text for word in ("Size:", "Source:", "Baseline:"))


@pytest.mark.parametrize("name", SPACES)
def test_spaces_come_back_from_a_file(name):
    space = load_space(name, **SMALL.get(name, {}))
    again = Space.from_json(space.to_json())
    assert again.fingerprint == space.fingerprint
    assert again.size == space.size
    architecture = drawn(again, 4)[3]
    assert Costs(again, SHAPES[name], 3).of(architecture) == Costs(space, SHAPES[name], 3).of(architecture)
    trains(again, architecture, SHAPES[name])


def test_load_space_says_what_there_is():
    with pytest.raises(UsageError, match="'cmm' is not known: ready-made are cnn, darts"):
        load_space("cmm")
    with pytest.raises(UsageError, match=r"space 'mlp': .*unexpected keyword argument 'size'"):
        load_space("mlp", size=3)
    with pytest.raises(UsageError, match="multiples of 4"):
        load_space("transformer", dims=(6,))
    with pytest.raises(UsageError, match="at least 3"):
        load_space("darts", cells=2)
    with pytest.raises(UsageError, match="at least 1 layer"):
        load_space("macro", layers=2, halvings=3)
    with pytest.raises(UsageError, match="'image', 'sequence' or 'text'"):
        load_space("transformer", kind="table")
    with pytest.raises(UsageError, match="text needs both numbers"):
        load_space("transformer", kind="text", vocabulary=5)
    with pytest.raises(UsageError, match="at least one block"):
        load_space("resnet", depth=0)
    with pytest.raises(UsageError, match="each must be at least 1"):
        load_space("rnn", nodes=0)
    with pytest.raises(UsageError, match="multiples of 12"):
        load_space("vit", dims=(16,))
    with pytest.raises(UsageError, match="multiples of 4"):
        load_space("ft_transformer", dims=(6,))
    with pytest.raises(UsageError, match="numbers of at least 1"):
        load_space("gpt", depth=0)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = spaces.nothing


@pytest.mark.parametrize(
    ("kind", "shape", "rows", "budget", "name"),
    [("image", (1, 8, 8), 1079, 180, "cnn"), ("image", (3, 32, 32), 40_000, 60, "cnn"),
     ("table", (14,), 30_000, 180, "mlp"), ("sequence", (2, 300), 500, 600, "tcn"),
     ("image", (1, 4, 4), 10, 5, "cnn"), ("sequence", (1, 1), 10, 5, "tcn")],
)  # fmt: skip
def test_auto_chooses_and_says_why(kind, shape, rows, budget, name):
    space, why = auto(kind, shape, rows, budget)
    assert space.name == name
    assert why.startswith(f"{name}, widths from ")
    assert f"{rows:,} rows" in why
    trains(space, space.architecture(space.baseline), shape)
    assert auto(kind, shape, rows, budget)[0].fingerprint == space.fingerprint


def test_auto_is_wider_with_more_time():
    def width(budget: float) -> int:
        return int(auto("image", (1, 28, 28), 8000, budget)[1].split("widths from ")[1].split(",")[0])

    found = [width(budget) for budget in (10, 600, 3600, 36_000)]
    assert found == sorted(found)
    assert found[0] == 8
    assert found[-1] == 32
    assert "the narrowest there is" in auto("image", (1, 28, 28), 8000, 10)[1]
    assert math.isclose(float(auto("table", (5,), 100, 60)[1].split("about ")[1].split(" s")[0]), 0.1, abs_tol=0.2)


@pytest.mark.parametrize(
    ("kind", "shape", "rows"),
    [("image", (8, 8), 10), ("table", (3, 4), 10), ("text", (5,), 10), ("table", (0,), 9), ("table", (3,), 0)],
)
def test_auto_refuses_what_does_not_belong_together(kind, shape, rows):
    with pytest.raises(UsageError, match="write 'image' with"):
        auto(kind, shape, rows, 60)


def test_the_space_for_a_supernet_gets_smaller_with_less_time():
    sizes = []
    for budget in (36_000, 600, 60):
        space, why = shared("darts", (1, 8, 8), 1500, budget)
        assert space.name == "nb201"
        assert "a stage" in why
        sizes.append(Costs(space, (1, 8, 8), 10).of(space.architecture(space.baseline)).params)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_for_pcdarts_options_follow_their_input():
    space, _ = shared("pcdarts", (1, 8, 8), 1500, 180)
    assert any(isinstance(m, nets.SameConv) for m in build(space, space.architecture(space.baseline), (1, 8, 8),
                                                           outputs=3).modules())  # fmt: skip
