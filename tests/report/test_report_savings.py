"""What the report says was saved."""

from __future__ import annotations

import msgspec
import pytest
import report_fakes as fakes

from searchitect.records import PROMOTE, Fidelity
from searchitect.report import savings


def short(number, epochs, seconds, **more):
    """A training of so many epochs."""
    made = fakes.trial(number, 0.9, seconds=seconds, **{k: v for k, v in more.items() if k == "source"})
    proposal = msgspec.structs.replace(
        made.proposal, fidelity=Fidelity("train", epochs, more.get("data", 1.0), horizon=more.get("horizon", 0)),
        origin=more.get("origin", "sample"),
    )  # fmt: skip
    measured = msgspec.structs.replace(made.measurement, epochs=more.get("trained", epochs), seconds=seconds)
    return msgspec.structs.replace(made, proposal=proposal, measurement=measured)


def test_in_full_counts_proposals_and_not_steps_of_one_training():
    trials = [
        short(0, 2, 4.0, horizon=8),  # 2 s an epoch
        short(1, 1, 0.5, data=0.5, horizon=8),  # 1 s an epoch on all rows
        short(2, 8, 12.0, trained=6, origin=PROMOTE),  # trial 0 goes on
        short(3, 2, 0.0, source=0),  # would have been trained again
    ]
    asked, took, wanted = savings.full_seconds(trials, 8)
    assert (asked, took) == (3, 16.5)
    assert wanted == pytest.approx(8 * (2.0 + 1.0 + 2.0))
    told = dict(savings.savings(fakes.snapshot(fakes.meta(), trials)))
    assert told["Against training every proposal in full"] == (
        "3 proposals of 8 epochs on all rows would have taken 40 s of work; 16 s were spent (41%)"
    )


def test_nothing_is_claimed_where_all_were_trained_in_full():
    assert savings.savings(fakes.snapshot(fakes.meta(), [short(0, 4, 4.0)])) == []


def test_each_saver_tells_what_it_did():
    meta = fakes.meta() | {
        "pruned": {"trials": 3, "saved_seconds": 90.0, "confidence": 0.95},
        "memory": {"failed": 2, "fitted": 9, "threshold_mb": 812.4},
        "hardware": {"latency_ms": {"operations": 40, "error": 0.021, "networks": 12, "device": "this cpu"}},
    }
    told = dict(savings.savings(fakes.snapshot(meta, [])))
    assert told == {
        "Ended by their curves": "3 trainings, 1 min 30 s saved, at a confidence of 0.95",
        "Memory": "2 networks did not fit; none was proposed again that needs 812 MB or more",
        "latency_ms, told beforehand": "from 40 operations, this cpu: off by 2.1% in the mean of 12 networks",
    }
    broken = meta | {"pruned": {"trials": "x"}, "memory": [1], "hardware": {"latency_ms": {"operations": None}}}
    assert savings.savings(fakes.snapshot(broken, [])) == []
