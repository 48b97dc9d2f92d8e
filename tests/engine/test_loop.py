"""The loop of a search against scripted evaluators: reuse, failures, limits, resume."""

import itertools
import math
import os
import time

import pytest

from searchitect.engine.keeping import weights_path
from searchitect.engine.ledger import Ledger
from searchitect.engine.loop import Limits, Loop
from searchitect.engine.observer import Observer
from searchitect.engine.reuse import Reuse
from searchitect.errors import StudyFailedError
from searchitect.executors import make
from searchitect.records import Fidelity, Measurement, Proposal, State, Trial, objectives
from searchitect.space import Layer, Space, one_of
from searchitect.store import Store
from searchitect.strategies import Setting, Strategy, make_strategy
from searchitect.testing.strategy import toy_space, toy_value


def score(payload, context):
    """What a worker does here: a number from the decisions."""
    return {"metrics": {"score": payload["value"]}, "seconds": 0.01, "epochs": 1, "curve": [], "stopped": False}


def loop(
    folder, *, space=None, seed=0, trials=None, function=score, name="regularized-evolution", resume=False, **more
):
    space = space or toy_space()
    store = Store.open(folder, write=True) if resume else Store.create(folder, {"name": "test"})
    executor = more.pop("executor", None) or make("serial")
    executor.start(function)
    goals = objectives(more.pop("goals", "max score"))
    strategy = more.pop("strategy", None) or make_strategy(name, Setting(space, goals, seed, Fidelity("function", 1)))
    ledger = Ledger(space, store, strategy, goals, Reuse(space, "recipe"), seed, more.pop("files", None))
    limits = Limits(trials=trials, deadline=more.pop("deadline", None), slack=more.pop("slack", 0.0))

    def payload(trial, incumbent):
        return {
            "value": toy_value(trial.architecture),
            "number": trial.number,
            "decisions": trial.architecture.decisions,
        }

    return Loop(ledger, executor, payload, limits, **more)


def history(run):
    return [(t.proposal, t.state, t.value("score"), t.source) for t in run.store.trials()]


def test_it_measures_as_many_trials_as_asked_and_knows_the_best(tmp_path):
    run = loop(tmp_path / "s", trials=30)
    assert run.run() == "trials"
    trials = run.store.trials()
    measured = [t for t in trials if t.source is None]
    assert len(measured) == 30
    assert all(t.state is State.DONE for t in trials)
    assert run.ledger.incumbent.value("score") == max(t.value("score") for t in trials)
    last = run.store.notes("incumbent")[-1].body
    assert (last["number"], last["value"]) == (run.ledger.incumbent.number, run.ledger.incumbent.value("score"))


def test_equivalents_are_measured_once_and_counted(tmp_path):
    seen = []

    def count(payload, context):
        seen.append(payload["number"])
        return score(payload, context)

    parts = [one_of(Layer("toy.A", {}), Layer("torch.nn.Identity", {})) for _ in range(2)]
    space = Space(Layer("torch.nn.Sequential", {"*": tuple(parts)}))
    run = loop(tmp_path / "s", space=space, name="random", function=count)
    assert run.run() == "exhausted"
    # A then nothing equals nothing then A: four architectures, three functions
    assert len(seen) == 3
    reused = [t for t in run.store.trials() if t.source is not None]
    assert reused
    assert all(run.store.trial(t.source).value("score") is not None for t in reused)
    assert run.ledger.tally["reused"] == len(reused)


def test_an_equivalent_in_flight_is_waited_for(tmp_path):
    space = Space(Layer("toy.Only", {}))
    with make("processes", workers=2) as executor:
        run = loop(tmp_path / "s", space=space, name="random", executor=executor, trials=2, function=sleep_then_score)
        first = run.ledger.enqueue(space.architecture({}), Fidelity("function", 1))
        second = run.ledger.enqueue(space.architecture({}), Fidelity("function", 1))
        assert run.run() == "exhausted"
    assert run.store.trial(first.number).source is None
    assert run.store.trial(second.number).source == first.number
    assert run.store.trial(second.number).state is State.DONE


def sleep_then_score(payload, context):
    time.sleep(0.2)
    return score(payload, context)


def test_the_same_seed_gives_the_same_study(tmp_path):
    runs = [loop(tmp_path / str(i), trials=25, seed=4) for i in range(2)]
    for run in runs:
        run.run()
    assert history(runs[0]) == history(runs[1])


def test_stopped_after_any_trial_and_resumed_it_is_the_same_study(tmp_path):
    whole = loop(tmp_path / "whole", trials=16)
    whole.run()
    whole.store.close()
    for cut in range(1, 16):
        part = loop(tmp_path / f"cut{cut}", trials=cut)
        part.run()
        part.store.close()
        rest = loop(tmp_path / f"cut{cut}", trials=16, resume=True)
        rest.run()
        assert history(rest) == [
            (t.proposal, t.state, t.value("score"), t.source) for t in whole.ledger.trials.values()
        ]
        rest.store.close()


