import ast
import copy
import inspect
import sys

import pytest
import torch
from torch import nn

import searchitect.nets as nets
from searchitect.torchseeds import seeded_torch

IMAGE, SIGNAL, TOKENS = (2, 6, 7, 7), (2, 6, 9), (2, 9, 6)


def run(module, shape, seed=0):
    with seeded_torch(seed):
        return module(torch.randn(shape))


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nets.Zero(), IMAGE, IMAGE),
        (nets.Zero(2), IMAGE, (2, 6, 4, 4)),
        (nets.Zero(2), SIGNAL, (2, 6, 5)),
        (nets.Skip(), IMAGE, IMAGE),
        (nets.Skip(2), IMAGE, (2, 6, 4, 4)),
        (nets.Skip(2), (2, 5, 8, 8), (2, 5, 4, 4)),
        (nets.Skip(2), (2, 1, 8, 8), (2, 1, 4, 4)),
        (nets.Skip(2), (2, 6, 1, 1), (2, 6, 1, 1)),
        (nets.Skip(2), SIGNAL, (2, 6, 5)),
        (nets.SameConv(5), IMAGE, IMAGE),
        (nets.SameConv(3, 2), IMAGE, (2, 6, 4, 4)),
        (nets.SameConv(3, 1, 2), SIGNAL, SIGNAL),
        (nets.Depthwise(3, 1, 2), IMAGE, IMAGE),
        (nets.Depthwise(5, 2, twice=True), IMAGE, (2, 6, 4, 4)),
        (nets.Depthwise(5, 2, twice=True), SIGNAL, (2, 6, 5)),
        (nets.SqueezeExcite(), IMAGE, IMAGE),
        (nets.SqueezeExcite(100), SIGNAL, SIGNAL),
        (nets.DropPath(0.5), IMAGE, IMAGE),
        (nets.Mean(), TOKENS, (2, 6)),
        (nets.Mean(-1), TOKENS, (2, 9)),
        (nets.Tokens(), IMAGE, (2, 49, 6)),
        (nets.Tokens(), SIGNAL, TOKENS),
        (nets.Position(), TOKENS, TOKENS),
        (nets.ConvMixing(5), TOKENS, TOKENS),
        (nets.SelfAttention(6, 3), TOKENS, TOKENS),
        (nets.Residual(nn.Conv2d(6, 6, 3, padding=1)), IMAGE, IMAGE),
        (nets.Residual(nn.Conv2d(6, 4, 3)), IMAGE, (2, 4, 5, 5)),
        (nets.Branches(nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 3, padding=1)), IMAGE, (2, 4, 7, 7)),
        (nets.Branches(nn.Conv2d(6, 4, 1), nn.Identity(), merge="concat"), IMAGE, (2, 10, 7, 7)),
    ],
)
def test_shapes_and_gradients(module, shape, expected):
    with seeded_torch(0):
        x = torch.randn(shape, requires_grad=True)
        module.eval()
        module(x)  # makes what is lazy
        assert module.train() is module
        y = module(x)
    assert tuple(y.shape) == expected
    if y.requires_grad:
        y.sum().backward()
        assert all(p.grad is not None for p in module.parameters())


def test_residual_adds_only_where_shapes_agree():
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(nets.Residual(nn.Identity())(x), 2 * x)
    half = nn.AvgPool2d(2)
    assert torch.equal(nets.Residual(half)(x), half(x))


def test_branches_sum_and_refuse_to_stretch():
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(nets.Branches(nn.Identity(), nn.ReLU())(x), x + x.relu())
    with pytest.raises(ValueError, match="different shapes"):
        nets.Branches(nn.Identity(), nn.AdaptiveAvgPool2d(1))(x)
    with pytest.raises(ValueError, match="'sum' or 'concat'"):
        nets.Branches(nn.Identity(), merge="mean")
    with pytest.raises(ValueError, match="at least one"):
        nets.Branches()


def test_factorised_reduction_sees_every_pixel():
    skip = nets.Skip(2)
    run(skip, (2, 4, 6, 6))
    x = torch.rand(1, 4, 6, 6, requires_grad=True)
    skip.eval()(x).sum().backward()
    touched = x.grad.abs().sum(1)[0] > 0
    assert touched[::2, ::2].all()
    assert touched[1::2, 1::2].all()


def test_depthwise_equals_its_definition():
    op = nets.Depthwise(3, 2, 2)
    op.eval()
    x = torch.randn(2, 4, 9, 9)
    y = op(x)
    relu, deep, wide, norm = op.body
    assert isinstance(relu, nn.ReLU)
    expected = norm(wide(nn.functional.conv2d(x.relu(), deep.weight, stride=2, padding=2, dilation=2, groups=4)))
    assert torch.allclose(y, expected)


def test_attention_equals_its_definition():
    block = nets.SelfAttention(8, 2)
    x = torch.randn(3, 5, 8)
    query, key, value = block.inward(x).chunk(3, dim=-1)
    heads = []
    for part in range(2):
        at = slice(4 * part, 4 * part + 4)
        weights = torch.softmax(query[..., at] @ key[..., at].transpose(1, 2) / 2.0, dim=-1)
        heads.append(weights @ value[..., at])
    assert torch.allclose(block(x), block.outward(torch.cat(heads, dim=-1)), atol=1e-6)


