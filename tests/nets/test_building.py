import inspect

import pytest
import torch
from helpers_nets import L, one
from torch import nn

import searchitect.nets as nets
from searchitect.errors import ArchitectureError, BuildError, TrialError, UsageError
from searchitect.nets import building
from searchitect.space import OUTPUTS, Plan, Space, lazy, named, one_of, repeat

N = lazy(nets)


class Twice(nn.Module):
    """A user's block: receives a built part and plain values."""

    def __init__(self, part: nn.Module, factor: float = 2.0, **_extra: object) -> None:
        super().__init__()
        self.part, self.factor = part, factor

    def forward(self, x):
        return self.factor * self.part(x)


class Picky(nn.Module):
    """Fails in the way it is told."""

    def __init__(self, how: str, width: int = 3) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.zeros(width))
        if how == "value in init":
            raise ValueError("width must be even")
        if how == "key in init":
            raise KeyError("lost")

    def forward(self, x):
        if self.how == "raise in forward":
            raise RuntimeError("boom")
        if self.how == "type in forward":
            return None + x
        if self.how == "assert in forward":
            assert x.shape[1] == 0, "no channels wanted"
        if self.how == "memory":
            raise MemoryError
        return x @ self.weight


class Hoards(nn.Module):
    """Has a part that it never uses."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x):
        return x


def conv(width, kernel):
    return L.Sequential(L.LazyConv2d(width, kernel, padding="same", bias=False), L.LazyBatchNorm2d(), L.ReLU())


def small():
    return Space(
        L.Sequential(
            named("stem", conv(8, one_of(3, 5))),
            named("blocks", repeat(lambda: one_of(conv(8, 3), L.Identity()), 1, 3)),
            L.AdaptiveAvgPool2d(1),
            L.Flatten(),
            L.LazyLinear(OUTPUTS),
        ),
        name="small",
    )


def test_every_architecture_builds_trains_and_is_alike_for_a_seed():
    space = small()
    x = torch.randn(4, 3, 8, 8)
    before = torch.get_rng_state()
    for architecture in space.enumerate():
        model = nets.build(space, architecture, x, outputs=5, seed=3)
        again = nets.build(space, architecture, (3, 8, 8), outputs=5, seed=3)
        assert model.training
        assert all(module.training for module in model.modules())
        pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert all(p.requires_grad and not p.is_inference() for p in model.parameters())
    assert torch.equal(before, torch.get_rng_state())
    assert model(x).shape == (4, 5)
    model(x).sum().backward()
    other = nets.build(space, architecture, x, outputs=5, seed=4)
    assert not torch.equal(other[0][0].weight, model[0][0].weight)


def test_batch_norm_statistics_are_untouched_by_the_dry_run():
    model = nets.build(small(), small().sample(0), torch.randn(4, 3, 8, 8) + 5, outputs=2)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(not m.running_mean.any() and not m.num_batches_tracked for m in norms)


@pytest.mark.parametrize(
    ("parts", "runs"),
    [([L.Linear(4, 8), L.ReLU(), L.Linear(8, 2)], 0), ([L.LazyLinear(8), L.Linear(8, 2)], 1),
     ([L.Linear(4, 8), lazy(Twice)(L.ReLU())], 1)],
)  # fmt: skip
def test_a_sample_is_sent_through_only_where_something_is_unknown(parts, runs, monkeypatch):
    """A width, or a layer that no cost table knows; else the tables have seen that all fits."""
    seen = []
    run = building._dry_run
    monkeypatch.setattr(building, "_dry_run", lambda *a: (seen.append(1), run(*a)))
    fits, misfits = one(L.Sequential(*parts)), one(L.Sequential(*parts, L.Linear(3, 3)))
    assert nets.build(fits, fits.sample(0), (4,)).training
    assert len(seen) == runs
    with pytest.raises(BuildError):
        nets.build(misfits, misfits.sample(0), (4,))


def test_tied_parts_never_share_weights():
    layer = L.Linear(4, 4)
    space = Space(L.Sequential(layer, layer, repeat(layer, 2)))
    model = nets.build(space, space.sample(0), (4,))
    assert len({id(p) for p in model.parameters()}) == 8
    assert not torch.equal(model[0].weight, model[1].weight)


def test_users_blocks_receive_built_modules_and_plain_values():
    U = lazy(Twice)
    mine = U(part=one_of(L.ReLU(), L.Tanh()), factor=one_of(1.0, 3.0), more={"a": [1, 2]})
    space = Space(L.Sequential(mine, L.LazyLinear(OUTPUTS)))
    model = nets.build(space, space.sample(1), (6,), outputs=2)
    assert isinstance(model[0], Twice)
    assert isinstance(model[0].part, (nn.ReLU, nn.Tanh))
    again = Space.from_json(space.to_json(), targets=space.targets)
    assert isinstance(nets.build(again, again.sample(1), (6,), outputs=2)[0], Twice)


def test_a_space_from_a_file_names_only_torch_and_us():
    space = Space.from_json(small().to_json())
    assert nets.build(space, space.sample(0), (3, 8, 8), outputs=2)(torch.zeros(1, 3, 8, 8)).shape == (1, 2)
    text = one(N.Zero()).to_json()
    evils = "os.system torch.nn.init.zeros_ torch.load searchitect.nets.build torch.nn.torch builtins.eval"
    for evil in evils.split():
        bad = Space.from_json(text.replace("searchitect.nets.Zero", evil).replace('["stride", 1]', '["path", "x"]'))
        with pytest.raises(BuildError, match=r"'0' \(\w+\): .* neither a layer of torch.nn nor"):
            nets.build(bad, bad.sample(0), (3, 8, 8))


def test_computed_sizes_with_and_without_outputs():
    space = Space(L.Sequential(L.LazyLinear(OUTPUTS * 2), L.LazyLinear(OUTPUTS)))
    assert nets.build(space, space.sample(0), (4,), outputs=3)[0].out_features == 6
    plan = space.plan(space.sample(0))
    assert nets.build_plan(plan, (4,), outputs=5)[0].out_features == 10
    with pytest.raises(BuildError, match="number of outputs is not known"):
        nets.build_plan(plan, (4,))


@pytest.mark.parametrize(
    ("layers", "shape", "where", "text"),
    [
        ([L.Linear(64, 2)], (32,), "'0' (Linear)", "has 32 features (shape (32,)), but in_features=64"),
        ([L.Conv2d(4, 8, 3)], (3, 8, 8), "'0' (Conv2d)", "has 3 channels, but in_channels=4"),
        ([L.ReLU(), L.Conv2d(3, 8, 5)], (3, 4, 4), "'1' (Conv2d)", "kernel of (5, 5)"),
        ([L.Conv2d(3, 8, 1)], (3, 4), "'0' (Conv2d)", "(channels, height, width), got (3, 4)"),
        ([L.LazyConv2d(8, 3, groups=2)], (3, 4, 4), "'0' (LazyConv2d)", "groups=2"),
        ([L.LazyConv2d(8, 3, stride=2, padding="same")], (3, 4, 4), "'0' (LazyConv2d)", "needs stride 1"),
        ([L.BatchNorm2d(4)], (3, 4, 4), "'0' (BatchNorm2d)", "num_features=4"),
        ([L.BatchNorm1d(3)], (3, 4, 4), "'0' (BatchNorm1d)", "1 or 2 dimensions"),
        ([L.MaxPool2d(4), L.MaxPool2d(2)], (3, 4, 4), "'1' (MaxPool2d)", "does not fit a map of (1, 1)"),
        ([L.AvgPool2d(3, padding=2)], (3, 4, 4), "'0' (AvgPool2d)", "more than half"),
        ([L.LayerNorm(5)], (3, 4), "'0' (LayerNorm)", "(5,)"),
        ([L.GroupNorm(2, 4)], (3, 4), "'0' (GroupNorm)", "num_channels=4"),
        ([L.GroupNorm(2, 3)], (3, 4), "'0' (GroupNorm)", "num_groups=2"),
        ([L.PReLU(4)], (3, 4), "'0' (PReLU)", "num_parameters=4"),
        ([N.SelfAttention(8, 2)], (5, 6), "'0' (SelfAttention)", "but dim=8"),
        ([N.SelfAttention(6, 4)], (5, 6), "'0' (SelfAttention)", "heads=4 does not divide"),
        ([N.SelfAttention(6, 2)], (6,), "'0' (SelfAttention)", "Tokens()"),
        ([N.ConvMixing(2)], (5, 6), "'0' (ConvMixing)", "kernel=2"),
        ([N.SameConv(2)], (5, 6, 6), "'0' (SameConv)", "kernel=2"),
        ([N.Tokens()], (5,), "'0' (Tokens)", "needs a map"),
        ([N.Mean(3)], (5, 6), "'0' (Mean)", "dim=3"),
        ([N.Branches(L.Conv2d(3, 4, 1), L.Identity())], (3, 4, 4), "'0' (Branches)", "(4, 4, 4) and (3, 4, 4)"),
        ([N.Branches(L.MaxPool2d(2), L.Identity(), merge="concat")], (3, 4, 4), "'0' (Branches)", "side by side"),
        ([N.Branches(L.Identity(), merge="product")], (3, 4, 4), "'0' (Branches)", "'sum' or 'concat'"),
        ([N.Cell([L.Identity(), L.Identity()])], (3, 4, 4), "'0' (Cell)", "n(n-1)/2"),
        ([N.Skip(3)], (3, 4, 4), "'0' (Skip)", "Skip knows 1 and 2"),
        ([L.Flatten(), L.Dropout(1.5)], (3, 4, 4), "'1' (Dropout)", "probability"),
        ([L.LazyLinear(7 / one_of(2))], (3,), "'0' (LazyLinear)", "out_features=3.5: must be a whole number"),
        ([L.LazyConv2d(0, 1)], (3, 4, 4), "'0' (LazyConv2d)", "out_channels=0: must be"),
        ([L.Bilinear(3, 4, 5)], (3,), "'0' (Bilinear)", "input2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(layers, shape, where, text):
    space = Space(L.Sequential(*layers))
    with pytest.raises(BuildError) as caught:
        nets.build(space, space.sample(0), shape)
    assert where in str(caught.value)
    assert text in str(caught.value)
    with pytest.raises(BuildError) as cheaper:
        nets.Costs(space, shape).of(space.sample(0))
    assert str(cheaper.value) == str(caught.value)
    assert not nets.Costs(space, shape).feasible(space.sample(0))


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("value in init", BuildError, "'mine' (Picky): width must be even"),
        ("key in init", TrialError, "'mine' (Picky): KeyError in your code: 'lost'"),
        ("raise in forward", TrialError, "'mine' (Picky): RuntimeError in your code: boom"),
        ("type in forward", TrialError, "'mine' (Picky): TypeError in your code: unsupported operand"),
        ("assert in forward", BuildError, "'mine' (Picky): no channels wanted"),
        ("sizes", BuildError, "'mine' (Picky): "),
    ],
)
def test_users_faults_and_misfits_are_told_apart(how, kind, text):
    space = Space(L.Sequential(L.ReLU(), named("mine", lazy(Picky)(how))))
    with pytest.raises(TrialError) as caught:
        nets.build(space, space.sample(0), (4,))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(text)
    assert nets.Costs(space, (4,)).feasible(space.sample(0)) == (kind is TrialError)


def test_memory_errors_keep_their_kind():
    space = Space(L.Sequential(lazy(Picky)("memory")))
    with pytest.raises(MemoryError):
        nets.build(space, space.sample(0), (4,))
    for layer in (L.Linear(4, 10**15), L.LazyLinear(10**15)):
        huge = Space(L.Sequential(named("huge", layer)))
        with pytest.raises(MemoryError, match=r"'huge' \(\w*Linear\): .*memory"):
            nets.build(huge, huge.sample(0), (4,))


def test_what_is_nested_too_deeply_is_refused_in_words():
    part = L.ReLU()
    plan = Space(L.Sequential(part)).plan(Space(L.Sequential(part)).sample(0))
    for _ in range(2000):
        plan = Plan("torch.nn.Sequential", {"*": (plan,)}, "deep")
    with pytest.raises(BuildError, match="nested too deeply"):
        nets.build_plan(plan, (4,))


LATE = [L.LazyLinear(3), N.SameConv(3), N.Depthwise(3), N.Skip(2), N.SqueezeExcite(), N.ConvMixing(3), N.Position(),
        N.ColumnTokens(3)]  # fmt: skip


@pytest.mark.parametrize("part", LATE, ids=lambda part: part.target.rpartition(".")[2])
def test_a_part_that_never_sees_an_input_is_named(part):
    name = part.target.rpartition(".")[2]
    space = Space(L.Sequential(lazy(Hoards)(L.Sequential(part))))
    with pytest.raises(BuildError, match=rf"'0.part.0' \({name}\): never received an input"):
        nets.build(space, space.sample(0), (4,))
    with pytest.raises(UsageError, match=rf"'0.part.0' \({name}\): its width follows from its input"):
        nets.build(space, space.sample(0), None)


def test_every_block_that_is_made_late_is_known():
    late = {name for name in nets.BLOCKS if " is None" in inspect.getsource(getattr(nets, name))}
    assert late == {part.target.rpartition(".")[2] for part in LATE[1:]}


class Inward(nn.Module):
    """Makes a lazy layer of its own and never uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Sequential(nn.LazyLinear(2))

    def forward(self, x):
        return x


