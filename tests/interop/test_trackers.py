"""Observers: who hears what, one that fails, and what loggers have written."""

import logging
import sys
from types import SimpleNamespace

import msgspec
import pytest

from searchitect.engine.ledger import Ledger
from searchitect.engine.limits import Limits
from searchitect.engine.loop import Loop
from searchitect.engine.observer import Announcer, Observer
from searchitect.engine.reuse import Reuse
from searchitect.errors import UsageError
from searchitect.executors import Finished
from searchitect.interop import trackers
from searchitect.records import Cause, Failure, Fidelity, Measurement, Proposal, State, Trial, objectives
from searchitect.space import Architecture, Layer, Space, one_of
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy


def a_trial(number=3, **changes):
    measured = Measurement(
        {"accuracy": 0.9, "loss": float("nan")}, curve=({"step": 1, "accuracy": 0.5}, {"step": 2, "accuracy": 0.9})
    )
    proposal = Proposal(Architecture("toy", {"width": 32, "0.act": "relu"}), Fidelity("train", 2))
    return msgspec.structs.replace(Trial(number, proposal, State.DONE, measured), **changes)


class Ears(Observer):
    def __init__(self):
        self.heard = []

    def trial(self, trial):
        self.heard.append((trial.number, trial.state))

    def end(self, summary):
        self.heard.append(summary)


class Broken(Observer):
    def trial(self, trial):
        raise OSError("disk full")


def test_one_that_fails_is_logged_once_and_others_hear_on(caplog):
    ears, numbers = Ears(), []
    announcer = Announcer([Broken(), ears, lambda trial: numbers.append(trial.number)])
    with caplog.at_level(logging.ERROR):
        announcer.trial(a_trial(1))
        announcer.trial(a_trial(2))
    announcer.end({"name": "x"})
    assert [r.getMessage() for r in caplog.records] == ["the observer Broken of the search failed; the search goes on"]
    assert ears.heard == [(1, State.DONE), (2, State.DONE), {"name": "x"}]
    assert numbers == [1, 2]


def test_what_is_no_observer_is_refused():
    with pytest.raises(UsageError, match="give an Observer, a function of a trial"):
        Announcer(["tensorboard"])


class Now:
    """An executor that has the result at once."""

    slots, listener = 2, None

    def __init__(self):
        self.waiting = []

    def submit(self, ticket, payload, *, time_limit=None, attempt=1):
        self.waiting.append(Finished(ticket, {"metrics": {"score": float(payload["width"] % 3)}, "seconds": 0.1}))

    def wait(self, timeout):
        self.waiting, found = [], self.waiting
        return found


def test_a_search_tells_of_every_trial_once_when_it_is_on_disk(tmp_path):
    space, aims = Space(Layer("toy.Net", {"width": one_of(*range(12))})), objectives("max score")
    with Store.create(tmp_path / "s", {"format": 1, "name": "s"}) as store:
        strategy = make_strategy("random", Setting(space, aims, 0, Fidelity("function", 1), None, ()), {})
        ledger = Ledger(space, store, strategy, aims, Reuse(space, "here"), 0)
        told = []

        def hear(trial):
            on_disk = {t.number: t.state for t in store.trials()}
            told.append((trial.number, on_disk[trial.number] is trial.state))

        loop = Loop(
            ledger, Now(), lambda trial, _: {"width": trial.architecture.decisions["width"]}, Limits(trials=9),
            Announcer(hear),
        )  # fmt: skip
        assert loop.run() == "trials"
        ended = [t.number for t in store.trials() if t.state is State.DONE]
    assert sorted(number for number, _ in told) == ended
    assert all(stored for _, stored in told)


def test_what_a_chart_cannot_show_is_left_out():
    assert trackers.outcome(a_trial()) == {"accuracy": 0.9}
    assert trackers.curve(a_trial()) == [(1, {"step": 1.0, "accuracy": 0.5}), (2, {"step": 2.0, "accuracy": 0.9})]
    failed = a_trial(measurement=None, state=State.FAILED, failure=Failure(Cause.USER_CODE, "no\nmore"))
    assert trackers.outcome(failed) == {}
    assert trackers.about(failed)["failure"] == "user code: no"
    silent = a_trial(measurement=None, state=State.FAILED, failure=Failure(Cause.KILLED, ""))
    assert trackers.about(silent)["failure"] == "killed: "


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_library_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    maker = {"tensorboard": trackers.TensorBoard, "mlflow": trackers.MLflow, "wandb": trackers.WandB}[name]
    with pytest.raises(UsageError, match=f"{name} cannot be imported.*pip install"):
        maker()


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_has_the_curve(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'tracking')")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = trackers.TensorBoard(tmp_path / "tb")
    logger.trial(a_trial())
    logger.end({"verdict": {"sentence": "better"}})
    events = EventAccumulator(str(tmp_path / "tb" / "trial-0003"))
    events.Reload()
    assert [(e.step, round(e.value, 6)) for e in events.Scalars("curve/accuracy")] == [(1, 0.5), (2, 0.9)]
    assert round(events.Scalars("accuracy")[0].value, 6) == 0.9


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_a_run_for_each_trial(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes seconds to be made
    pytest.importorskip("mlflow", reason="mlflow is not installed (extra 'tracking')")
    logger = trackers.MLflow((tmp_path / "mlruns").as_uri())
    logger.plan({"name": "first"})
    logger.trial(a_trial())
    logger.trial(a_trial(4, measurement=None, state=State.FAILED, failure=Failure(Cause.KILLED, "gone")))
    logger.end({"verdict": {"sentence": "better"}})
    experiment = logger.client.get_experiment_by_name("first")
    assert experiment.tags["verdict"] == "better"
    runs = {run.info.run_name: run for run in logger.client.search_runs([experiment.experiment_id])}
    assert runs["trial-0003"].data.params == {"width": "32", "0.act": "relu"}
    assert runs["trial-0003"].data.metrics["accuracy"] == 0.9
    history = logger.client.get_metric_history(runs["trial-0003"].info.run_id, "curve/accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.9)]
    assert runs["trial-0004"].info.status == "FAILED"


def test_wandb_has_a_run_for_each_trial(monkeypatch):
    """With a stand-in: the library is not among the extras."""
    runs = []

    def init(**options):
        run = SimpleNamespace(options=options, logged=[], summary={}, code=None)
        run.log = lambda numbers, step: run.logged.append((step, numbers))
        run.finish = lambda exit_code: setattr(run, "code", exit_code)
        runs.append(run)
        return run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    logger = trackers.WandB("nas")
    logger.plan({"name": "first"})
    logger.trial(a_trial())
    logger.trial(a_trial(4, measurement=None, state=State.FAILED, failure=Failure(Cause.KILLED, "gone")))
    good, bad = runs
    assert (good.options["group"], good.options["mode"], good.options["name"]) == ("first", "offline", "trial-0003")
    assert good.options["config"]["width"] == 32
    assert [step for step, _ in good.logged] == [1, 2]
    assert (good.summary, good.code, bad.code) == ({"accuracy": 0.9}, 0, 1)
