"""Weight sharing as a study: epochs are stored with their trials, a cut study goes on, finalists are trained."""

import msgspec
import pytest

from searchitect import resume, search
from searchitect.errors import UsageError
from searchitect.evaluators import InheritedEvaluator
from searchitect.records import Epoch
from searchitect.report.page import render
from searchitect.report.snapshot import read
from searchitect.report.supernet import epochs, gates, guard_words, ranking_words
from searchitect.session import passes
from searchitect.sharing import METHODS
from searchitect.sharing.ranking import agreement
from searchitect.spaces import nb201
from searchitect.store import Store

SMALL = {
    "data": "digits", "limit_train": 300, "workers": 1, "threads": 1, "executor": "serial", "seed": 3,
    "recipe": {"batch_size": 64},
}  # fmt: skip


def tiny():
    return nb201.space(cells=1, width=4)


def stored(folder):
    with Store.open(folder) as store:
        found = [msgspec.convert(n.body, Epoch, strict=False) for n in store.notes("epoch")]
        return found, store.trials(), store.meta


def without_times(epoch):
    return msgspec.structs.replace(epoch, seconds=0.0)


def test_each_epoch_is_a_note_and_its_architecture_a_trial(tmp_path):
    study = search(tiny(), strategy="darts", epochs=2, finalize=False, path=tmp_path / "s", **SMALL)
    found, trials, meta = stored(tmp_path / "s")
    assert [epoch.number for epoch in found] == [1, 2]
    derived = [t for t in trials if t.proposal.origin == "derived"]
    assert [t.architecture.decisions for t in derived] == [epoch.derived for epoch in found]
    assert [t.proposal.fidelity.epochs for t in derived] == [1, 2]
    assert all(t.proposal.fidelity.kind == "inherited" and t.value("accuracy") is not None for t in trials)
    (hand_made,) = [t for t in trials if t.proposal.origin == "enqueued"]
    assert hand_made.architecture.decisions == nb201.RESNET
    assert meta["strategy"]["name"] == "darts"
    assert study.best.proposal.fidelity.epochs == 2
    assert (tmp_path / "s" / "checkpoints" / "supernet" / "epoch-2" / "supernet.safetensors").exists()


def test_a_study_that_was_cut_goes_on_with_the_same_numbers(tmp_path, monkeypatch):
    search(tiny(), strategy="gdas", epochs=3, finalize=False, path=tmp_path / "whole", **SMALL)
    keep = passes.Passes._keep

    def cut(self, loop, epoch, outcome):
        if epoch.number == 2:
            raise KeyboardInterrupt
        keep(self, loop, epoch, outcome)

    monkeypatch.setattr(passes.Passes, "_keep", cut)
    with pytest.raises(KeyboardInterrupt):
        search(tiny(), strategy="gdas", epochs=3, finalize=False, path=tmp_path / "cut", **SMALL)
    monkeypatch.undo()
    assert len(stored(tmp_path / "cut")[0]) == 1
    resume(tmp_path / "cut", space=tiny(), executor="serial", finalize=False)
    whole, again = stored(tmp_path / "whole"), stored(tmp_path / "cut")
    assert [without_times(e) for e in again[0]] == [without_times(e) for e in whole[0]]
    assert [t.architecture for t in again[1]] == [t.architecture for t in whole[1]]


def test_single_paths_are_followed_by_a_search_over_inherited_weights(tmp_path):
    study = search(
        tiny(), strategy="spos", strategy_options={"inner": "random"}, epochs=1, trials=5, finalize=False,
        path=tmp_path / "s", **SMALL,
    )  # fmt: skip
    trials = study.trials
    assert len(trials) == 5
    assert [t.proposal.origin for t in trials] == ["enqueued"] + ["sample"] * 4
    assert {t.proposal.fidelity.kind for t in trials} == {"inherited"}
    assert all(t.source is None for t in trials), "inherited weights are never reused"
    assert len({t.key for t in trials}) == 5


@pytest.mark.slow
def test_finalists_are_trained_from_scratch_and_get_a_verdict(tmp_path):
    study = search(
        tiny(), strategy="drnas", epochs=1, path=tmp_path / "s", seeds=2, recipe={"batch_size": 64},
        **{k: v for k, v in SMALL.items() if k != "recipe"},
    )  # fmt: skip
    assert study.verdict is not None
    assert (tmp_path / "s" / "best" / "model.py").exists()
    snapshot = read(tmp_path / "s")
    page = render(snapshot)
    assert "The supernet" in page
    assert "The guard saw no collapse." in page
    assert all(name in page for name in nb201.EDGES)


