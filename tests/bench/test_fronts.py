"""Shares of a table's front against hand-made ones and against all rows."""

import numpy as np
import pytest
from bench_tables import ROWS, plain

from searchitect.bench import load_table
from searchitect.bench.compare import Entry, Plan, Trace, compare
from searchitect.bench.fronts import Front, _efficient
from searchitect.bench.results import results


def found(*rows):
    return Trace("t", "s", 0, len(rows), 0.0, (), 0, 0, 0.0, rows)


def two_goals(folder):
    """max valid (the row's number) and min size: rows 15 (size 0), 16 (1), 17 (2) are the front."""
    return Front(plain(folder), Plan((), (), objectives=("max valid", "min size")))


def test_shares_by_hand(tmp_path):
    front = two_goals(tmp_path)
    assert front.size == 3
    # scaled (loss of valid, size): row 15 (1, 0), 16 (0.5, 0.5), 17 (0, 1); reference (1.1, 1.1)
    whole = 0.1 * 1.1 + 0.5 * 0.6 + 0.5 * 0.1
    assert front.whole == pytest.approx(whole)
    assert front.share(found(16)) == pytest.approx(0.6 * 0.6 / whole)
    assert front.share(found(15, 17)) == pytest.approx((0.1 * 1.1 + 1.0 * 0.1) / whole)
    assert front.share(found(17, 15, 16)) == pytest.approx(1.0)
    assert front.share(found(17, 15, 16), told=1) == pytest.approx(0.11 / whole)
    assert front.share(found(3, -1)) == 0.0
    assert front.share(found()) == 0.0


def test_rows_that_break_a_limit_count_nothing(tmp_path):
    front = Front(plain(tmp_path), Plan((), (), objectives=("max valid", "min size", "size < 2")))
    assert front.size == 2
    assert front.share(found(17)) == 0.0
    assert front.share(found(15, 16)) == pytest.approx(1.0)


def test_a_goal_against_the_columns_own_direction(tmp_path):
    front = Front(plain(tmp_path), Plan((), (), objectives=("min valid", "max size")))
    assert front.share(found(*range(ROWS))) == pytest.approx(1.0)
    assert front.size == 5  # rows 0 to 4


def test_the_front_of_random_points_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    for goals in (2, 3):
        values = rng.integers(0, 12, (150, goals)).astype(float)
        dominated = [any((o <= v).all() and (o < v).any() for o in values) for v in values]
        assert _efficient(values).tolist() == [not d for d in dominated]


def test_searches_with_several_goals_have_shares():
    plan = Plan(("nb201-cifar10",), (Entry("random"),), 3, 60, objectives=("valid_acc_12ep", "min flops_m"))
    traces = compare(plan)
    strategy = results(plan, traces)["tables"][0]["strategies"][0]
    shares = [Front(load_table("nb201-cifar10"), plan).share(t) for t in traces]
    assert strategy["front"]["end"]["mean"] == pytest.approx(np.mean(shares))
    assert 0.5 < strategy["front"]["at"]["10"]["mean"] < strategy["front"]["end"]["mean"] < 1.0
    single = Plan(("nb201-cifar10",), (Entry("random"),), 1, 10)
    assert results(single, compare(single))["tables"][0]["strategies"][0]["front"] is None
    assert compare(single)[0].rows == ()