def test_conv_mixing_and_squeeze_excite_equal_their_definitions():
    mixing, x = nets.ConvMixing(3), torch.randn(2, 5, 4)
    y = mixing(x)
    padded = nn.functional.pad(x, (0, 0, 1, 1))
    weight = mixing.conv.weight[:, 0]
    expected = sum(padded[:, i : i + 5] * weight[:, i] for i in range(3)) + mixing.conv.bias
    assert torch.allclose(y, expected, atol=1e-6)
    gate, x = nets.SqueezeExcite(2), torch.randn(2, 4, 3, 3)
    y = gate(x)
    assert torch.allclose(y, x * gate.gate(x.mean((2, 3)))[:, :, None, None])


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    drop, x = nets.DropPath(0.25), torch.ones(4000, 3)
    with seeded_torch(1):
        y = drop(x)
    assert {round(v, 4) for v in y.unique().tolist()} == {0.0, round(1 / 0.75, 4)}
    assert torch.equal(y[:, 0], y[:, 2])
    assert abs(y.mean().item() - 1) < 0.05
    assert drop.eval()(x) is x


def test_cell_follows_the_order_of_its_edges():
    x = torch.full((1, 1, 2, 2), 1.0)

    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return self.factor * x

    cell = nets.Cell([Times(f) for f in (2, 3, 5, 7, 11, 13)])  # 0→1, 0→2, 1→2, 0→3, 1→3, 2→3
    one = 2
    two = 3 + 5 * one
    assert cell(x).unique().item() == 7 + 11 * one + 13 * two
    for count in (0, 2, 5):
        with pytest.raises(ValueError, match="n\\(n-1\\)/2"):
            nets.Cell([nn.Identity()] * count)


@pytest.mark.parametrize("after_reduction", [False, True])
@pytest.mark.parametrize("size", [8, 7, 1])
def test_two_input_cell(after_reduction, size):
    edge = nets.Edge
    nodes = [nets.Members(edge(0, nets.Skip()), edge(1, nets.SameConv(3))), nets.Members(edge(2, nets.Skip()))]
    cell = nets.TwoInputCell(6, nodes, after_reduction)
    newer = torch.randn(2, 5, size, size)
    before = 2 * size - size % 2 if after_reduction else size
    older = torch.randn(2, 3, before, before)
    assert cell.eval()(older, newer).shape == (2, 12, size, size)


def test_chain_gives_each_cell_the_two_latest():
    class Pair(nn.Module):
        def forward(self, older, newer):
            return older + 10 * newer

    chain = nets.TwoInputChain(nn.Identity(), [Pair(), Pair(), Pair()], nn.Flatten())
    first = 11
    second = 1 + 10 * first
    assert chain(torch.ones(1, 1, 1, 1)).item() == first + 10 * second


@pytest.mark.parametrize(
    "make",
    [
        lambda: nets.SameConv(2),
        lambda: nets.Depthwise(4),
        lambda: nets.ConvMixing(2),
        lambda: nets.Skip(3),
        lambda: nets.DropPath(1.0),
        lambda: nets.SelfAttention(10, 3),
    ],
)
def test_wrong_arguments_are_refused_in_words(make):
    with pytest.raises(ValueError, match=r"="):
        make()


def test_what_is_made_late_has_the_mode_and_is_copied():
    skip = nets.SameConv(3)
    skip.eval()
    skip(torch.randn(1, 3, 1, 1))  # one value per channel: BatchNorm would refuse in training mode
    assert not skip.body.training
    twin = copy.deepcopy(skip)
    assert [k for k, _ in twin.named_parameters()] == [k for k, _ in skip.named_parameters()] != []


def test_the_face_names_every_block_and_loads_late():
    for name, file in nets.BLOCKS.items():
        found = getattr(nets, name)
        assert found.__module__ == f"searchitect.nets.{file}"
        assert found.__doc__
    files = {sys.modules[f"searchitect.nets.{f}"] for f in nets.BLOCKS.values()}
    written = {n for f in files for n, c in vars(f).items() if inspect.isclass(c) and c.__module__ == f.__name__}
    assert written == set(nets.BLOCKS)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = nets.Nothing
    assert "build" in dir(nets)


@pytest.mark.parametrize("file", sorted(set(nets.BLOCKS.values())))
def test_blocks_import_only_torch_and_use_nothing_else_of_their_file(file):
    source = ast.parse(inspect.getsource(sys.modules[f"searchitect.nets.{file}"]))
    imported = [n for node in ast.walk(source) if isinstance(node, ast.Import) for n in [a.name for a in node.names]]
    imported += [node.module for node in ast.walk(source) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in imported} == {"torch", "__future__"}
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    for name, body in classes.items():
        used = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
        assert not used & (set(classes) - {name})
