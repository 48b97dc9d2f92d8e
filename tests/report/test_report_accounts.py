from __future__ import annotations

import pytest
import report_fakes as fakes
from report_fakes import trial

from searchitect.records import Cause, Failure, State, objectives
from searchitect.report.accounts import NOT_USED, costs, decision_shares, failures

ACCURACY = objectives(["accuracy"])


def test_costs_by_hand():
    trials = [
        trial(0, 0.9, seconds=8.0),
        trial(1, None),  # failed after 10 s by the clock
        trial(2, 0.9, source=0, seconds=0.0),
        trial(3, 0.9, source=2, seconds=0.0),  # the source was itself reused
        trial(4, 0.7, seconds=5.0, state=State.PRUNED),
        trial(5, state=State.QUEUED),
    ]
    found = costs(trials, fakes.finished_meta())
    assert (found.work, found.lost, found.saved) == (23.0, 10.0, 16.0)
    assert (found.reused, found.ended, found.attempts) == (2, 5, 3)
    assert found.epochs == 10
    assert (found.search, found.finalize, found.budget, found.active) == (121.3, 52.9, 180.0, 174.6)


def test_costs_before_the_end():
    found = costs([], fakes.meta())
    assert (found.search, found.finalize, found.budget) == (None, None, 180.0)
    assert (found.work, found.saved, found.reused) == (0.0, 0.0, 0)


def test_sources_in_a_circle_end():
    found = costs([trial(0, 0.9, source=1, seconds=3.0), trial(1, 0.9, source=0, seconds=3.0)], {})
    assert found.saved == 6.0


def test_failures_by_hand():
    def failed(number, cause, message, traceback=""):
        return trial(number, state=State.FAILED, failure=Failure(cause, message, traceback))

    trials = [
        failed(0, Cause.MEMORY, "needed 3 GB"),
        failed(1, Cause.USER_CODE, "KeyError: 'a'"),
        failed(2, Cause.USER_CODE, "ValueError: b", "Traceback of 2"),
        failed(3, Cause.USER_CODE, "ValueError: b", "Traceback of 3"),
        trial(4, 0.9),
    ]
    rows = failures(trials)
    assert [(r.cause, r.count, r.message, r.alike, r.example, r.traceback) for r in rows] == [
        ("user code", 3, "ValueError: b", 2, 2, "Traceback of 2"),
        ("out of memory", 1, "needed 3 GB", 1, 0, ""),
    ]
    assert failures([trial(0, 0.9)]) == []


def test_shares_by_hand():
    trials = [trial(n, 0.5 + 0.01 * n, decisions={"kernel": 3 if n < 6 else 5, "pad": "same"}) for n in range(8)]
    trials.append(trial(8, None, decisions={"kernel": 7, "pad": "same", "extra": True}))
    found = decision_shares(trials, ACCURACY)
    assert (found.best, found.all, found.constant) == (2, 9, 1)
    by_name = {row.name: row for row in found.rows}
    assert [(s.option, s.best, s.all) for s in by_name["kernel"].shares] == [
        ("3", 0.0, pytest.approx(6 / 9)),
        ("5", 1.0, pytest.approx(2 / 9)),
        ("7", 0.0, pytest.approx(1 / 9)),
    ]
    assert by_name["kernel"].distance == pytest.approx(7 / 9)
    assert [(s.option, s.best) for s in by_name["extra"].shares] == [("True", 0.0), (NOT_USED, 1.0)]
    assert [row.name for row in found.rows] == ["kernel", "extra"]


def test_many_numbers_are_shown_in_ranges():
    trials = [trial(n, 0.5 + 0.001 * n, decisions={"lr": n / 100}) for n in range(100)]
    (row,) = decision_shares(trials, ACCURACY).rows
    assert [s.option for s in row.shares] == ["0 to 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 0.99"]
    assert [s.best for s in row.shares] == [0.0, 0.0, 0.0, 1.0]
    assert [s.all for s in row.shares] == [0.25] * 4


def test_shares_add_up_to_one():
    for row in decision_shares(fakes.many(80, 2), ACCURACY).rows:
        assert sum(s.best for s in row.shares) == pytest.approx(1.0)
        assert sum(s.all for s in row.shares) == pytest.approx(1.0)


def test_nothing_is_said_about_few_trials():
    found = decision_shares([trial(n, 0.9) for n in range(7)], ACCURACY)
    assert found.rows == ()
    assert found.all == 7
