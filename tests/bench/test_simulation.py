"""Searches in virtual time against hand-made schedules and brute force."""

import time

import numpy as np
import pytest
from bench_tables import ROWS, curves, plain, write

from searchitect.bench import Limit, load_table, simulate
from searchitect.bench.simulation import Search, resolve, setting_of
from searchitect.errors import SpaceError, UsageError
from searchitect.records import Cause, Fidelity, Proposal, State, best
from searchitect.strategies.base import Strategy


class Scripted(Strategy):
    """Proposes the given (row, epochs, parents) in turn and remembers what it is told."""

    def __init__(self, setting, script=()):
        self.setting, self.script, self.heard = setting, list(script), []
        self.all = list(setting.space.enumerate())

    def ask(self, n=1):
        found = []
        for _ in range(n):
            if not self.script:
                raise SpaceError("nothing is left")
            row, epochs, parents = self.script.pop(0)
            found.append(Proposal(self.all[row], Fidelity("table", epochs), 0, tuple(parents)))
        return found

    def tell(self, trial):
        self.heard.append(trial)


def scripted(table, script, *, limit=None, objectives=(), workers=1, reuse=False):
    aims = table.objectives(objectives)
    reading = table.reading(aims)
    strategy = Scripted(setting_of(table, aims, reading, 0), [(*s, ()) if len(s) == 2 else s for s in script])
    search = Search(table, reading, aims, strategy, limit or Limit(evaluations=len(script)), workers, reuse)
    search.run()
    return strategy, search.result("scripted", 0, 0.0)


def test_one_worker_adds_up_the_times(tmp_path):
    strategy, run = scripted(plain(tmp_path), [(3, 0), (1, 0), (5, 0)])
    assert run.ends.tolist() == [13.0, 24.0, 39.0]
    assert run.rows.tolist() == [3, 1, 5]
    assert run.signal.tolist() == [3.0, 1.0, 5.0]
    assert run.incumbent.tolist() == [3, 3, 5]
    assert [run.at(1), run.at(2), run.at(3), run.at()] == [3, 3, 5, 5]
    assert [run.at(seconds=s) for s in (12.9, 13.0, 38.0, 39.0)] == [-1, 3, 3, 5]
    heard = [(t.number, t.state, t.value("valid"), t.measurement.seconds) for t in strategy.heard]
    assert heard == [(0, State.DONE, 3.0, 13.0), (1, State.DONE, 1.0, 11.0), (2, State.DONE, 5.0, 15.0)]


def test_workers_run_side_by_side_and_are_told_in_the_order_of_their_ends(tmp_path):
    table = plain(tmp_path, seconds=1.0)
    _, run = scripted(table, [(9, 0), (2, 0), (3, 0), (0, 0)], workers=2)
    # worker 1: row 9 until 10; worker 2: row 2 until 3, row 3 until 7, row 0 until 8
    assert list(zip(run.rows.tolist(), run.ends.tolist(), strict=True)) == [(2, 3.0), (3, 7.0), (0, 8.0), (9, 10.0)]


def test_many_workers_against_a_schedule_by_hand(tmp_path):
    """The next task goes to whoever is free first."""
    table = plain(tmp_path, seconds=2.0)
    rows = [int(r) for r in np.random.default_rng(1).integers(0, ROWS, 60)]
    _, run = scripted(table, [(r, 0) for r in rows], workers=7)
    free, ends = [0.0] * 7, []
    for row in rows:
        first = free.index(min(free))
        free[first] += 2.0 + row
        ends.append((free[first], row))
    assert sorted(zip(run.ends.tolist(), run.rows.tolist(), strict=True)) == sorted(ends)


def test_what_would_end_after_the_limit_is_never_told(tmp_path):
    table = plain(tmp_path)
    strategy, run = scripted(table, [(0, 0)] * 9, limit=Limit(seconds=30.0))
    assert run.ends.tolist() == [10.0, 20.0, 30.0]
    assert len(strategy.heard) == 3
    _, run = scripted(table, [(0, 0)] * 9, limit=Limit(seconds=29.9))
    assert len(run.ends) == 2
    _, run = scripted(table, [(0, 0)] * 9, limit=Limit(evaluations=5, seconds=1e9))
    assert len(run.ends) == 5


def test_a_missing_number_fails_after_its_time(tmp_path):
    valid = np.arange(ROWS, dtype=float)
    valid[4] = np.nan
    strategy, run = scripted(plain(tmp_path, valid=valid), [(4, 0), (2, 0)])
    assert [t.state for t in strategy.heard] == [State.FAILED, State.DONE]
    assert strategy.heard[0].failure.cause is Cause.NOT_FINITE
    assert (run.failed, run.ends.tolist(), run.incumbent.tolist()) == (1, [14.0, 26.0], [-1, 2])
    assert np.isnan(run.signal[0])


