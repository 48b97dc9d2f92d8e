"""The command itself: help without loading anything heavy, exit codes, and what errors look like."""

import logging
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from searchitect import errors
from searchitect.cli.app import COMMANDS, EXIT_CODES, App, Command, app, loudness

HEAVY = ("torch", "numpy", "sklearn", "scipy", "rich", "plotly", "jinja2", "optuna", "pandas", "cloudpickle")


def run(*args):
    return CliRunner().invoke(app, args)


def failing(error):
    """The group with one command that raises."""

    @click.command(cls=Command)
    def fail():
        raise error

    class Failing(App):
        def get_command(self, ctx, cmd_name):
            return fail

        def resolve_command(self, ctx, args):
            return "fail", fail, args[1:]

    return Failing()


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_loads_nothing_heavy(command):
    words = [command, "--help"] if command else ["--help"]
    code = f"""
import sys
from searchitect.cli import app
try:
    app({words!r})
except SystemExit as end:
    assert end.code == 0, end.code
print("LOADED", [m for m in {HEAVY!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("LOADED []")
    assert "Usage: searchitect" in done.stdout


def test_help_lists_every_command_and_exit_code_in_80_columns():
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.output
    for code, meaning in EXIT_CODES.items():
        assert f"{code}  {meaning[:40]}" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    command = app.get_command(click.Context(app), name)
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts}"
    assert max(map(len, result.output.splitlines())) <= 80


def test_version():
    assert run("--version").output.startswith("searchitect, version 0.")


def test_no_command_shows_the_help_as_wrong_usage():
    result = run()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["serch"], "Did you mean 'search'?"),
        (["zzzzz"], "The commands are search, resume"),
        (["search", "--trails", "3"], "'--trials'"),
        (["search", "--trials", "x"], "'x' is not a valid integer"),
        (["search", "--trials", "0"], "trials = 0: expected a whole number >= 1"),
        (["search", "--task", "x"], "classification"),
        (["search", "--data"], "requires an argument"),
        (["show"], "Missing argument 'FOLDER'"),
    ],
)
def test_wrong_usage_is_code_2(words, told):
    result = run(*words)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert result.stderr.startswith("error: ")
    assert result.stdout == ""
    assert max(map(len, result.stderr.splitlines())) <= 80


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.StudyFailedError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.SpaceError("x"), 2),
        (errors.ArchitectureError("x"), 2),
        (errors.DataError("x"), 3),
        (errors.StorageError("x"), 4),
        (errors.StudyLockedError("x"), 4),
    ],
)
def test_errors_have_their_codes(error, code):
    assert code in EXIT_CODES
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == code
    assert result.stderr == "error: x\n"


def test_a_long_message_is_wrapped_and_cleaned():
    error = errors.DataError("column \x1b[31mred\x1b[0m " + "is wrong " * 30 + "\nsecond line")
    result = CliRunner().invoke(failing(error), ["fail"])
    assert "\x1b" not in result.stderr
    assert max(map(len, result.stderr.splitlines())) <= 80
    assert result.stderr.splitlines()[-1] == "       second line"


def test_an_unexpected_error_is_our_fault_and_shows_no_traceback():
    result = CliRunner().invoke(failing(ZeroDivisionError("by zero")), ["fail"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: unexpected ZeroDivisionError: by zero\n")
    assert "this is a fault of searchitect: run again with --debug" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), errors.DataError("x")])
def test_debug_shows_the_traceback(error):
    result = CliRunner().invoke(failing(error), ["fail", "--debug"])
    assert "Traceback (most recent call last)" in result.stderr
    assert result.exit_code == getattr(error, "exit_code", 1)


def test_an_interrupt_is_130_and_says_how_to_go_on():
    result = CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"])
    assert result.exit_code == 130
    assert "searchitect resume DIR" in result.stderr


@pytest.mark.parametrize(
    ("words", "level", "logged"),
    [([], 0, logging.WARNING), (["-v"], 1, logging.INFO), (["-vv"], 2, logging.DEBUG), (["-q"], -1, logging.ERROR),
     (["--debug"], 2, logging.DEBUG)],
)  # fmt: skip
def test_loudness(words, level, logged):
    seen = []

    @click.command(cls=Command)
    def command():
        seen.append((loudness(), logging.getLogger().level))
        logging.getLogger("searchitect.test").log(logged, "heard")
        logging.getLogger("searchitect.test").log(logged - 1, "too quiet")

    before = logging.getLogger().handlers[:]
    try:
        result = CliRunner().invoke(command, words, standalone_mode=False)
    finally:
        logging.basicConfig(level=logging.WARNING, handlers=before or None, force=True)
    assert seen == [(level, logged)]
    assert "heard" in result.stderr
    assert "too quiet" not in result.stderr


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -c 'from searchitect.cli import main; main()' init - | head -n 1",
        shell=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("# A search with searchitect")
    assert done.stderr == ""


def test_a_terminal_without_unicode_still_works():
    code = "from searchitect.cli import app; import click; click.echo; app(['spaces'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, timeout=60, env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")
