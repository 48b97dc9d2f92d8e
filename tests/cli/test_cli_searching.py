"""search and resume: what reaches the library, exit codes, names of new studies."""

import json
import sys
from pathlib import Path

import pytest
from cli_studies import PLAN, SUMMARY, progress, trial, write_study
from click.testing import CliRunner

from searchitect import study
from searchitect.cli.app import app
from searchitect.cli.searching import RESUMABLE, placed
from searchitect.errors import DataError, StudyFailedError
from searchitect.settings import Settings, names


class Found:
    """What a search returns."""

    def __init__(self, **changes):
        self.changes = changes

    def summary(self):
        return {**SUMMARY, **self.changes}


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Replaces the library by a recorder; `calls.result` and `calls.signal` say how a run ends."""

    class Calls(list):
        result: object = Found()
        signal = None

    made = Calls()

    def record(kind):
        def call(*args, observer=None, **options):
            made.append((kind, args, options))
            if isinstance(made.result, Exception):
                raise made.result
            observer.plan(PLAN)
            observer.progress(progress(3, trial(1, 0.9)))
            observer.end(made.result.summary() | {"signal": made.signal})
            return made.result

        return call

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(study, "search", record("search"))
    monkeypatch.setattr(study, "resume", record("resume"))
    monkeypatch.setattr(study, "plan", lambda chosen, probe: made.append(("plan", (), {"settings": chosen})) or PLAN)
    return made


DIGITS = ("--data", "digits", "--trials", "2")


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def settings_of(calls):
    ((_, _, options),) = calls
    return options["settings"]


def test_the_options_reach_the_search(calls):
    result = run(
        "search", "--data", "digits", "--budget", "60s", "--workers", "2", "--seed", "0", "--path", "d",
        "--objective", "accuracy", "--objective", "latency_ms < 2", "--recipe", "lr=0.01",
        "--strategy-option", "population=20", "--no-finalize",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert settings_of(calls) == Settings(
        data="digits", budget="60s", workers=2, path="d", name="d", objectives=["accuracy", "latency_ms < 2"],
        recipe={"lr": 0.01}, strategy_options={"population": 20}, finalize=False,
    )  # fmt: skip


def test_it_shows_plan_progress_and_outcome(calls):
    output = run("search", *DIGITS).stdout
    assert output.index("15,625 networks") < output.index("best accuracy 90.00 %") < output.index("Better than")
    assert output.rstrip().endswith("searchitect predict runs/digits-cnn-1/best DATA")


def test_the_command_line_wins_over_the_file(calls, tmp_path):
    (tmp_path / "c.toml").write_text('data = "digits"\ntrials = 4\n[recipe]\nlr = 0.1\nclip = 2.0\n')
    assert run("search", "--config", "c.toml", "--trials", 2, "--recipe", "lr=0.2").exit_code == 0
    found = settings_of(calls)
    assert (found.data, found.trials, found.recipe) == ("digits", 2, {"lr": 0.2, "clip": 2.0})


def test_the_file_of_init_is_accepted(calls):
    assert run("init", "c.toml").exit_code == 0
    assert run("search", "--config", "c.toml").exit_code == 0
    assert settings_of(calls) == Settings(data="digits", budget="3m", name="digits-1", path="runs/digits-1")


def test_without_data_the_next_step_is_named(calls):
    result = run("search")
    assert result.exit_code == 2
    assert "--data digits" in result.stderr
    assert calls == []


def test_without_an_end_the_next_step_is_named(calls):
    result = run("search", "--data", "digits")
    assert result.exit_code == 2
    assert "--budget 3m" in result.stderr
    assert calls == []


def test_a_dry_run_only_plans(calls):
    result = run("search", *DIGITS, "--dry-run")
    assert [kind for kind, _, _ in calls] == ["plan"]
    assert "15,625 networks" in result.stdout
    assert result.exit_code == 0
    assert json.loads(run("search", *DIGITS, "--dry-run", "--json").stdout) == PLAN


def test_json_is_alone_on_standard_output(calls):
    result = run("search", *DIGITS, "--json")
    assert json.loads(result.stdout) == SUMMARY
    assert "Better than the baseline" in result.stderr


def test_quiet_prints_the_end_alone(calls):
    result = run("search", *DIGITS, "-q")
    assert result.stdout.strip().startswith("Better than the baseline")


@pytest.mark.parametrize(
    ("changes", "signal", "code"),
    [({}, None, 0), ({"best": None}, None, 1), ({"stopped": "interrupted"}, "SIGINT", 5), ({}, "SIGTERM", 5),
     ({"stopped": "interrupted", "best": None}, "SIGINT", 5)],
)  # fmt: skip
def test_exit_codes_of_a_run(calls, changes, signal, code):
    calls.result, calls.signal = Found(**changes), signal
    assert run("search", *DIGITS).exit_code == code


def test_a_run_that_fails(calls):
    calls.result = StudyFailedError("the first 3 trials all failed in the same way:\nTraceback\n  ValueError: x")
    result = run("search", *DIGITS)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].strip() == "ValueError: x"
    calls.result = DataError("X is empty")
    assert run("search", *DIGITS).exit_code == 3


def test_names_of_new_studies(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def name(**options):
        return placed(Settings(**options))

    assert name(data="digits") == {"name": "digits-1", "path": str(Path("runs/digits-1"))}
    assert name(data="digits", space="cnn")["name"] == "digits-cnn-1"
    assert name(data="data/my table.csv", space="mine.py:space")["name"] == "my-table-space-1"
    assert name(data="C:\\data\\x.npz")["name"].endswith("-1")
    Path("runs/digits-1").mkdir(parents=True)
    Path("runs/digits-3").mkdir()
    assert name(data="digits")["name"] == "digits-2"
    assert name(data="digits", name="first")["path"] == str(Path("runs/first"))
    assert name(data="digits", path="a/b") == {"name": "b", "path": "a/b"}
    assert name(data="digits", path="a/b", name="n") == {"name": "n", "path": "a/b"}


@pytest.mark.parametrize("evil", ["../../x", "/abs", "a/b", "NUL\n", "...", "\u202egnp", "x" * 300, "\x1b[2J"])
def test_a_name_never_leaves_the_folder_of_runs(evil):
    path = Path(placed(Settings(data="digits", name=evil))["path"])
    assert path.parent == Path("runs")
    assert path.name.strip(".")
    assert len(path.name) <= 60
    assert path.name.isprintable()
    inside = Path(placed(Settings(data=evil))["path"])
    assert inside.parent == Path("runs")


def test_resume_passes_only_what_changes(calls, tmp_path):
    folder = write_study(tmp_path / "s")
    assert run("resume", folder).exit_code == 0
    assert run("resume", folder, "--budget", "10m", "--workers", 1, "--code", "t.py", "--takeover").exit_code == 0
    usual = {"code": None, "takeover": False, "allow_data_change": False}
    assert calls == [
        ("resume", (folder,), usual),
        ("resume", (folder,), {**usual, "code": "t.py", "takeover": True, "budget": "10m", "workers": 1}),
    ]


def test_resume_takes_only_options_that_may_change():
    assert set(RESUMABLE) < set(names())
    assert not {"space", "seed", "objectives", "path", "test", "validation", "recipe"} & set(RESUMABLE)


def test_resume_names_a_wrong_value_before_it_opens_anything(calls, tmp_path):
    result = run("resume", write_study(tmp_path / "s"), "--budget", "soon")
    assert result.exit_code == 2
    assert calls == []


def test_the_current_folder_is_searched_for_modules_but_last(calls, tmp_path):
    run("search", *DIGITS, "--space", "mine:space")
    assert sys.path[-1] == str(tmp_path)
