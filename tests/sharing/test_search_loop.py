"""The one loop: rows, rates, parts of batches, checkpointing, costs and files."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from helpers_sharing import L, batch, cell_space, mixed_space, partial_space, right_space, squares, toy_space

from searchitect.errors import BuildError, UsageError
from searchitect.sharing import Start, SupernetSearch
from searchitect.sharing.darts import Darts
from searchitect.sharing.memory import keep_less
from searchitect.sharing.search import usual_rate
from searchitect.sharing.spos import Spos
from searchitect.sharing.start import Loop, loop_of
from searchitect.space import OUTPUTS, Space, one_of
from searchitect.spaces import load_space
from searchitect.training import Recipe, TrainData

SHAPE = (3, 4, 4)


def data(rows=48, shape=SHAPE, task="classification"):
    x, y, _ = batch(shape, rows, dtype=torch.float32)
    if task == "regression":
        y = x.flatten(1)[:, :2].clone()
    cut = rows * 3 // 4
    return TrainData(x[:cut], y[:cut], x[cut:], y[cut:], task, 2 if task == "regression" else 3)


def search(method="darts", space=None, rows=None, epochs=2, size=6, shape=SHAPE, **options):
    rows = rows or data(shape=shape)
    start = Start(space or cell_space(), shape, rows.outputs, 1, epochs, Recipe(batch_size=size), options)
    return SupernetSearch(method, start, rows)


def state(found):
    return {**found.net.state_dict(), **found.method.state()}


# -- rows ------------------------------------------------------------------------------------------------


def test_two_halves_of_the_rows_with_all_classes():
    found = search()
    assert sorted([*found.rows.tolist(), *found.held.tolist()]) == list(range(36))
    assert len(found.rows) == len(found.held) == 18
    for part in (found.rows, found.held):
        counts = torch.bincount(found.data.y[part], minlength=3)
        assert (counts - torch.bincount(found.data.y, minlength=3) / 2).abs().max() <= 1


def test_halves_keep_groups_whole_and_time_in_order():
    groups = torch.arange(36).numpy() // 4
    found = search(rows=replace(data(), groups=groups))
    assert not set(groups[found.rows.numpy()]) & set(groups[found.held.numpy()])
    assert abs(len(found.rows) - 18) <= 2
    found = search(rows=replace(data(), ordered=True))
    assert sorted(found.held.tolist()) == list(range(18))


def test_single_level_methods_use_all_rows():
    found = search("spos")
    assert found.rows.tolist() == found.held.tolist() == list(range(36))


def test_weights_are_trained_on_their_half_alone():
    """Rows of the other half may be anything: without architecture steps nothing changes."""
    rows = data()
    a = search("pcdarts", space=partial_space(), rows=rows, k=1, warmup=0.99)
    other = copy.deepcopy(rows)
    other.x[a.held] += 100.0
    b = search("pcdarts", space=partial_space(), rows=other, k=1, warmup=0.99)
    for step in range(2):
        for one in (a, b):
            one._step(1, step, one.rows, one.held)
    assert all(torch.equal(x, y) for x, y in zip(a.net.parameters(), b.net.parameters(), strict=True))


def test_evaluation_rows_are_only_for_measuring():
    rows = data()
    a, other = search("gdas", rows=rows), copy.deepcopy(rows)
    other.x_eval.mul_(-3.0)
    b = search("gdas", rows=other)
    assert a.epoch(1).metrics != b.epoch(1).metrics
    assert all(torch.equal(x, state(b)[name]) for name, x in state(a).items())


def test_methods_that_compare_need_evaluation_rows():
    rows = data()
    bare = TrainData(rows.x, rows.y, None, None, "classification", 3)
    for method in ("spos", "fairnas", "enas"):
        with pytest.raises(UsageError, match=f"{method} compares paths"):
            search(method, rows=bare)
    found = search("darts", rows=bare)
    assert found.epoch(1).metrics == {}
    with pytest.raises(UsageError, match="no evaluation rows"):
        found.measure(found.derive())


def test_every_row_of_a_half_is_seen_in_an_epoch():
    found, seen = search(size=6), []
    step = found.method.weights_step
    found.method.weights_step = lambda rows, *rest: (seen.append(rows.x.clone()), step(rows, *rest))[1]
    found.epoch(1)
    assert found.steps == 3
    rows = found.data.x[found.rows]
    assert sorted(torch.cat(seen).flatten(1)[:, 0].tolist()) == sorted(rows.flatten(1)[:, 0].tolist())


def test_regressions_are_shared_too():
    found = search("gdas", rows=data(task="regression"))
    metrics = found.epoch(1).metrics
    assert set(metrics) == {"rmse", "r2", "loss"}
    assert metrics["rmse"] == pytest.approx(metrics["loss"] ** 0.5, rel=1e-4)


def test_too_few_rows_are_refused():
    x, y, _ = batch(SHAPE, 2, dtype=torch.float32)
    with pytest.raises(UsageError, match="2 rows are too few for two halves"):
        search(rows=TrainData(x, y * 0, x, y * 0, "classification", 3))


# -- steps -----------------------------------------------------------------------------------------------


def test_the_rate_falls_by_a_cosine():
    found, rates = search(lr_weights=0.1, lr_end=0.02), []
    step = found.optimizer.step
    found.optimizer.step = lambda: (rates.append(found.optimizer.param_groups[0]["lr"]), step())[1]
    found.epoch(1), found.epoch(2)
    expected = [0.02 + 0.08 * 0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert rates == pytest.approx(expected)


def gradients(found, step=0):
    """Of one weights step, before clipping."""
    kept = []
    found.optimizer.step = lambda: kept.extend(p.grad.clone() for p in found.net.parameters() if p.grad is not None)
    loss = found._step(1, step, found.rows, found.held)["train"]
    return loss, kept


@pytest.mark.parametrize(("size", "parts"), [(6, 2), (7, 3), (9, 4), (6, 100)])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(size, parts):
    """Without BatchNorm it is the same number, whether the parts are equal or not."""
    rows = data(shape=(5,))
    whole = search(space=toy_space(), rows=rows, shape=(5,), size=size, clip=1e9)
    split = search(space=toy_space(), rows=rows, shape=(5,), size=size, clip=1e9, accumulate=parts)
    (loss, expected), (same, found) = gradients(whole), gradients(split)
    assert same == pytest.approx(loss, rel=1e-5)
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_parts_are_small():
    found, sizes = search(size=9, accumulate=4), []
    step = found.method.weights_step
    found.method.weights_step = lambda rows, *rest: (sizes.append(len(rows.x)), step(rows, *rest))[1]
    found._step(1, 0, found.rows, found.held)
    assert sizes == [3, 2, 2, 2]


def kept_bytes(found):
    """What a weights step keeps for its backward pass, weights apart."""
    own = {p.untyped_storage().data_ptr() for p in found.net.parameters()}
    held = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    loss = found.loss(found.net.mix(found.data.x[:2], found.method.shares()), found.data.y[:2])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = found.loss(found.net.mix(found.data.x, found.method.shares()), found.data.y)
    loss.backward()
    return sum(held.values())


@pytest.mark.parametrize("method", ["darts", "gdas", "drnas", "proxyless", "spos"])
def test_checkpointing_changes_no_number(method):
    plain, again = search(method, fast=False), search(method, checkpoint=True)
    for number in (1, 2):
        a, b = plain.epoch(number), again.epoch(number)
        assert (a.losses, a.metrics, a.gates, a.derived) == (b.losses, b.metrics, b.gates, b.derived)
    parameters = zip(plain.net.parameters(), again.net.parameters(), strict=True)
    assert all(torch.equal(x, y) for x, y in parameters)


def test_checkpointing_keeps_less():
    space = load_space("nb201", cells=1, width=8)
    sizes = [kept_bytes(search(space=space, checkpoint=checkpoint)) for checkpoint in (False, True)]
    assert sizes[1] < 0.5 * sizes[0]


def test_options_with_gates_inside_are_not_checkpointed():
    found = search("spos", space=mixed_space())
    assert keep_less(found.net) == 0  # the convolution has a choice behind it
    assert keep_less(search().net) == 3


def test_checkpointing_and_second_order_are_refused():
    with pytest.raises(UsageError, match="order=2"):
        search(order=2, checkpoint=True)


# -- options ---------------------------------------------------------------------------------------------


def test_options_are_parted():
    loop, rest = loop_of("darts", {"order": 2, "accumulate": 3, "penalty": "macs"})
    assert rest == {"order": 2}
    assert loop == Loop(accumulate=3, penalty="macs")
    with pytest.raises(UsageError, match="accumulate"):
        loop_of("darts", {"accumulate": "many"})


def test_partial_channels_of_fixed_widths_are_refused_by_name():
    with pytest.raises(UsageError, match=r"'0-1' cannot work on a part of the channels.*nets\.SameConv.*k=1"):
        search("pcdarts", space=load_space("nb201", cells=1, width=8), shape=(3, 8, 8))
    found = search("pcdarts", space=load_space("nb201", cells=1, width=4), shape=(3, 8, 8), k=1)
    assert found.epoch(1).derived


def test_partial_channels_pass_the_rest_by():
    """k = 4: three of four channels of a gate's output are its input's; the first quarter is the option's."""
    found = search("pcdarts", space=partial_space())
    (gate,) = [g for g in found.net.gates if g.name.endswith("a")][:1]
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    found.net._run.combine = lambda gate, part: part * 100
    y = gate(x)
    found.net._run.rest()
    groups = torch.cat([x[:, :2] * 100, x[:, 2:]], 1).view(2, 4, 2, 4, 4).transpose(1, 2).reshape(2, 8, 4, 4)
    assert torch.equal(y, groups)


