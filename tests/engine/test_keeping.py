"""What trials leave on disk, and studies whose trainings pause: seeds, files, resume, the end of small spaces."""

from pathlib import Path

import pytest

from searchitect.engine import keeping
from searchitect.engine.keeping import Kept, began, state_path, weights_path
from searchitect.engine.ledger import Ledger
from searchitect.engine.loop import Limits, Loop
from searchitect.engine.reuse import Reuse
from searchitect.errors import SpaceError
from searchitect.executors import make
from searchitect.records import PROMOTE, Fidelity, Measurement, Proposal, State, Trial, objectives
from searchitect.space import Layer, Space, one_of
from searchitect.store import Store
from searchitect.strategies import Setting, Strategy, make_strategy
from searchitect.testing.strategy import toy_space, toy_value

GOALS = objectives("max score")
FULL = Fidelity("function", 9)


def paused(number, epochs, value, parent=None, state=State.DONE, source=None):
    fidelity = Fidelity("function", epochs, horizon=0 if epochs == 9 else 9)
    parents = () if parent is None else (parent,)
    proposal = Proposal(toy_space().sample(number), fidelity, number, parents, 0, PROMOTE if parents else "sample")
    measured = Measurement({"score": value}) if state is State.DONE else None
    return Trial(number, proposal, state, measurement=measured, seed=1000 + number, source=source)


def test_a_training_begins_in_the_lowest_trial_and_where_a_copied_result_was_measured():
    trials = {t.number: t for t in [paused(0, 1, 1.0), paused(1, 1, 1.0, source=0), paused(2, 3, 2.0, parent=1)]}
    trials[3] = paused(3, 9, 3.0, parent=2)
    assert began(trials[0].proposal, trials) is None
    assert began(trials[2].proposal, trials) == trials[0]
    assert began(trials[3].proposal, trials) == trials[0]
    assert began(paused(9, 9, 0.0, parent=77).proposal, trials) is None  # a strategy that promotes what is not there


def test_a_state_goes_when_its_training_has_ended(tmp_path):
    kept, trials = Kept(tmp_path, GOALS), {}
    for first in (0, 10, 20, 30):
        trials[first] = paused(first, 1, 0.5)
        state_path(tmp_path, first).write_bytes(b"s")
        kept.told(trials[first], trials)
    assert set(kept.paused) == {0, 10, 20, 30}
    ends = [paused(1, 9, 1.0, parent=0), paused(11, 3, 0.0, parent=10, state=State.FAILED),
            paused(21, 3, 0.0, parent=20, state=State.PRUNED), paused(31, 3, 0.7, parent=30)]  # fmt: skip
    for trial in ends:
        trials[trial.number] = trial
        kept.told(trial, trials)
    assert [p.name for p in tmp_path.iterdir()] == [state_path(tmp_path, 30).name]
    assert kept.paused[30][0].number == 31
    kept.clear()
    assert list(tmp_path.iterdir()) == []


def test_files_are_bounded_in_number_and_bytes_and_the_worst_of_the_fullest_rung_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "MOST", 5)
    kept, trials = Kept(tmp_path, GOALS), {}
    values = [0.5, 0.9, 0.1, 0.7, 0.3, 0.8]
    for number, value in enumerate(values):
        trials[number] = paused(number, 3 if number < 2 else 1, value)
        state_path(tmp_path, number).write_bytes(b"12345678")
        kept.told(trials[number], trials)
    assert set(kept.paused) == {0, 1, 3, 4, 5}  # 2 is the worst of the four at one epoch
    monkeypatch.setattr(keeping, "LARGEST", 24)
    trials[6] = paused(6, 3, 0.95)
    state_path(tmp_path, 6).write_bytes(b"12345678")
    kept.told(trials[6], trials)
    assert set(kept.paused) == {6, 1, 5}
    assert {p.name for p in tmp_path.iterdir()} == {state_path(tmp_path, n).name for n in kept.paused}


def test_without_a_folder_or_a_file_there_is_nothing_to_keep(tmp_path):
    for kept in (Kept(None, GOALS), Kept(tmp_path, GOALS)):
        kept.told(paused(0, 1, 0.5), {})
        kept.told(paused(1, 1, 0.5, source=0), {})
        kept.drop_weights(None)
        assert kept.paused == {}
    weights_path(tmp_path, 4).write_bytes(b"w")
    Kept(tmp_path, GOALS).drop_weights(paused(4, 1, 0.5))
    assert list(tmp_path.iterdir()) == []


