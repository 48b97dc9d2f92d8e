"""spaces and strategies: the tables and one space."""

import json
import sys

import pytest
from click.testing import CliRunner

from searchitect.cli.app import app
from searchitect.cli.catalogue import description
from searchitect.sharing import METHODS
from searchitect.spaces import SPACES
from searchitect.strategies import STRATEGIES

MINE = """
import torch.nn as nn
from searchitect.space import OUTPUTS, Space, lazy, one_of
L = lazy(nn)
space = Space(L.Sequential(L.Flatten(), L.LazyLinear(one_of(3, 4)), L.LazyLinear(OUTPUTS)), name="mine")
def make():
    return space
number = 3
"""


def run(*args):
    return CliRunner().invoke(app, args)


@pytest.mark.parametrize(("command", "table"), [("spaces", SPACES), ("strategies", {**STRATEGIES, **METHODS})])
def test_every_entry_is_listed_with_a_sentence(command, table):
    result = run(command)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    found = {entry["name"]: entry["description"] for entry in json.loads(run(command, "--json").output)}
    assert set(found) - {"auto"} == set(table)
    for name, text in found.items():
        assert f"  {name} " in result.output
        assert len(text) > 20
        assert text.endswith(".")


def test_auto_is_a_strategy():
    assert json.loads(run("strategies", "--json").output)[0]["name"] == "auto"


def test_a_description_is_read_without_running_the_file(tmp_path, monkeypatch):
    (tmp_path / "never_run.py").write_text('"""First\nsentence.\n\nMore."""\nraise SystemExit\n')
    (tmp_path / "no_doc.py").write_text('class Mine:\n    """Of the class."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert description("never_run:x") == "First sentence."
    assert description("no_doc:Mine") == "Of the class."
    assert description("not_there_at_all:x") == ""
    assert "never_run" not in sys.modules


def test_one_space_has_its_size_and_drawing():
    found = json.loads(run("spaces", "nb201", "--json").output)
    assert found["size"] == "15,625"
    assert found["finite"] == 15625
    assert found["decisions"] == 6
    text = run("spaces", "nb201").output
    assert "15,625 networks from 6 decisions" in text
    assert "Cell" in text


def test_a_space_of_the_users(tmp_path, monkeypatch):
    (tmp_path / "my_own_space.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("my_own_space.py:space", "my_own_space.py:make", "my_own_space:space"):
        result = run("spaces", name)
        assert result.exit_code == 0, result.stderr
        assert "2 networks from 1 decision\n" in result.output
    result = run("spaces", "my_own_space.py:number")
    assert result.exit_code == 2
    assert "is a int; it must be a Space" in " ".join(result.stderr.split())
    assert run("spaces", "my_own_space.py:none").exit_code == 2


def test_an_unknown_space_gets_the_list():
    result = run("spaces", "resnext")
    assert result.exit_code == 2
    assert "nb201" in result.stderr
