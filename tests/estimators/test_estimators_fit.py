"""The estimators in the hands of scikit-learn's users: frames, labels, weights, pickles, folders, interruptions."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from searchitect import SearchClassifier, SearchRegressor
from searchitect.errors import SpaceError, StorageError

QUICK = {"trials": 2, "epochs": 3, "executor": "serial", "verbose": False}
X, Y = make_blobs(120, n_features=4, centers=3, random_state=0)
LABELS = np.array(["ant", "bee", "cow"])[Y]


def maras(rows=120):
    """Strings, dates, gaps and one constant column; what decides is in `size` and `kind`."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({
        "size": random.normal(size=rows), "kind": random.choice(["a", "b", None], rows),
        "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 400, rows), unit="D"),
        "day": [f"2023-05-{d:02d}" for d in random.integers(1, 29, rows)], "same": 7,
        "colour": pd.Categorical(random.choice(["red", "blue"], rows)),
    })  # fmt: skip
    answers = np.where((frame["size"] > 0) ^ (frame["kind"] == "a"), "yes", "no")
    frame.loc[::7, "size"] = np.nan
    frame.loc[::9, "when"] = pd.NaT
    return frame, answers


@cache
def fitted():
    return SearchClassifier(**QUICK).fit(X, LABELS)


def test_labels_shares_and_score():
    model = fitted()
    assert model.classes_.tolist() == ["ant", "bee", "cow"]
    shares = model.predict_proba(X)
    assert shares.shape == (120, 3)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert (model.predict(X) == model.classes_[shares.argmax(axis=1)]).all()
    assert model.score(X, LABELS) == np.mean(model.predict(X) == LABELS)
    assert model.verdict_ is None  # nothing was kept unread to compare on
    assert model.study_.meta["data"]["splits"] == {"train": 96, "validation": 24, "test": 0}


def test_the_leaderboard_has_the_best_first():
    board = fitted().leaderboard()
    assert board.index.tolist() == [1, 2]
    assert board["accuracy"].is_monotonic_decreasing
    assert set(board["number"]) == {0, 1}
    assert fitted().study_.best.number == board["number"].iloc[0]


def test_frames_with_text_dates_gaps_and_a_constant():
    frame, answers = maras()
    model = SearchClassifier(**QUICK).fit(frame, answers)
    assert model.feature_names_in_.tolist() == list(frame.columns)
    assert any("same" in note for note in model.study_.meta["data"]["notes"])
    before = model.predict_proba(frame)
    late = frame.assign(kind="never seen", when=pd.Timestamp("2031-01-01"))
    assert model.predict(late).shape == (120,)
    assert np.allclose(pickle.loads(pickle.dumps(model)).predict_proba(frame), before)
    with pytest.raises(ValueError, match=r"fitted on a DataFrame with text in 'kind'.*pass a DataFrame"):
        model.predict(np.zeros((3, 6)))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.drop(columns="kind"))


def test_a_pickle_outlives_the_folder_of_its_study(tmp_path):
    model = SearchClassifier(**QUICK).fit(X, LABELS)
    folder = model.study_.path
    assert folder.is_dir()
    assert (folder.parent.stat().st_mode & 0o777) == 0o700
    expected, board, stored = model.predict_proba(X), model.leaderboard(), pickle.dumps(model)
    copied = clone(model)
    del model
    gc.collect()
    assert not folder.exists()
    model = pickle.loads(stored)
    assert np.array_equal(model.predict_proba(X), expected)
    assert model.leaderboard().equals(board)
    written = model.export(tmp_path / "out")
    run = subprocess.run([sys.executable, str(written / "model.py"), "--selftest"], capture_output=True, check=True)
    assert run.stdout.startswith(b"ok")
    with pytest.raises(StorageError, match="not empty"):
        model.export(tmp_path / "out")
    with pytest.raises(NotFittedError):
        copied.predict(X)


def test_a_study_with_a_path_stays(tmp_path):
    SearchClassifier(path=tmp_path / "kept", **QUICK).fit(X, LABELS)
    gc.collect()
    assert (tmp_path / "kept" / "report.html").is_file()
    with pytest.raises(StorageError, match="resume"):
        SearchClassifier(path=tmp_path / "kept", **QUICK).fit(X, LABELS)


