"""What a running search shows, on a terminal and elsewhere."""

import io
import re

import msgspec
import pytest
from cli_studies import PLAN, SUMMARY, progress, trial

from searchitect.cli import phrases
from searchitect.cli.progress import EVERY, Screen, observer
from searchitect.engine.observer import Progress
from searchitect.records import Fidelity


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self):
        return self.now


def plain(**options):
    stream, clock = io.StringIO(), Clock()
    return Screen(stream, live=False, clock=clock, **options), stream, clock


def test_the_plan_says_what_will_happen_in_80_columns():
    screen, stream, _ = plain()
    screen.plan(PLAN)
    text = stream.getvalue()
    for words in (
        "digits-cnn-1", "digits: image 1×8×8 in 10 classes", "1,077 train, 360 validation, 360 test",
        "cnn: 15,625 networks from 6 decisions", "random (few trials)", "accuracy, latency_ms < 2",
        "hand-made network", "3 min for everything, 12 epochs a trial", "2 with 1 thread each, seed 0", "a note",
    ):  # fmt: skip
        assert words in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    "plan", [{}, {"name": None, "space": None, "data": {}}, {"space": "cnn", "strategy": 3, "data": [], "workers": "x"}]
)
def test_an_odd_plan_ends_nothing(plan):
    screen, stream, _ = plain()
    screen.plan(plan)
    assert stream.getvalue().startswith("search")


def test_plain_lines_come_at_each_new_best_and_phase_and_else_rarely():
    screen, stream, clock = plain()
    screen.plan({"objectives": ["accuracy"]})
    before = len(stream.getvalue().splitlines())
    first, better = trial(1, 0.8), trial(4, 0.9)
    told = []
    for event in (
        progress(1, first), progress(2, first), progress(3, better), progress(4, better),
        progress(4, better, phase="finalize"),
    ):  # fmt: skip
        screen.progress(event)
        told.append(len(stream.getvalue().splitlines()) - before)
        clock.now += 0.1
    assert told == [1, 1, 2, 2, 3]
    clock.now += EVERY
    screen.progress(progress(5, better, phase="finalize"))
    assert len(stream.getvalue().splitlines()) - before == 4


def test_a_line_has_phase_best_counts_and_time():
    text = phrases.progress_text(progress(12, trial(7, 0.9722), failed=1, reused=3, running=2), ("accuracy",))
    assert text == "search, 50 s left · best accuracy 97.22 % (#7) · 12 done, 1 failed, 3 reused, 2 running"
    assert phrases.progress_text(Progress("search", 1, trials_left=0, elapsed=2.0)) == "search, 2 s · 1 done"
    assert phrases.progress_text(Progress("probe", elapsed=2.0, text="an epoch")) == "probe, 2 s · an epoch"
    borrowed = trial(0, 0.5)
    proposal = msgspec.structs.replace(borrowed.proposal, fidelity=Fidelity("inherited", 3))
    text = phrases.progress_text(progress(1, msgspec.structs.replace(borrowed, proposal=proposal)), ("accuracy",))
    assert "best with inherited weights accuracy 50.00 % (#0)" in text
    assert phrases.progress_text(Progress("search", 1, trials_left=1)) == "search, 1 trial left · 1 done"
    assert phrases.progress_text(Progress("report", 1, elapsed=3.0, text="writing")) == "report, 3 s · writing · 1 done"


def test_only_the_goals_are_shown_of_the_best():
    text = phrases.progress_text(progress(1, trial(0, 0.5)), ("loss",))
    assert "best loss 0.25" in text
    assert "accuracy" not in text


def test_the_forecast_says_when_it_ends():
    text = phrases.forecast_text(
        {"seconds_per_trial": 4.2, "trials": 34, "finalize_seconds": 40.0, "seconds_left": 0.0}
    )
    assert re.fullmatch(
        r"about 34 trials, 4\.2 s each; then 40 s for the final comparison; ends at \d\d:\d\d:\d\d", text
    )


def test_the_forecast_is_a_sentence():
    screen, stream, _ = plain()
    screen.forecast({"seconds_per_trial": 4.2, "trials": 34})
    screen.forecast({})
    assert stream.getvalue() == "forecast: about 34 trials, 4.2 s each\n"


