"""completion, demo, the schema of the configuration file, and the nearest name to one that does not exist."""

import json
import os
import subprocess
import sys
import tomllib

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from searchitect import settings
from searchitect.bench import TABLES
from searchitect.cli import doctor, searching
from searchitect.cli.app import COMMANDS, app
from searchitect.cli.template import json_schema, template
from searchitect.errors import SearchitectError, UsageError
from searchitect.sharing import METHODS
from searchitect.spaces import SPACES, load_space
from searchitect.strategies import STRATEGIES, strategy_class
from searchitect.study import plan
from searchitect.training.collected import OPENML
from searchitect.training.readers import BUNDLED


def run(*args):
    return CliRunner().invoke(app, list(args))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell):
    result = run("completion", shell)
    assert result.exit_code == 0, result.output
    assert "_SEARCHITECT_COMPLETE" in result.output
    assert "searchitect" in result.output


def test_commands_and_options_are_completed():
    """By the program that a shell would ask, and without torch."""
    environment = os.environ | {
        "_SEARCHITECT_COMPLETE": "bash_complete", "COMP_WORDS": "searchitect s", "COMP_CWORD": "1"
    }  # fmt: skip
    command = [sys.executable, "-c", "from searchitect.cli import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == {n for n in COMMANDS if n.startswith("s")}
    assert "--budget" in offered("search --b")


def offered(words):
    """What a shell would show after these words, the last one unfinished; files and folders as "<file>" and "<dir>"."""
    *before, typed = words.split(" ")
    found = ShellComplete(app, {}, "searchitect", "_SEARCHITECT_COMPLETE").get_completions(before, typed)
    return {one.value if one.type == "plain" else f"<{one.type}>" for one in found}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("search --data di", {"diabetes", "digits"}), ("search --data ./m", {"<file>"}),
     ("search --strategy sp", {"spos"}), ("search --strategy re", {"regularized-evolution", "reinforce"}),
     ("search --space nb", {"nb101", "nb201"}), ("search --space mine.p", {"<file>"}),
     ("search --table nb201-cifar1", {"nb201-cifar10", "nb201-cifar100"}), ("search --screen syn", {"synflow"}),
     ("bench -t fcnet-", {"fcnet-naval", "fcnet-protein"}), ("bench --strategy sp", set()),
     ("spaces rn", {"rnn"}), ("space check da", {"darts"}), ("space check darts --data wi", {"wine"}),
     ("show runs/a", {"<dir>"}), ("search --path r", {"<dir>"}), ("search --executor se", {"serial"})],
)  # fmt: skip
def test_values_are_completed(words, wanted):
    assert offered(words) == wanted


def test_whole_lists_are_offered():
    assert offered("search --data ") == {*BUNDLED, OPENML}
    assert offered("search --space ") == set(SPACES)
    assert offered("search --strategy ") == {"auto", *STRATEGIES, *METHODS}
    assert offered("bench --strategy ") == {"auto", *STRATEGIES}
    assert offered("search --table ") == set(TABLES)


def test_completion_loads_no_torch():
    script = (
        "import sys\nfrom searchitect.cli.completing import LISTS\n"
        "assert all(names() for names, _ in LISTS.values())\n"
        "assert not {'torch', 'sklearn', 'pandas'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


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
