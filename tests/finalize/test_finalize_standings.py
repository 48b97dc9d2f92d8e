"""Who wins stage A: the best mean, and the hand-made network unless there is evidence against it."""

import math

import numpy as np
import pytest
from scipy import stats

from searchitect.finalize.standings import Standing, cautious, ranking
from searchitect.records import Proposal, Trial
from searchitect.space import Architecture


def standing(number, validation, loss=math.inf):
    return Standing(Trial(number, Proposal(Architecture("s", {"n": number}))), tuple(validation), loss)


def hand_made(trial):
    return trial.number == 9


def order(standings):
    return [s.trial.number for s in standings]


def test_means_then_losses_then_age():
    equal = [0.8, 0.9]
    given = [standing(3, equal, 0.2), standing(1, equal, 0.3), standing(2, [0.9, 0.9]), standing(0, equal, 0.3)]
    given.append(Standing(given[0].trial, dropped="out of memory"))
    assert order(ranking(given, "max")) == [2, 3, 0, 1]
    assert order(ranking(given, "min")) == [3, 0, 1, 2]


@pytest.mark.parametrize(
    ("leads", "ratio", "first"),
    [
        ([0.02, 0.02, 0.02], 0.25, 1),  # the same on every part: no doubt
        ([0.03, -0.01, 0.01, 0.03], 0.0, 1),  # mean 0.015, error 0.0096
        ([0.03, -0.01, 0.01, 0.03], 0.5, 9),  # the same lead with shared rows: error 0.0166
        ([0.04, -0.03, 0.02, -0.02], 0.0, 9),
    ],
)
@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_hand_made_network_gives_way_to_evidence_only(leads, ratio, first, direction):
    sign = 1 if direction == "max" else -1
    base = [0.9, 0.91, 0.89, 0.9][: len(leads)]
    given = [standing(9, base), standing(1, [b + sign * d for b, d in zip(base, leads, strict=True)])]
    ranked, why = cautious(ranking(given, direction), direction, hand_made, ratio)
    assert order(ranked) == [first, 10 - first]
    assert ("the hand-made network is kept: trial 1" in why) is (first == 9)


def test_the_standard_error_is_that_of_the_paired_t_statistic():
    """Without shared rows, t = lead / error is scipy's: the rule is t > 1."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        base, own = rng.normal(0.9, 0.01, 5), rng.normal(0.903, 0.01, 5)
        if own.mean() <= base.mean():
            continue
        ranked, _ = cautious([standing(1, own), standing(9, base)], "max", hand_made, 0.0)
        seen.add(ranked[0].trial.number)
        assert (ranked[0].trial.number == 1) == (stats.ttest_rel(own, base).statistic > 1)
    assert seen == {1, 9}


def test_where_the_rule_does_not_apply_the_ranking_stands():
    single, other = standing(1, [0.9]), standing(9, [0.8])
    assert cautious([single, other], "max", hand_made, 0.0) == (
        [single, other],
        "",
    )  # one says nothing of error
    three = [standing(1, [0.9, 0.7]), standing(2, [0.8, 0.7])]
    assert cautious(three, "max", hand_made, 0.0) == (three, "")  # no hand-made finalist
    ahead = [standing(9, [0.9, 0.8]), standing(2, [0.8, 0.7])]
    assert cautious(ahead, "max", hand_made, 0.0) == (ahead, "")


def test_the_others_keep_their_order():
    given = [standing(n, [0.9 - n / 1000, 0.8]) for n in (1, 2, 3)] + [standing(9, [0.85, 0.84])]
    ranked, why = cautious(ranking(given, "max"), "max", hand_made, 0.25)
    assert order(ranked) == [9, 1, 2, 3]
    assert why.startswith("the hand-made network is kept: trial 1 was ahead by 0.0045")


def test_the_interval_is_that_of_a_table_of_students_t_with_shared_rows_corrected():
    one = standing(1, [0.8, 0.9, 0.85])
    one.held_out = 0.25
    # t(2, 0.975) = 4.3027 in any table; variance 0.0025
    half = 4.3027 * math.sqrt((1 / 3 + 0.25) * 0.0025)
    assert one.interval == pytest.approx((0.85 - half, 0.85 + half), abs=1e-5)
    one.held_out = 0.0
    expected = stats.t.interval(0.95, 2, loc=0.85, scale=stats.sem(one.validation))
    assert one.interval == pytest.approx(expected)
    assert (one.plain()["low"], one.plain()["high"]) == one.interval
    one.share, one.held_out = True, 0.25
    assert one.interval[1] == 1.0, "a share is at most 1"
    assert standing(1, [0.8]).interval is None
    assert standing(1, [0.8]).plain()["low"] is None
