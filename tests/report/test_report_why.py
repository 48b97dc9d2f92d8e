"""What the report says about the winner's reasons and the checklist, from made-up studies whose answers are known."""

import re

import pytest
from report_fakes import finished_meta, many, meta, snapshot, verdict, write
from report_html import Page

from searchitect.report import checklist, page, terminal, why

ONE = {"kind": "train", "epochs": 1, "data": 1.0, "resolution": None, "horizon": 9}
NINE = {"kind": "train", "epochs": 9, "data": 1.0, "resolution": None, "horizon": 0}


def told(**changes):
    return {
        "metric": "accuracy", "direction": "max",
        "importance": {
            "shares": [
                {"name": "kernel", "share": 0.2, "low": 0.1, "high": 0.3},
                {"name": "depth", "share": 0.553, "low": 0.5, "high": 0.6},
                {"name": "noise", "share": 0.001, "low": 0.0, "high": 0.01},
            ],
            "trials": 60, "varied": 3, "explains": 0.81, "together": 0.754, "cut": 2, "skipped": "", "fidelity": NINE,
        },
        "decisions": [
            {"name": "kernel", "value": 5, "neighbours": 0, "lost": None, "least": None, "most": None, "same": 20,
             "others": 40, "apart": 0.012},
            {"name": "depth", "value": 3, "neighbours": 2, "lost": 0.015, "least": 0.01, "most": 0.02, "same": 15,
             "others": 45, "apart": -0.003},
        ],
        "agreement": [
            {"first": NINE, "second": "retrained", "n": 6, "tau": 0.6, "low": -0.2, "high": 1.0},
            {"first": ONE, "second": NINE, "n": 30, "tau": 0.5, "low": 0.3, "high": 0.7},
        ],
        "gap": {"search": 0.99, "kind": "train", "retrained": 0.985, "test": 0.98, "own_data": False,
                "looks": {"trials": 60, "retrainings": 12, "recipes": 1}},
        **changes,
    }  # fmt: skip


def study(**changes):
    return snapshot(finished_meta(explained=told(**changes)), many(30), [("test_read", {"who": "finalize"})])


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_the_bars_are_to_scale_and_the_largest_comes_first():
    found = why.content(study())
    widths = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', found.figure)]
    assert widths == [pytest.approx(320 * s, abs=0.01) for s in (0.553, 0.2)] + [1.0]
    labels = re.findall(r"<text[^>]*>([^<]+)</text>", found.figure)
    assert labels == ["depth", "55 %", "kernel", "20 %", "noise", "under 1 %"]
    whiskers = re.findall(r'<line x1="([\d.]+)"[^>]* x2="([\d.]+)"', found.figure)
    assert tuple(map(float, whiskers[0])) == (320 * 0.5, 320 * 0.6)


def test_the_text_says_how_far_to_trust_the_bars():
    first, cut = why.content(study()).importance
    assert "between 60 trials (9 epochs)" in first
    assert "explains 81 % of the differences between trials it has not seen" in first
    assert "25 % of its own variance is in combinations" in first
    assert cut == "2 very bad values cut off for it."


def test_the_decisions_with_what_neighbours_lost():
    depth, kernel = texts(why.content(study()).decisions)
    assert depth == [
        "depth",
        "3",
        "55 %",
        "2 trials: −1.50 points (−2.00 to −1.00 points)",
        "+0.30 points (45 against 15)",
    ]
    assert kernel == ["kernel", "5", "20 %", "none", "−1.20 points (40 against 20)"]


def test_what_is_to_be_small_gets_a_plus_when_it_was_worse():
    table = why.content(study(metric="loss", direction="min")).decisions
    assert texts(table)[0][3] == "2 trials: +0.015 (+0.02 to +0.01)"


def test_reasons_for_no_numbers_are_said():
    few = why.content(study(importance={"shares": [], "skipped": "too few trials to tell: 12"}))
    assert few.importance == ("How much each decision matters: too few trials to tell: 12.",)
    assert not few.figure
    assert len(few.decisions.rows) == 2
    none = why.content(snapshot(finished_meta(explained={"skipped": "no time was left for it"})))
    assert none.importance == ("The winner is not explained: no time was left for it.",)
    assert none.decisions is None


def test_agreements_are_sentences_with_intervals():
    finals, rungs, _ = why.content(study()).signals
    assert finals == (
        "The search's values (9 epochs) and their means after retraining rank 6 finalists with Kendall's τ 0.60 "
        "(−0.20 to 1.00): this does not show that the first is a guide to the second."
    )
    assert rungs.startswith("Values with 1 of 9 epochs and with 9 epochs rank 30 architectures")
    assert rungs.endswith("τ 0.50 (0.30 to 0.70): the first is a guide to the second.")
    wrong = {"first": ONE, "second": NINE, "n": 30, "tau": -0.5, "low": -0.7, "high": -0.3}
    assert why.agreement_sentence(wrong).endswith("τ −0.50 (−0.70 to −0.30): the first misleads about the second.")
    few = {"first": NINE, "second": "retrained", "n": 3, "tau": None}
    assert why.agreement_sentence(few).endswith("cannot be told from 3 finalists.")


def test_the_gap_counts_the_looks():
    sentence = why.gap_sentence(told())
    assert sentence.startswith("The winner had 99.00 % in the search and 98.50 % on average over its retrainings on")
    assert "then 98.00 % on test data" in sentence
    assert "−0.50 points" in sentence
    assert "chosen by 73 looks at such values (60 trials, 12 retrainings, 1 tuning run)" in sentence
    own = why.gap_sentence(told(gap={"search": 3.0, "test": 2.5, "own_data": True}, metric="cost"))
    assert own == "The winner had 3 in the search, then 2.5 by your own function with fresh seeds: −0.5 against the last of what chose it."  # fmt: skip # noqa: E501
    assert why.gap_sentence(told(gap={"search": 0.9, "test": None})) == ""
    assert "with inherited weights" in why.gap_sentence(told(gap={"search": 0.9, "test": 0.8, "kind": "inherited"}))


