from __future__ import annotations

import base64
import functools
import hashlib
import re

import pytest
import report_fakes as fakes
from msgspec.structs import replace
from report_html import Page

from searchitect.errors import StorageError
from searchitect.records import Cause, Failure, Fidelity, State
from searchitect.report import page, write_report

READ = [("test_read", {"at": fakes.START + 170, "who": "finalize", "n": 360})]
EVIL = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`&</style></pre></td>{{7*7}}{% raw %}"
    "\x1b[31mred\u202e\x00 javascript:alert(1) https://evil.example/x.js -->"
)


@functools.cache
def everything():
    boom = Failure(Cause.USER_CODE, "TypeError: no", "Traceback\nTypeError: no")
    return {
        "normal": (fakes.finished_meta(), fakes.many(40), READ),
        "unfinished": (fakes.meta(), [*fakes.many(9), fakes.trial(9, state=State.RUNNING)], []),
        "failed": (
            fakes.meta(stopped="alike"),
            [fakes.trial(n, state=State.FAILED, failure=boom) for n in range(3)],
            [],
        ),
        "two goals": (fakes.finished_meta(objectives=["accuracy", "params"]), fakes.many(60, 3), READ),
        "three goals": (fakes.finished_meta(objectives=["accuracy", "params", "latency_ms"]), fakes.many(60), READ),
        "mixed": (
            fakes.meta(),
            [
                fakes.trial(n, 0.5 + n / 100, fidelity=f)
                for n, f in enumerate([Fidelity("inherited"), Fidelity("train", 3), Fidelity("train", 9)] * 5)
            ],
            [],
        ),
        "empty": (fakes.meta(), [], []),
        "nothing known": ({}, [fakes.trial(0, 0.5)], []),
        "hostile": (hostile(fakes.finished_meta()), hostile_trials(), [("test_read", {"at": EVIL, "who": EVIL})]),
    }


def hostile(value, name=""):
    if isinstance(value, str) and name not in ("words", "metric"):
        return value + EVIL
    if isinstance(value, dict):
        return {k + EVIL * (name in ("architecture", "options", "recipe")): hostile(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return value if name == "objectives" else [hostile(v) for v in value]
    return value


def hostile_trials():
    boom = Failure(Cause.USER_CODE, EVIL, EVIL * 3)
    curve = [{"epoch": 1.0, "accuracy": 0.4, EVIL: 1.0}, {"epoch": 2.0, "accuracy": 0.5, EVIL: 1.0}]
    done = [fakes.trial(n, 0.5 + n / 100, decisions={EVIL: EVIL + str(n % 2)}, curve=curve) for n in range(20)]
    done = [replace(t, proposal=replace(t.proposal, origin=EVIL)) for t in done]
    named = replace(done[0].measurement, metrics={"accuracy": 0.5, EVIL: 1.0})
    return [replace(done[0], measurement=named), *done[1:], fakes.trial(20, failure=boom, state=State.FAILED)]


@pytest.fixture(params=sorted(everything()), scope="module")
def text(request, tmp_path_factory):
    about, trials, notes = everything()[request.param]
    folder = fakes.write(tmp_path_factory.mktemp("page") / "s", about, trials, notes)
    return write_report(folder).read_text(encoding="utf-8")


def shown(about, trials, notes=()):
    return Page(page.render(fakes.snapshot(about, trials, notes)))


def test_the_page_is_well_formed(text):
    assert text.startswith("<!DOCTYPE html>")
    assert Page(text).faults == []


def test_the_page_loads_nothing_and_allows_nothing(text):
    found = Page(text)
    names = {name for name, _ in found.elements}
    assert names.isdisjoint({"img", "link", "iframe", "object", "embed", "audio", "video", "form", "base", "use", "a"})
    for _, attributes in found.elements:
        assert {"src", "href", "xlink:href", "style", "srcset", "action", "data", "background"}.isdisjoint(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in found.raw["style"]
    assert "@import" not in found.raw["style"]
    assert not re.search(r"fetch|XMLHttp|import\(|innerHTML|eval|https?:", found.raw["script"])
    assert len(found.named("script")) == len(found.named("style")) == 1


def test_the_policy_allows_just_this_style_and_script(text):
    found = Page(text)
    (policy,) = [a["content"] for a in found.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digests = {
        kind: "'sha256-" + base64.b64encode(hashlib.sha256(found.raw[kind].encode()).digest()).decode() + "'"
        for kind in ("style", "script")
    }
    assert rules == {
        "default-src": "'none'",
        "style-src": digests["style"],
        "script-src": digests["script"],
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_no_character_steers(text):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]", text)


def test_hostile_text_is_shown_as_text():
    about, trials, notes = everything()["hostile"]
    found = shown(about, trials, notes)
    assert "<script>alert(1)</script>" in found.text  # as text: the elements were counted above
    assert "{{7*7}}" in found.text
    assert "49" not in found.named("title")
    assert len(found.named("script")) == 1


def test_the_verdict_comes_first_with_its_numbers():
    found = shown(fakes.finished_meta(), fakes.many(40), READ)
    sections = [a["id"] for a in found.named("section")]
    assert sections == [
        "verdict", "setup", "progress", "learning", "winner", "finalists", "decisions", "trials", "failures", "cost",
        "checklist", "reproduce",
    ]  # fmt: skip
    picture = found.named("svg")[0]["aria-label"]
    assert picture == ("accuracy on test data: Winner 98.28 % (97.69 to 98.87 %); Baseline 96.94 % (96.11 to 97.77 %)")
    for words in (
        "Better than the baseline",
        "better than the baseline by 1.34 points (0.41 to 2.27)",
        "+1.34 (+0.41 to +2.27 points)",
        "Measured on 360 test items",
        "Test data were read once (finalize, 2026-09-21 14:16 UTC).",
        "cnn, 15,625 architectures, 6 decisions",
        "1,077 for training, 360 for validation, 360 for test",
        "evolution (population=16)",
        "├─ Residual",
        "searchitect search --data digits --budget 3m --workers 2 --seed 0",
        "2.13.0",
    ):
        assert words in found.text, words


def test_the_environment_is_an_allow_list():
    found = shown(fakes.finished_meta(), [fakes.trial(0, 0.9)])
    assert "Intel Xeon" in found.text
    assert "hunter2" not in found.text
    assert "AWS" not in found.text


@pytest.mark.parametrize(("times", "words"), [(0, "have not been read"), (2, "were read 2 times")])
def test_test_reads_are_counted(times, words):
    assert words in shown(fakes.finished_meta(), [], READ * times).text


def test_before_the_end():
    trials = [*fakes.many(9), fakes.trial(9, state=State.RUNNING)]
    found = shown(fakes.meta(), trials)
    assert "No verdict yet" in found.text
    assert "9 trials ended, 1 running when this was written; the search had not ended." in found.text
    assert "Go on with: searchitect resume" in found.text
    assert "Best so far: trial" in found.text


def test_when_all_failed_the_causes_come_second():
    about, trials, notes = everything()["failed"]
    found = shown(about, trials, notes)
    assert "All 3 trials failed" in found.text
    assert [a["id"] for a in found.named("section")][:2] == ["verdict", "failures"]
    assert "TypeError: no (3 alike)" in found.text
    assert found.named("details")[0].get("open", "closed") is None


def test_no_baseline_no_difference():
    about = fakes.finished_meta()
    about["verdict"] = fakes.verdict(
        baseline=None, difference=None, low=None, high=None, words="no baseline", sentence=""
    )
    found = shown(about, [])
    assert "The winner reaches 98.28 % (97.69 % to 98.87 %) on test data." in found.text
    assert "Difference" not in found.text


def test_a_number_keeps_its_per_cent_sign():
    about = fakes.finished_meta(name="ninety 90 %")
    about["verdict"]["sentence"] = "98.28 % against 96.94 %."
    text = page.render(fakes.snapshot(about, []))
    assert "98.28\u00a0% against 96.94\u00a0%." in text


def test_the_front_is_shown_for_two_goals():
    about, trials, notes = everything()["two goals"]
    found = shown(about, trials, notes)
    assert "front" in [a["id"] for a in found.named("section")]
    assert re.search(r"Of \d+ usable trials, \d+ cannot be improved", found.text)


def test_each_kind_of_fidelity_has_its_own_figures():
    about, trials, notes = everything()["mixed"]
    found = shown(about, trials, notes)
    labels = [a.get("aria-label") or "" for a in found.named("svg")]
    finals = [label.rpartition(": ")[2] for label in labels if label.startswith("Best accuracy so far over trials")]
    assert finals == ["64.00 % at the end", "62.00 % at the end"]
    assert "never joined in one line" in found.text


def test_five_thousand_trials_stay_readable(tmp_path):
    folder = fakes.write(tmp_path / "s", fakes.finished_meta(), fakes.many(5000, 1), READ)
    text = write_report(folder).read_text()
    assert len(text) < 600_000
    found = Page(text)
    assert found.faults == []
    assert "500 of 5,000 trials are shown" in found.text
    assert "export_csv(" in found.text
    rows = re.findall(r"<tr[ >]", text[text.index('<section id="trials"') : text.index('<section id="failures"')])
    assert len(rows) == 501


def test_cells_sort_by_their_numbers():
    snapshot = fakes.snapshot(fakes.meta(), [fakes.trial(0, 0.9), fakes.trial(1, None)])
    table = page.trial_table(snapshot, {})
    assert [c for c, numeric in table.columns if numeric] == ["Trial", "accuracy", "Time"]
    assert [cell.sort for cell in table.rows[0]] == [0.0, None, 0.9, 10.0, None, None]
    assert [cell.text for cell in table.rows[1]][1:4] == ["failed", "–", "10 s"]
    assert table.rows[1][2].sort is None


def test_what_never_varied_is_left_out_of_the_rows():
    trials = [fakes.trial(n, 0.5, decisions={"kernel": n, "pad": "same"}) for n in range(3)]
    found = fakes.snapshot(fakes.meta(), trials)
    assert [row[-1].text for row in page.trial_table(found, {}).rows] == ["kernel=0", "kernel=1", "kernel=2"]
    assert "1 decision that never varied is left out." in Page(page.render(found)).text


def test_finalists_are_sorted_and_marked():
    snapshot = fakes.snapshot(fakes.finished_meta(), [])
    table = page.finalist_table(snapshot, snapshot.finalists)
    assert [[c.text for c in row[:6]] for row in table.rows] == [
        ["7", "98.50 %", "97.26 %", "99.74 %", "3", "chosen"],
        ["3", "98.00 %", "96.76 %", "99.24 %", "3", ""],
    ]
    assert table.classes == ["winner", ""]


def test_the_same_study_gives_the_same_page():
    snapshot = fakes.snapshot(fakes.finished_meta(), fakes.many(20))
    assert page.render(snapshot, now=0.0) == page.render(snapshot, now=0.0)


def test_writing_again_replaces_the_page_and_leaves_no_other_file(tmp_path):
    folder = fakes.write(tmp_path / "s", fakes.meta(), [fakes.trial(0, 0.9)])
    before = {p.name for p in folder.iterdir()}
    (folder / "report.html").write_text("old")
    assert write_report(folder) == folder / "report.html"
    assert "<!DOCTYPE html>" in (folder / "report.html").read_text()
    assert {p.name for p in folder.iterdir()} == before | {"report.html"}


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(StorageError, match="is not a study"):
        write_report(tmp_path)
