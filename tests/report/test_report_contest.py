"""Winner and baseline side by side, the baseline's line, finalists with intervals, and the ensemble's comparisons."""

import re
from xml.etree import ElementTree

import msgspec
import report_fakes as fakes
from report_html import Page

from searchitect.records import Score, Verdict
from searchitect.report import beside, contest, page, rivals, tables, terminal
from searchitect.spaces import load_space

CNN = load_space("cnn", size=8)
BASELINE = CNN.architecture(CNN.baseline)
WINNER = CNN.sample(4)


def about(**changes):
    made = fakes.finished_meta(
        space=fakes.meta()["space"] | {"json": CNN.to_json()},
        baseline={"kind": "architecture", "decisions": dict(BASELINE.decisions)},
    )
    made["winner"] = made["winner"] | {"architecture": dict(WINNER.decisions), "drawing": CNN.draw(WINNER)}
    return made | changes


TRIALS = [fakes.trial(0, 0.80, decisions=dict(BASELINE.decisions)), fakes.trial(1, 0.78),
          fakes.trial(7, 0.90, decisions=dict(WINNER.decisions))]  # fmt: skip


def test_both_networks_are_drawn_and_their_decisions_stand_side_by_side():
    shown = page.content(fakes.snapshot(about(), TRIALS))
    assert shown["baseline_drawing"] == CNN.draw(BASELINE)
    table = shown["decisions_table"]
    assert [name for name, _ in table.columns] == ["Decision", "Winner", "Baseline", "Difference"]
    rows = [[cell.text for cell in row] for row in table.rows]
    both = set(WINNER.decisions) | set(BASELINE.decisions)
    assert {row[0] for row in rows} == both
    differing = {n for n in both if WINNER.decisions.get(n, "not there") != BASELINE.decisions.get(n, "not there")}
    assert {row[0] for row in rows if row[3] == "differs"} == differing
    marks = [row[3] for row in rows]
    assert marks == sorted(marks, reverse=True), "what differs comes first"
    text = page.render(fakes.snapshot(about(), TRIALS))
    assert "<h3>Winner</h3>" in text
    assert "<h3>Baseline</h3>" in text
    assert Page(text).faults == []


def test_cells_of_both_are_drawn():
    space = load_space("nb201", cells=1)
    baseline, winner = space.architecture(space.baseline), space.sample(3)
    made = fakes.finished_meta(
        space={"json": space.to_json()}, winner={"architecture": dict(winner.decisions)},
        baseline={"kind": "architecture", "decisions": dict(baseline.decisions)},
    )  # fmt: skip
    shown = page.content(fakes.snapshot(made))
    assert len(shown["winner_cells"]) == len(shown["baseline_cells"]) == 1
    assert shown["winner_cells"] != shown["baseline_cells"]


def test_a_winner_that_is_the_baseline_stands_alone():
    made = about()
    made["winner"]["architecture"] = dict(BASELINE.decisions)
    shown = page.content(fakes.snapshot(made, TRIALS))
    assert (shown["baseline_drawing"], shown["baseline_cells"], shown["is_baseline"]) == ("", [], True)
    assert "The winner is the hand-made network." in page.render(fakes.snapshot(made, TRIALS))


def test_a_baseline_of_code_is_shown_as_it_was_written_down():
    made = about(baseline={"kind": "factory", "drawing": "Mine(\n  (0): Linear(4, 2)\n)<script>"})
    shown = page.content(fakes.snapshot(made, TRIALS))
    assert shown["baseline_drawing"].startswith("Mine(")
    assert [name for name, _ in shown["decisions_table"].columns] == ["Decision", "Winner"]
    assert "<script>" not in page.render(fakes.snapshot(made, TRIALS)).partition("</style>")[2].partition("<script>")[0]
    for odd in (None, 3, {"decisions": 7}, {"decisions": {"depth": "?"}}, {"drawing": 9}):
        Page(page.render(fakes.snapshot(about(baseline=odd), TRIALS)))


def test_the_baseline_is_a_line_in_the_progress():
    found = page.content(fakes.snapshot(about(), TRIALS))["progress"][0]
    assert found["legend"] == [("1", "5 epochs"), ("6 passes", "baseline (trial 0): 80.00 %")]
    for figure in (found["over_trials"], found["over_time"]):
        (line,) = re.findall(r'<path d="M([\d.]+) ([\d.]+) L([\d.]+) ([\d.]+)" class="curve s6 passes">', figure)
        assert (line[0], line[2]) == ("56", "368"), "over the whole width"
        assert line[1] == line[3]
        dots = re.findall(r'cy="([\d.]+)" r="2.5"[^>]*><title>trial 0: 80.00 %', figure)
        assert dots == [line[1]], "as high as the baseline's own dot"
    none = page.content(fakes.snapshot(about(baseline={"kind": "factory"}), TRIALS))["progress"][0]
    assert [words for _, words in none["legend"]] == ["5 epochs"]
    bad = [fakes.trial(0, 0.01, decisions=dict(BASELINE.decisions))]
    bad += [fakes.trial(i, 0.9 + i / 1000) for i in range(1, 30)]
    outside = page.content(fakes.snapshot(about(), bad))["progress"][0]
    assert "curve s6 passes" not in outside["over_trials"], "it would flatten all the rest"
    assert outside["legend"][1][1] == "baseline (trial 0): 1.00 %"
    curve = tables.progress_curve(fakes.snapshot(about(), TRIALS).trials, fakes.snapshot(about()).objectives)[0]
    assert contest.baseline_point(fakes.snapshot(about(), TRIALS), curve).number == 0


