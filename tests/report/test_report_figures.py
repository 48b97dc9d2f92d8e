from __future__ import annotations

import math
import re
import subprocess
import sys

import pytest
from report_fakes import START, many, trial

from searchitect.records import Score, Verdict, objectives
from searchitect.report import figures, svg, tables
from searchitect.report.accounts import DecisionShares, Share

ACCURACY = objectives(["accuracy"])
BOTH = objectives(["accuracy", "latency_ms"])
WINNER, BASELINE = Score(0.95, 0.93, 0.97, 3, (0.94, 0.96)), Score(0.90, 0.88, 0.92, 3)


def circles(drawing, class_):
    """The centres and tips of the circles of a class."""
    pattern = r'<circle cx="([^"]+)" cy="([^"]+)" r="[^"]+" class="([^"]+)">(?:<title>([^<]*))?'
    return [(float(x), float(y), tip) for x, y, c, tip in re.findall(pattern, drawing) if c == class_]


def test_elements_escape():
    drawing = svg.tag("text", '<b>"&', title_='a"><script>', text_anchor="end", x=1.0, missing=None)
    assert drawing == ('<text title="a&#34;&gt;&lt;script&gt;" text-anchor="end" x="1">&lt;b&gt;&#34;&amp;</text>')


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.93, 0.987, [0.94, 0.96, 0.98]),
        (0.0, 40.0, [0, 10, 20, 30, 40]),
        (-3.0, 8.0, [0, 5]),
        (5.0, 5.0, [5.0]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert svg.Scale(low, high, 0, 1).ticks(5) == pytest.approx(expected)


def test_ticks_of_a_logarithmic_scale():
    assert svg.Scale(800, 2_000_000, 0, 1, log=True).ticks(5) == pytest.approx([1e3, 1e4, 1e5, 1e6])
    assert svg.Scale(15, 60, 0, 1, log=True).ticks(5) == pytest.approx([20, 50])


@pytest.mark.parametrize(
    ("metric", "ticks", "labels"),
    [
        ("accuracy", [0.5, 0.75], ["50 %", "75 %"]),
        ("accuracy", [0.984, 0.986], ["98.4 %", "98.6 %"]),
        ("accuracy", [80.0, 90.0], ["80", "90"]),
        ("loss", [-0.5, 0.0, 0.25], ["−0.50", "0.00", "0.25"]),
        ("params", [20_000, 1_000_000], ["20 K", "1 M"]),
        ("loss", [0.000001, 0.000002], ["0.000001", "0.000002"]),
    ],
)
def test_tick_labels_tell_ticks_apart(metric, ticks, labels):
    assert svg.tick_labels(metric, ticks) == labels


def test_a_scale_puts_what_is_beyond_at_its_edge():
    scale = svg.Scale(0.0, 10.0, 100.0, 200.0)
    assert [scale(v) for v in (0.0, 5.0, 10.0, -math.inf, math.inf, 99.0)] == [100, 150, 200, 100, 200, 200]
    assert svg.Scale(1.0, 100.0, 0.0, 1.0, log=True)(10.0) == pytest.approx(0.5)
    assert svg.Scale(2.0, 2.0, 0.0, 1.0)(2.0) == 0.5


@pytest.mark.parametrize("values", [[], [math.nan], [0.0], [3.0, 3.0], [-1.0, math.inf]])
def test_a_scale_of_odd_values_has_room(values):
    scale = svg.scale(values, 0, 100)
    assert scale.low < scale.high
    assert math.isfinite(scale.low + scale.high)


def test_staircase():
    assert svg.staircase([(0, 5), (2, 3)], 9) == [(0, 5), (2, 5), (2, 3), (9, 3)]
    assert svg.staircase([], 9) == []


def test_the_verdict_is_drawn_to_scale():
    verdict = Verdict("accuracy", WINNER, BASELINE, 0.05, 0.02, 0.08, "better", 100)
    drawing = figures.verdict_figure(verdict)
    ((winner, _, tip),) = circles(drawing, "mean s1")
    ((baseline, _, _),) = circles(drawing, "mean s2")
    ((difference, _, _),) = circles(drawing, "mean s3")
    singles = circles(drawing, "single s1")
    # the scale: 0.88 to 0.97 with 6 % room at each side, over 360 units from 10
    unit = 360 / (0.09 * 1.12)
    assert winner == pytest.approx(10 + (0.95 - 0.88 + 0.0054) * unit, abs=0.01)
    assert winner - baseline == pytest.approx(0.05 * unit, abs=0.02)
    assert [x for x, _, _ in singles] == pytest.approx([winner - 0.01 * unit, winner + 0.01 * unit], abs=0.02)
    # the difference: 0 to 0.08 with 6 % room
    assert difference == pytest.approx(10 + (0.05 + 0.0048) * 360 / (0.08 * 1.12), abs=0.01)
    assert tip == "mean: 95.00 %"
    assert "+5.00 (+2.00 to +8.00 points)" in drawing


def test_a_verdict_with_infinite_intervals_is_drawn():
    lonely = Score(2.0, -math.inf, math.inf, 1)
    drawing = figures.verdict_figure(Verdict("loss", lonely, None, None, None, None, "no baseline", 10))
    assert "nan" not in drawing
    assert 'aria-label="loss on test data: Winner 2 (−∞ to ∞)"' in drawing


def test_progress_is_drawn_to_scale():
    trials = [trial(0, 0.5, ended=60), trial(1, 0.9, ended=180), trial(2, 0.7, ended=240)]
    curves = tables.progress_curve(trials, ACCURACY, lambda t: t - START)
    over_trials = circles(figures.progress_figure(curves, "ended"), "mean s1")
    over_time = circles(figures.progress_figure(curves, "seconds"), "mean s1")
    width = figures.RIGHT - figures.LEFT
    assert [x for x, _, _ in over_trials] == pytest.approx([figures.LEFT + width * n / 3 for n in (1, 2)], abs=0.01)
    assert [x for x, _, _ in over_time] == pytest.approx([figures.LEFT + width * t / 240 for t in (60, 180)], abs=0.01)
    assert over_trials[0][1] > over_trials[1][1]  # better is higher
    assert over_trials[1][2] == "trial 1: 90.00 %, 5 epochs"
    assert "minutes of searching" in figures.progress_figure(curves, "seconds")


def test_progress_without_times_is_not_drawn_over_time():
    curves = tables.progress_curve([trial(0, 0.5)], ACCURACY)
    assert figures.progress_figure(curves, "seconds") == ""
    assert "svg" in figures.progress_figure(curves, "ended")


def test_a_few_bad_values_do_not_flatten_the_rest():
    values = [0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.1]
    assert figures.without_bad(values, "max") == pytest.approx(sorted(values, reverse=True)[:-1])
    assert figures.without_bad([1.0, 1.1, 1.2, 1.3, 50.0], "min") == pytest.approx([1.0, 1.1, 1.2, 1.3])
    assert figures.without_bad([2.0], "min") == [2.0]
    curves = tables.progress_curve([trial(n, v) for n, v in enumerate(values)], ACCURACY)
    assert figures.out_of_frame(curves) == 1


def test_many_dots_are_thinned():
    curves = tables.progress_curve([trial(n, 0.5 + n / 1e5) for n in range(3000)], ACCURACY)
    assert len(figures.thinned(curves[0].points)) <= figures.MOST_DOTS


@pytest.mark.parametrize(("second", "goes"), [("latency_ms", "up"), ("max score", "down")])
def test_the_front_is_a_border(second, goes):
    wanted = objectives(["accuracy", second])
    values = [(0.8, 1.0), (0.9, 2.0), (0.95, 3.0)] if goes == "up" else [(0.95, 1.0), (0.9, 2.0), (0.8, 3.0)]
    trials = [trial(n, a, latency_ms=b, score=b) for n, (a, b) in enumerate(values)]
    trials.append(trial(9, 0.7, latency_ms=3.0, score=0.9))
    drawing = figures.front_figure(tables.front_points(trials, wanted), wanted, winner=1)
    assert len(circles(drawing, "mean s1")) == 2
    ((_, _, tip),) = circles(drawing, "mean s1 ring")
    assert tip.startswith("trial 1: accuracy 90.00 %")
    assert len(circles(drawing, "faint s2")) == 1
    (steps,) = re.findall(r'<path d="([^"]+)" class="curve s1"', drawing)
    heights = [float(y) for y in re.findall(r"[ML]\S+ (\S+)", steps)]
    assert heights == sorted(heights, reverse=goes == "up")  # a smaller y is higher
    assert len(heights) == 6 if goes == "up" else len(heights) >= 5


def test_learning_curves_end_in_dots():
    curves = tables.learning_curves(many(12), ACCURACY, {4: "winner"})
    drawing = figures.learning_figure(curves)
    assert drawing.count("<path") == len(curves) <= 6
    assert 'class="curve s1 strong"' in drawing
    assert f"{len(curves)} trials" in drawing


def test_shares_are_bars():
    drawing = figures.shares_figure(DecisionShares("<kernel>", (Share("3", 0.25, 0.5), Share("5", 0.75, 0.5)), 0.25))
    assert re.findall(r'width="(\S+)"', drawing) == ["28", "56", "84", "56"]
    assert "&lt;kernel&gt;: 3: 25 % of the best, 50 % of all" in drawing
    assert "<kernel>" not in drawing


def test_nothing_here_loads_torch():
    code = "import sys, searchitect.report.page, searchitect.report.terminal, searchitect.report.export; "
    code += "print([m for m in ('torch', 'plotly', 'pandas', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
