from __future__ import annotations

import re

import pytest
import report_fakes as fakes
from test_report_page import EVIL, everything

from searchitect.report import terminal, text_summary, write_report


@pytest.fixture(params=sorted(everything()))
def summary(request):
    return terminal.render(fakes.snapshot(*everything()[request.param]))


def test_fits_a_terminal_and_steers_nothing(summary):
    long = [line for line in summary.splitlines() if len(line) > 80]
    assert [line for line in long if len(line.split()) > 3] == []  # only a path may be longer
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", summary)
    assert summary.endswith("\n")


def test_says_what_matters(tmp_path):
    folder = fakes.write(tmp_path / "s", fakes.finished_meta(), fakes.many(40), [("test_read", {"who": "finalize"})])
    write_report(folder)
    text = text_summary(folder)
    assert text.startswith("digits: Better than the baseline\n")
    for words in (
        "by 1.34",
        "winner   98.28 % (97.69 % to 98.87 %)",
        "baseline 96.94 % (96.11 % to 97.77 %)",
        "cnn, 15,625 architectures, 6 decisions",
        "15 results reused",
        "Best trials",
        "failed (user code): ValueError: kernel 7 is larger than the input",
        "Test data were read once",
        "Report: ",
    ):
        assert words in text, words


def test_bars_are_on_one_scale():
    text = terminal.render(fakes.snapshot(fakes.finished_meta(), []))
    winner, baseline = [line[49:] for line in text.splitlines() if line.startswith(("  winner", "  baseline"))]
    assert winner.index("├") > baseline.index("●")
    assert winner.rindex("┤") == 30
    assert baseline.index("├") == 1


def test_the_front_replaces_the_best_for_two_goals():
    text = terminal.render(fakes.snapshot(*everything()["two goals"]))
    assert re.search(r"Front \(\d of \d+\)", text)
    assert "Best trials" not in text


def test_hostile_names():
    about, trials, notes = everything()["hostile"]
    text = terminal.render(fakes.snapshot(about, trials, notes))
    assert EVIL not in text
    assert "\x1b" not in text