def test_a_changed_strategy_is_noticed_on_resume(tmp_path):
    first = loop(tmp_path / "s", trials=5)
    first.run()
    first.store.close()
    with pytest.raises(StudyFailedError, match="would be proposed differently"):
        loop(tmp_path / "s", trials=9, resume=True, seed=1)


def test_three_equal_failures_at_the_start_stop_the_study_with_the_traceback(tmp_path):
    def broken(payload, context):
        raise ZeroDivisionError("my own mistake")

    run = loop(tmp_path / "s", trials=20, function=broken)
    with pytest.raises(StudyFailedError, match=r"(?s)first 3 trials.*my own mistake"):
        run.run()
    assert [t.state for t in run.store.trials()].count(State.FAILED) == 3


def test_failures_in_between_cost_only_themselves(tmp_path):
    def sometimes(payload, context):
        if payload["number"] % 3 == 1:
            raise ValueError(f"trial {payload['number']}")
        return score(payload, context)

    run = loop(tmp_path / "s", trials=20, function=sometimes)
    assert run.run() == "trials"
    failed = [t for t in run.store.trials() if t.state is State.FAILED and t.source is None]
    assert failed
    assert all(t.failure.cause == "user code" and f"trial {t.number}" in t.failure.message for t in failed)
    assert all(t.attempts == 1 for t in failed)


def test_a_worker_killed_by_the_machine_is_tried_again_with_the_same_seed(tmp_path):
    with make("processes", workers=1) as executor:
        run = loop(tmp_path / "s", trials=3, executor=executor, function=kill_first_attempt)
        assert run.run() == "trials"
    assert [t.attempts for t in run.store.trials()] == [1, 2, 1]
    assert all(t.state is State.DONE for t in run.store.trials())


def kill_first_attempt(payload, context):
    if payload["number"] == 1 and context.attempt == 1:
        os.kill(os.getpid(), 9)
    return score(payload, context)


def test_a_worker_that_always_dies_gives_up_after_three_attempts(tmp_path):
    with make("processes", workers=1) as executor:
        run = loop(tmp_path / "s", trials=3, executor=executor, function=always_kill_number_one)
        run.run()
    dead = run.store.trial(1)
    assert (dead.state, dead.failure.cause, dead.attempts) == (State.FAILED, "killed", 3)


def always_kill_number_one(payload, context):
    if payload["number"] == 1:
        os.kill(os.getpid(), 9)
    return score(payload, context)


def test_an_objective_nobody_reports_stops_at_the_first_trial(tmp_path):
    run = loop(tmp_path / "s", trials=20, goals="max f1")
    with pytest.raises(StudyFailedError, match="'f1'; it reported score"):
        run.run()
    assert len(run.store.trials()) == 1


def test_not_a_number_is_done_and_never_best(tmp_path):
    def nan_first(payload, context):
        value = math.nan if payload["number"] == 0 else payload["value"]
        return score({"value": value}, context)

    run = loop(tmp_path / "s", trials=6, function=nan_first)
    run.run()
    assert math.isnan(run.store.trial(0).value("score"))
    assert run.ledger.incumbent.number != 0


def test_the_deadline_ends_the_search_and_late_trials_keep_their_partial_result(tmp_path):
    def endless(payload, context):
        for step in itertools.count():
            context.report({"step": step})
            time.sleep(0.01)
            if context.should_stop():
                break
        return score(payload, context) | {"stopped": True}

    def both_run(trial, reports, seconds):
        """The deadline is a second after both have begun, however long workers take to start."""
        begun.add(trial.number)
        if len(begun) == 2 and run.limits.deadline > time.monotonic() + 1.0:
            run.limits.deadline = time.monotonic() + 1.0
        return False

    begun = set()
    with make("processes", workers=2) as executor:
        run = loop(
            tmp_path / "s", executor=executor, function=endless, deadline=time.monotonic() + 60.0, watch=both_run
        )
        assert run.run() == "budget"
        assert time.monotonic() < run.limits.deadline + 5.5
    assert {t.state for t in run.store.trials()} == {State.PRUNED}
    assert run.store.reports(0)


def test_an_interrupted_trial_is_queued_again(tmp_path):
    calls = []

    def stops(payload, context):
        calls.append(payload["number"])
        context.report({"step": 1})
        return score(payload, context) | {"stopped": context.should_stop()}

    run = loop(tmp_path / "s", trials=9, function=stops, interrupt=lambda: len(calls) >= 3)
    assert run.run() == "interrupted"
    assert [t.state for t in run.store.trials()][-1] is State.QUEUED
    run.store.close()
    again = loop(tmp_path / "s", trials=9, resume=True)
    again.run()
    assert {t.state for t in again.store.trials()} == {State.DONE}