def test_old_studies_have_no_such_section(tmp_path):
    old = snapshot(finished_meta(), many(30))
    assert why.content(old) is None
    assert why.lines(old) == []
    assert 'id="why"' not in page.render(old)
    assert 'id="checklist"' in page.render(old)
    write(tmp_path / "old", finished_meta(), many(12))
    assert page.write_report(tmp_path / "old").is_file()


def test_the_terminal_says_it_in_a_few_lines():
    text = terminal.render(study())
    assert "What mattered: depth 55 %, kernel 20 %, noise under 1 %" in text
    assert "73 looks" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_the_page_shows_both_sections_well_formed():
    text = page.render(study())
    assert Page(text).faults == []
    assert text.index('id="winner"') < text.index('id="why"') < text.index('id="finalists"')
    assert text.index('id="cost"') < text.index('id="checklist"') < text.index('id="reproduce"')


@pytest.mark.parametrize(
    "odd",
    [
        "text", [], 3, {"importance": "x", "decisions": 4, "agreement": [1, {}], "gap": []},
        {"importance": {"shares": [{"name": "<script>", "share": "nan"}, {"name": "<b>x</b>", "share": 1e300}]}},
        {"decisions": [{"name": "<i>", "value": {"a": 1}, "neighbours": 2, "lost": "inf"}], "metric": ["x"]},
        {"agreement": [{"first": {"kind": "odd"}, "second": 4, "n": True, "tau": 0.1}]},
        {"skipped": "<script>alert(1)</script>"},
    ],
)  # fmt: skip
def test_any_content_gives_a_page_with_escaped_text(odd):
    found = snapshot(finished_meta(explained=odd), many(10))
    text = page.render(found)
    assert Page(text).faults == []
    assert "<b>x" not in text
    assert "<i>" not in text
    assert text.count("<script>") == 1
    terminal.render(found)


# -- checklist -------------------------------------------------------------------------------------------


def answers(found):
    return {row[0]: (row[1], row[2]) for row in texts(checklist.content(found))}


def test_without_a_verdict_there_is_no_checklist():
    assert checklist.content(snapshot(meta(), many(10))) is None


def test_every_practice_is_answered_from_the_study():
    found = answers(study())
    assert len(found) == 11
    assert {met for met, _ in found.values()} <= {"yes", "partly", "no"}
    assert found["Never selected on test data"][0] == "yes"
    assert found["One training pipeline for all that is compared"] == (
        "yes", "winner and baseline by one pipeline with one recipe",
    )  # fmt: skip
    assert found["Ablations"] == (
        "partly", "trials that differ in one decision alone were measured for 1 of 2 decisions and importance by "
        "functional ANOVA",
    )  # fmt: skip
    assert "1,077 rows to train, 360 to choose by, 360 for the test" in found["One protocol of evaluation"][1]
    assert found["Several seeds with their spread, seeds released"][1].startswith("3 seeds for each side")
    assert "torch 2.13.0" in found["Hardware and versions recorded"][1]
    assert "hunter2" not in found["Hardware and versions recorded"][1]
    assert found["Time from end to end, validation included"][1].startswith(
        "2 min 55 s from end to end, with 30 trials"
    )


def test_what_is_not_met_is_said():
    found = answers(snapshot(finished_meta(verdict=verdict(baseline=None, words="no baseline")), many(10)))
    assert found["Random search as a control"][0] == "no"
    assert found["One training pipeline for all that is compared"][0] == "no"
    assert found["Ablations"] == ("no", "the study keeps none")
    assert found["Never selected on test data"][0] == "no"  # nobody wrote down that they were read
    one = verdict(winner={"mean": 0.9, "low": 0.8, "high": 1.0, "n": 1, "values": [0.9]})
    assert answers(snapshot(finished_meta(verdict=one)))["Several seeds with their spread, seeds released"][0] == "no"


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({"comparisons": {"control": verdict(words="better")}}, "yes"),
        ({"strategy": {"name": "random"}}, "yes"),
        ({"settings": {"control": "random"}}, "partly"),
        ({}, "no"),
    ],
)
def test_random_search_as_a_control(changes, met):
    assert answers(snapshot(finished_meta(**changes), many(10)))["Random search as a control"][0] == met


def test_tuning_is_counted_on_both_sides():
    tuning = {"winner": [{"recipe": {}}] * 4, "baseline": [{"recipe": {}}] * 4}
    found = answers(snapshot(finished_meta(tuning=tuning), many(10)))
    assert found["Cost of tuning included"] == (
        "yes", "8 recipes tried for winner and baseline, within the 53 s of the final stages",
    )  # fmt: skip
    assert "as many recipes" in found["One training pipeline for all that is compared"][1]


def test_own_functions_are_not_said_to_be_known():
    own = finished_meta(evaluator={"kind": "function"}, verdict=verdict(test_items=0), data=None)
    found = answers(snapshot(own, many(10)))
    for practice in ("One training pipeline for all that is compared", "One protocol of evaluation", "Never selected on test data"):  # fmt: skip # noqa: E501
        assert found[practice][0] == "partly"


def test_a_study_that_does_not_say_how_many_cores_there_were():
    known = finished_meta()
    known["environment"] = {k: v for k, v in known["environment"].items() if k != "cores"}
    assert "best practice" in page.render(snapshot(known, [])).lower()
