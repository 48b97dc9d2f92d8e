"""The user's face: one small real study, looked at from all sides, and what is refused before anything is trained."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from searchitect import Settings, Study, lazy, one_of, resume, search
from searchitect.engine.observer import Observer
from searchitect.errors import ArchitectureError, DataError, SpaceError, StorageError, UsageError
from searchitect.records import State
from searchitect.session.budget import REPORT_SECONDS
from searchitect.session.preparing import Given, prepare
from searchitect.space import OUTPUTS, Architecture, Space
from searchitect.study import free_folder, plan

L = lazy(nn)
SMALL = {"limit_train": 300, "epochs": 2, "trials": 4, "executor": "serial"}


def space_of_six() -> Space:
    hidden = L.LazyLinear(one_of(8, 16, 32, name="width"))
    activation = one_of(L.ReLU(), L.Tanh(), name="act")
    return Space(L.Sequential(L.Flatten(), hidden, activation, L.LazyLinear(OUTPUTS)), name="six")


BASELINE = {"1.width": 8, "act": "ReLU"}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    path = tmp_path_factory.mktemp("runs") / "small"
    return search(space_of_six(), "digits", baseline=BASELINE, path=str(path), **SMALL)


@pytest.fixture
def copy(study, tmp_path) -> Study:
    shutil.copytree(study.path, tmp_path / "copy")
    return Study(tmp_path / "copy")


def test_the_summary_has_what_scripts_rely_on(study):
    summary = json.loads(json.dumps(study.summary()))
    assert summary["space_size"] == 6
    assert summary["trials"]["done"] == 4
    assert set(summary["trials"]) >= {"done", "failed", "reused", "attempts"}
    assert set(summary["seconds"]) == {"search", "finalize", "budget", "active"}
    assert summary["best"]["architecture"] == study.best.architecture.decisions
    assert summary["best"]["validation"]["accuracy"] == study.best.value("accuracy")
    verdict = summary["verdict"]
    assert set(verdict["winner"]) == {"mean", "low", "high", "n"}
    assert verdict["winner"]["n"] >= 3
    assert verdict["low"] <= verdict["difference"] <= verdict["high"]
    assert verdict["words"] in ("better", "worse", "cannot tell")
    assert summary["bundle"] == str(study.path / "best")
    assert summary["state"] == "finalised"


def test_the_baseline_is_the_first_trial(study):
    assert study.trials[0].architecture.decisions == BASELINE
    assert study.trials[0].proposal.origin == "enqueued"


def test_test_rows_were_never_in_a_worker(study):
    splits = study.meta["data"]["splits"]
    assert splits["train"] + splits["validation"] + splits["test"] == 300
    assert study.meta["evaluator"]["train"] == splits["train"]
    assert study.meta["evaluator"]["validation"] == splits["validation"]


def test_the_dataframe_has_a_row_for_each_trial(study):
    frame = study.dataframe()
    assert len(frame) == len(study.trials)
    assert {"number", "state", "accuracy", "params", "decision 1.width"} <= set(frame.columns)


def test_best_and_front_follow_the_objectives(study):
    done = [t for t in study.trials if t.state is State.DONE]
    assert study.best.value("accuracy") == max(t.value("accuracy") for t in done)
    assert [t.value("accuracy") for t in study.front()] == [study.best.value("accuracy")] * len(study.front())


def test_it_shows_itself_in_a_notebook(study):
    html = study._repr_html_()
    assert html.startswith("<table>")
    assert study.verdict.sentence.split(":")[0] in html
    assert repr(study) == f"<Study {study.path}: 4 trials done, 0 failed>"


def test_the_bundle_can_be_taken_away(study, tmp_path):
    target = study.export(tmp_path / "mine")
    assert {"model.py", "weights.safetensors", "card.md"} <= {p.name for p in target.iterdir()}
    with pytest.raises(StorageError, match="not empty"):
        study.export(tmp_path / "mine")


def test_a_folder_with_a_study_is_not_overwritten(study):
    with pytest.raises(StorageError, match="resume"):
        search(space_of_six(), "digits", path=str(study.path), **SMALL)


def test_it_goes_on_with_more_trials_and_what_was_enqueued(copy):
    tried = {tuple(sorted(t.architecture.decisions.items())) for t in copy.trials}
    new = next(a for a in copy.space.enumerate() if tuple(sorted(a.decisions.items())) not in tried)
    copy.enqueue(new)
    said = []

    class Ear(Observer):
        def plan(self, facts):
            said.append((facts["objectives"], facts["trials_limit"]))

    longer = resume(copy.path, trials=6, observer=Ear())
    assert said == [(["accuracy"], 6)]
    assert longer.trials[4].architecture == new or any(t.architecture == new for t in longer.trials[4:])
    assert sum(t.source is None for t in longer.trials) == 6
    before = {t.number: (t.architecture, t.value("accuracy")) for t in copy.trials}
    assert {n: before[n] for n in before} == {
        t.number: (t.architecture, t.value("accuracy")) for t in longer.trials[: len(before)]
    }
    assert longer.meta["finalised"]


def test_a_study_without_a_final_comparison_keeps_no_time_back(tmp_path):
    found = [
        search(
            space_of_six(), "digits", budget="200s", finalize=final, path=tmp_path / str(final), **SMALL | {"trials": 1}
        )
        for final in (False, True)
    ]
    without, kept = (study.meta["fidelities"]["reserve"] for study in found)
    assert without == REPORT_SECONDS < kept


def test_a_foreign_architecture_cannot_be_enqueued(copy):
    other = Space(L.Sequential(L.LazyLinear(one_of(1, 2)))).sample(0)
    with pytest.raises(ArchitectureError, match="belongs to space"):
        copy.enqueue(other)


def test_another_space_or_other_data_are_noticed_on_resume(copy):
    other = Space(L.Sequential(L.Flatten(), L.LazyLinear(one_of(8, 16, name="width")), L.LazyLinear(OUTPUTS)))
    with pytest.raises(UsageError, match=r"'1.width' was 8, 16, 32, is 8, 16"):
        resume(copy.path, space=other)
    x = np.random.default_rng(0).normal(size=(300, 1, 8, 8)).astype(np.float32)
    with pytest.raises(StorageError, match="data have changed"):
        resume(copy.path, data=(x, np.arange(300) % 10))


def test_a_file_names_no_code(study):
    text = json.dumps(study.meta)
    assert "study.py" not in text
    assert "space" not in study.meta["settings"]
    assert "baseline" not in study.meta["settings"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"data": "digits", "objectives": "f2"}, UsageError, "max f2"),
        ({"data": "digits", "objectives": "roc_auc"}, UsageError, "roc_auc"),
        ({"data": "digits", "strategy": "annealing"}, UsageError, "annealing"),
        ({"data": "digits", "recipe": {"learning_rate": 1}}, UsageError, "learning_rate"),
        ({"data": "digits", "device": "tpu"}, UsageError, "tpu"),
        ({"data": "digits", "space": "resnet9000"}, UsageError, "resnet9000"),
        ({"data": "digits", "budgt": "3m"}, UsageError, "budget"),
        ({"data": "/no/such/file.npz"}, DataError, "no/such/file"),
        ({}, UsageError, "nothing to"),
        ({"data": "digits", "space": 3}, UsageError, "space"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(options, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        search(trials=1, path=str(tmp_path / "s"), **options)
    assert not list(tmp_path.iterdir())


def test_limits_that_nothing_keeps_say_so(tmp_path):
    with pytest.raises(SpaceError, match="params < 3"):
        search(
            "mlp",
            "iris",
            objectives=["accuracy", "params < 3"],
            trials=2,
            epochs=1,
            executor="serial",
            path=str(tmp_path / "s"),
        )


def test_a_plan_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    facts = plan(Settings(data="digits", budget="3m"))
    assert facts["data"]["splits"] == {"train": 1079, "validation": 359, "test": 359}
    assert facts["strategy"]["why"]
    assert json.dumps(facts)
    assert not list(tmp_path.iterdir())


def test_free_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(free_folder("mine")) == "runs/mine"
    assert str(free_folder(None)) == "runs/study-1"
    (tmp_path / "runs" / "study-1").mkdir(parents=True)
    assert str(free_folder(None)) == "runs/study-2"


def test_a_baseline_may_be_an_instance_only_if_it_can_start_anew():
    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10, 64))

        def forward(self, x):
            return x.flatten(1) @ self.weight.T

    settings = Settings(data="digits", trials=1)
    with pytest.raises(UsageError, match="reset_parameters"):
        prepare(settings, Given(space_of_six(), baseline=Stubborn()))
    made = prepare(
        settings, Given(space_of_six(), baseline=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    ).baseline_factory
    assert not torch.equal(made()[1].weight, made()[1].weight)
    with pytest.raises(UsageError, match=r"'1\.width'"):
        prepare(settings, Given(space_of_six(), baseline={"1.width": 99, "act": "ReLU"}))
    with pytest.raises(UsageError, match="function without arguments"):
        prepare(settings, Given(space_of_six(), baseline=3))


@pytest.mark.parametrize(("kind", "source"), [("table", "iris"), ("image", "digits")])
def test_spaces_by_name_are_sized_for_the_data(kind, source):
    name = {"table": "mlp", "image": "cnn"}[kind]
    asked = prepare(Settings(data=source, space=name), Given()).space
    chosen = prepare(Settings(data=source), Given()).space
    assert asked.fingerprint == chosen.fingerprint


def test_a_test_part_may_be_given_apart():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 5)).astype(np.float32), np.arange(100) % 2
    found = prepare(Settings(trials=1, validation=0.25), Given(data=(x, y), test_data=(x[:30] + 9, y[:30])))
    assert found.data_facts["splits"] == {"train": 75, "validation": 25, "test": 30}
    assert len(found.test[1]) == 30
    assert len(found.evaluator.raw) == 100


def test_layout_and_missing_cells_can_be_told():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 8, 9, 3)).astype(np.float32), np.arange(60) % 2
    assert prepare(Settings(trials=1, layout="NHWC"), Given(data=(x, y))).data_facts["shape"] == [3, 8, 9]
    table = rng.normal(size=(60, 4))
    table[3, 1] = np.nan
    with pytest.raises(DataError, match="missing"):
        prepare(Settings(trials=1), Given(data=(table, y)))
    assert prepare(Settings(trials=1, missing="impute"), Given(data=(table, y))).data_facts["kind"] == "table"


def test_a_path_may_be_a_path(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("searchitect.study._start", lambda folder, *rest: seen.append(folder))
    search("mlp", "iris", path=tmp_path / "here", trials=1)
    assert seen == [tmp_path / "here"]


def test_a_search_starts_from_given_architectures_and_so_does_its_replay(tmp_path):
    space = space_of_six()
    file = tmp_path / "arch.json"
    file.write_text(space.architecture({"1.width": 32, "act": "Tanh"}).to_json())
    wide = space.architecture({"1.width": 16, "act": "ReLU"})
    options = SMALL | {"trials": 3, "finalize": False}
    found = search(space, "digits", start=[file, {"1.width": 16, "act": "Tanh"}, wide], path=tmp_path / "s", **options)
    first = [t.proposal for t in found.trials]
    assert [(p.origin, p.architecture.decisions["1.width"]) for p in first] == [("start", n) for n in (32, 16, 16)]
    assert found.meta["start"][0] == {"1.width": 32, "act": "Tanh"}
    file.unlink()
    more = resume(tmp_path / "s", trials=5, finalize=False)
    assert [t.proposal for t in more.trials][:3] == first
    assert more.trials[3].proposal.origin == "enumerate"  # a small space: all are tried


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("no/such.json", "start 1, no/such.json: cannot be read: No such file"),
        ([{"1.width": 9, "act": "ReLU"}], "start 1: decision '1.width' cannot be 9"),
        (7, "start 1: got int; give an Architecture, decisions by name, or a path"),
        ([Architecture("0" * 16, {"act": "ReLU", "1.width": 8})], "start 1: .* belongs to space 0000"),
    ],
)
def test_a_start_that_cannot_be_one_is_named_before_anything_is_written(tmp_path, start, message):
    with pytest.raises(UsageError, match=message):
        search(space_of_six(), "digits", start=start, path=tmp_path / "s", **SMALL)
    assert not (tmp_path / "s").exists()