FINALISTS = [
    {"trial": 7, "architecture": dict(WINNER.decisions), "validation": [0.98, 0.985, 0.99], "mean": 0.985,
     "low": 0.97, "high": 1.0, "chosen": True},
    {"trial": 0, "architecture": dict(BASELINE.decisions), "validation": [0.95, 0.96, 0.97], "mean": 0.96, "low": 0.93,
     "high": 0.99, "chosen": False},
    {"trial": 3, "architecture": {}, "validation": [0.9, 0.9, 0.9], "mean": 0.9, "chosen": False},
]  # fmt: skip


def test_finalists_are_drawn_with_their_intervals():
    shown = page.content(fakes.snapshot(about(finalists=FINALISTS), TRIALS))
    figure = ElementTree.fromstring(shown["finalists_figure"])
    texts = [e.text for e in figure.iter() if e.tag.endswith("text")]
    assert texts[:6] == ["trial 7, winner", "98.50 % (97.00 to 100.00 %)", "trial 0, baseline",
                         "96.00 % (93.00 to 99.00 %)", "trial 3", "90.00 %"]  # fmt: skip
    assert texts[-1] == "validation accuracy"
    bars = [e for e in figure.iter() if e.tag.endswith("line") and e.get("class") == "whisker s1"]
    means = {e.get("class"): float(e.get("cx")) for e in figure.iter() if e.get("r") == "6"}
    low, high = sorted(float(e.get("x1")) for e in bars)[0], sorted(float(e.get("x2")) for e in bars)[-1]
    assert abs((low + high) / 2 - means["mean s1"]) < 0.02
    # drawn to scale: the distance of the two means is 2.5 points, the bar of the first 3 points
    assert abs((means["mean s1"] - means["mean s2"]) / (high - low) - 2.5 / 3) < 0.01
    assert sum(e.get("r") == "3" for e in figure.iter()) == 9
    assert [c.text for c in shown["finalists"].rows[0][:5]] == ["7", "98.50 %", "97.00 %", "100.00 %", "3"]
    assert [c.text for c in shown["finalists"].rows[2][2:4]] == ["–", "–"], "an older study has no intervals"


def test_one_finalist_or_none_is_not_drawn():
    for given in ([], FINALISTS[:1], [{"trial": 1}, {"trial": 2}]):
        assert page.content(fakes.snapshot(about(finalists=given), TRIALS))["finalists_figure"] == ""


def verdict(sentence):
    sides = Score(0.9, 0.88, 0.92, 3, (0.89, 0.9, 0.91)), Score(0.89, 0.87, 0.91, 3, (0.88, 0.89, 0.9))
    return msgspec.to_builtins(Verdict("accuracy", *sides, 0.01, 0.005, 0.015, "better", 1000, sentence=sentence))


TOGETHER = {
    "comparisons": {
        "alone": verdict("an ensemble of 3 networks is better than the winner alone by 1.0 points"),
        "ensemble": verdict("an ensemble of 3 networks is better than the single baseline by 1.0 points"),
        "untuned": verdict("better than itself with the usual recipe by 0.5 points"),
    },
    "ensemble": {"trials": [7, 3, 9], "params": 120_525, "macs": 2_500_000, "latency_ms": 2.52},
    "teachers": [7, 3], "settings": {"distill": 0.5, "temperature": 4.0},
}  # fmt: skip


def test_the_ensemble_is_named_as_what_it_is_with_its_price():
    taught, ensemble, alone = rivals.content(fakes.snapshot(about(**TOGETHER), TRIALS))
    assert taught.heading == "Was the teacher worth it?"
    assert taught.sentences == (
        "The winner is better than itself with the usual recipe by 0.5 points.",
        "The finalists of trials 7, 3 together taught the winner and the baseline alike (50% of the loss, temperature "
        "4); the usual recipe is without a teacher.",
    )
    assert ensemble.sentences == (
        "An ensemble of 3 networks is better than the single baseline by 1.0 points.",
        "It has the networks of trials 7, 3, 9, the winner first, and averages what they say. The bundle holds all of "
        "them; the verdict above is on the winner alone.",
    )
    assert "Single baseline" in ensemble.figure
    assert alone.heading == "Is the ensemble worth its cost?"
    assert alone.sentences[1] == (
        "It costs 121 K parameters instead of 48.2 K (2.5 times), 2.5 M MACs for one item instead of 1.25 M (2.0 "
        "times), 2.52 ms latency instead of 0.84 ms (3.0 times)."
    )
    odd = about(comparisons=TOGETHER["comparisons"], ensemble=7, teachers=["x", None])
    assert len(rivals.content(fakes.snapshot(odd, TRIALS))) == 3


def test_tuning_and_teaching_are_asked_for_together():
    tuned = TOGETHER | {"tuning": {"winner": [{"recipe": {}, "validation": [0.8]}]}}
    first = rivals.content(fakes.snapshot(about(**tuned), TRIALS))[0]
    assert first.heading == "Were tuning and the teacher worth it?"
    assert len(first.sentences) == 3


def test_a_winner_that_is_the_baseline_is_compared_with_nothing():
    made = about(metrics={"loss": dict(about()["verdict"]) | {"metric": "loss"}})
    apart = fakes.snapshot(made, TRIALS)
    made["winner"] = made["winner"] | {"architecture": dict(BASELINE.decisions)}
    kept = fakes.snapshot(made, TRIALS)
    for snapshot, compared in ((apart, True), (kept, False)):
        figure = page.content(snapshot)["verdict_figure"]
        assert ("Difference" in figure) is compared
        assert ("Baseline" in figure) is compared
        assert (" against " in dict(beside.facts(snapshot))["Test loss"]) is compared
        assert ("  baseline " in terminal.render(snapshot)) is compared