def test_partial_channels_wait_with_the_architecture():
    found = search("pcdarts", space=partial_space(), epochs=4, warmup=0.5)
    before = found.method.state()
    assert "architecture" not in found.epoch(1).losses
    assert "architecture" not in found.epoch(2).losses
    assert all(torch.equal(x, found.method.state()[name]) for name, x in before.items())
    assert "architecture" in found.epoch(3).losses


@pytest.mark.parametrize("method", ["darts", "gdas", "snas", "drnas", "proxyless", "enas"])
def test_a_heavy_cost_term_drives_out_what_costs(method):
    found = search(method, penalty="params", penalty_weight=50.0, epochs=4, guard=False, lr=0.1)
    last = [found.epoch(number) for number in range(1, 5)][-1]
    if method == "enas":
        shares = [dict(zip(found.net.decisions()[n], s, strict=True))["conv"] for n, s in last.gates.items()]
        assert sum(shares) / len(shares) < 0.25
    else:
        assert "conv" not in last.derived.values()


def test_files_of_other_options_are_refused(tmp_path):
    search(order=1, lr=0.01).save(tmp_path)
    assert search(order=1, lr=0.01).load(tmp_path)
    for other in ({"lr": 0.02}, {"order": 2, "lr": 0.01}, {}):
        with pytest.raises(UsageError, match="another search"):
            search(**other).load(tmp_path)


