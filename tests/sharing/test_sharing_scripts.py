"""The measurements of collapse and ranking, on a small scale: they go on where they were cut, and say what is."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from searchitect.bench.loading import load_table
from searchitect.sharing.ranking import agreement
from searchitect.spaces.nb201 import EDGES

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """Both scripts; one imports the other, as beside each other in a folder."""
    found = []
    for name in ("collapse", "ranking"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        found.append(module)
    monkeypatch.setattr(found[0], "HELD", 40)
    monkeypatch.setattr(found[1], "CELLS", 5)
    return found


@pytest.fixture
def pictures(tmp_path):
    draws = np.random.default_rng(0)
    x, y = draws.integers(256, size=(240, 8, 8, 3), dtype=np.uint8), np.arange(240) % 10
    np.savez(tmp_path / "images.npz", x=x, y=y)
    return str(tmp_path / "images.npz")


def epoch(number, *skipped):
    derived = dict.fromkeys(EDGES, "nor_conv_3x3") | dict.fromkeys(skipped, "skip_connect")
    seen = {"skips": float(len(skipped)), "chosen": 6.0, "parameter_free": len(skipped) / 6}
    return {"epoch": number, "guard": seen, "derived": derived, "table": 90.0 - number}


def test_the_guard_is_asked_afterwards(scripts):
    rows = [epoch(1), epoch(2, "0-1"), epoch(3, "0-1", "0-2"), epoch(4, *EDGES[:3]), epoch(5, *EDGES[:4])]
    found = scripts[0].warned(rows, 10)
    assert found["stopped"] == 5
    assert found["returned"] == rows[2]["derived"]
    assert found["table"] == 87.0
    assert scripts[0].warned(rows[:4], 10) == {"stopped": None, "table": 86.0}


@pytest.mark.slow
def test_collapse_writes_each_epoch_and_goes_on(scripts, pictures, tmp_path, monkeypatch, capsys):
    out = tmp_path / "collapse.json"
    arguments = ["collapse", "--data", pictures, "--out", str(out), "--rows", "130", "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    scripts[0].main()
    whole = json.loads(out.read_text())
    assert [row["epoch"] for row in whole["epochs"]] == [1, 2]
    table = load_table("nb201-cifar10")
    for row in whole["epochs"]:
        derived = table.space.architecture(row["derived"])
        assert row["table"] == pytest.approx(table.column("test_acc_200ep").values[table.row(derived)])
        assert row["skips"] == list(row["derived"].values()).count("skip_connect")
        assert 0.1 < row["skip_share"] < 0.3
    first = capsys.readouterr().out
    scripts[0].main()
    assert json.loads(out.read_text()) == whole
    assert len(capsys.readouterr().out.splitlines()) == 1 < len(first.splitlines())


@pytest.mark.slow
def test_ranking_compares_with_the_table_and_goes_on(scripts, pictures, tmp_path):
    data = scripts[0].images(pictures, 130)
    body = scripts[1].measure("spos", data, 0.5, tmp_path)
    table = load_table("nb201-cifar10")
    real = [table.column("test_acc_200ep").values[table.row(table.space.sample(i))] for i in range(5)]
    assert body["real"] == pytest.approx(real)
    assert len(set(body["inherited"])) > 1
    assert agreement(body["inherited"], body["real"]).n == 5
    kept = json.loads((tmp_path / "spos.json").read_text())
    kept["inherited"], kept["real"], kept["params"] = (kept[k][:3] for k in ("inherited", "real", "params"))
    (tmp_path / "spos.json").write_text(json.dumps(kept))
    assert scripts[1].measure("spos", data, 0.5, tmp_path) == body
