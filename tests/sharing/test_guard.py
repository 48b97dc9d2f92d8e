"""The guard fires on scripted looks as written, counts what it says it counts, and finds the largest curvature."""

import pytest
import torch
from helpers_sharing import L, batch, cell_space, head, setup_of, toy_space
from torch import nn
from torch.nn import functional as F

from searchitect.nets import Skip, supernet
from searchitect.sharing import Start, SupernetSearch, guard
from searchitect.sharing.darts import Darts
from searchitect.sharing.guard import Guard, Look, eigenvalue, look, most_skips
from searchitect.space import Space, one_of
from searchitect.spaces import load_space
from searchitect.training import Recipe, TrainData


def skips(*counts, chosen=8):
    return [Look(n, chosen, n / chosen) for n in counts]


def stops(guard_, looks, epochs=20):
    """The epoch at which it stops and how far it goes back; (0, 0) if never."""
    for number, seen in enumerate(looks, 1):
        reason, back = guard_.see(seen, number / epochs)
        if reason:
            return number, back
    return 0, 0


def test_two_skips_of_eight_stop_it_when_they_stay():
    assert stops(Guard(), skips(0, 0, 1, 1, 1, 1, 1, 1)) == (0, 0)
    assert stops(Guard(), skips(0, 0, 1, 1, 1, 1, 2, 2)) == (8, 2)
    assert stops(Guard(), skips(0, 0, 1, 1, 1, 2, 1, 2)) == (0, 0)
    assert stops(Guard(), skips(0, 0, 1, 1, 1, 3, 5)) == (7, 2)


def test_the_first_fifth_does_not_count():
    assert stops(Guard(), skips(8, 8, 8, 8), epochs=20) == (0, 0)
    assert stops(Guard(), skips(8, 8, 8, 8, 8), epochs=20) == (5, 2)


def test_allowed_skips_are_the_user_s():
    assert stops(Guard(allowed=3), skips(0, 0, 3, 3, 3, 3, 3)) == (0, 0)
    assert stops(Guard(allowed=0), skips(0, 0, 0, 0, 1, 1)) == (6, 2)
    assert [most_skips(n) for n in (1, 3, 6, 8, 12, 16, 20)] == [1, 1, 1, 1, 2, 3, 4]


def test_as_many_skips_as_the_hand_made_network_has_are_let_pass():
    assert stops(Guard(hand_made=2), skips(0, 0, 2, 2, 2, 2, 2, chosen=6)) == (0, 0)
    assert stops(Guard(hand_made=2), skips(0, 0, 2, 2, 2, 3, 3, chosen=6)) == (7, 2)
    assert stops(Guard(allowed=1, hand_made=2), skips(0, 0, 0, 0, 2, 2, chosen=6)) == (6, 2)
    space = load_space("nb201", cells=1, width=4)
    rows = batch((3, 8, 8), 24, dtype=torch.float32)
    data = TrainData(rows.x, rows.y, rows.x, rows.y, "classification", 3)
    for hand_made, most in ((None, 0), (space.architecture(space.baseline), 2)):
        start = Start(space, (3, 8, 8), 3, 0, 2, Recipe(batch_size=12), hand_made=hand_made)
        assert SupernetSearch("darts", start, data).guard.hand_made == most


def curvatures(*values):
    return [Look(0, 8, 0.0, eigenvalue=value) for value in values]


def test_a_rising_curvature_stops_it():
    """λ(i - 5) / λ(i) < 0.75 of means over 5 epochs: 1 / 1.34 is below, 1 / 1.32 is not."""
    assert stops(Guard(), curvatures(*[1.0] * 5, *[1.34] * 5)) == (10, 5)
    assert stops(Guard(), curvatures(*[1.0] * 5, *[1.32] * 5)) == (0, 0)
    assert stops(Guard(), curvatures(*[1.0] * 8, *[3.0] * 5)) == (10, 5)  # (3 + 3 + 1 + 1 + 1) / 5 = 1.8 against 1
    assert stops(Guard(), curvatures(*[3.0] * 5, *[1.0] * 10)) == (0, 0)
    assert stops(Guard(), curvatures(*[1.0] * 5, *[-4.0] * 5)) == (0, 0)
    assert stops(Guard(), [*curvatures(*[1.0] * 5), Look(0, 8, 0.0), *curvatures(*[9.0] * 5)]) == (0, 0)


def free(*shares):
    return [Look(0, 8, share) for share in shares]


def test_nothing_with_weights_for_a_fifth_of_the_epochs_stops_it():
    assert stops(Guard(), free(0.5, 0.9, 1, 1, 1, 1)) == (6, 4)  # four of twenty epochs; back to the second
    assert stops(Guard(), free(0.5, 1, 1, 1, 0.9, 1, 1, 1)) == (0, 0)
    assert stops(Guard(), free(1, 1, 1, 1, 1, 1, 1)) == (0, 0)  # there was never anything to go back to
    assert stops(Guard(), free(0.5, 1, 1, 1), epochs=4) == (4, 3)
    one = Guard()
    reasons = [one.see(seen, i / 10)[0] for i, seen in enumerate(free(0.5, 1, 1, 1), 1)]
    assert reasons[-1] == "for 3 epochs no derived operation has had weights, only pooling, skips and zeros"


def test_reasons_name_numbers():
    one = Guard()
    one.see(Look(4, 8, 0.5), 0.5)
    assert "4 of 8 operations of a cell are skips (at most 1" in one.see(Look(4, 8, 0.5), 0.6)[0]
    two = Guard()
    reasons = [two.see(seen, 0.5)[0] for seen in curvatures(*[1.0] * 5, *[2.0] * 5)]
    assert "curvature rose from 1 to 2 in 5 epochs" in reasons[-1]