def test_options_that_json_writes_otherwise_are_the_same_when_read(tmp_path):
    found = search("spos")
    found.start.options["note"] = (1, 2)
    found.save(tmp_path)
    assert found.load(tmp_path)


def test_dropout_is_repeated_and_the_global_generator_left_alone():
    drop = [one_of(L.ReLU(), L.Tanh()), L.Dropout(0.5), L.Flatten(), L.LazyLinear(OUTPUTS)]
    before, found = torch.get_rng_state(), []
    for _ in range(2):
        one = search(space=Space(L.Sequential(L.LazyConv2d(4, 3, padding=1), *drop)), hessian=True)
        epoch = one.epoch(1)
        found.append((epoch.losses, epoch.guard, epoch.metrics))
    assert found[0] == found[1]
    assert torch.equal(before, torch.get_rng_state())


def test_errors_of_the_space_come_before_training():
    layers = [L.Conv2d(7, 4, 3), one_of(L.ReLU(), L.Tanh()), L.Flatten(), L.LazyLinear(OUTPUTS)]
    with pytest.raises(BuildError):
        search(space=Space(L.Sequential(*layers)))


def test_rates_are_raised_for_short_searches():
    """Published ones are for 19,500 steps; six steps would take them above the most that is allowed."""
    rate = lambda found: found.method.logits.optimizer.param_groups[0]["lr"]  # noqa: E731
    assert rate(search()) == 0.05
    assert rate(search(lr=0.002)) == 0.002
    assert usual_rate(Darts, 1950) == {"lr": pytest.approx(3e-3)}
    assert usual_rate(Darts, 10**6) == {"lr": 3e-4}
    assert usual_rate(Spos, 10) == {}


def test_the_gap_compares_like_with_like():
    """Label smoothing is in the loss that is trained, not in the two that are compared."""
    start = Start(cell_space(), SHAPE, 3, 1, 2, Recipe(batch_size=6, label_smoothing=0.9))
    found = SupernetSearch("darts", start, data())
    epoch = found.epoch(1)
    with torch.no_grad():
        outputs = copy.deepcopy(found.net).train().mix(found.data.x_eval, found.method.shares())
    mixture = float(torch.nn.functional.cross_entropy(outputs, found.data.y_eval))
    assert epoch.guard["gap"] == pytest.approx(epoch.metrics["loss"] - mixture, abs=1e-5)


# -- learning --------------------------------------------------------------------------------------------

LEARN = {
    "darts": {"lr": 0.01}, "gdas": {"lr": 0.1}, "snas": {"lr": 0.05}, "pcdarts": {"lr": 0.05, "warmup": 0.1},
    "drnas": {"lr": 0.1}, "proxyless": {"lr": 0.1}, "enas": {"lr": 0.005}, "spos": {}, "fairnas": {},
}  # fmt: skip


def learned(method, seed, epochs=12, **options):
    space = right_space(tail=method != "pcdarts")
    start = Start(
        space, (4, 3, 3), 2, seed, epochs, Recipe(batch_size=16), {"guard": False, "lr_weights": 0.1, **options}
    )
    found = SupernetSearch(method, start, squares(seed=seed))
    return [found.epoch(number) for number in range(1, epochs + 1)]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", LEARN)
def test_every_method_finds_the_option_that_is_right(method, seed):
    epochs = learned(method, seed, **LEARN[method])
    assert epochs[-1].derived == {"shape": "square"}
    assert epochs[-1].metrics["accuracy"] > 0.7  # with another option it is a half
    if method not in ("spos", "fairnas"):
        assert epochs[-1].gates["shape"][1] > (0.35 if method == "darts" else 0.5)  # from a third


@pytest.mark.parametrize("second", ["exact", "finite"])
def test_second_order_finds_it_too(second):
    last = learned("darts", 0, order=2, second=second, lr=0.01)[-1]
    assert last.derived == {"shape": "square"}
    assert last.gates["shape"][1] > 0.35


def test_the_loss_falls():
    losses = [epoch.losses["train"] for epoch in learned("fairnas", 0)]
    assert losses[-1] < 0.8 * losses[0]
