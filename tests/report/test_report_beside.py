"""What stands beside the verdict: other metrics, the front, and the forecast."""

import pytest
from report_fakes import finished_meta, many, snapshot, verdict

from searchitect.report import accounts, beside, page, terminal

LOSS = verdict(metric="loss", difference=-0.04, low=-0.06, high=-0.02, words="better",
               winner={"mean": 0.21, "low": 0.2, "high": 0.22, "n": 3},
               baseline={"mean": 0.25, "low": 0.24, "high": 0.26, "n": 3})  # fmt: skip


def study(**changes):
    return snapshot(finished_meta(**{"verdict": verdict()} | changes), many(20))


def test_each_other_metric_is_a_line_with_its_interval():
    told = beside.facts(study(metrics={"loss": LOSS}))
    assert told == [("Test loss", "0.21 against 0.25: −0.04 (−0.06 to −0.02), better")]
    alone = beside.facts(study(metrics={"loss": LOSS | {"baseline": None, "difference": None}}))
    assert alone == [("Test loss", "0.21 (0.2 to 0.22)")]
    unsure = beside.facts(study(metrics={"loss": LOSS | {"low": None, "high": None, "words": "cannot tell"}}))
    assert unsure == [("Test loss", "0.21 against 0.25; cannot tell")]


def test_the_front_is_a_sentence_or_why_there_is_none():
    assert beside.facts(study(front={"sentence": "2 of 5 are better"})) == [("Front", "2 of 5 are better")]
    assert beside.facts(study(front={"skipped": "it was not measured"})) == [
        ("Front", "not compared: it was not measured")
    ]
    assert beside.facts(study(front=None)) == []


@pytest.mark.parametrize("junk", [3, "x", [1], {"loss": 4}, {"loss": {"winner": 1}}])
def test_what_is_not_as_it_should_be_is_left_out(junk):
    assert beside.facts(study(metrics=junk, front=junk)) == []
    assert beside.forecast_facts(study(forecast=junk), accounts.costs((), {})) == []


def forecasts(**changes):
    about = finished_meta(forecast={"trials": 25, "finalize": 50.0}, **changes)
    later = [("forecast", {"trials": n, "finalize_seconds": s}) for n, s in ((18, 61.0), (19, 60.0), (20, 59.0))]
    found = snapshot(about, many(20), later)
    return found, beside.forecast_facts(found, accounts.costs(found.trials, found.meta))


def test_the_forecast_stands_beside_what_came():
    found, told = forecasts()
    trained = sum(t.state.value == "done" and t.source is None for t in found.trials)
    assert told == [
        ("Forecast by probes", "25 trials, 50 s for the final comparison"),
        ("Forecast, two trials", "18 trials, 1 min 1 s for the final comparison"),
        ("Forecast, half-time", "20 trials, 59 s for the final comparison"),
        ("What came", f"{trained} trials, 53 s for the final comparison; 97% of the budget used"),
    ]
    assert beside.forecast_facts(study(), accounts.costs((), {})) == []
    assert beside.forecast_facts(found, accounts.costs((), {})) == [], "without a budget nothing was promised"


def test_where_trials_pause_the_probes_promise_full_trainings():
    found = snapshot(finished_meta(forecast={"trials": 12, "finalize": 50.0, "pausing": True}), many(20))
    told = dict(beside.forecast_facts(found, accounts.costs(found.trials, found.meta)))
    assert told["Forecast by probes"].startswith("the time of 12 full trainings, of which most pause, 50 s for")


def test_page_and_terminal_show_them():
    found = snapshot(
        finished_meta(verdict=verdict(), metrics={"loss": LOSS}, front={"sentence": "2 of 5 are better"},
                      forecast={"trials": 25, "finalize": 50.0}), many(20)
    )  # fmt: skip
    shown = page.content(found)
    assert shown["beside"][0][0] == "Test loss"
    assert ("Forecast by probes", "25 trials, 50 s for the final comparison") in shown["costs"]
    html, text = page.render(found), terminal.render(found)
    for words in ("−0.04 (−0.06 to −0.02), better", "2 of 5 are better", "25 trials, 50 s for the final comparison"):
        assert words in html
        assert " ".join(words.split()) in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