def test_the_end_has_verdict_places_and_the_next_command():
    screen, stream, _ = plain()
    screen.end(SUMMARY)
    lines = stream.getvalue().splitlines()
    assert lines[1] == "Better than the baseline by 1.3 points (0.4 to 2.3)."
    assert "accuracy 97.22 % (trial 7, on validation data)" in stream.getvalue()
    assert "12 done, 1 failed" in stream.getvalue()
    assert any(re.match(r"  report +runs/digits-cnn-1/report.html$", text) for text in lines)
    assert any(re.match(r"  bundle +runs/digits-cnn-1/best$", text) for text in lines)
    assert lines[-1].split(maxsplit=1) == ["next", "searchitect predict runs/digits-cnn-1/best DATA"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("changes", "head", "last"),
    [
        ({"stopped": "interrupted"}, "Search ended (interrupted), not finalised.", "searchitect resume runs/digits-"),
        ({"signal": "SIGTERM"}, "Search ended (budget), not finalised.", "searchitect resume runs/digits-cnn-1"),
        ({"bundle": None}, "Search ended (budget), not finalised.", "searchitect show runs/digits-cnn-1"),
        ({"best": None, "bundle": None}, "No network was measured successfully.", "searchitect show"),
    ],
)  # fmt: skip
def test_other_ends(changes, head, last):
    text = "\n".join(phrases.end_lines({**SUMMARY, "verdict": None, **changes}))
    assert head in text
    assert last in text


def test_quiet_shows_only_the_end():
    screen, stream, _ = plain(quiet=True)
    screen.plan(PLAN)
    screen.progress(progress())
    screen.forecast({"seconds_per_trial": 1.0, "trials": 3})
    screen.message("something")
    assert stream.getvalue() == ""
    screen.end(SUMMARY)
    assert "Better than the baseline" in stream.getvalue()


def test_escape_codes_never_reach_the_terminal():
    evil = "\x1b[2Jname\x1b]0;title\x07\u202egnp\n"
    screen, stream, _ = plain()
    screen.plan(
        {**PLAN, "name": evil, "space": {"name": evil, "size": evil}, "data": {"source": evil, "notes": [evil]}}
    )
    screen.message(evil)
    screen.progress(Progress(evil, 1, text=evil))
    screen.end({**SUMMARY, "path": evil, "bundle": evil, "verdict": {"sentence": evil}})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", stream.getvalue())
    assert "name" in stream.getvalue()


def test_a_terminal_gets_one_live_line_that_is_taken_down(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with Screen(stream, live=True) as screen:
        screen.plan(PLAN)
        for done in range(50):
            screen.progress(progress(done, trial(1, 0.8)))
        screen.message("a message [bold]not markup[/bold]")
        live = screen._live
        assert live.is_started
        screen.end(SUMMARY)
        assert not live.is_started
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "note: a message [bold]not markup[/bold]" in text
    assert text.index("note:") < text.index("Better than")
    assert text.count("· best accuracy 80.00 % (#1) ·") < 50


def test_the_live_line_is_taken_down_after_an_error(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(Terminal(), live=True)

    def fail():
        with screen:
            screen.progress(progress())
            assert screen._live.is_started
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not screen._live.is_started


def test_a_message_from_a_signal_handler_in_the_middle_of_a_write_is_still_said(tmp_path):
    class Busy(io.StringIO):
        def write(self, text):
            raise RuntimeError("reentrant call")

        def fileno(self):
            return file.fileno()

    with (tmp_path / "out").open("wb") as file:
        Screen(Busy(), live=False).message("finishing")
    assert (tmp_path / "out").read_text() == "note: finishing\n"


def test_the_stream_is_standard_output_unless_that_is_for_programs(capsys):
    observer().message("for people")
    observer(to_errors=True).message("beside the JSON")
    out, err = capsys.readouterr()
    assert out == "note: for people\n"
    assert err == "note: beside the JSON\n"


def test_what_budgets_buy_is_said_in_words():
    few = {"seconds": 180.0, "trials": 34, "epochs": 1, "data": 0.5, "final_epochs": 7, "finalize": 69.0, "most": False}
    whole = few | {"seconds": 3_600.0, "trials": 16, "epochs": 30, "data": 1.0, "most": True}
    text = " ".join("\n".join(phrases.plan_lines({"forecasts": [few, whole, {"seconds": 3}]})).split())
    assert "3 min: about 34 trials of 1 epoch on 50% of the rows, then 1 min 9 s for the final comparison" in text
    assert "1 h: all 16 architectures of 30 epochs, then" in text


def test_the_plan_says_who_teaches_and_how_many_are_shipped():
    told = "\n".join(phrases.plan_lines({"settings": {"distill": 0.5, "ensemble": 3}}))
    assert "teacher   the best finalists together, for winner and baseline alike: 50%" in told
    assert "ensemble  3 networks in the bundle, at about 3 times the cost of one" in told
    assert "teacher" not in "\n".join(phrases.plan_lines({"settings": {}}))