def test_the_place_of_a_hidden_lazy_layer_is_the_users_class():
    space = Space(L.Sequential(named("mine", lazy(Inward)()), N.Skip()))
    with pytest.raises(BuildError, match=r"'mine' \(Inward\): never received an input"):
        nets.build(space, space.sample(0), (4,))


def test_not_a_module_foreign_decisions_and_bad_samples():
    space = small()
    with pytest.raises(ArchitectureError, match="belongs to space"):
        nets.build(space, one(L.ReLU()).sample(0), (3, 8, 8))
    for sample in ((3, 0), ("a",), torch.zeros(()), torch.zeros(0, 3)):
        with pytest.raises(UsageError, match="batch dimension"):
            nets.build(one(L.ReLU()), one(L.ReLU()).sample(0), sample)


def make_number(value: int) -> int:
    return value


def test_a_function_that_promises_a_module_must_give_one():
    space = Space(L.Sequential(lazy(make_number, module=True)(3)))
    with pytest.raises(BuildError, match=r"make_number gave int, not a torch.nn.Module"):
        nets.build(space, space.sample(0), (4,))


def test_inputs_of_other_types():
    tokens = one(L.Embedding(10, 4))
    assert nets.build(tokens, tokens.sample(0), torch.ones(2, 7, dtype=torch.long))(torch.ones(1, 7).long()).shape == (
        1,
        7,
        4,
    )
    dense = one(L.LazyLinear(2))
    assert nets.build(dense, dense.sample(0), torch.ones(2, 7, dtype=torch.float64))[0].weight.dtype == torch.float32


def test_building_a_small_network_is_fast():
    import time

    space = small()
    architecture = space.sample(3)
    nets.build(space, architecture, (3, 28, 28), outputs=10)
    spent = []
    for _ in range(5):
        start = time.process_time()
        nets.build(space, architecture, (3, 28, 28), outputs=10)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.015