def test_what_the_user_enqueues_runs_first(tmp_path):
    run = loop(tmp_path / "s", trials=4)
    wanted = run.ledger.space.sample(123)
    run.ledger.enqueue(wanted, Fidelity("function", 1))
    run.run()
    first = run.store.trial(0)
    assert (first.architecture, first.proposal.origin, first.proposal.draw) == (wanted, "enqueued", -1)


@pytest.mark.parametrize("answer", [None, [], "junk", [1]])
def test_a_strategy_that_returns_junk_is_named(tmp_path, answer):
    class Junk(Strategy):
        def __init__(self, setting):
            pass

        def ask(self, n=1):
            return answer

        def tell(self, trial):
            pass

    with pytest.raises(StudyFailedError, match="strategy Junk"):
        loop(tmp_path / "s", trials=3, strategy=Junk(None)).run()


def test_a_strategy_that_raises_is_named_and_the_study_is_safe(tmp_path):
    class Breaks(Strategy):
        def __init__(self, inner):
            self.inner = inner

        def ask(self, n=1):
            return self.inner.ask(n)

        def tell(self, trial):
            if trial.number == 2:
                raise RuntimeError("no idea")

    inner = make_strategy("random", Setting(toy_space(), objectives("max score"), 0))
    run = loop(tmp_path / "s", trials=5, strategy=Breaks(inner))
    with pytest.raises(StudyFailedError, match=r"Breaks failed in tell\(\): RuntimeError: no idea"):
        run.run()
    run.store.close()
    with Store.open(tmp_path / "s") as reader:
        assert [t.number for t in reader.trials() if t.state is State.DONE][:2] == [0, 1]


def test_an_observer_that_fails_does_not_stop_the_search(tmp_path, caplog):
    class Bad(Observer):
        def progress(self, progress):
            raise RuntimeError("the terminal is gone")

    run = loop(tmp_path / "s", trials=5, observer=Bad())
    assert run.run() == "trials"
    assert [r.message for r in caplog.records].count("the observer Bad of the search failed; the search goes on") == 1


def test_only_the_weights_of_the_best_are_kept(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()

    def save(payload, context):
        weights_path(folder, payload["number"]).write_bytes(b"w")
        return score(payload, context)

    run = loop(tmp_path / "s", trials=20, function=save, files=folder)
    run.run()
    assert [p.name for p in folder.iterdir()] == [weights_path(folder, run.ledger.incumbent.number).name]


def test_a_copied_result_carries_its_own_costs(tmp_path):
    a, skip = Layer("toy.A", {}), Layer("torch.nn.Identity", {})
    space = Space(Layer("torch.nn.Sequential", {"*": (one_of(a, skip, name="x"), one_of(a, skip, name="y"))}))

    def costs(architecture):
        return {"params": 100.0 if architecture.decisions["x"] == "A" else 1.0, "macs": 7.0}

    reuse = Reuse(space, "recipe", costs=costs)
    one, other = space.architecture({"x": "A", "y": "Identity"}), space.architecture({"x": "Identity", "y": "A"})
    first = Trial(0, Proposal(one), State.DONE, measurement=Measurement({"score": 1.0, "params": 100.0}))
    copied = reuse.copied(Trial(1, Proposal(other)), first)
    assert copied.measurement.metrics == {"score": 1.0, "params": 1.0}
    assert (copied.source, copied.state) == (0, State.DONE)


def test_equivalents_share_a_key_unless_only_the_same_counts():
    a, skip = Layer("toy.A", {}), Layer("torch.nn.Identity", {})
    space = Space(Layer("torch.nn.Sequential", {"*": (one_of(a, skip, name="x"), one_of(a, skip, name="y"))}))
    pair = [Proposal(space.architecture(d)) for d in ({"x": "A", "y": "Identity"}, {"x": "Identity", "y": "A"})]
    keys = [[Reuse(space, "r", exact=exact).key(p, 0) for p in pair] for exact in (False, True)]
    assert keys[0][0] == keys[0][1]
    assert keys[1][0] != keys[1][1]
    assert Reuse(space, "other recipe").key(pair[0], 0) != keys[0][0]
    longer = Proposal(pair[0].architecture, Fidelity(epochs=9))
    assert Reuse(space, "r").key(longer, 0) != keys[0][0]


def test_the_forecast_is_given_again_at_half_time_by_the_latest_trials(tmp_path):
    """Trials take a second each, then four: what two trials promise is put right when half of the search is over."""
    now = [0.0]

    def slower(payload, context):
        now[0] += 1.0 if payload["number"] < 10 else 4.0
        return score(payload, context)

    run = loop(tmp_path / "s", function=slower, deadline=60.0, clock=lambda: now[0])
    run.run()
    told = [note.body["trials"] for note in run.store.notes("forecast")]
    assert len(told) == 2
    came = run.ledger.measured
    assert told[0] > 2 * came
    assert told[1] == pytest.approx(came, rel=0.25)
