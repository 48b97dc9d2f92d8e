"""`searchitect init`: the file names every option, is read unchanged, and so is each line it shows."""

import re
import tomllib

import pytest
from click.testing import CliRunner

from searchitect import settings
from searchitect.cli.app import app
from searchitect.cli.template import template, toml_value
from searchitect.settings import Settings, from_mapping, merge, read_toml


def run(*args):
    return CliRunner().invoke(app, ["init", *args])


def test_the_file_is_accepted_unchanged_and_is_the_defaults_on_digits(tmp_path):
    path = tmp_path / "a.toml"
    assert run(str(path)).exit_code == 0
    assert merge(read_toml(path)) == Settings(data="digits", budget="3m")


def test_every_option_is_there_with_its_meaning():
    text = template()
    joined = " ".join(text.replace("\n# ", " ").split())
    for name in settings.names():
        assert re.search(rf"^(# )?(\[{name}\]|{name} = )", text, re.MULTILINE), name
        assert settings.description(name)[1:] in joined
        for word in settings.choices(name):
            assert word in text


def test_every_shown_example_is_accepted():
    text = re.sub(r"^# (\w+ = )", r"\1", template(), flags=re.MULTILINE)
    made = from_mapping(tomllib.loads(text))
    for name in settings.names():
        expected = settings.example(name) if settings.default(name) in (None, [], {}) else settings.default(name)
        assert getattr(made, name) == expected, name


def test_lines_fit_80_columns():
    assert max(map(len, template().splitlines()[4:])) <= 80


def test_an_existing_file_is_kept_unless_forced(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("mine")
    result = run(str(path))
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert path.read_text() == "mine"
    assert run(str(path), "--force").exit_code == 0
    assert path.read_text().startswith("# A search with searchitect")


def test_a_place_that_cannot_be_written_is_code_4(tmp_path):
    result = run(str(tmp_path / "none" / "a.toml"))
    assert result.exit_code == 4
    assert "cannot write" in result.stderr


def test_a_dash_prints_it():
    assert run("-").stdout == template()


def test_the_default_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "searchitect search --config searchitect.toml" in run().stdout
    assert (tmp_path / "searchitect.toml").exists()


@pytest.mark.parametrize(
    "value",
    [True, 0, -3, 1.5, 1e-9, 1e300, "", 'a "quoted" \\ path\n', "Ünïcödé\t\x7f", [], ["a", 1.0], {"a b": {"c": [1]}}],
)
def test_values_survive_toml(value):
    assert tomllib.loads(f"x = {toml_value(value)}") == {"x": value}
