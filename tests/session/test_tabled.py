"""Studies on tables: the same study, report and commands, with results looked up."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from searchitect import Study, resume, search
from searchitect.bench import Limit, load_table, simulate
from searchitect.cli.app import app
from searchitect.errors import UsageError
from searchitect.records import State

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from bench_tables import curves, plain


def test_a_study_on_a_table_makes_the_trials_of_the_simulation_and_reads_the_score_at_the_end(tmp_path):
    table = load_table("macro-cifar10")
    study = search(table="macro-cifar10", trials=30, strategy="regularized-evolution", seed=3, path=tmp_path / "s")
    run = simulate(table, "regularized-evolution", Limit(evaluations=30), seed=3, reuse=True)
    trials = [t for t in study.trials if t.source is None]
    assert [table.row(t.architecture) for t in trials] == run.rows.tolist()
    assert [t.value("acc_a") for t in trials] == pytest.approx(run.signal.tolist())
    summary, score = study.summary(), table.columns["acc_bc"].values
    judged = summary["judged"]
    assert judged["value"] == pytest.approx(score[run.incumbent[-1]])
    assert (judged["column"], judged["best"]) == ("acc_bc", pytest.approx(score.max()))
    assert judged["regret"] == pytest.approx(score.max() - score[run.incumbent[-1]])
    assert not any("acc_bc" in (t.measurement.metrics if t.measurement else {}) for t in study.trials)
    assert summary["verdict"] is None
    page = Path(summary["report"]).read_text()
    assert "<h2>Judged by the table</h2>" in page
    assert "by acc_bc, which the search did not see" in page
    longer = resume(tmp_path / "s", trials=40)
    assert [t.architecture for t in longer.trials[:30]] == [t.architecture for t in study.trials[:30]]
    assert longer.summary()["trials"]["done"] == 40


def test_a_strangers_table_with_limits_holes_and_a_loss(tmp_path):
    """Small is good; `size` is known beforehand, so only rows that keep it are asked for; row 0 did not train."""
    valid = [float("nan"), *map(float, range(1, 18))]
    table = plain(tmp_path, direction="min", valid=valid)
    options = {"objectives": ["min valid", "size > 1"], "trials": 9, "strategy": "exhaustive"}
    study = search(evaluate=table, path=tmp_path / "s", **options)
    rows = [table.row(t.architecture) for t in study.trials]
    assert rows
    assert all(row % 5 > 1 for row in rows)
    assert study.best is not None
    assert table.row(study.best.architecture) == min(rows)
    kept = [row for row in range(18) if row % 5 > 1]
    judged = study.summary()["judged"]
    assert judged == {
        "table": "toy", "column": "test", "unit": "", "value": 10.0 * min(rows), "best": 10.0 * min(kept),
        "regret": 10.0 * (min(rows) - min(kept)),
    }  # fmt: skip
    with pytest.raises(UsageError, match="looks up a table of yours: pass it again as evaluate="):
        resume(tmp_path / "s", trials=10)
    assert len(resume(tmp_path / "s", trials=10, evaluate=table).trials) == 10
    whole = search(evaluate=table.evaluator(["valid"]), trials=18, strategy="exhaustive", path=tmp_path / "e")
    failed = [t for t in whole.trials if t.state is State.FAILED]
    assert [table.row(t.architecture) for t in failed] == [0]
    assert whole.summary()["judged"] is None  # an evaluator holds no scores


def test_promotions_on_a_table_with_curves_pay_the_difference(tmp_path):
    table = curves(tmp_path)
    study = search(evaluate=table, trials=40, strategy="asha", strategy_options={"rungs": [1, 3]}, path=tmp_path / "s")
    seconds = {1: set(), 3: set()}
    for trial in study.trials:
        if trial.source is None:
            seconds[trial.proposal.fidelity.epochs].add(trial.measurement.seconds)
    assert seconds == {1: {1.0}, 3: {2.0}}
    assert study.best.proposal.fidelity.epochs == 3


def test_what_is_about_training_is_refused_in_words(tmp_path):
    table = plain(tmp_path)
    refused = {
        "data= is about training, but table toy holds results": {"evaluate": table, "data": "digits"},
        "screen= is about training": {"evaluate": table, "screen": "synflow"},
        "'darts' trains a supernet, but table toy": {"evaluate": table, "strategy": "darts"},
        "give decisions by name": {"evaluate": table, "baseline": lambda: None},
        "both say where results come from": {"evaluate": table, "table": "macro-cifar10"},
        "brings a space of its own": {"evaluate": table, "space": "cnn"},
        "was made for max valid": {"evaluate": table.evaluator(), "objectives": ["min size"]},
        "judges what was found": {"evaluate": table, "objectives": ["max test"]},
        "'nb201' is not known: write one of nb201-cifar10": {"table": "nb201"},
    }
    for words, options in refused.items():
        with pytest.raises(UsageError, match=words):
            search(trials=3, path=tmp_path / "never", **options)
    assert not (tmp_path / "never").exists()


def test_the_command_line_searches_shows_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["search", "--table", "transnas-scene", "--trials", "12"])
    assert run.exit_code == 0, run.output
    assert "data        table transnas-scene: results of trained networks" in run.output
    assert "by valid_accuracy, which" in run.output.replace("\n", " ")
    study = Study("runs/transnas-scene-1")
    assert study.meta["command"].startswith("searchitect search --table transnas-scene --trials 12")
    more = CliRunner().invoke(app, ["resume", "runs/transnas-scene-1", "--trials", "15", "--json", "-q"])
    assert more.exit_code == 0, more.output
    assert json.loads(more.stdout)["trials"]["done"] == 15
    assert CliRunner().invoke(app, ["show", "runs/transnas-scene-1"]).exit_code == 0
