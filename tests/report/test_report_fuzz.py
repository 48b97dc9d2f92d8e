"""Studies of random content, within the types that the store reads: always a page, never an exception."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import report_fakes as fakes
from report_html import Page

from searchitect.records import Fidelity, State
from searchitect.report import page, terminal
from searchitect.report.snapshot import assemble
from searchitect.seeds import Stream, stream

NUMBERS = (
    0.0, -0.0, 1.0, 0.5, 0.97, -3.25, 1e308, -1e308, 5e-324, 1e-12, 1e15, 123456.0, math.nan, math.inf, -math.inf,
)  # fmt: skip
TEXTS = ("", "a", "=1", "<b>", "\x1b[1m", "\u202e", "ß" * 300, "{{x}}", "\ud800", "accuracy", "params")
KINDS = ("train", "inherited", "zero_cost", "function", "table")


def number(draw: Stream) -> float:
    return draw.pick(NUMBERS) if draw.below(2) else draw.uniform(-1.0, 1.0)


def scalar(draw: Stream):
    return draw.pick((None, True, 3, -(2**62), draw.uniform(0, 9), 1e308, draw.pick(TEXTS)))


def trial(draw: Stream, index: int):
    curve = [
        {name: number(draw) for name in ("epoch", "accuracy", "loss") if draw.below(4)} for _ in range(draw.below(4))
    ]
    return fakes.trial(
        index,
        number(draw) if draw.below(5) else None,
        ended=draw.uniform(0, 1e6) if draw.below(3) else number(draw),
        fidelity=Fidelity(draw.pick(KINDS), draw.pick((0, 3, 9, 2**62)), draw.pick((1.0, 1.0, number(draw)))),
        state=draw.pick((None, *State)),
        decisions={draw.pick(TEXTS): scalar(draw) for _ in range(draw.below(4))},
        source=draw.below(12) if draw.below(4) == 0 else None,
        seconds=number(draw),
        curve=curve,
        params=number(draw),
        latency_ms=number(draw),
    )


def score(draw: Stream):
    ends = {name: number(draw) for name in ("mean", "low", "high")}
    return {**ends, "n": draw.below(5), "values": [number(draw) for _ in range(draw.below(3))]}


def study(draw: Stream):
    verdict = fakes.verdict(
        metric=draw.pick(("accuracy", "params", "latency_ms", "seconds", "<x>")),
        winner=score(draw),
        baseline=draw.pick((None, score(draw))),
        difference=number(draw),
        low=number(draw),
        high=number(draw),
    )
    wanted = draw.pick((["accuracy"], ["accuracy", "params"], ["latency_ms", "params < 9"], ["max params", "loss"]))
    about = fakes.finished_meta(verdict=verdict, objectives=wanted, budget_seconds=number(draw))
    return assemble(Path("s"), about, [trial(draw, n) for n in range(draw.below(16))])


@pytest.mark.parametrize("part", range(4))
def test_any_content_gives_a_page(part):
    for case in range(20):
        found = study(stream(part, case, "report fuzz"))
        read = Page(page.render(found, now=0.0))
        assert read.faults == [], case
        drawn = [v for name, attributes in read.elements if name != "td" for v in attributes.values()]
        assert not [v for v in drawn if v in ("nan", "inf", "-inf")], case
        assert terminal.render(found), case