def holes(folder):
    """Rows 0 and 1 of eighteen."""
    columns = {"valid": {"direction": "max", "cost": 5}, "test": {"direction": "max"}}
    arrays = {"valid": np.arange(2), "test": np.arange(2), "codes": np.array([[0, 0, 0], [0, 0, 1]])}
    return load_table(write(folder, columns, arrays, "holes.npz", rows="codes"))


def test_a_missing_row_is_an_invalid_architecture_and_takes_no_time(tmp_path):
    strategy, run = scripted(holes(tmp_path), [(7, 0), (1, 0)])
    assert strategy.heard[0].failure.cause is Cause.INVALID
    assert (run.failed, run.ends.tolist(), run.rows.tolist()) == (1, [0.0, 5.0], [-1, 1])


def test_strategies_are_told_beforehand_which_rows_there_are(tmp_path):
    run = simulate(holes(tmp_path), "random", Limit(evaluations=40))
    assert run.failed == 0
    assert set(run.rows.tolist()) == {0, 1}
    evolved = simulate(holes(tmp_path), "regularized-evolution", Limit(evaluations=40))
    assert evolved.failed == 0


def test_a_table_with_too_few_rows_for_its_space_is_refused(tmp_path):
    columns = {"valid": {"direction": "max"}, "test": {"direction": "max"}}
    decisions = {f"d{i}": [0, 1, 2] for i in range(6)}
    arrays = {"valid": np.arange(7), "test": np.arange(7), "codes": np.eye(7, 6, dtype=int)}
    sparse = load_table(write(tmp_path, columns, arrays, rows="codes", decisions=decisions))
    with pytest.raises(UsageError, match="rows for 7 of 729 architectures"):
        simulate(sparse, "random", Limit(evaluations=5))


def test_a_strategy_that_only_proposes_what_is_free_comes_to_an_end(tmp_path):
    _, run = scripted(holes(tmp_path), [(7, 0)] * 5000, limit=Limit(seconds=100.0))
    assert len(run.ends) == 1000


def test_a_strategy_that_runs_dry_ends_the_search(tmp_path):
    _, run = scripted(plain(tmp_path), [(7, 0)] * 3, limit=Limit(evaluations=10), workers=2)
    assert len(run.ends) == 3
    with pytest.raises(SpaceError):
        scripted(plain(tmp_path), [], limit=Limit(evaluations=10))


def test_curves_pay_the_difference_when_a_parent_goes_on(tmp_path):
    table = curves(tmp_path)
    script = [(5, 1, ()), (5, 3, (0,)), (6, 3, ()), (5, 3, (2,)), (5, 2, (1,))]
    strategy, run = scripted(table, script)
    # 1 epoch; two more; all three anew; a parent of another architecture does not help; a higher one neither
    assert np.diff(run.ends, prepend=0).tolist() == [1.0, 2.0, 3.0, 3.0, 2.0]
    assert run.epochs.tolist() == [1, 3, 3, 3, 2]
    assert run.signal.tolist() == [-5.0, 5.0, 6.0, 5.0, 2.5]
    assert [t.measurement.epochs for t in strategy.heard] == [1, 2, 3, 3, 2]
    assert [t.measurement.seconds for t in strategy.heard] == [1.0, 2.0, 3.0, 3.0, 2.0]
    whole = ({"step": 1.0, "valid": -5.0}, {"step": 2.0, "valid": 2.5}, {"step": 3.0, "valid": 5.0})
    assert [t.measurement.curve for t in strategy.heard[:2]] == [whole[:1], whole]
    assert run.incumbent.tolist() == [5, 5, 6, 6, 6]


def test_the_incumbent_stands_at_the_highest_fidelity_reached(tmp_path):
    """Row 0 is best after one epoch and worst after three; the study's own rule says the same."""
    script = [(0, 1), (9, 1), (3, 2), (1, 3), (17, 1), (2, 3)]
    strategy, run = scripted(curves(tmp_path), script)
    assert run.incumbent.tolist() == [0, 0, 3, 1, 1, 2]
    for told in range(1, len(script) + 1):
        assert run.incumbent[told - 1] == script[best(strategy.heard[:told], strategy.setting.objectives).number][0]


def test_limits_are_kept_by_the_incumbent_and_known_ones_by_proposals(tmp_path):
    table = plain(tmp_path)
    _, run = scripted(table, [(4, 0), (8, 0), (9, 0), (2, 0)], objectives=["valid", "size < 3.5"])
    assert run.incumbent.tolist() == [-1, 8, 8, 8]  # sizes 4, 3, 4, 2
    found = simulate(table, "random", Limit(evaluations=60), objectives=["valid", "size < 2"])
    assert set((found.rows % 5).tolist()) == {0, 1}


def test_several_goals_and_the_rule_of_the_study(tmp_path):
    table = plain(tmp_path)
    script = [(4, 0), (3, 0), (7, 0), (2, 0), (7, 0)]
    strategy, run = scripted(table, script, objectives=["min size", "max valid"])
    for told in range(1, len(script) + 1):
        assert run.incumbent[told - 1] == script[best(strategy.heard[:told], strategy.setting.objectives).number][0]


