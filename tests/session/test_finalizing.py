"""The end of real, tiny studies: verdict, winner and bundle, on disk and in the records, whatever comes between."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchitect import resume, search
from searchitect.engine.observer import Observer
from searchitect.finalize import bundle, read_bundle, rebuild, run_bundle
from searchitect.records import Fidelity, Measurement, Objective, Proposal, State, Trial
from searchitect.session import finalizing, leaving
from searchitect.session.budget import Fidelities
from searchitect.settings import Settings
from searchitect.space import OUTPUTS, Architecture, Space, lazy, one_of
from searchitect.store import Store

L = lazy(nn)
TINY = Space(
    L.Sequential(L.Flatten(), L.LazyLinear(one_of(4, 16, 32, name="width")), L.ReLU(), L.LazyLinear(OUTPUTS)),
    name="tiny",
)


@pytest.fixture(autouse=True)
def unchecked(monkeypatch, request):
    """Leaves out the bundle's check in a fresh interpreter, which takes seconds, except in slow tests."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(bundle, "check_bundle", lambda *_, **__: [])


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.ReLU(), nn.Linear(2, 10))


def digits(folder, **more):
    given = {
        "space": TINY, "data": "digits", "limit_train": 300, "trials": 2, "epochs": 2, "baseline": small,
        "executor": "serial", "path": str(folder),
    }  # fmt: skip
    return search(**{name: value for name, value in (given | more).items() if value is not None})


def again(folder, **more):
    return resume(folder, space=TINY, **{"baseline": small} | more)


def notes(folder, kind):
    with Store.open(folder) as store:
        return [note.body for note in store.notes(kind)]


def meta(folder):
    with Store.open(folder) as store:
        return dict(store.meta)


def card(folder):
    return (folder / "best" / "card.md").read_text()


class Stops(Observer):
    """Presses Ctrl-C as soon as the final stages say this."""

    def __init__(self, text, done=0):
        self.text, self.least = text, done
        self.pressed = False

    def progress(self, progress):
        if progress.phase == "finalize" and progress.text.startswith(self.text) and not self.pressed:
            done = int(progress.text.rpartition("(")[2].split()[0]) if "(" in progress.text else 0
            if done >= self.least:
                self.pressed = True
                os.kill(os.getpid(), signal.SIGINT)


def test_a_finalised_study_has_verdict_winner_finalists_and_bundle(tmp_path):
    study = digits(tmp_path / "s")
    known = meta(tmp_path / "s")
    assert known["finalised"] is True
    assert known["bundle"] == "best"
    assert [f["chosen"] for f in known["finalists"]].count(True) == 1
    assert all(len(f["validation"]) == 3 for f in known["finalists"])
    chosen = next(f for f in known["finalists"] if f["chosen"])
    assert known["winner"]["trial"] == chosen["trial"]
    assert known["winner"]["architecture"] == chosen["architecture"]
    assert known["winner"]["latency_ms"] > 0
    verdict = study.verdict
    assert (verdict.metric, verdict.winner.n, verdict.baseline.n) == ("accuracy", 3, 3)
    assert verdict.test_items == known["data"]["splits"]["test"]
    assert [body["read"] for body in notes(tmp_path / "s", "test_read")] == [1]
    assert "read" not in verdict.sentence
    assert list((tmp_path / "s" / "checkpoints" / "final").iterdir()) == []


def test_a_random_search_beside_the_strategy_has_half_of_the_trials_and_its_own_comparison(tmp_path):
    wide = Space(L.Sequential(L.Flatten(), L.LazyLinear(one_of(*range(4, 40), name="width")), L.LazyLinear(10)))
    more = {"space": wide, "trials": 6, "epochs": 1, "strategy": "local-search", "control": "random"}
    study = digits(tmp_path / "s", **more)
    origins = [t.proposal.origin for t in study.trials]
    assert origins.count("control") == 3
    known = meta(tmp_path / "s")
    beside = {t.number for t in study.trials if t.proposal.origin == "control"}
    assert {f["trial"] for f in known["control"]} <= beside
    assert known["winner"]["trial"] not in beside
    control = study.summary()["comparisons"]["control"]
    assert control["winner"]["n"] == 3
    assert control["test_items"] == study.verdict.test_items
    before = [t.architecture for t in study.trials]
    again = resume(tmp_path / "s", space=wide, baseline=small, trials=8)
    assert [t.architecture for t in again.trials[:6]] == before, "replayed"


