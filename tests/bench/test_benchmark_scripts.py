"""The two long measurements, on a small scale: what they compute is held against a count by hand."""

import importlib.util
import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from searchitect.bench import load_table, simulate
from searchitect.bench.compare import trace

ROOT = Path(__file__).parents[2]


def script(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # records look their types up there
    spec.loader.exec_module(module)
    return module


def test_a_driver_keeps_twenty_workers_busy_unless_its_disk_is_slow():
    asynchrony = script("asynchrony")
    share, cost, _, trials, trained = asynchrony.run("regularized-evolution", 20, cpu=60.0, disk=0.0)
    assert trials == asynchrony.TASKS * 20
    assert 0.99 < share <= 1.0
    assert 0 < cost < 20
    assert 60 < trained < 200
    # one transaction takes 24 s and serves all that ended meanwhile, so a worker waits between a third and all of it
    slow, *_, trained = asynchrony.run("random", 20, cpu=60.0, disk=24.0)
    assert trained / (trained + 24) < slow < trained / (trained + 8)


@pytest.fixture
def strategies(tmp_path, monkeypatch):
    module = script("strategies")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "CELLS", tmp_path / "cells")
    monkeypatch.setattr(module, "SETTINGS", {"scene": ("transnas-scene", "valid_accuracy")})
    monkeypatch.setattr(module, "TIMED", {"two, levels": "nb201-cifar10"})
    monkeypatch.setattr(module, "TIMED_SECONDS", {"nb201-cifar10": 9_000.0})
    monkeypatch.setattr(module, "POINTS", (10, 40))
    return module


def test_the_page_of_results_is_made_from_cells_that_are_kept(strategies, tmp_path, capsys):
    names = ["random", "regularized-evolution", "asha"]
    strategies.run_all(names, 12, 1, 60.0)
    assert len(list((tmp_path / "cells").glob("*.json"))) == 2 + 3  # those that promote are compared by time only
    first = capsys.readouterr().out
    strategies.run_all(names, 12, 1, 60.0)
    assert first
    assert capsys.readouterr().out == ""
    strategies.report()
    body = json.loads((tmp_path / "docs" / "strategy-results.json").read_text())
    random, evolution = body["tables"]["scene"]
    table = load_table("transnas-scene")
    plan = strategies.plan_of("scene", "random", 1)
    runs = [simulate(table, "random", plan.limit, seed=s) for s in range(12)]
    scores = table.columns["valid_accuracy"].values.astype(float)
    mean = table.optimum() - np.mean([scores[run.at(10)] for run in runs])
    assert random["at"]["10"]["mean"] == pytest.approx(mean)
    assert evolution["at"]["40"]["against"]["random"]["word"] in ("better", "worse", "=")
    assert body["ranks"]["40"]["blocks"] == 12
    text = (tmp_path / "docs" / "strategy-results.md").read_text()
    assert "| random | 12 |" in text
    assert "## two, levels, 9,000 simulated seconds" in text


def test_short_searches_have_no_figures_at_points_that_they_did_not_reach(strategies, tmp_path, monkeypatch):
    monkeypatch.setattr(strategies, "SHORT", {"exhaustive": (11, 10)})
    strategies.run_all(["random", "exhaustive"], 12, 1, 60.0)
    strategies.report()
    body = json.loads((tmp_path / "docs" / "strategy-results.json").read_text())
    random, exhaustive = body["tables"]["scene"]
    assert list(random["at"]) == ["10", "40"]
    assert list(exhaustive["at"]) == ["10"]
    assert exhaustive["searches"] == 11
    text = (tmp_path / "docs" / "strategy-results.md").read_text()
    assert "| exhaustive | 0 / 1 / 0 | – |" in text
    assert np.isclose(
        strategies.signal_regrets(strategies.cells_of("scene")["random"], 10).mean(), random["at"]["10"]["mean"]
    )
    assert "`auto` chooses gaussian-process with the default options" in text


def test_a_strategy_is_at_its_floor_when_half_of_its_searches_hold_the_best_signal(strategies):
    table = load_table("transnas-scene")
    values = table.columns["valid_accuracy"].values
    signal = values if values.ndim == 1 else values[:, -1]
    best = int(np.nanargmax(signal))
    plan = strategies.plan_of("scene", "random", 2)
    runs = [simulate(table, "random", plan.limit, seed=s) for s in range(2)]
    found = [trace(run, "random") for run in runs]
    assert best not in [run.at() for run in runs]
    lucky = msgspec.structs.replace(found[0], changes=((3, 0.0, best),))
    assert not strategies.at_floor(strategies.Cell("scene", "random", 0.1, found), 40)
    assert strategies.at_floor(strategies.Cell("scene", "random", 0.1, [lucky, found[1]]), 40)
    assert not strategies.at_floor(strategies.Cell("scene", "random", 0.1, [lucky, found[1]]), 2)


def test_a_strategy_that_is_too_slow_is_said_to_be(strategies, tmp_path):
    strategies.run_all(["random"], 12, 1, 1e-9)
    strategies.report()
    assert "| random | 0 | too slow | too slow |" in (tmp_path / "docs" / "strategy-results.md").read_text()


def test_who_is_better_is_said_by_the_ranks_that_are_tested(strategies):
    """Nine searches of ten are better by a little, one is far off: the mean is worse, the ranks are not."""
    first, second = np.full(10, 1.0), np.full(10, 2.0)
    first[3] = 100.0
    assert first.mean() > second.mean()
    assert strategies.leans(first, second) == 9 * 5.0 - 10
    assert strategies.leans(second, first) == 10 - 9 * 5.0
    assert strategies.leans(np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, np.nan])) == 0
