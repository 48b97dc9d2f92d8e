"""searchitect bench: the exact form that scripts rely on, files, and one clear line for what is wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from searchitect.bench import TABLES, Limit, load_table, simulate
from searchitect.cli.app import app

BASE = ("bench", "--table", "nb201-cifar10", "--jobs", "1")


def run(*args):
    return CliRunner().invoke(app, args)


def body(*args):
    result = run(*BASE, *args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_form_that_scripts_rely_on():
    found = body(
        "--strategy", "random", "--seeds", "5", "--simulated-seconds", "2000", "--signal", "valid_acc_12ep",
        "--read-out", "nb201-cifar100", "--at", "3,9",
    )  # fmt: skip
    (table,) = found["tables"]
    (strategy,) = table["strategies"]
    rows = [simulate(load_table("nb201-cifar10"), "random", Limit(seconds=2000.0), seed=s).at() for s in range(5)]
    scores = load_table("nb201-cifar10").columns["test_acc_200ep"].values.astype(float)[rows]
    assert strategy["strategy"] == "random"
    assert strategy["end"]["score"]["mean"] == pytest.approx(scores.mean())
    assert strategy["end"]["score"]["std"] == pytest.approx(scores.std(ddof=1))
    assert strategy["end"]["score"]["n"] == 5
    assert strategy["end"]["regret"]["mean"] == pytest.approx(94.37333679 - scores.mean())
    assert list(strategy["at"]) == ["3", "9"]
    (out,) = strategy["read_out"]
    other = load_table("nb201-cifar100").columns["test_acc_200ep"].values.astype(float)[rows]
    assert (out["table"], out["end"]["score"]["mean"]) == ("nb201-cifar100", pytest.approx(other.mean()))
    assert strategy["cpu_ms_per_proposal"] > 0


def test_evaluations_are_the_limit_and_100_where_none_is_given():
    assert body("--strategy", "random", "--seeds", "2")["evaluations"] == 100
    found = body("--strategy", "random", "--strategy", "auto", "--seeds", "2", "--evaluations", "30")
    assert found["evaluations"] == 30
    assert [s["strategy"] for s in found["tables"][0]["strategies"]] == ["random", "auto"]
    assert list(found["tables"][0]["strategies"][0]["at"]) == ["10", "20"]
    assert found["ranks"]["names"] == ["random", "auto"]


def test_options_go_to_the_strategies_that_take_them():
    found = body(
        "--strategy", "regularized-evolution", "--strategy", "random", "--strategy-option", "population=12",
        "--strategy-option", "random.by=architecture", "--seeds", "1", "--evaluations", "5",
    )  # fmt: skip
    options = [s["options"] for s in found["tables"][0]["strategies"]]
    assert options == [{"population": 12}, {"by": "architecture"}]


def test_signals_objectives_workers_and_reuse():
    found = body(
        "--strategy", "random", "--seeds", "3", "--evaluations", "20", "--signal", "valid_acc_200ep_a",
        "--objective", "params_m < 0.4", "--workers", "4", "--reuse",
    )  # fmt: skip
    (table,) = found["tables"]
    assert table["objectives"] == ["max valid_acc_200ep_a", "params_m < 0.4"]
    assert table["optimum"] < 94.3
    assert (found["workers"], found["reuse"]) == (4, True)


def test_the_text_is_80_columns_wide_and_says_the_essentials():
    result = run(
        *BASE, "--strategy", "random", "--strategy", "regularized-evolution", "--seeds", "4", "--evaluations", "60",
        "--read-out", "nb201-cifar100", "--table", "nb201-cifar100",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    for words in ("regularized-evolution", "mean regret after", "mean rank over 8 searches", "against random", "±"):
        assert words in result.output


def test_files_are_written(tmp_path):
    result = run(
        *BASE, "--strategy", "random", "--seeds", "2", "--evaluations", "10",
        "--csv", str(tmp_path / "a.csv"), "--html", str(tmp_path / "a.html"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.csv").read_text().startswith("table,strategy,seed")
    assert "<svg" in (tmp_path / "a.html").read_text()
    assert run(*BASE, "-s", "random", "--seeds", "1", "--evaluations", "3", "--csv", str(tmp_path)).exit_code == 4


def test_a_strangers_table(tmp_path):
    about = {
        "format": 1, "decisions": {"a": [1, 2, 3]}, "signal": "v", "score": "t",
        "columns": {"v": {"direction": "min"}, "t": {"direction": "min"}},
    }  # fmt: skip
    np.savez(tmp_path / "mine.npz", description=np.array(json.dumps(about)), v=np.array([3, 1, 2]), t=np.arange(3))
    result = run("bench", "--table", str(tmp_path / "mine.npz"), "--strategy", "auto", "--seeds", "2", "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert "2 searches each" in result.output  # a long path is cut


def test_the_tables_are_listed():
    result = run("bench", "--list")
    assert max(map(len, result.output.splitlines())) <= 80
    found = {t["name"]: t for t in json.loads(run("bench", "--list", "--json").output)}
    assert set(found) == set(TABLES)
    assert found["fcnet-protein"]["columns"]["valid_mse_a"]["direction"] == "min"
    assert all(name in result.output for name in TABLES)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "give at least one --table"),
        (("--strategy", "rondom"), "'rondom' is not known"),
        (("--strategy", "random", "--table", "nb202"), "'nb202' is not known"),
        (("--strategy", "random", "--strategy", "random"), "given twice"),
        (("--strategy", "random", "--strategy-option", "speed=3"), "none of random takes it"),
        (("--strategy", "random", "--strategy-option", "tpe.speed=3"), "'tpe' is none of the strategies"),
        (("--strategy", "random", "--signal", "loss"), "has no column 'loss'"),
        (("--strategy", "random", "--signal", "test_acc_200ep"), "no strategy may see it"),
        (("--strategy", "random", "--read-out", "macro-cifar10"), "another space"),
        (("--strategy", "random", "--at", "ten"), "--at 'ten'"),
        (("--strategy", "random", "--jobs", "0"), "--jobs 0"),
        (("--strategy", "random", "--seeds", "0"), "at least 1"),
        (("--strategy", "random", "--evaluations", "0"), "at least 1"),
        (("--strategy", "random", "--simulated-seconds", "-3"), "positive"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(args, message):
    result = run(*BASE, *args)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom searchitect.cli.app import app\ntry:\n    app.main(['bench', '--help'])\n"
        "except SystemExit:\n    print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_hundred_searches_take_seconds():
    """100 seeds of 12,000 simulated seconds in well under ten CPU seconds (measured: below 1)."""
    import time

    began = time.process_time()
    body("--strategy", "random", "--seeds", "100", "--simulated-seconds", "12000")
    assert time.process_time() - began < 10