def test_in_a_pipeline_and_in_a_grid():
    pipeline = make_pipeline(StandardScaler(), SearchClassifier(**QUICK))
    grid = GridSearchCV(pipeline, {"searchclassifier__class_weight": [None, "balanced"]}, cv=2, error_score="raise")
    grid.fit(X, LABELS)
    assert grid.predict(X).shape == (120,)


def test_several_numbers_a_row_come_back_in_the_shape_of_y():
    y = np.stack([X[:, 0], 100 + X[:, 1]], axis=1)
    found = SearchRegressor(**QUICK).fit(X, y).predict(X)
    assert found.shape == (120, 2)
    assert 90 < found[:, 1].mean() < 110  # in the user's units
    assert SearchRegressor(**QUICK).fit(X, y[:, 0]).predict(X).shape == (120,)


def test_images_and_tensors():
    import torch

    images = torch.rand(60, 3, 8, 8)
    y = (images[:, 0].mean(dim=(1, 2)) > 0.5).long()
    model = SearchClassifier(**{**QUICK, "epochs": 1}).fit(images, y)
    assert model.predict(images[:5]).shape == (5,)
    assert model.study_.meta["data"]["kind"] == "image"


def test_a_class_of_weight_zero_is_never_predicted():
    shares = SearchClassifier(class_weight={"ant": 0.0, "bee": 1.0, "cow": 1.0}, **{**QUICK, "epochs": 8}).fit(
        X, LABELS
    )
    assert "ant" not in shares.predict(X[LABELS != "ant"])
    weight = (LABELS != "ant").astype(float)
    assert SearchClassifier(**QUICK).fit(X, LABELS, sample_weight=weight).classes_.tolist() == ["bee", "cow"]


def test_the_same_seed_gives_the_same_network_and_another_another():
    again = SearchClassifier(**QUICK).fit(X, LABELS).predict_proba(X)
    assert np.array_equal(fitted().predict_proba(X), again)
    other = SearchClassifier(random_state=np.random.RandomState(3), **QUICK).fit(X, LABELS)
    assert not np.array_equal(other.predict_proba(X), again)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"budget": None, "trials": None}, LABELS, "nothing says when to end"),
        ({"finalize": "maybe"}, LABELS, "finalize='maybe' must be True, False or 'auto'"),
        ({"options": {"seed": 1}}, LABELS, "said by fit or by another parameter"),
        ({}, np.full(120, "a"), "one class only"),
        ({}, ["odd", *["b", "c"] * 59, "b"], "one row only"),
        ({}, X[:, 0], "Unknown label type"),
        ({}, None, "requires y"),
        ({}, LABELS[:7], "inconsistent numbers of samples"),
    ],
)
def test_what_is_wrong_is_a_value_error(options, y, message):
    with pytest.raises(ValueError, match=message):
        SearchClassifier(**(QUICK | options)).fit(X, y)


def test_no_network_within_the_limits_is_said():
    with pytest.raises(SpaceError, match=r"almost empty: .* break its limits \(latency_ms < 1e-06\)"):
        SearchClassifier(objectives=["accuracy", "latency_ms < 0.000001"], **QUICK).fit(X, LABELS)


class Pressing:
    """Labels are learned; Ctrl-C comes while the second network is trained."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs, y):
        import torch

        self.calls += 1
        if self.calls == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return torch.nn.functional.cross_entropy(outputs, y)


def test_ctrl_c_leaves_a_fitted_estimator_and_a_warning():
    model = SearchClassifier(trials=50, epochs=3, executor="serial", verbose=False, options={"loss": Pressing()})
    with pytest.warns(RuntimeWarning, match=r"interrupted \(SIGINT\): the network is the best of \d+ so far"):
        model.fit(X, LABELS)
    assert len(model.leaderboard()) < 50
    assert model.predict(X).shape == (120,)
    assert model.verdict_ is None


@pytest.mark.slow
def test_with_finalize_there_is_a_verdict_on_unread_rows(capsys):
    model = SearchClassifier(**{**QUICK, "finalize": True, "verbose": True}).fit(X, LABELS)
    told = capsys.readouterr().out
    assert model.verdict_.test_items == 24
    assert model.verdict_.sentence in told
    assert "goes with the estimator" in told
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.predict(X[:1]).shape == (1,)
