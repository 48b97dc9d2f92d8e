from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import report_fakes as fakes

from searchitect.records import State
from searchitect.report import savings, words
from searchitect.report.accounts import costs
from searchitect.report.snapshot import read


@pytest.mark.parametrize(
    ("said", "tone", "headline"),
    [
        ("better", "better", "Better than the baseline"),
        ("worse", "worse", "Worse than the baseline"),
        ("cannot tell", "unclear", "Cannot tell it from the baseline"),
        ("no baseline", "unclear", "Found and tested, without a baseline"),
    ],
)
def test_lead_of_a_verdict(said, tone, headline):
    about = fakes.finished_meta()
    about["verdict"]["words"] = said
    found = words.lead(fakes.snapshot(about))
    assert (found.tone, found.headline) == (tone, headline)
    assert found.sentences == (fakes.verdict()["sentence"],)


def test_a_verdict_without_its_sentence_gets_one_from_the_numbers():
    about = fakes.finished_meta()
    about["verdict"] = fakes.verdict(sentence="", metric="loss", difference=-0.5, low=-0.75, high=-0.25)
    found = words.lead(fakes.snapshot(about))
    assert found.sentences[0] == "The winner reaches 0.9828 (0.9769 to 0.9887) on test data."
    assert found.sentences[2] == "The difference is −0.5 (−0.75 to −0.25)."


def test_lead_without_a_verdict():
    trials = [fakes.trial(0, 0.7), fakes.trial(1, None), fakes.trial(2, state=State.QUEUED)]
    found = words.lead(fakes.snapshot(fakes.meta(stopped="interrupted"), trials))
    assert found.headline == "No verdict yet"
    assert found.sentences[0] == (
        "2 trials ended, 1 waiting when this was written; the search stopped because it was interrupted."
    )
    assert found.sentences[1].startswith("Best so far: trial 0 with accuracy 70.00 %")


def test_lead_of_a_study_that_ended_without_a_test():
    found = words.lead(fakes.snapshot(fakes.meta(finalised=True), [fakes.trial(0, 0.7)]))
    assert found.headline == "No verdict"
    assert found.sentences[-1] == "The study ended without a test on unread data."


JUDGED = {"table": "toy", "column": "test_acc", "unit": "%", "value": 93.5, "best": 94.37, "regret": 0.87}


def test_lead_of_a_search_on_a_table_says_what_the_table_says():
    """The score column is no objective, so it is the only number that chose nothing; it comes first, as a verdict."""
    text = "93.5 % by test_acc, which the search did not see (best in the table 94.37)"
    found = words.lead(fakes.snapshot(fakes.meta(stopped="trials", judged=JUDGED), [fakes.trial(0, 0.7)]))
    assert found.headline == "Judged by the table"
    assert found.sentences[-1] == f"It has {text}."
    assert not any("resume" in sentence for sentence in found.sentences)
    about = fakes.finished_meta()
    assert "By the table" not in dict(words.winner_facts(fakes.snapshot(about)))
    assert dict(words.winner_facts(fakes.snapshot(about | {"judged": JUDGED})))["By the table"] == text


@pytest.mark.parametrize(
    "changes",
    [{"stopped": None, "judged": JUDGED}, {"stopped": "trials"}, {"stopped": "trials", "judged": {"value": "x"}},
     {"stopped": "trials", "judged": [1]}, {"stopped": "trials", "judged": JUDGED | {"best": float("nan")}}],
)  # fmt: skip
def test_without_a_judgement_of_what_is_there_now_nothing_is_said_of_it(changes):
    found = words.lead(fakes.snapshot(fakes.meta(**changes), [fakes.trial(0, 0.7)]))
    assert found.headline == "No verdict yet"
    assert not any("table" in sentence for sentence in found.sentences)


@pytest.mark.parametrize(("count", "headline"), [(1, "The only trial failed"), (3, "All 3 trials failed")])
def test_lead_when_all_failed(count, headline):
    trials = [fakes.trial(n, None) for n in range(count)]
    found = words.lead(fakes.snapshot(fakes.meta(), trials))
    assert (found.tone, found.headline) == ("failed", headline)


