"""What the report says of the control and of tuning."""

import msgspec
import report_fakes as fakes

from searchitect.records import CONTROL, Measurement, Proposal, Score, State, Trial, Verdict
from searchitect.report import page, rivals, tables
from searchitect.space import Architecture


def verdict(words="better", sentence="better than random search at equal cost by 1.0 points (0.5 to 1.5)"):
    sides = Score(0.9, 0.88, 0.92, 3, (0.89, 0.9, 0.91)), Score(0.89, 0.87, 0.91, 3, (0.88, 0.89, 0.9))
    return msgspec.to_builtins(Verdict("accuracy", *sides, 0.01, 0.005, 0.015, words, 1000, sentence=sentence))


def trial(number, origin, draw, seconds=60.0, value=0.5):
    proposal = Proposal(Architecture("s", {"width": number}), draw=draw, origin=origin)
    return Trial(number, proposal, State.DONE, Measurement({"accuracy": value}, seconds), finished=1.7e9 + number)


TRIALS = [trial(0, "enqueued", -1, 1e6), trial(1, "sample", 0), trial(2, CONTROL, 1, value=0.7), trial(3, "mutate", 2)]
TUNED = {
    "comparisons": {"control": verdict(), "untuned": verdict("cannot tell", "cannot tell: 0.1 points (-1 to 1)")},
    "recipes": {"winner": {"lr": 0.02, "augment": ["crop", "flip"], "epochs": 0.6}, "baseline": {}},
    "tuning": {
        "winner": [
            {"recipe": {}, "validation": [0.8, 0.82]},
            {"recipe": {"lr": 0.02, "augment": ["crop", "flip"], "epochs": 0.6}, "validation": [0.84, 0.86]},
        ],
        "baseline": [{"recipe": {}, "validation": [0.8]}, {"recipe": {"lr": 0.1}, "validation": [0.7]}],
    },
}


def snapshot(**more):
    return fakes.snapshot(fakes.finished_meta() | more, TRIALS)


def test_each_comparison_has_its_sentence_its_figure_and_what_was_spent():
    control, tuning = rivals.content(snapshot(**TUNED))
    assert control.sentences[0] == "The winner is better than random search at equal cost by 1.0 points (0.5 to 1.5)."
    assert (
        "The strategy had 2 trials in 2 min of work, random search beside it 1 trial in 1 min" in control.sentences[1]
    )
    assert "Random search" in control.figure
    assert tuning.sentences == (
        "Cannot tell: 0.1 points (-1 to 1).",
        "2 recipes tried for the winner by validation alone: augment crop+flip, 60% of the epochs, lr 0.02 "
        "(85.00 % instead of 81.00 %).",
        "2 recipes tried for the baseline by validation alone: the usual one stays.",
    )


def test_a_study_without_them_says_nothing():
    assert rivals.content(snapshot()) == []
    assert "worth it?" not in page.render(snapshot())


def test_tuning_that_changed_nothing_is_told_without_a_figure():
    usual = TUNED | {"comparisons": {}, "recipes": {"winner": {}, "baseline": {}}}
    (tuning,) = rivals.content(snapshot(**usual))
    assert tuning.figure == ""
    assert all(sentence.endswith("the usual one stays.") for sentence in tuning.sentences)


def test_the_page_shows_both_and_the_controls_finalists():
    finalist = {"trial": 2, "architecture": {"width": 2}, "validation": [0.5, 0.6], "chosen": False}
    text = page.render(snapshot(**TUNED, control=[finalist]))
    assert (
        text.index("Was the strategy worth it?") < text.index("Was tuning worth it?") < text.index("What was searched")
    )
    assert "Finalists of the random search" in text


def test_strategy_and_control_are_two_lines_of_progress():
    lines = tables.progress_curve(TRIALS, fakes.snapshot(fakes.finished_meta(), TRIALS).objectives)
    assert [(line.control, [p.number for p in line.points]) for line in lines] == [(False, [0, 1, 3]), (True, [2])]
    assert lines[1].label.endswith(", random search")


def test_damaged_records_are_left_out():
    assert (
        rivals.content(snapshot(comparisons={"control": 3, "else": verdict()}, tuning={"winner": 5}, recipes=7)) == []
    )
