"""`searchitect space check`: what a person sees in 80 columns, JSON, and exit codes."""

import json
import sys

import pytest
from click.testing import CliRunner

from searchitect.cli.app import app

MINE = """
import torch.nn as nn
from searchitect import OUTPUTS, Space, lazy, limit, one_of
L = lazy(nn)
space = Space(L.Sequential(L.LazyLinear(one_of(4, 8, 16)), one_of(a=L.ReLU(), b=L.ReLU(), name="act"),
              L.LazyLinear(OUTPUTS)), name="mine", limits=[limit("params < 140")])
broken = Space(L.Sequential(L.Linear(7, 3)))
"""


def run(*args):
    return CliRunner().invoke(app, ["space", "check", *args])


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "mine_checked.py").write_text(MINE)
    yield f"{tmp_path / 'mine_checked.py'}:"
    sys.modules.pop("mine_checked", None)


def test_a_person_sees_all_of_it(mine):
    result = run(mine + "space", "--sample", "5", "--outputs", "3", "--limit", "macs < 1000")
    assert result.exit_code == 0
    assert all(len(text) <= 80 for text in result.output.splitlines())
    for part in ("mine\n", "6 networks from 2 decisions", "66.7 % of them", "all 6 networks",
                 "dead      act: no value changes",
                 "never     0.out_features = 16", "params < 140: kept by 66.7 %", "macs < 1000: kept by 100 %",
                 "parameters for all networks together", "ms a row here", "├─ act: one of"):  # fmt: skip
        assert part in result.output


def test_programs_read_json(mine):
    result = run(mine + "space", "--sample", "5", "--outputs", "3", "--json")
    body = json.loads(result.output)
    assert (body["finite"], body["decisions"], body["duplicates"]["count"]) == (6, 2, 3)
    assert body["limits"]["params < 140"]["count"] == 4
    assert body["costs"]["params"] == {"min": 39, "median": 75, "max": 147}
    assert body["latency_ms"]["measured"] >= 3


def test_the_exit_code_says_that_nothing_fits(mine):
    assert run(mine + "space", "--sample", "5", "--limit", "params < 3").exit_code == 1
    result = run(mine + "broken", "--sample", "5")
    assert result.exit_code == 1
    assert "100 % cannot be built" in result.output
    assert "in_features=7" in result.output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("mlp", "--sample", "3y3"), "3x32x32"),
        (("mlp", "--sample", "3", "--data", "digits"), "leave one out"),
        (("mlp", "--limit", "params < 3"), "--sample"),
        (("nothing",), "ready-made are"),
        (("mlp", "--sample", "3", "--limit", "f1 > 0.3"), "known before training"),
    ],
)
def test_wrong_usage_is_exit_code_two(args, said):
    result = run(*args)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_data_give_the_shape_and_a_space_of_no_shape_is_told():
    result = run("cnn", "--data", "digits", "--samples", "20", "--no-drawing")
    assert result.exit_code == 0
    assert "parameters" in result.output
    bare = run("mlp", "--samples", "20", "--no-drawing")
    assert "not known without the shape of a row" in " ".join(bare.output.split())
