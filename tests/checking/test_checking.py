"""`check`: every figure against another way to get it, and what does nothing is found where it was put."""

import statistics

import pytest
import torch.nn as nn
from scipy.stats import beta

from searchitect import OUTPUTS, Space, check, lazy, limit, load_space, one_of, real, repeat
from searchitect.checking.checks import share
from searchitect.errors import UsageError
from searchitect.nets import Costs

L = lazy(nn)


def doubled(width, unused):
    """A value that one of its arguments does not change."""
    return 2 * width


def head(*parts, limits=()):
    return Space(L.Sequential(*parts, L.LazyLinear(OUTPUTS)), limits=limits)


def test_a_small_space_is_counted_as_a_whole():
    space = head(L.LazyLinear(one_of(4, 8, 16, name="w")), one_of(L.ReLU(), L.Tanh()), repeat(L.Identity(), 0, 2))
    found = check(space, (5,), outputs=3, limits=["params < 70"], timed=False)
    every = list(space.enumerate())
    assert found.everything
    assert (found.drawn, found.finite) == (18, 18)
    assert found.duplicates.count == 18 - len({space.key(a) for a in every}) == 12
    params = [6 * a.decisions["0.w"] + 3 * (a.decisions["0.w"] + 1) for a in every]
    assert found.costs["params"] == (min(params), statistics.median(params), max(params))
    assert found.limits["params < 70"].share == sum(p < 70 for p in params) / 18
    assert found.within.count == sum(p < 70 for p in params)
    assert found.reached == {"params < 70": True}
    assert found.drawing == space.draw()


def test_dead_shadowed_and_hidden_choices_are_found():
    width = L.LazyLinear(lazy(doubled)(one_of(4, 8, name="width"), one_of(1, 2, 3, name="idle")))
    space = head(
        width,
        one_of(first=L.ReLU(), again=L.ReLU(), other=L.Tanh(), name="act"),
        one_of(keep=L.Sequential(L.Identity(), repeat(L.Identity(), 0, 3, name="more")), drop=L.Tanh(), name="end"),
    )  # fmt: skip
    found = check(space).choices
    assert sorted(found.dead) == ["0.out_features.idle", "end.keep.more"]
    assert found.twins == [("act", "again", "first")]
    assert found.looked == len(space.decisions)


def test_a_choice_without_faults_has_none():
    found = check(head(L.LazyLinear(one_of(4, 8)), one_of(L.ReLU(), L.Tanh()), L.Dropout(real(0.1, 0.5)))).choices
    assert (found.dead, found.twins, found.never, found.hidden) == ([], [], [], {})


def test_what_can_never_be_is_named_with_its_limit():
    space = head(
        one_of(plain=L.LazyLinear(one_of(4, 8, 4096, name="w")), deep=L.Linear(7, 3), name="body"),
        limits=["params < 1e4"],
    )
    found = check(space, (5,), timed=False)
    assert sorted(found.choices.never, key=str) == [("body", "deep"), ("body.plain.w", 4096)]
    assert found.invalid.count == 1
    assert "in_features=7" in found.why_invalid[0][0]
    assert (found.within.count, found.within.of) == (2, 4)


def test_the_interval_is_that_of_clopper_and_pearson():
    found = share(7, 100, exact=False)
    assert found.low == pytest.approx(beta.ppf(0.025, 7, 94))
    assert found.high == pytest.approx(beta.ppf(0.975, 8, 93))
    assert share(0, 0, exact=False).share == 0


def test_the_share_within_limits_covers_the_truth():
    space = load_space("mlp")
    limits = ["params < 20000"]
    found = check(space, (30,), outputs=2, limits=limits, samples=300, timed=False)
    costs = Costs(space, (30,), 2)
    truth = [costs.of(a).params for a in space.enumerate()]
    kept = sum(p < 20000 for p in truth) / len(truth)
    assert found.within.low <= kept <= found.within.high
    assert found.costs["params"].min == min(truth)
    assert found.costs["params"].max == max(truth)
    assert not found.everything


def test_ends_are_found_that_no_sample_has():
    space = head(*[L.LazyLinear(one_of(*range(1, 60))) for _ in range(8)])
    found = check(space, (4,), outputs=2, samples=50, limits=["params < 50"], timed=False)
    smallest = 5 + 7 * 2 + 2 * 2
    assert found.costs["params"].min == smallest
    assert found.limits["params < 50"].count == 0
    assert found.reached["params < 50"]


def test_functions_as_limits_are_shares_too():
    space = head(L.LazyLinear(one_of(4, 8, 16, 32, name="w")), limits=[limit(_narrow)])
    found = check(space, (5,), timed=False)
    assert found.limits[f"{__name__}._narrow"].share == 0.25
    assert found.within.count == 1


def _narrow(architecture):
    return architecture.decisions["0.w"] == 4


def test_latency_is_measured_in_turns_and_larger_networks_are_slower():
    found = check(head(L.LazyLinear(one_of(2, 4000)), L.LazyLinear(one_of(2, 4000))), (2000,), samples=20)
    assert found.latency.range.min < found.latency.range.max
    assert all(value > 0 for value in found.latency.values)
    assert found.latency.uncertainty >= 0.0


def test_supernets_are_counted_or_the_reason_is_told():
    found = check(load_space("nb201", cells=1, width=4), (3, 8, 8), samples=20, timed=False)
    from searchitect.nets import supernet

    net = supernet(load_space("nb201", cells=1, width=4), (3, 8, 8), outputs=10)
    assert found.supernet == sum(p.numel() for p in net.parameters())
    lost = check(head(L.Linear(7, 3)), (5,), timed=False)
    assert lost.supernet is None
    assert "no network can be built" in lost.supernet_why


def test_the_same_seed_gives_the_same_answer():
    first, second = (check(load_space("mlp"), (9,), samples=40, timed=False).as_data() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limits": ["accuracy"]}, "known before training"),
        ({"limits": ["f1 > 0.3"]}, "f1 > 0.3"),
        ({"samples": 3}, "at least 10"),
    ],
)
def test_wrong_options_say_what_is_allowed(options, said):
    with pytest.raises(UsageError, match=said):
        check(load_space("mlp"), (4,), **options)
