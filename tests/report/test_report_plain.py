from __future__ import annotations

import math

import pytest

from searchitect.records import Fidelity
from searchitect.report import plain


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;https://evil.example\x07link\x1b]8;;\x07", "link"),
        ("a\x00b\x08c\x7fd\x9be", "abcde"),
        ("abc\u202edef\u2066g\u2069\u200f\u200b", "abcdefg"),
        ("two\r\nlines\tand a tab", "two\nlines\tand a tab"),
        ("lone \ud800 surrogate", "lone  surrogate"),
        ("שלום 模型 é 🙂", "שלום 模型 é 🙂"),
        (None, "None"),
        (3.5, "3.5"),
    ],
)
def test_clean_takes_out_what_steers(given, shown):
    assert plain.clean(given) == shown


def test_clean_limits_the_length():
    assert plain.clean("x" * 1000, 10) == "x" * 9 + "…"
    assert len(plain.clean("\x1b[0m" * 10**6 + "y", 20)) <= 20


def test_what_cannot_be_text_is_left_out():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert plain.clean(deep) == "…"
    assert plain.clean(10**5000) == "…"


def test_line_is_one_line():
    assert plain.line("a\nb\r\n\tc") == "a b c"
    assert plain.line("abc def", 4) == "abc…"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (2.5, 2.5),
        ("inf", math.inf),
        ("-inf", -math.inf),
        (True, None),
        ("12", None),
        (None, None),
        ([], None),
    ],
)
def test_number(value, expected):
    assert plain.number(value) == expected


def test_numbers_that_are_not_finite():
    assert math.isnan(plain.number("nan"))
    assert plain.finite("nan") is None
    assert plain.finite(10**400) is None
    assert plain.whole(True) is None
    assert plain.whole(10**400) is None
    assert plain.whole(3) == 3


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("accuracy", 0.9828, "98.28 %"),
        ("accuracy", 93.5, "93.5"),  # a table that keeps per cent
        ("loss", 0.123456, "0.1235"),
        ("loss", -0.5, "−0.5"),
        ("loss", -1234.56, "−1,235"),
        ("params", 48_210, "48.2 K"),
        ("params", 1234, "1,234"),
        ("macs", 1_250_000, "1.25 M"),
        ("latency_ms", 0.84, "0.84 ms"),
        ("seconds", 75, "1 min 15 s"),
        ("loss", math.nan, "not a number"),
        ("loss", math.inf, "∞"),
        ("loss", None, "–"),
    ],
)
def test_show_metric(metric, value, shown):
    assert plain.show_metric(metric, value) == shown


@pytest.mark.parametrize(
    ("metric", "value", "largest", "shown"),
    [
        ("accuracy", 0.0134, 0.98, "+1.34 points"),
        ("accuracy", -0.02, 0.98, "−2.00 points"),
        ("accuracy", 1.5, 93.0, "+1.5"),
        ("loss", -0.25, 1.0, "−0.25"),
        ("loss", 0.0, 1.0, "0"),
        ("loss", None, 1.0, "–"),
    ],
)
def test_show_difference(metric, value, largest, shown):
    assert plain.show_difference(metric, value, largest=largest) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (0.314, "0.31 s"),
        (45.2, "45 s"),
        (59.7, "1 min"),
        (750, "12 min 30 s"),
        (5400, "1 h 30 min"),
        (360_000, "100 h"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_show_duration(seconds, shown):
    assert plain.show_duration(seconds) == shown


@pytest.mark.parametrize(
    ("stamp", "shown"), [(0, "1970-01-01 00:00 UTC"), (1e300, ""), (-5, ""), ("yesterday", ""), (math.nan, "")]
)
def test_show_time(stamp, shown):
    assert plain.show_time(stamp) == shown


@pytest.mark.parametrize(
    ("fidelity", "shown"),
    [
        (Fidelity("train", 1), "1 epoch"),
        (Fidelity("train", 12, 0.5), "12 epochs, 50 % of the rows"),
        (Fidelity("inherited"), "inherited weights"),
        (Fidelity("train", 3, resolution=16), "3 epochs, 16 px"),
        (Fidelity(), "trained"),
        (Fidelity("train", 1, horizon=27), "1 of 27 epochs"),
    ],
)
def test_show_fidelity(fidelity, shown):
    assert plain.show_fidelity(fidelity) == shown


def test_show_decisions_is_short_and_clean():
    shown = plain.show_decisions(
        {"lr": 0.1234567891, "op": "co\x1b[1mnv", "skip": None, **{f"d{i}": i for i in range(500)}}
    )
    assert shown.startswith("lr=0.123457, op=conv, skip=None, d0=0")
    assert len(shown) <= 240
