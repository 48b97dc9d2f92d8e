"""completion, demo, the schema of the configuration file, and the nearest name to one that does not exist."""

import json
import os
import subprocess
import sys
import tomllib

import pytest
from click.testing import CliRunner

from searchitect import settings
from searchitect.cli import doctor, searching
from searchitect.cli.app import COMMANDS, app
from searchitect.cli.template import json_schema, template
from searchitect.errors import SearchitectError, UsageError
from searchitect.spaces import load_space
from searchitect.strategies import strategy_class
from searchitect.study import plan


def run(*args):
    return CliRunner().invoke(app, list(args))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell):
    result = run("completion", shell)
    assert result.exit_code == 0, result.output
    assert "_SEARCHITECT_COMPLETE" in result.output
    assert "searchitect" in result.output


def test_commands_and_options_are_completed():
    def offered(words):
        environment = os.environ | {
            "_SEARCHITECT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)
        }  # fmt: skip
        command = [sys.executable, "-c", "from searchitect.cli import main; main()"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert offered("searchitect s") == {name for name in COMMANDS if name.startswith("s")}
    assert "--budget" in offered("searchitect search --b")


def test_demo_is_a_search_on_digits(monkeypatch):
    heard = {}

    def search(**options):
        heard.update(options)
        raise UsageError("enough")

    monkeypatch.setattr(searching, "placed", lambda chosen: search(data=chosen.data, budget=chosen.budget))
    assert run("demo", "--budget", "45s").exit_code == 2
    assert heard == {"data": "digits", "budget": "45s"}


def test_the_schema_allows_what_the_template_shows_and_has_every_option():
    schema = json.loads(run("init", "--schema").output)
    assert schema == json_schema()
    assert set(schema["properties"]) == set(settings.names())
    assert schema["additionalProperties"] is False
    for name in settings.names():
        assert settings.description(name) in json.dumps(schema["properties"][name], ensure_ascii=False), name
    shown = tomllib.loads(template())
    assert set(shown) <= set(schema["properties"])
    assert schema["properties"]["seed"]["minimum"] == 0


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: load_space("mobilnet"), "mobilenet"),
        (lambda: strategy_class("regularised-evolution"), "regularized-evolution"),
        (lambda: settings.from_mapping({"budgett": "3m"}), "budget"),
        (lambda: plan(settings.Settings(data="digits", strategy="drts")), "darts"),
        (lambda: plan(settings.Settings(data="digit")), "digits"),
        (lambda: plan(settings.Settings(table="nb201-cifar1", trials=3)), "nb201-cifar10"),
    ],
)
def test_the_nearest_name_is_told(call, meant):
    with pytest.raises(SearchitectError, match=rf"did you mean '{meant}'\?"):
        call()


def test_little_shared_memory_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_SHARED", 1 << 60)
    found = doctor._shared_memory(tmp_path)
    assert found.ok is None
    assert "--shm-size" in found.advice
    assert doctor._shared_memory(tmp_path / "none").ok is None