def test_the_bundle_is_the_network_that_was_retrained_and_knows_its_card(tmp_path):
    study = digits(tmp_path / "s")
    opened = read_bundle(tmp_path / "s" / "best")
    assert dict(opened.architecture.decisions) == meta(tmp_path / "s")["winner"]["architecture"]
    assert rebuild(opened)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert len(run_bundle(tmp_path / "s" / "best", run_its_code=True).predict(np.zeros((3, 8, 8)))) == 3
    assert study.verdict.sentence in card(tmp_path / "s")
    assert "Not finalised" not in card(tmp_path / "s")


def test_finalizing_again_reads_the_test_data_again_and_says_so_in_the_verdict(tmp_path):
    digits(tmp_path / "s")
    study = again(tmp_path / "s")
    assert [body["read"] for body in notes(tmp_path / "s", "test_read")] == [1, 2]
    assert "the test data were read once before in this study" in study.verdict.sentence
    assert study.verdict.sentence in card(tmp_path / "s").replace("\\", "")


@pytest.mark.parametrize(("text", "done"), [("stage A", 0), ("stage A", 2), ("stage B", 1)])
def test_an_interruption_leaves_the_best_so_far_and_resume_finalises(tmp_path, text, done):
    first = digits(tmp_path / "s", observer=Stops(text, done))
    assert (first.summary()["finalised"], first.verdict) == (False, None)
    assert "**Not finalised**" in card(tmp_path / "s")
    assert rebuild(read_bundle(tmp_path / "s" / "best"))(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert notes(tmp_path / "s", "test_read") == []
    assert {"text": "not finalised: interrupted"} in notes(tmp_path / "s", "finalize")
    second = again(tmp_path / "s")
    assert second.summary()["finalised"] is True
    assert len(second.trials) == len(first.trials), "nothing is searched again"
    assert "read" not in second.verdict.sentence
    assert "Not finalised" not in card(tmp_path / "s")


def test_what_was_finalised_is_kept_when_finalizing_again_is_interrupted(tmp_path):
    study = digits(tmp_path / "s")
    before = study.verdict, card(tmp_path / "s")
    after = again(tmp_path / "s", observer=Stops("stage A"))
    assert (after.verdict, card(tmp_path / "s")) == before
    assert after.summary()["finalised"] is True
    assert {"text": "the verdict and the bundle of the session before were kept"} in notes(tmp_path / "s", "finalize")


def test_without_finalize_the_best_trial_is_the_bundle(tmp_path):
    study = digits(tmp_path / "s", finalize=False)
    assert study.verdict is None
    assert "**Not finalised**" in card(tmp_path / "s")
    assert meta(tmp_path / "s")["winner"]["trial"] == study.best.number
    assert notes(tmp_path / "s", "test_read") == []


def test_a_baseline_that_cannot_be_made_is_the_reason_for_no_baseline(tmp_path):
    def broken():
        raise OSError("my file is gone")

    study = digits(tmp_path / "s", baseline=broken)
    assert study.verdict.words == "no baseline"
    assert "the baseline failed when it was trained" in study.verdict.sentence
    assert "my file is gone" in study.verdict.sentence
    assert study.summary()["finalised"] is True


def test_numbers_to_predict_have_a_verdict_in_their_unit(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    y = 1000 + 50 * x[:, 0] - 20 * x[:, 1] + rng.normal(size=200)
    study = digits(
        tmp_path / "s", data=(x, y), limit_train=None, trials=2, epochs=5, recipe={"lr": 0.02},
        baseline=lambda: nn.Linear(4, 1),
    )  # fmt: skip
    verdict = study.verdict
    assert verdict.metric == "rmse"
    assert 0 < verdict.winner.mean < 500, "in the units of y, not of standardised targets"
    assert verdict.test_items == 40
    predicted = run_bundle(tmp_path / "s" / "best", run_its_code=True).predict(x[:20].tolist())
    assert np.corrcoef(predicted, y[:20])[0, 1] > 0.5
    assert 700 < min(predicted) < max(predicted) < 1300


@pytest.mark.parametrize("goals", [["accuracy", "params"], ["params", "accuracy", "params < 100000"]])
def test_of_several_goals_the_verdict_is_about_the_first_that_predictions_decide(tmp_path, goals):
    study = digits(tmp_path / "s", objectives=goals)
    assert study.verdict.metric == "accuracy"
    assert study.verdict.words in ("better", "worse", "cannot tell")


def test_a_search_that_finds_nothing_but_the_baseline_says_so(tmp_path):
    study = digits(tmp_path / "s", baseline=TINY.sample(0).decisions, trials=1)
    assert study.verdict.words == "cannot tell"
    assert "nothing found was clearly better than the baseline" in study.verdict.sentence
    assert study.verdict.difference == 0


@pytest.mark.slow
def test_a_study_in_processes_under_a_budget_ends_in_time_with_a_checked_bundle(tmp_path):
    study = digits(tmp_path / "s", executor="processes", workers=2, budget="40s", trials=3, epochs=1)
    summary = study.summary()
    assert summary["finalised"] is True
    assert summary["seconds"]["active"] < 45
    assert study.verdict.winner.n > 3, "time is left, so there are more seeds"
    assert study.verdict.winner.n <= finalizing.MOST_SEEDS


# -- the user's own function ------------------------------------------------------------------------------

X = torch.linspace(-1, 1, 120).reshape(30, 4)
Y = (X.sum(1) > 0).long()
OWN = Space(L.Sequential(L.LazyLinear(one_of(2, 4, 8, name="width")), L.ReLU(), L.LazyLinear(2)), name="own")
WIDE = Space(L.Sequential(L.Linear(4, 8), one_of(L.ReLU(), L.Tanh(), name="act"), L.Linear(8, 2)), name="wide")


def evaluate(model, trial):
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
    with torch.no_grad():
        return {"score": -float(F.cross_entropy(model(X), Y)), "right": float((model(X).argmax(1) == Y).float().mean())}


def own(folder, space=OWN, **more):
    given = {
        "evaluate": evaluate, "objectives": ["max score"], "sample": (4,), "trials": 3, "executor": "serial",
        "path": str(folder), "baseline": lambda: nn.Linear(4, 2),
    }  # fmt: skip
    return search(space, **{name: value for name, value in (given | more).items() if value is not None})


def test_the_users_own_function_gets_a_verdict_over_fresh_seeds_and_a_bundle(tmp_path):
    study = own(tmp_path / "s")
    verdict = study.verdict
    assert (verdict.metric, verdict.test_items, verdict.winner.n, verdict.baseline.n) == ("score", 0, 3, 3)
    assert "Measured by your own function on your data, over 3 fresh seeds each" in verdict.sentence
    assert "no test on unread data" in verdict.sentence
    assert notes(tmp_path / "s", "test_read") == []
    chosen_by = {v for f in meta(tmp_path / "s")["finalists"] for v in f["validation"]}
    assert not chosen_by & set(verdict.winner.values), "no number that chose counts in the verdict"
    opened = read_bundle(tmp_path / "s" / "best")
    assert opened.preprocess["kind"] == "none"
    module = run_bundle(tmp_path / "s" / "best", run_its_code=True)
    assert module.predict(X.tolist()) == rebuild(opened, OWN)(X).tolist()
    score = -float(F.cross_entropy(torch.tensor(module.predict(X)), Y))
    assert score == pytest.approx(verdict.winner.values[0], abs=1e-6), "the weights are those of the first seed"
    assert "Measured by your own function" in card(tmp_path / "s")


def test_without_the_shape_of_an_input_there_is_a_verdict_but_no_bundle(tmp_path):
    study = own(tmp_path / "s", WIDE, sample=None)
    assert study.verdict is not None
    assert study.summary()["bundle"] is None
    (note,) = notes(tmp_path / "s", "bundle")
    assert note["text"].startswith("no bundle: the shape of an input is not known; pass sample=(...)")
    assert meta(tmp_path / "s")["winner"]["trial"] in {t.number for t in study.trials}


def test_a_function_that_trains_a_copy_leaves_no_untrained_bundle(tmp_path):
    def proxy(model, trial):
        return float(sum(p.abs().sum() for p in model.parameters()))

    own(tmp_path / "s", evaluate=proxy, objectives=["max score"])
    assert not (tmp_path / "s" / "best").exists()
    (note,) = notes(tmp_path / "s", "bundle")
    assert "evaluate() left the network's weights as they were built" in note["text"]


def test_a_function_that_changes_the_network_leaves_a_note_instead_of_a_bundle(tmp_path):
    def pruned(model, trial):
        model[0] = nn.Linear(4, 1)
        return 1.0 + torch.rand(()).item()

    study = own(tmp_path / "s", evaluate=pruned)
    assert study.verdict is not None
    (note,) = notes(tmp_path / "s", "bundle")
    assert "do not fit the network" in note["text"]


def test_an_own_function_that_ignores_its_seed_cannot_tell(tmp_path):
    study = own(tmp_path / "s", evaluate=lambda model, trial: float(sum(p.numel() for p in model.parameters())))
    assert study.verdict.words == "cannot tell"
    assert "does your function set a seed of its own?" in study.verdict.sentence


def test_an_interrupted_own_function_is_finalised_later(tmp_path):
    first = own(tmp_path / "s", observer=Stops("stage B", 1))
    assert first.summary()["finalised"] is False
    assert "**Not finalised**" in card(tmp_path / "s")
    second = resume(tmp_path / "s", space=OWN, evaluate=evaluate, baseline=lambda: nn.Linear(4, 2), sample=(4,))
    assert second.summary()["finalised"] is True
    assert second.verdict.words in ("better", "worse", "cannot tell")


def test_costs_are_not_what_an_own_function_is_judged_by(tmp_path):
    assert own(tmp_path / "s", objectives=["params", "max score"]).verdict.metric == "score"


# -- parts ------------------------------------------------------------------------------------------------


def trial(number, accuracy=0.9, seconds=1.0, **more):
    proposal = Proposal(Architecture("s", {"width": number}), Fidelity("train", 1))
    return Trial(number, proposal, State.DONE, Measurement({"accuracy": accuracy} | more, seconds, 1))


def plan_of(left, *, seeds=3, trials=3, epochs=4, baseline=None, full=0, asked=None):
    prepared = SimpleNamespace(
        objectives=(Objective("accuracy", "max"),), evaluator=None, workers=1, baseline_architecture=None,
        baseline_factory=baseline, full_epochs=full, data="some",
    )  # fmt: skip
    after = finalizing.BUNDLE_SECONDS * finalizing.crowded(1)
    end = None if left is None else finalizing.time.monotonic() + left + after
    prepared.settings = Settings(seeds=seeds, epochs=asked)
    session = SimpleNamespace(
        prepared=prepared, settings=prepared.settings, end=end, baseline_epoch=0.0, candidate_epoch=0.0,
        gauge=SimpleNamespace(left=list),
    )  # fmt: skip
    loop = SimpleNamespace(ledger=SimpleNamespace(trials={n: trial(n, 0.9 - n / 100) for n in range(trials)}))
    return finalizing._plan(session, loop, Fidelities(epochs, 1.0, epochs, 0.0))


@pytest.mark.parametrize(("left", "seeds", "expected"), [
    (1e6, 3, finalizing.MOST_SEEDS), (None, 3, 3), (None, 5, 5), (72, 3, 4), (1, 4, 4), (1e6, 12, 12),
])  # fmt: skip
def test_seeds_grow_with_the_time_that_is_left_and_never_fall_below_what_is_asked_for(left, seeds, expected):
    # one seed more costs a run of 4.1 s for each of three finalists and for the winner: 16.4 s
    assert len(plan_of(left, seeds=seeds).stage_b_seeds) == expected


@pytest.mark.parametrize(("left", "asked", "epochs", "finalists"), [
    (1e6, None, 10, 3), (1e6, 4, 4, 3), (None, None, 4, 3), (75, None, 6, 3), (50, None, 4, 3), (30, None, 3, 2),
])  # fmt: skip
def test_epochs_grow_to_a_full_training_where_all_finalists_can_afford_them(left, asked, epochs, finalists):
    # 9 trainings choose, and the winner has 3 more (there is no baseline): 12 of 1 s an epoch and 0.1 s to start
    found = plan_of(left, full=10, asked=asked)
    assert (found.epochs, len(found.finalists)) == (epochs, finalists)


def test_more_seeds_never_cost_epochs_or_finalists():
    short = plan_of(40)
    assert (len(short.stage_b_seeds), len(short.finalists)) == (3, 2)
    assert [t.number for t in plan_of(None).finalists] == [0, 1, 2], "the best ones first"


def test_a_baseline_that_was_never_timed_is_expected_to_cost_as_much_as_the_slowest():
    with_baseline, without = plan_of(None, baseline=small), plan_of(None)
    assert with_baseline.forecast_seconds - without.forecast_seconds == pytest.approx(3 * 4.0)


def test_among_equal_candidates_the_loss_decides_then_age():
    aims = (Objective("accuracy", "max"),)
    pool = [trial(n, accuracy, loss=loss) for n, (accuracy, loss) in enumerate(
        [(0.8, 0.1), (0.9, 0.5), (0.9, 0.4), (0.9, float("nan")), (0.9, 0.4)])]  # fmt: skip
    assert [t.number for t in finalizing._ranked(pool, aims)] == [2, 4, 1, 3, 0]


@pytest.mark.parametrize(("at", "order"), [(3, [0, 3, 1, 2]), (1, [0, 1, 2, 3]), (0, [0, 1, 2, 3]), (9, [0, 1, 2, 3])])
def test_the_hand_made_network_is_the_second_finalist_at_the_latest(at, order):
    pool = [trial(n) for n in range(4)]
    assert [t.number for t in finalizing._with_baseline(pool, trial(at).architecture)] == order


def fake_session(tmp_path, **known):
    store = Store.create(tmp_path / "s", {"name": "t"} | known)
    prepared = SimpleNamespace(space=TINY, evaluator=None, judge=None)
    (tmp_path / "s" / "checkpoints").mkdir(exist_ok=True)
    return SimpleNamespace(store=store, checkpoints=tmp_path / "s" / "checkpoints", prepared=prepared)


def test_leaving_the_best_so_far_without_weights_names_the_winner_only(tmp_path):
    session = fake_session(tmp_path)
    architecture = TINY.sample(0)
    best = Trial(4, Proposal(architecture, Fidelity("train", 3)), State.DONE, Measurement({"accuracy": 0.5}, 1.0, 3))
    with session.store:
        leaving.leave_best_so_far(session, SimpleNamespace(ledger=SimpleNamespace(incumbent=best)))
        winner = session.store.meta["winner"]
        assert (winner["trial"], winner["epochs"], winner["validation"]) == (4, 3, {"accuracy": 0.5})
        assert winner["latency_ms"] is None
        assert "bundle" not in session.store.meta
    assert not (tmp_path / "s" / "best").exists()


def test_leaving_the_best_so_far_of_nothing_leaves_nothing(tmp_path):
    session = fake_session(tmp_path)
    with session.store:
        leaving.leave_best_so_far(session, SimpleNamespace(ledger=SimpleNamespace(incumbent=None)))
        assert "winner" not in session.store.meta


def test_a_failing_observer_does_not_cost_the_result(tmp_path):
    class Broken(Observer):
        def progress(self, progress):
            if progress.phase == "finalize":
                raise RuntimeError("the terminal is gone")

    assert digits(tmp_path / "s", observer=Broken()).summary()["finalised"] is True


def test_what_was_never_trained_is_forecast_by_its_size():
    """Three times the multiply-accumulates of the hand-made network, three times its seconds; never below the usual."""
    costs = SimpleNamespace(of=lambda architecture: SimpleNamespace(macs=1000))
    session = SimpleNamespace(
        prepared=SimpleNamespace(costs=costs, baseline_architecture="one"), candidate_epoch=0.5, baseline_epoch=0.8
    )

    def seconds(macs):
        trial = Trial(0, Proposal(Architecture("s", {}), Fidelity("inherited", 3)), measurement=Measurement(macs, 1.0))
        return finalizing._untrained_seconds(session, trial)

    assert seconds({"macs": 3000.0}) == pytest.approx(2.4)
    assert seconds({"macs": 500.0}) == seconds({}) == 0.5
    session.prepared.baseline_architecture = None
    assert seconds({"macs": 3000.0}) == 0.5
