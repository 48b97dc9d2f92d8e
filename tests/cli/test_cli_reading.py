"""status, list, show and report: what people and programs are told about studies."""

import json
import webbrowser

import pytest
from cli_studies import failed, trial, write_study
from click.testing import CliRunner

from searchitect.cli import reading
from searchitect.cli.app import app
from searchitect.records import State
from searchitect.store import Store

SECONDS = {"search": 20.0, "finalize": 9.0, "budget": 60.0, "active": 31.0}
VERDICT = {
    "metric": "accuracy", "difference": 0.013, "low": 0.004, "high": 0.023, "words": "better", "test_items": 360,
    "winner": {"mean": 0.98, "low": 0.97, "high": 0.99, "n": 3, "values": [0.98] * 3},
    "baseline": {"mean": 0.967, "low": 0.96, "high": 0.975, "n": 3, "values": [0.967] * 3},
    "level": 0.95, "method": "paired", "sentence": "better than the baseline by 1.3 points (0.4 to 2.3)",
}  # fmt: skip


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def study(tmp_path):
    """A finished study of three trials."""
    trials = [trial(0, 0.8), trial(1, 0.9), failed(2)]
    return write_study(
        tmp_path / "runs" / "digits-1", trials,
        seconds=SECONDS, stopped="budget", verdict=VERDICT, finalised=True, bundle="best",
    )  # fmt: skip


def test_status_says_where_it_stands(study):
    result = run("status", study)
    assert result.exit_code == 0
    for words in (
        "digits-1", "finalised, search ended by budget", "2 done, 1 failed", "accuracy 90.00 % (trial 1",
        "31 s spent of 1 min", "better than the baseline", f"searchitect show {study}",
    ):  # fmt: skip
        assert " ".join(words.split()) in " ".join(result.output.split())
    assert all(len(text) <= 80 or str(study) in text for text in result.output.splitlines())


def test_status_as_json_names_the_driver(study):
    found = json.loads(run("status", study, "--json").output)
    assert found["driver"] is None
    assert found["state"] == "finalised"
    with Store.open(study, write=True):
        found = json.loads(run("status", study, "--json").output)
        assert found["driver"]["pid"] > 1
        assert found["state"] == "running"
        assert "driven by process" in run("status", study).output


def test_a_study_whose_driver_died_is_not_called_running(tmp_path):
    folder = write_study(tmp_path / "s")
    with Store.open(folder, write=True) as store:
        store.queue([trial(0, state=State.QUEUED)])
        store.start(0, worker=0)
    assert json.loads(run("status", folder, "--json").output)["state"] == "unfinished"


def test_show_as_json_has_what_scripts_rely_on(study):
    found = json.loads(run("show", study, "--json").output)
    assert found["space_size"] == 15625
    assert {k: found["trials"][k] for k in ("done", "failed", "reused", "attempts")} == {
        "done": 2, "failed": 1, "reused": 0, "attempts": 3,
    }  # fmt: skip
    assert found["seconds"] == SECONDS
    assert found["best"]["architecture"] == {"depth": 2, "kernel": 3}
    assert found["best"]["validation"]["accuracy"] == 0.9
    verdict = found["verdict"]
    assert verdict["winner"] == {"mean": 0.98, "low": 0.97, "high": 0.99, "n": 3}
    assert (verdict["words"], verdict["difference"], verdict["low"], verdict["high"]) == ("better", 0.013, 0.004, 0.023)
    assert "bundle" in found
    assert "driver" not in found


def test_show_tells_the_study_to_people(study):
    result = run("show", study)
    assert result.exit_code == 0
    assert "better" in result.output
    assert "digits-1" in result.output


def test_show_one_trial(study):
    result = run("show", study, "1")
    for words in ("trial 1", "done", "accuracy 90.00 %", "depth = 2", "kernel = 3", "5 epochs", "step   2", "sample"):
        assert words in result.output
    found = json.loads(run("show", study, 1, "--json").output)
    assert found["proposal"]["architecture"]["decisions"] == {"depth": 2, "kernel": 3}


def test_show_a_failed_trial_with_its_traceback_but_no_escape_codes(study):
    result = run("show", study, 2)
    assert "user code: ValueError: kernel 7 is too large" in " ".join(result.output.split())
    assert "Traceback (most recent call last)" in result.output
    assert "\x1b" not in result.output


def test_a_trial_that_is_not_there_is_wrong_usage(study):
    result = run("show", study, 9)
    assert result.exit_code == 2
    assert "there is no trial 9" in result.stderr


def test_list_shows_the_newest_first_and_names_the_unreadable(study):
    other = write_study(study.parent / "digits-2", [trial(0, 0.7)])
    broken = study.parent / "broken"
    broken.mkdir()
    (broken / "study.db").write_bytes(b"not a database" * 100)
    (study.parent / "nothing").mkdir()
    result = run("list", study.parent)
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert lines[0].split() == ["folder", "state", "trials", "best", "verdict"]
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    found = {entry["name"]: entry for entry in json.loads(run("list", study.parent, "--json").output)}
    assert set(found) == {"digits-1", "digits-2", "broken"}
    assert found["broken"]["state"] == "unreadable"
    assert "error" in found["broken"]
    assert found["digits-2"]["path"] == str(other)


def test_list_of_nothing_says_how_to_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "searchitect search --data digits" in run("list").output
    assert json.loads(run("list", "--json").output) == []
    result = run("list", "elsewhere")
    assert result.exit_code == 4
    assert "there is no folder elsewhere" in result.stderr


def test_list_a_study_itself(study):
    assert [e["name"] for e in json.loads(run("list", study, "--json").output)] == ["digits-1"]


@pytest.mark.parametrize("command", ["status", "show", "report", "export", "resume", "stop"])
def test_what_is_no_study_is_code_4(tmp_path, command):
    extra = [tmp_path / "out"] if command == "export" else []
    assert run(command, tmp_path / "none", *extra).exit_code == 4
    assert run(command, tmp_path, *extra).exit_code == 4


@pytest.mark.parametrize("command", ["status", "show"])
def test_a_damaged_study_is_code_4(tmp_path, command):
    (tmp_path / "study.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    result = run(command, tmp_path)
    assert result.exit_code == 4
    assert "Traceback" not in result.stderr


def test_reading_loads_no_torch(study):
    import subprocess
    import sys

    for words in (["status", study], ["list", study.parent], ["show", study, "--json"], ["show", study, "1"]):
        code = (
            "import sys\nfrom searchitect.cli import app\n"
            f"try: app({[str(w) for w in words]!r})\nexcept SystemExit: pass\n"
            "print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "False", words


def test_report_writes_the_page_and_opens_it_on_request(study, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or False)
    assert run("report", study).output == f"wrote {study / 'report.html'}\n"
    assert (study / "report.html").stat().st_size > 1000
    assert opened == []
    result = run("report", study, "--open")
    assert opened == [(study / "report.html").resolve().as_uri()]
    assert "open" in result.stderr


def test_names_of_strangers_are_cleaned(tmp_path):
    folder = write_study(tmp_path / "s", [trial()], stopped="\x1b]0;x\x07evil\u202e")
    for command in ("status", "show"):
        output = run(command, folder).output
        assert "\x1b" not in output
        assert "\u202e" not in output


def test_the_summary_helper_agrees_with_the_study(study):
    from searchitect.study import Study

    found = reading.summary(study)
    assert found.pop("driver") is None
    assert found == Study.open(study).summary()
