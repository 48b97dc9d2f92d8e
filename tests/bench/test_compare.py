"""Comparisons: the same traces whatever the number of processes, judged as brute force judges them."""

import csv
import json
import math

import msgspec
import numpy as np
import pytest
from bench_tables import ROWS, plain, write

from searchitect.bench import Limit, load_table, simulate
from searchitect.bench.compare import Entry, Plan, Trace, check, compare, trace
from searchitect.bench.results import Judge, curve, results, write_csv
from searchitect.errors import StudyFailedError, UsageError
from searchitect.strategies import Strategy
from searchitect.strategies.random import Random

TABLE = "nb201-cifar10"
PLAN = Plan((TABLE,), (Entry("random"), Entry("regularized-evolution", {"population": 8, "sample": 3})), 6, 40)


class Breaking(Strategy):
    """Draws at random, and breaks at its fifth proposal of seed 3."""

    def __init__(self, setting):
        self.inner, self.asked, self.seed = Random(setting), 0, setting.seed

    def ask(self, n=1):
        self.asked += n
        if self.asked == 5 and self.seed == 3:
            raise ZeroDivisionError("on purpose")
        return self.inner.ask(n)

    def tell(self, trial):
        self.inner.tell(trial)


@pytest.fixture(scope="module")
def traces():
    return compare(PLAN)


def without_clock(found):
    return [msgspec.structs.replace(t, cpu_seconds=0.0) for t in found]


def test_processes_give_the_same_traces(traces):
    plan = msgspec.structs.replace(PLAN, seeds=13)
    alone, together = compare(plan), compare(plan, jobs=2)
    assert without_clock(alone) == without_clock(together)
    assert without_clock(alone)[:6] == without_clock(traces)[:6]
    assert [t.seed for t in alone] == [*range(13), *range(13)]


def test_progress_is_told():
    told = []
    compare(msgspec.structs.replace(PLAN, seeds=12, evaluations=3), progress=lambda *a: told.append(a))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_trace_keeps_what_the_run_said(traces):
    run = simulate(load_table(TABLE), "random", Limit(evaluations=40), seed=2)
    kept = trace(run, "random")
    assert without_clock([kept]) == without_clock([traces[2]])
    for told in range(1, 41):
        assert kept.row(told) == run.at(told)
    for when in np.linspace(0, float(run.ends[-1]), 57):
        assert kept.row(seconds=float(when)) == run.at(seconds=float(when))
    assert kept.row(0) == -1


