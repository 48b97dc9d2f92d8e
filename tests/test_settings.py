"""The options of a search: values, budgets, TOML, merging and the command that repeats them."""

import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchitect import settings
from searchitect.errors import UsageError
from searchitect.finalize import tuning
from searchitect.settings import Settings, command_line, from_mapping, merge, parse_budget, read_toml


def test_every_option_stands_under_one_heading():
    shown = [name for names in settings.sections().values() for name in names]
    assert sorted(shown) == sorted(settings.names())


def test_all_options_have_a_meaning_and_a_usable_example():
    for name in settings.names():
        assert len(settings.description(name)) > 15, name
        made = from_mapping({name: settings.example(name)})
        assert getattr(made, name) == settings.example(name)


def test_as_few_recipes_may_be_asked_for_as_are_tried():
    assert settings.FEWEST_RECIPES == tuning.LEAST


def test_defaults_are_left_to_the_study():
    made = Settings()
    assert (made.strategy, made.seed, made.seeds, made.finalize) == ("auto", 0, 3, True)
    assert made.budget is None
    assert made.budget_seconds is None
    assert made.objectives == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3m", 180), ("90s", 90), ("1h30m", 5400), ("10", 10), ("1.5h", 5400), ("2d", 172_800), (" 5 M ", 300),
        ("1h2m3s", 3723), (45, 45), (0.5, 0.5),
    ],
)  # fmt: skip
def test_budgets(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "0", "0m", "-3s", "3m2h", "1e3", "inf", "nan", float("nan"), "3 minutes", True]
)
def test_refused_budgets(text):
    with pytest.raises(UsageError, match=r"budget .* (is not a time|must be longer)"):
        parse_budget(text)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_a_usage_error(text):
    try:
        seconds = parse_budget(text)
    except UsageError:
        return
    assert seconds > 0


def test_whole_seconds_survive_their_text():
    for seconds in (1, 59, 60, 3_661, 90_061):
        days, rest = divmod(seconds, 86_400)
        hours, rest = divmod(rest, 3_600)
        assert parse_budget(f"{days}d{hours}h{rest // 60}m{rest % 60}s") == seconds


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 0}, "trials = 0: expected a whole number >= 1"),
        ({"trials": True}, "trials = True: expected a whole number, got true or false"),
        ({"seed": "a"}, "seed = 'a': expected a whole number, got text"),
        ({"seed": -1}, "seed = -1"),
        ({"task": "clustering"}, "task = 'clustering': expected classification or regression"),
        ({"executor": "slurm"}, "expected serial or processes or ray"),
        ({"recipe": 3}, "recipe = 3: expected names with values"),
        ({"tune": 0.2}, "tune = 0.2 is a share of the budget, but there is none"),
        ({"tune": 3}, "or a whole number of recipes for each network, 4 or more"),
        ({"tune": 4.5}, "or a whole number of recipes"),
        ({"validation": 0.6, "test": 0.5}, "leave nothing to train on"),
        ({"validation": 0}, "validation = 0"),
        ({"time_limit": float("inf")}, "time_limit must be a finite"),
        ({"objectives": ["speed"]}, "objective 'speed' is not known"),
        ({"objectives": ["latency_ms < 2"]}, "at least one goal"),
        ({"budget": "soon"}, "budget 'soon' is not a time"),
        ({"strategy": ""}, "strategy = ''"),
    ],
)
def test_a_wrong_value_is_named(values, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        from_mapping(values)


def test_the_record_itself_checks_too():
    with pytest.raises(UsageError, match="epochs"):
        Settings(epochs=-1)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("trails", "trials"),
        ("time-limit", "time_limit"),
        ("Budget", "budget"),
        ("objective", "objectives"),
        ("worker", "workers"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, near):
    with pytest.raises(UsageError, match=f"did you mean '{near}'"):
        from_mapping({name: 1})


def test_an_unknown_name_without_a_near_one_gets_the_list():
    with pytest.raises(UsageError, match="the options are data, target"):
        from_mapping({"zzzzzz": 1})


def test_one_path_is_a_list_of_start_architectures():
    assert from_mapping({"start": "a/arch.json"}).start == ["a/arch.json"]


def test_a_number_is_a_budget_and_one_text_is_a_list_of_objectives():
    made = from_mapping({"budget": 90, "objectives": "accuracy"})
    assert made.budget_seconds == 90
    assert made.objectives == ["accuracy"]


def test_later_layers_win_and_tables_are_joined():
    made = merge(
        {"trials": 5, "recipe": {"lr": 0.1, "clip": 1.0}, "objectives": ["loss"]},
        {"trials": 7, "recipe": {"lr": 0.2}, "objectives": ["accuracy"]},
        {},
    )
    assert made.trials == 7
    assert made.recipe == {"lr": 0.2, "clip": 1.0}
    assert made.objectives == ["accuracy"]


def test_merging_changes_no_layer():
    first = {"recipe": {"lr": 0.1}}
    merge(first, {"recipe": {"clip": 2}})
    assert first == {"recipe": {"lr": 0.1}}


def test_a_toml_file(tmp_path):
    file = tmp_path / "search.toml"
    file.write_bytes(b'\xef\xbb\xbfdata = "digits"\ntrials = 4\n[recipe]\nlr = 0.01\n')
    assert merge(read_toml(file), {"trials": 2}) == Settings(data="digits", trials=2, recipe={"lr": 0.01})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"trails = 3\n", "search.toml: 'trails' is not an option; did you mean 'trials'"),
        (b"trials = 0\n", "search.toml: trials = 0"),
        (b"trials = \n", "search.toml is not a TOML file"),
        (b"\xff\xfe\x00", "search.toml is not a TOML file"),
        (b"a = " + b"[" * 5_000, "search.toml is not a TOML file"),
        (b"#" * (2 << 20), "larger than 1 MB"),
        (b'when = 1979-05-27\n[recipe]\nlr = 1\n', "'when' is not an option"),
    ],
)  # fmt: skip
def test_a_bad_toml_file_is_named(tmp_path, text, message):
    file = tmp_path / "search.toml"
    file.write_bytes(text)
    with pytest.raises(UsageError, match=message):
        read_toml(file)


def test_a_missing_toml_file_names_the_next_step(tmp_path):
    with pytest.raises(UsageError, match="searchitect init"):
        read_toml(tmp_path / "none.toml")


def test_the_command_says_only_what_differs():
    assert command_line(Settings()) == "searchitect search"
    made = from_mapping(
        {
            "data": "my file.csv", "budget": "3m", "objectives": ["accuracy", "latency_ms < 2"], "finalize": False,
            "recipe": {"lr": 0.1, "optimizer": "sgd"}, "strategy_options": {"population": 20}, "time_limit": 5,
        }
    )  # fmt: skip
    assert shlex.split(command_line(made))[2:] == [
        "--data", "my file.csv", "--budget", "3m", "--objective", "accuracy", "--objective", "latency_ms < 2",
        "--strategy-option", "population=20", "--no-finalize", "--recipe", "lr=0.1", "--recipe", "optimizer=sgd",
        "--time-limit", "5.0",
    ]  # fmt: skip


def test_it_loads_neither_torch_nor_numpy():
    code = "import sys, searchitect.settings; print([m for m in ('torch', 'numpy', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