def test_setup():
    about = fakes.meta(trials_limit=60)
    about["data"]["notes"] = ["3 rows occur twice"]
    facts = dict(words.setup_facts(fakes.snapshot(about)))
    assert facts == {
        "Goal": "accuracy",
        "Space": "cnn, 15,625 architectures, 6 decisions",
        "Strategy": "evolution (population=16)",
        "Why this strategy": "the budget allows about 60 trials",
        "Data": "digits, image, classification, items of 1 × 8 × 8, 10 classes",
        "Split": "1,077 for training, 360 for validation, 360 for test",
        "Budget": "3 min, 60 trials",
        "Workers": "2 workers, 1 thread each, processes",
        "Training": "12 epochs, optimizer adamw, lr 0.003, batch 64",
        "Seed": "0",
        "Note on the data": "3 rows occur twice",
    }


def test_winner_and_baseline():
    found = fakes.snapshot(fakes.finished_meta())
    assert dict(words.winner_facts(found)) == {
        "Found by trial": "7",
        "Epochs": "12",
        "Parameters": "48.2 K",
        "MACs for one item": "1.25 M",
        "Latency": "0.84 ms",
        "Validation accuracy": "98.50 %",
        "Bundle": "best",
    }
    assert words.baseline_words(found) == "the hand-made network of the space, 23.9 K parameters, 400 K MACs"


def test_the_environment_shows_only_what_is_listed():
    facts = words.environment_facts(fakes.snapshot(fakes.meta()))
    assert [label for label, _ in facts] == ["searchitect", "python", "torch", "numpy", "platform", "cpu", "cores"]


def test_commands_quote_the_folder(tmp_path):
    folder = fakes.write(tmp_path / "it's; rm -rf", fakes.meta(), [])
    found = read(folder)
    assert words.folder_word(found).startswith("'")
    assert words.lead(found).sentences[-1].endswith("""it'"'"'s; rm -rf'""")


def test_the_export_command_works_as_it_stands(tmp_path):
    folder = fakes.write(tmp_path / 'it\'s "$(touch x)"', fakes.meta(), [fakes.trial(0, 0.5)])
    program, option, code = shlex.split(words.export_command(read(folder)))
    assert (program, option) == ("python", "-c")
    subprocess.run([sys.executable, option, code], check=True, cwd=tmp_path)
    assert (tmp_path / "trials.csv").read_text().count("\n") == 2
    assert not (tmp_path / "x").exists()


def test_test_reads():
    notes = [("test_read", {"at": "2026-03-01T12:00", "who": "finalize"})]
    assert words.test_line(fakes.snapshot(fakes.meta(), [], notes)) == (
        "Test data were read once (finalize, 2026-03-01T12:00)."
    )


def test_costs_tell_of_breaks_and_reuse():
    trials = [fakes.trial(0, 0.9, seconds=8.0), fakes.trial(1, 0.9, source=0, seconds=0.0)]
    found = fakes.snapshot(fakes.finished_meta(sessions=3), trials)
    facts = dict(savings.cost_facts(found, costs(found.trials, found.meta)))
    assert facts["Reuse of equals"] == "1 result reused, 8 s of training saved"
    assert facts["Sessions"] == "3 (the time between them does not count)"
    assert facts["Trials"] == "2 ended, 1 attempt"


def test_a_changed_environment_is_told():
    notes = [("environment_changed", {"torch": ["2.13.0", "2.14.0"], "SECRET": "hunter2"})]
    (told,) = words.changes(fakes.snapshot(fakes.meta(), [], notes))
    assert told == "The environment changed at 2026-09-21 14:13 UTC: torch."
    assert words.changes(fakes.snapshot(fakes.meta())) == []


def test_verdicts_become_sentences_of_their_own():
    told = {"better than the baseline by 1.0 points": "The winner is better than the baseline by 1.0 points.",
            "cannot tell: 0.1 points": "Cannot tell: 0.1 points.", "Whole already.": "Whole already.",
            "an ensemble of 3 networks is better": "An ensemble of 3 networks is better."}  # fmt: skip
    assert {given: words.whole_sentence(given) for given in told} == told