def test_a_loss_is_minimised(tmp_path):
    _, run = scripted(plain(tmp_path, direction="min"), [(4, 0), (3, 0), (7, 0)])
    assert run.incumbent.tolist() == [4, 3, 3]


def test_the_score_is_never_told(tmp_path):
    strategy, _ = scripted(plain(tmp_path), [(4, 0)], objectives=["valid", "min size"])
    assert strategy.heard[0].measurement.metrics == {"valid": 4.0, "size": 4.0}
    assert "test" not in repr(strategy.setting) + repr(strategy.heard)


def test_reuse_makes_equivalents_free(tmp_path):
    table = load_table("macro-cifar10")
    stays = {f"layer{i}": "identity" for i in range(8)}
    twins = [{**stays, f"layer{i}": "mb3_k3"} for i in (3, 4)]  # the same network: one block in stage two
    rows = [table.row(table.space.architecture(d)) for d in twins]
    strategy, run = scripted(table, [(rows[0], 0), (rows[1], 0), (0, 0)], limit=Limit(evaluations=2), reuse=True)
    assert [t.source for t in strategy.heard] == [None, 0, None]
    assert (len(run.ends), run.reused) == (2, 1)
    _, charged = scripted(table, [(rows[0], 0), (rows[1], 0), (0, 0)])
    assert (len(charged.ends), charged.reused) == (3, 0)


def test_the_same_seed_gives_the_same_search_and_another_another():
    table = load_table("nb201-cifar10")
    runs = [simulate(table, "regularized-evolution", Limit(evaluations=60), seed=s) for s in (0, 0, 1)]
    assert runs[0].rows.tolist() == runs[1].rows.tolist()
    assert runs[0].rows.tolist() != runs[2].rows.tolist()


def test_auto_is_chosen_by_the_evaluations_to_expect():
    table = load_table("nb201-cifar10")
    reading = table.reading(table.objectives())
    assert resolve(table, "auto", Limit(evaluations=5), reading)[0] == "random"
    few = resolve(table, "auto", Limit(seconds=12_000.0), reading)
    assert few == resolve(table, "auto", Limit(evaluations=106), reading)
    assert resolve(table, "random", Limit(evaluations=5), reading) == ("random", {})


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (Limit(), "needs a limit"),
        (Limit(evaluations=0), "at least 1"),
        (Limit(seconds=-1.0), "positive"),
        (Limit(seconds=float("inf")), "positive"),
    ],
)
def test_limits_that_cannot_be(tmp_path, limit, message):
    with pytest.raises(UsageError, match=message):
        simulate(plain(tmp_path), "random", limit)


def test_seconds_need_a_cost_column():
    with pytest.raises(UsageError, match="does not say what an evaluation costs"):
        simulate(load_table("transnas-scene"), "random", Limit(seconds=100.0))


def test_a_share_of_the_data_is_refused(tmp_path):
    table = plain(tmp_path)
    with pytest.raises(UsageError, match="by epochs only"):
        table.reading(table.objectives()).level(Fidelity("table", 3, data=0.5))


def test_promotions_of_a_real_strategy_continue(tmp_path):
    """Successive halving by 3 on curves of three epochs: 9 at one epoch, and 3 of them go on to three."""
    run = simulate(curves(tmp_path), "asha", Limit(evaluations=40), options={"eta": 3})
    assert set(run.epochs.tolist()) == {1, 3}
    took = np.diff(run.ends, prepend=0)
    assert took[run.epochs == 1].tolist() == [1.0] * int((run.epochs == 1).sum())
    assert set(took[run.epochs == 3].tolist()) == {2.0}


def test_a_table_of_one_fidelity_leaves_nothing_to_shorten():
    table = load_table("nb201-cifar10")
    assert table.reading(table.objectives()).fidelity == Fidelity("table", 0)
    assert table.reading(table.objectives(["valid_acc"])).fidelity == Fidelity("table", 200)
    run = simulate(table, "asha", Limit(evaluations=30))
    assert set(run.epochs.tolist()) == {12}
    levels = simulate(table, "asha", Limit(evaluations=40), objectives=["valid_acc"], options={"rungs": [12, 200]})
    assert set(levels.epochs.tolist()) == {12, 200}


def test_it_is_fast(fresh_heap):
    """25,000 evaluations in a CPU second beyond what the strategy takes (measured: about five times as many)."""
    table = load_table("nb201-cifar10")
    script = [(i % 100, 0, ()) for i in range(10_000)]
    aims = table.objectives()
    strategy = Scripted(setting_of(table, aims, table.reading(aims), 0), script)
    proposals = [strategy.ask(1) for _ in script]
    strategy.ask = lambda n=1: [proposals.pop()[0]]
    strategy.tell = lambda trial: None
    search = Search(table, table.reading(aims), aims, strategy, Limit(evaluations=len(script)))
    began = time.process_time()
    search.run()
    search.result("x", 0, 0.0)
    assert len(script) / (time.process_time() - began) > 25_000