# -- counting --------------------------------------------------------------------------------------------


def test_skips_and_options_without_weights_are_counted():
    space = cell_space()
    net = supernet(space, (3, 4, 4), outputs=3)
    names = [d.name for d in space.decisions]
    for chosen, skip, free in (("skip skip conv", 2, 2), ("none pool conv", 0, 2), ("conv conv conv", 0, 0)):
        seen = look(net, space.architecture(dict(zip(names, chosen.split(), strict=True))))
        assert (seen.skips, seen.chosen, seen.parameter_free) == (skip, 3, free / 3)


def test_a_skip_beside_an_operation_is_no_collapse():
    space = load_space("macro", layers=4, width=4)
    net = supernet(space, (3, 8, 8), outputs=3)
    everything = {d.name: "skip" if ".from" in d.name else "max_pool_3x3" for d in space.decisions}
    seen = look(net, space.architecture(everything | {"layer2": "conv_3x3"}))
    assert (seen.skips, seen.chosen, seen.parameter_free) == (0, 4, 0.75)


def test_the_worst_cell_counts():
    space = load_space("darts", cells=3, width=4)
    net = supernet(space, (3, 8, 8), outputs=3)
    decisions = dict(space.baseline)
    for name in [n for n in decisions if n.startswith("normal") and n.count(".") == 2][:3]:
        decisions[name] = "skip_connect"
    seen = look(net, space.architecture(decisions))
    assert (seen.skips, seen.chosen) == (3, 8)
    assert seen.parameter_free == 3 / 16


def test_a_space_without_gates_has_nothing_to_count():
    space = Space(L.Sequential(L.LazyConv2d(4, one_of(1, 3), padding="same"), *head()))
    assert look(supernet(space, (3, 4, 4), outputs=3), space.sample(0)) == Look(0, 0, 0.0)


# -- curvature -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_curvature_is_that_of_the_whole_hessian(seed):
    setup = setup_of(toy_space(), (5,), F.cross_entropy, seed=seed)
    method, rows = Darts(setup), batch((5,), 16, seed=seed)
    alphas = method.logits.tensors()
    with torch.no_grad():
        for alpha in alphas:
            alpha.normal_(generator=torch.Generator().manual_seed(seed))
    names = list(method.logits.values)

    def whole(flat):
        parts = {names[0]: flat[:3].softmax(0), names[1]: flat[3:].softmax(0)}
        return F.cross_entropy(setup.net.mix(rows.x, parts), rows.y)

    hessian = torch.autograd.functional.hessian(whole, torch.cat([a.detach() for a in alphas]))
    values = torch.linalg.eigvalsh(hessian)
    largest = values[values.abs().argmax()]

    def loss():
        return F.cross_entropy(setup.net.mix(rows.x, method.logits.shares()), rows.y)

    found = eigenvalue(loss, alphas, steps=500, tolerance=1e-9)
    assert found == pytest.approx(float(largest), rel=1e-3)
    assert all(p.grad is None for p in setup.net.parameters())


def test_curvatures_of_known_functions():
    a, b = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
    unused = torch.zeros(3, requires_grad=True)
    found = eigenvalue(lambda: a[0] ** 2 - 4 * a[1] ** 2 + b[0], [a, b, unused], steps=100)
    assert found == pytest.approx(-8.0, rel=1e-3)
    assert eigenvalue(lambda: a.sum(), [a]) == 0.0


# -- in the loop -----------------------------------------------------------------------------------------


def collapsing(**options):
    """A search whose architecture is scripted: two good epochs, then skips only."""
    rows = batch((3, 4, 4), 24, dtype=torch.float32)
    data = TrainData(rows.x, rows.y, rows.x, rows.y, "classification", 3)
    search = SupernetSearch("darts", Start(cell_space(), (3, 4, 4), 3, 0, 6, Recipe(batch_size=12), options), data)
    names = [d.name for d in search.start.space.decisions]
    turn = iter(["conv", "pool", "skip", "skip", "skip", "skip"])
    found = []

    def derive():
        found.append(search.start.space.architecture(dict.fromkeys(names, next(turn))))
        return found[-1]

    search.derive = derive
    return search, found


def test_a_collapse_ends_the_search_with_the_architecture_before_it():
    search, found = collapsing()
    epochs = [search.epoch(number) for number in range(1, 5)]
    assert [bool(e.stop) for e in epochs] == [False, False, False, True]
    assert epochs[3].derived == dict(found[1].decisions)
    assert epochs[3].metrics == search.measure(found[1])
    assert epochs[3].guard["skips"] == 3


def test_without_the_guard_it_goes_on():
    search, _ = collapsing(guard=False)
    assert not any(search.epoch(number).stop for number in range(1, 7))


def test_the_gap_and_the_curvature_are_told():
    search, _ = collapsing(hessian=True)
    epoch = search.epoch(1)
    assert epoch.guard["gap"] == pytest.approx(epoch.metrics["loss"] - search._mixture_loss(), abs=1e-5)
    before = {n: b.clone() for n, b in search.net.named_buffers()}
    again = search._curvature()
    assert epoch.guard["eigenvalue"] == again == search._curvature()
    assert all(torch.equal(b, before[n]) for n, b in search.net.named_buffers())


def test_what_counts_as_a_skip():
    assert [guard.is_skip(option) for option in (Skip(1), nn.Identity(), nn.ReLU())] == [True, True, False]
