"""What a fit shows: plan, progress and outcome, on a live line and in a file."""

from __future__ import annotations

import io

from searchitect.engine.observer import Progress
from searchitect.estimators.telling import WIDTH, Teller

FACTS = {
    "objectives": ["accuracy"], "budget_seconds": 600.0, "trials_limit": 20,
    "data": {"kind": "table", "shape": [6], "classes": ["a", "b"], "splits": {"train": 60, "validation": 20, "test": 0},
             "notes": ["X: gaps"]},
    "space": {"size": "7,680", "name": "mlp"}, "strategy": {"name": "random"},
}  # fmt: skip


def told(live, calls):
    stream, now = io.StringIO(), [0.0]
    teller = Teller(stream, live=live, kept=False, clock=lambda: now[0])
    for name, argument, time in calls:
        now[0] = time
        getattr(teller, name)(argument)
    return stream.getvalue()


def test_the_plan_says_what_and_when():
    text = told(False, [("plan", FACTS, 0)])
    assert "table 6, 2 classes; rows: 60 for train, 20 for validation\n" in text
    assert "7,680 networks of the space 'mlp', by the strategy random, for accuracy" in text
    assert "in 10 min at the latest, at " in text or "in 10m" in text
    assert "or after 20 networks" in text
    assert "note       X: gaps" in text


def test_lines_in_a_file_are_few():
    steps = [("progress", Progress("search", done=i, left=100.0 - i), i * 0.5) for i in range(30)]
    lines = told(False, [("plan", FACTS, 0), *steps]).splitlines()
    assert sum("searching" in line for line in lines) == 3  # at 0, 5 and 10 of 15 seconds


def test_a_live_line_is_rewritten_and_cleared():
    long = Progress("search", done=1, text="x" * 200)
    text = told(True, [("progress", Progress("search", done=7), 0), ("progress", long, 0), ("message", "hello", 0)])
    first, second, *rest = text.split("\r")[1:]
    assert first.startswith("searching · 7 tried")
    assert len(second) == WIDTH
    assert rest == [" " * WIDTH, "note       hello\n"]


def test_the_end_says_the_verdict_or_that_there_is_none():
    end = {"report": "/tmp/r.html", "verdict": {"sentence": "cannot tell"}, "signal": "SIGINT"}
    assert told(False, [("end", end, 0)]).startswith("verdict    cannot tell\nreport     /tmp/r.html (goes with the")
    best = {"best": {"validation": {"accuracy": 0.9}}}
    assert "accuracy 90.00 % on validation rows; not compared" in told(False, [("end", best, 0)])
    assert "no network was measured" in told(False, [("end", {}, 0)])


def test_quiet_says_nothing_and_a_closed_stream_is_no_error():
    stream = io.StringIO()
    quiet = Teller(stream, quiet=True, live=True)
    quiet.plan(FACTS)
    quiet.progress(Progress("search"))
    quiet.end({"signal": "SIGINT"})
    assert stream.getvalue() == ""
    assert quiet.signal == "SIGINT"
    stream.close()
    Teller(stream, live=False).message("into nothing")
