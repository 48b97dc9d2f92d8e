"""Options of the command line against `Settings`: each field has one, and values arrive as they were meant."""

import json

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from searchitect import settings
from searchitect.cli import options
from searchitect.cli.app import Command
from searchitect.cli.options import plain_value, settings_options, study_argument
from searchitect.errors import StorageError
from searchitect.settings import Settings


@click.command(cls=Command)
@settings_options
def probe(**values):
    """Prints what arrived."""
    click.echo(settings.command_line(settings.merge(options.given(values))))
    found = settings.merge(options.given(values))
    click.echo(json.dumps({name: getattr(found, name) for name in settings.names()}))


def parsed(*words):
    result = CliRunner().invoke(probe, words, standalone_mode=False)
    if result.exception:
        raise result.exception
    return json.loads(result.stdout.splitlines()[-1])


def test_every_field_is_an_option_with_its_meaning():
    flags = {name: param for param in probe.params for name in param.opts}
    for name in settings.names():
        param = flags[settings.flag(name)]
        assert param.name == name
        start = settings.description(name)[:20]
        assert param.help.startswith(start[0].upper() + start[1:])


def test_nothing_given_is_the_defaults():
    assert Settings(**parsed()) == Settings()


@pytest.mark.parametrize("name", settings.names())
def test_every_option_takes_its_example(name):
    made = settings.from_mapping({name: settings.example(name)})
    words = settings.command_line(made)
    again = parsed(*_split(words))
    assert Settings(**again) == made


def _split(command):
    import shlex

    return shlex.split(command)[2:]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "trials": st.integers(1, 1000), "seed": st.integers(0, 2**63 - 1), "finalize": st.booleans(),
            "name": st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10),
            "validation": st.floats(0.01, 0.5), "time_limit": st.floats(0.001, 1e9),
            "recipe": st.dictionaries(st.sampled_from(["lr", "clip", "augment"]), st.one_of(
                st.floats(0, 10), st.booleans(), st.none(), st.integers(), st.sampled_from(["none", "auto"]),
                st.lists(st.sampled_from(["crop", "flip"]), max_size=2))),
            "objectives": st.lists(st.sampled_from(["accuracy", "loss", "latency_ms < 2"]), unique=True, max_size=3),
        },
    )
)  # fmt: skip
def test_the_command_that_is_stored_repeats_the_settings(values):
    try:
        made = settings.from_mapping(values)
    except Exception:
        return
    assert Settings(**parsed(*_split(settings.command_line(made)))) == made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("0.01", 0.01), ("1e-3", 1e-3), ("true", True), ("null", None), ("sgd", "sgd"), ('"3"', "3"),
        ("crop,flip", ["crop", "flip"]), ("1, 2", [1, 2]), ("[1, 2]", [1, 2]), ("", ""), ("NaN", "NaN"),
        ("[" * 5000, "[" * 5000),
    ],
)  # fmt: skip
def test_plain_values(text, value):
    assert plain_value(text) == value


@pytest.mark.parametrize("text", ["lr", "=3", " =3", ""])
def test_a_pair_needs_a_key_and_a_sign(text):
    with pytest.raises(click.BadParameter, match=r"is not KEY=VALUE; write for example lr=0\.01"):
        parsed("--recipe", text)


def test_pairs_and_lists_may_be_repeated():
    found = parsed("--recipe", "lr=0.1", "--recipe", "clip=null", "--objective", "loss", "--objective", "params < 9")
    assert found["recipe"] == {"lr": 0.1, "clip": None}
    assert found["objectives"] == ["loss", "params < 9"]


def test_finalize_can_be_switched_both_ways():
    assert parsed("--no-finalize")["finalize"] is False
    assert parsed("--finalize")["finalize"] is True


@click.command(cls=Command)
@study_argument
def probe_study(folder):
    """Prints the folder."""
    click.echo(folder)


def test_a_study_is_named_by_its_folder_or_its_file(tmp_path):
    (tmp_path / "study.db").write_bytes(b"")
    for text in (tmp_path, tmp_path / "study.db"):
        assert CliRunner().invoke(probe_study, [str(text)]).output.strip() == str(tmp_path)


@pytest.mark.parametrize("name", ["none", ""])
def test_a_missing_study_is_a_storage_error(tmp_path, name):
    result = CliRunner().invoke(probe_study, [str(tmp_path / name)], standalone_mode=False)
    assert isinstance(result.exception, StorageError)
    assert "searchitect list" in str(result.exception)
