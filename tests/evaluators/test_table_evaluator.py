"""The table as an evaluator: the shipped contract where a table can keep it, and whole searches over it."""

import json

import msgspec
import numpy as np
import pytest

from searchitect.bench import load_table
from searchitect.engine.ledger import Ledger
from searchitect.engine.loop import Limits, Loop
from searchitect.engine.reuse import Reuse
from searchitect.errors import BuildError, NotFiniteError, TrialError
from searchitect.evaluators.base import Outcome, Task
from searchitect.evaluators.table import TableEvaluator
from searchitect.executors import make
from searchitect.manual import Manual
from searchitect.records import State
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy
from searchitect.testing.evaluator import EvaluatorContract, Recorder

COLUMNS = {
    "valid": {"direction": "max", "epochs": [1, 2, 3], "cost": {"column": "time"}}, "test": {"direction": "max"},
    "time": {"direction": "min"}, "params": {"direction": "min", "known": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Eighteen architectures, three epochs of a second each; row 7 was never measured after its first epoch."""
    rows = np.arange(18.0)
    valid = np.stack([rows, rows + 0.25, rows + 0.5], axis=1)
    valid[7, 1:] = np.nan
    body = {
        "format": 1, "decisions": {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2]}, "columns": COLUMNS,
        "signal": "valid", "score": "test", "rows": "codes",
    }  # fmt: skip
    codes = np.array(np.unravel_index(np.arange(18), (3, 3, 2))).T[:17]
    arrays = {"valid": valid, "test": rows, "time": np.full(18, 3.0), "params": rows + 1}
    path = tmp_path_factory.mktemp("table") / "toy.npz"
    np.savez(path, description=np.array(json.dumps(body)), codes=codes, **{k: v[:17] for k, v in arrays.items()})
    return load_table(path)


def decisions(table, row):
    return list(table.space.enumerate())[row].decisions


class TestTable(EvaluatorContract):
    @pytest.fixture(autouse=True)
    def _table(self, table):
        self.table = table

    def make(self):
        return self.table.evaluator(), Task(0, decisions(self.table, 4), seed=11, epochs=3)

    def test_another_seed_gives_another_curve(self):
        """Not here: a table knows one measurement."""
        evaluator, task = self.make()
        assert self.run(evaluator, task).curve == self.run(evaluator, msgspec.structs.replace(task, seed=12)).curve

    def test_weights_are_saved_where_the_task_says(self):
        """Not here: there are none, and whoever asks for them is told."""
        evaluator, task = self.make()
        with pytest.raises(TrialError, match="no weights to save"):
            self.run(evaluator, msgspec.structs.replace(task, save="somewhere"))

    def test_weights_that_cannot_win_are_not_written(self):
        """Not here: none are, as the test above says."""


def test_a_task_that_goes_on_pays_the_difference(table):
    outcome = table.evaluator().run(Task(0, decisions(table, 4), 0, 3, start=1), Recorder())
    assert (outcome.seconds, outcome.epochs, len(outcome.curve)) == (2.0, 2, 3)


def test_numbers_curve_and_seconds_are_those_of_the_row(table):
    evaluator = table.evaluator()
    outcome = evaluator.run(Task(0, decisions(table, 4), 0, 2), Recorder())
    assert outcome == Outcome(
        {"params": 5.0, "valid": 4.25, "seconds": 2.0},
        2.0,
        2,
        ({"step": 1.0, "valid": 4.0}, {"step": 2.0, "valid": 4.25}),
    )
    stopped = evaluator.run(Task(0, decisions(table, 4), 0, 3), Recorder(stop_after=2))
    assert (stopped.stopped, stopped.epochs, stopped.seconds) == (True, 2, 2.0)
    assert "test" not in repr(outcome)


def test_columns_of_their_own_give_the_level_at_or_above_and_no_curve():
    evaluator = load_table("nb201-cifar10").evaluator(["valid_acc"])
    space = load_table("nb201-cifar10").space
    chosen = dict.fromkeys((d.name for d in space.decisions), "skip_connect")
    for asked, got, value in ((1, 12, 33.944), (12, 12, 33.944), (13, 200, 39.632), (500, 200, 39.632)):
        outcome = evaluator.run(Task(0, chosen, 0, asked), Recorder())
        assert (outcome.epochs, outcome.curve) == (got, ())
        assert outcome.metrics["valid_acc"] == pytest.approx(value, abs=1e-4)
    assert evaluator.describe()["levels"] == [12, 200]


def test_what_is_not_in_the_table_ends_with_its_cause(table):
    evaluator = table.evaluator()
    with pytest.raises(NotFiniteError, match="no valid for this architecture at 2 epochs"):
        evaluator.run(Task(0, decisions(table, 7), 0, 3), Recorder())
    assert evaluator.run(Task(0, decisions(table, 7), 0, 1), Recorder()).metrics["valid"] == 7.0
    with pytest.raises(BuildError, match="no such architecture"):
        evaluator.run(Task(0, decisions(table, 17), 0, 1), Recorder())
    with pytest.raises(TrialError, match="no hand-made network"):
        evaluator.run(Task(0, {}, 0, 1, network="baseline"), Recorder())


def test_a_stored_search_runs_on_a_table(table, tmp_path):
    """The loop of a study: failures are told with their causes, the store holds simulated seconds."""
    evaluator, aims = table.evaluator(), table.objectives()
    reading = table.reading(aims)
    executor = make("serial")
    executor.start(evaluator)
    strategy = make_strategy("random", Setting(table.space, aims, 1, reading.fidelity))

    def payload(trial, incumbent=None):
        return msgspec.to_builtins(Task(trial.number, trial.architecture.decisions, trial.seed, 3))

    with Store.create(tmp_path / "study", {"name": "table"}) as store:
        reuse = Reuse(table.space, json.dumps(evaluator.describe()))
        loop = Loop(Ledger(table.space, store, strategy, aims, reuse, 1), executor, payload, Limits(trials=18))
        loop.run()
        trials = [t for t in store.trials() if t.source is None]
        done = [t for t in trials if t.state is State.DONE]
        assert {t.failure.cause.value for t in trials if t.failure} <= {"invalid architecture", "not finite"}
        assert loop.ledger.incumbent.value("valid") == max(t.value("valid") for t in done)
        assert all(t.measurement.seconds == 3.0 for t in done)
    executor.close()


def test_a_search_by_hand_on_a_table(table, tmp_path):
    with Manual(table.space, "max valid", tmp_path / "hand", strategy="regularized-evolution") as study:
        for trial in study.take(10):
            row = table.row(trial.architecture)
            if row < 0 or row == 7:
                study.tell_failed(trial, "not in the table")
            else:
                study.tell(trial, **table.measure(trial.architecture))
        found = study.best
    assert found.value("valid") == table.row(found.architecture) + 0.5


def test_the_description_names_the_table(table):
    assert table.evaluator().describe() == {"kind": "table", "table": "toy", "metrics": ["valid"], "levels": [1, 2, 3]}
    assert isinstance(table.evaluator(), TableEvaluator)