def test_a_strategy_that_breaks_ends_the_comparison_with_its_traceback():
    plan = Plan((TABLE,), (Entry(f"{__name__}:Breaking"),), 4, 10)
    with pytest.raises(StudyFailedError, match="on purpose"):
        compare(plan, jobs=2)
    with pytest.raises(ZeroDivisionError):
        compare(plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tables": ()}, "at least one table"),
        ({"entries": ()}, "at least one"),
        ({"entries": (Entry("random"), Entry("random"))}, "given twice"),
        ({"entries": (Entry("rondom"),)}, "'rondom' is not known"),
        ({"entries": (Entry("random", {"speed": 3}),)}, "speed"),
        ({"seeds": 0}, "at least 1"),
        ({"workers": 0}, "at least 1"),
        ({"objectives": ("max nothing",)}, "no column 'nothing'"),
        ({"tables": ("nothing",)}, "table 'nothing' is not known"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(change, message):
    with pytest.raises(UsageError, match=message):
        check(msgspec.structs.replace(PLAN, **change))


def test_results_are_those_of_brute_force(traces):
    found = results(PLAN, traces, points=(5, 40), read_outs=["nb201-cifar100"])
    c10, c100 = (load_table(n).columns["test_acc_200ep"].values.astype(float) for n in (TABLE, "nb201-cifar100"))
    for entry, strategy in zip(PLAN.entries, found["tables"][0]["strategies"], strict=True):
        runs = [
            simulate(load_table(TABLE), entry.strategy, PLAN.limit, seed=s, options=entry.options) for s in range(6)
        ]
        for point, numbers in (*((5, strategy["at"]["5"]),), (40, strategy["at"]["40"]), (40, strategy["end"])):
            rows = [run.at(point) for run in runs]
            assert numbers["score"]["mean"] == pytest.approx(c10[rows].mean())
            assert numbers["score"]["std"] == pytest.approx(c10[rows].std(ddof=1))
            assert numbers["regret"]["mean"] == pytest.approx(94.37333679 - c10[rows].mean())
            assert numbers["score"]["n"] == 6
        (out,) = strategy["read_out"]
        assert out["end"]["score"]["mean"] == pytest.approx(c100[[run.at() for run in runs]].mean())
        assert strategy["evaluations"]["mean"] == 40
    assert found["tables"][0]["tests"][0]["first"] == "random"
    assert found["ranks"]["blocks"] == 6
    assert json.loads(json.dumps(found)) == found


def test_results_over_simulated_time(traces):
    strategy = results(PLAN, traces)["tables"][0]["strategies"][0]
    end = min(t.seconds for t in traces)
    assert list(strategy["at_seconds"]) == [f"{share * end:g}" for share in (0.1, 0.2, 0.5, 1.0)]
    judge = Judge(load_table(TABLE), PLAN)
    half = [t.row(seconds=0.5 * end) for t in traces if t.label == "random"]
    found = strategy["at_seconds"][f"{0.5 * end:g}"]["regret"]
    assert found["mean"] == pytest.approx(judge.regrets(judge.scores(half)).mean())
    free = Plan(("transnas-scene",), (Entry("random"),), 2, 5)
    assert results(free, compare(free))["tables"][0]["strategies"][0]["at_seconds"] == {}


def test_points_that_a_search_did_not_reach_are_left_out(tmp_path):
    """Searches limited by time have told different numbers of evaluations."""
    plan = msgspec.structs.replace(PLAN, evaluations=None, seconds=4_000.0)
    found = compare(plan)
    counts = [t.evaluations for t in found if t.label == "random"]
    point = max(counts)
    strategy = results(plan, found, points=(point, point + 1))["tables"][0]["strategies"][0]
    assert strategy["at"][str(point)]["score"]["n"] == counts.count(point)
    assert str(point + 1) not in strategy["at"]


def test_regret_of_a_loss_is_above_zero(tmp_path):
    table = plain(tmp_path, direction="min")
    judge = Judge(table, Plan((), ()))
    assert judge.regrets(judge.scores([0, 3])).tolist() == [0.0, 30.0]
    assert math.isnan(judge.scores([-1])[0])


def test_the_optimum_keeps_the_limits(tmp_path):
    table = plain(tmp_path)
    limited = Judge(table, Plan((), (), objectives=("valid", "size < 1")))
    assert limited.optimum == 150.0  # row 15; row 17 has size 2


def test_a_read_out_finds_the_same_architecture_in_another_order_of_rows(tmp_path):
    own = plain(tmp_path)
    codes = np.array(np.unravel_index(np.arange(ROWS), (3, 3, 2))).T[::-1]
    columns = {"valid": {"direction": "max"}, "test": {"direction": "max"}}
    arrays = {"valid": np.arange(ROWS), "test": np.arange(ROWS), "codes": codes[:17]}
    other_path = write(tmp_path, columns, {k: v[:17] for k, v in arrays.items()}, "other.npz", rows="codes")
    judge = Judge(load_table(other_path), Plan((), ()), own)
    scores = judge.scores([17, 16, 1, 0, -1])
    assert scores[:3].tolist() == [0.0, 1.0, 16.0]
    assert np.isnan(scores[3:]).all()  # not in the other table; nothing found
    with pytest.raises(UsageError, match="another space"):
        Judge(load_table(TABLE), Plan((), ()), own)


def test_curves_of_regret_fall_and_end_at_the_final_regret(traces):
    points = curve(PLAN, TABLE, traces, "random", [1, 10, 40], "evaluations")
    means = [s.mean for _, s in points]
    assert means == sorted(means, reverse=True)
    end = results(PLAN, traces)["tables"][0]["strategies"][0]["end"]["regret"]["mean"]
    assert means[-1] == pytest.approx(end)
    late = curve(PLAN, TABLE, traces, "random", [1e9], "seconds")
    assert late[0][1].mean == pytest.approx(end)


def test_csv_has_every_new_incumbent(tmp_path, traces):
    write_csv(tmp_path / "all.csv", PLAN, traces)
    with (tmp_path / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(t.changes) for t in traces)
    last = [r for r in rows if r["strategy"] == "random" and r["seed"] == "0"][-1]
    table, row = load_table(TABLE), int(last["row"])
    assert float(last["score"]) == pytest.approx(float(table.columns["test_acc_200ep"].values[row]))
    assert float(last["signal"]) == pytest.approx(float(table.columns["valid_acc_12ep"].values[row]))
    assert float(last["regret"]) == pytest.approx(94.37333679 - float(last["score"]))


def test_a_trace_without_any_incumbent():
    empty = Trace("t", "s", 0, 3, 1.0, (), 3, 0, 0.0)
    assert empty.row() == -1