def study(folder, name="asha", *, space=None, trials=None, resume=False, workers=None, files=None, **options):
    """A loop whose tasks write a state and count in it how many epochs were trained."""
    space = space or toy_space()
    store = Store.open(folder, write=True) if resume else Store.create(folder, {"name": "test"})
    executor = workers or make("serial")
    executor.start(train)
    setting = Setting(space, GOALS, 0, FULL)
    ledger = Ledger(space, store, make_strategy(name, setting, options), GOALS, Reuse(space, "recipe"), 0, files)

    def payload(trial, incumbent):
        first = began(trial.proposal, ledger.trials) or trial
        state = None if files is None else str(state_path(files, first.number))
        epochs = trial.proposal.fidelity.epochs
        return {"value": toy_value(trial.architecture), "epochs": epochs, "number": trial.number, "state": state}

    return Loop(ledger, executor, payload, Limits(trials=trials))


def train(payload, context):
    if payload["number"] % 8 == 6:
        raise ValueError(f"trial {payload['number']}")
    before = 0
    if payload["state"]:
        path = Path(payload["state"])
        before = int(path.read_text()) if path.exists() else 0
        path.write_text(str(payload["epochs"]))
    value = payload["value"] * (1 - 0.5 / payload["epochs"])
    return {"metrics": {"score": value}, "seconds": 0.01, "epochs": payload["epochs"] - before, "curve": []}


def history(run):
    return [(t.proposal, t.state, t.value("score"), t.source, t.seed) for t in run.store.trials()]


@pytest.mark.parametrize("name", ["asha", "hyperband", "successive-halving"])
def test_promotions_continue_the_state_and_the_seed_of_their_first_trial(tmp_path, name):
    run = study(tmp_path / "s", name, trials=60, files=tmp_path)
    run.run()
    trials = {t.number: t for t in run.store.trials()}
    promoted = [t for t in trials.values() if t.proposal.origin == PROMOTE]
    assert len(promoted) > 10
    for trial in promoted:
        parent = trials[trial.proposal.parents[0]]
        assert trial.seed == parent.seed
        assert trial.architecture == parent.architecture
        if trial.state is State.DONE and trial.source is None:
            assert trial.measurement.epochs == trial.proposal.fidelity.epochs - parent.proposal.fidelity.epochs
    assert {t.proposal.fidelity.epochs for t in promoted} == {3, 9}
    assert run.ledger.incumbent.proposal.fidelity == FULL  # lower rungs are never the best once there is a full trial
    left = {p.name for p in tmp_path.glob("*.state")}
    assert left == {state_path(tmp_path, n).name for n in run.ledger.kept.paused}


def test_stopped_after_any_trial_and_resumed_it_is_the_same_study(tmp_path):
    whole = study(tmp_path / "whole", trials=24)
    whole.run()
    whole.store.close()
    for cut in range(1, 24, 2):
        folder = tmp_path / f"cut{cut}"
        part = study(folder, trials=cut)
        part.run()
        part.store.close()
        rest = study(folder, trials=24, resume=True)
        rest.run()
        assert history(rest) == [
            (t.proposal, t.state, t.value("score"), t.source, t.seed) for t in whole.ledger.trials.values()
        ]
        rest.store.close()


def test_a_resumed_study_knows_which_states_are_kept(tmp_path):
    first = study(tmp_path / "s", trials=20, files=tmp_path)
    first.run()
    first.store.close()
    again = study(tmp_path / "s", trials=20, files=tmp_path, resume=True)
    assert {n: t.number for n, (t, _) in again.ledger.kept.paused.items()} == {
        n: t.number for n, (t, _) in first.ledger.kept.paused.items()
    }


@pytest.mark.parametrize("name", ["asha", "hyperband", "successive-halving"])
def test_a_small_space_is_searched_to_its_end_at_the_full_fidelity(tmp_path, name):
    """Four architectures: what random search proposes again is reused, and the promotions still come."""
    space = Space(Layer("toy.Net", {"a": one_of(0, 1, 2, 3, name="a")}))
    run = study(tmp_path / "s", name, space=space)
    assert run.run() == "exhausted"
    measured = [t for t in run.store.trials() if t.source is None and t.state is State.DONE]
    assert run.ledger.incumbent.proposal.fidelity == FULL
    assert len(measured) <= 12
    if name == "asha":  # all four got there
        assert sum(t.proposal.fidelity == FULL for t in measured) >= 3


def test_an_inner_strategy_that_is_at_its_end_is_asked_again_when_results_come(tmp_path):
    """Three in flight and nothing to propose is not the end: their results bring promotions."""
    with make("processes", workers=3) as workers:
        run = study(tmp_path / "s", "successive-halving", workers=workers, inner=f"{__name__}:Three")
        assert run.run() == "exhausted"
    trials = run.store.trials()
    assert sorted(t.proposal.fidelity.epochs for t in trials) == [1, 1, 1, 3, 9]


class Three(Strategy):
    """Random, three times."""

    def __init__(self, setting):
        self.random, self.asked = make_strategy("random", setting), 0

    def ask(self, n=1):
        if self.asked == 3:
            raise SpaceError("no more")
        self.asked += 1
        return self.random.ask(n)

    def tell(self, trial):
        self.random.tell(trial)