def test_the_table_of_gates_is_what_was_stored(tmp_path):
    search(tiny(), strategy="darts", epochs=2, finalize=False, path=tmp_path / "s", **SMALL)
    found = epochs(read(tmp_path / "s"))
    rows = gates(found)
    assert [row.name for row in rows] == list(nb201.EDGES)
    assert rows[0].options == nb201.OPERATIONS
    assert [curve[1] for curve in rows[2].curves] == list(found[1].gates["1-2"])
    assert all(abs(sum(curve[0] for curve in row.curves) - 1) < 1e-5 for row in rows)
    assert "skip connections after the first epoch" in guard_words(found)
    stopped = [*found[:-1], msgspec.structs.replace(found[-1], stop="skip connections take over: 3 of 6")]
    assert guard_words(stopped).endswith("The guard stopped the search: skip connections take over: 3 of 6.")


@pytest.mark.parametrize(
    ("space", "options", "words"),
    [
        ("mlp", {}, "width"),  # widths change the shape of what would be added up
        (None, {"nonsense": 1}, "nonsense"),
        (None, {"order": 3}, "order"),
        (None, {"ranking": 2}, "4 or more"),
        (None, {"ranking": True}, "4 or more"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_is_written(tmp_path, space, options, words):
    data = {"data": "iris"} if space else {"data": "digits", "limit_train": 300}
    more = {k: v for k, v in SMALL.items() if k not in ("data", "limit_train")}
    with pytest.raises(UsageError, match=words):
        search(
            space or tiny(), strategy="darts", strategy_options=options, epochs=1, path=tmp_path / "s", **data, **more
        )
    assert not (tmp_path / "s" / "study.db").exists()


def test_a_function_of_the_users_cannot_train_a_supernet(tmp_path):
    with pytest.raises(UsageError, match="needs data"):
        search(
            tiny(), evaluate=lambda model, trial: 1.0, sample=(1, 8, 8), outputs=10, strategy="darts", epochs=1,
            path=tmp_path / "s",
        )  # fmt: skip


def test_every_method_has_a_strategy_beside_it():
    for name in METHODS:
        assert passes.shares_weights(name)
        assert passes.inner_strategy(name, {})[0] in ("random", "regularized-evolution")
    assert not passes.shares_weights("random")
    assert passes.inner_strategy("spos", {"inner": "nsga2"}) == ("nsga2", {})


def test_the_hand_made_network_is_measured_though_the_time_is_over(tmp_path, monkeypatch):
    def long(self, loop):
        stopped = epochs_of(self, loop)
        loop.limits.deadline = loop.clock() - 1.0
        return stopped

    epochs_of = passes.Passes._epochs
    monkeypatch.setattr(passes.Passes, "_epochs", long)
    search(tiny(), strategy="darts", epochs=1, budget="10m", finalize=False, path=tmp_path / "s", **SMALL)
    (hand_made,) = [t for t in stored(tmp_path / "s")[1] if t.proposal.origin == "enqueued"]
    assert hand_made.value("accuracy") is not None


def test_ranking_compares_inherited_weights_with_short_trainings(tmp_path):
    options = {"ranking": 4}
    search(tiny(), strategy="gdas", strategy_options=options, epochs=1, finalize=False, path=tmp_path / "s", **SMALL)
    with Store.open(tmp_path / "s") as store:
        (note,) = store.notes("ranking")
        body, trials = note.body, store.trials()
    assert body["n"] == len(body["pairs"]) == 4
    assert body["epochs"] == passes.RANKED_EPOCHS
    found = agreement([a for a, _ in body["pairs"]], [b for _, b in body["pairs"]], seed=3)
    assert (body["tau"], body["low"], body["high"]) == (found.tau, found.low, found.high)
    assert len(trials) == 2  # what was derived and the hand-made network: the ranked ones are no trials
    snapshot = read(tmp_path / "s")
    assert ranking_words(snapshot).startswith("4 random networks were ranked by their accuracy with inherited weights")
    assert "Kendall&#39;s τ is" in render(snapshot)
    resume(tmp_path / "s", space=tiny(), executor="serial", finalize=False)
    assert sum(note.kind == "ranking" for note in read(tmp_path / "s").notes) == 1


@pytest.mark.parametrize(
    ("spent", "left", "share", "over"),
    [([10.0], 8.0, 1.0, False), ([10.0], 6.0, 1.0, True), ([10.0] * 5, 50.0, 0.6, False),
     ([10.0] * 6, 40.0, 0.6, True), ([10.0] * 5, 45.0, 0.6, False), ([10.0] * 5, 42.0, 0.6, True)],
)  # fmt: skip
def test_epochs_end_before_they_take_the_time_of_what_follows(spent, left, share, over):
    """Of 50 + 45 s the supernet may have 57, so that 7 are left for one more epoch of 10; of 50 + 42 it has 5.2."""
    assert passes._is_over(spent, left, share) is over


def test_the_evaluator_travels_without_its_supernet():
    import cloudpickle

    class Train:
        pass

    evaluator = InheritedEvaluator(Train(), "darts", {}, 1)
    evaluator._search = object()
    assert cloudpickle.loads(cloudpickle.dumps(evaluator))._search is None
