"""Scores against scikit-learn's own functions, numbers from what metrics return, and costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import nn

from searchitect.errors import NotFiniteError, TrialError, UsageError
from searchitect.training.meters import (
    as_number,
    check_metrics,
    evaluating,
    parameters,
    predict,
    score,
)

RNG = np.random.default_rng(0)
OUTPUTS = torch.tensor(RNG.normal(size=(60, 3)), dtype=torch.float32)
CLASSES = torch.tensor(RNG.integers(0, 3, 60))
SHARES = OUTPUTS.double().softmax(1).numpy()
GUESS = SHARES.argmax(1)
TWO = torch.tensor(RNG.normal(size=(60, 2)), dtype=torch.float32)
BINARY = torch.tensor(RNG.integers(0, 2, 60))
CHANCE = TWO.double().softmax(1).numpy()[:, 1]
REAL = torch.tensor(RNG.uniform(1, 2, size=(60, 1)), dtype=torch.float32)
NEAR = REAL + 0.1 * torch.tensor(RNG.normal(size=(60, 1)), dtype=torch.float32)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", lambda: sk.accuracy_score(CLASSES, GUESS)),
        ("loss", lambda: sk.log_loss(CLASSES, SHARES)),
        ("neg_log_loss", lambda: -sk.log_loss(CLASSES, SHARES)),
        ("balanced_accuracy", lambda: sk.balanced_accuracy_score(CLASSES, GUESS)),
        ("f1_macro", lambda: sk.f1_score(CLASSES, GUESS, average="macro")),
        ("roc_auc_ovr", lambda: sk.roc_auc_score(CLASSES, SHARES, multi_class="ovr")),
        ("matthews_corrcoef", lambda: sk.matthews_corrcoef(CLASSES, GUESS)),
        ("top_k_accuracy", lambda: sk.top_k_accuracy_score(CLASSES, SHARES)),
    ],
)
def test_class_scores(metric, expected):
    assert score(metric, OUTPUTS, CLASSES, "classification") == pytest.approx(expected(), abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("roc_auc", lambda: sk.roc_auc_score(BINARY, CHANCE)),
        ("average_precision", lambda: sk.average_precision_score(BINARY, CHANCE)),
        ("f1", lambda: sk.f1_score(BINARY, CHANCE > 0.5)),
        ("neg_brier_score", lambda: -sk.brier_score_loss(BINARY, CHANCE)),
    ],
)
def test_two_class_scores(metric, expected):
    assert score(metric, TWO, BINARY, "classification") == pytest.approx(expected(), abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("rmse", lambda: sk.root_mean_squared_error(REAL, NEAR)),
        ("mae", lambda: sk.mean_absolute_error(REAL, NEAR)),
        ("r2", lambda: sk.r2_score(REAL, NEAR)),
        ("loss", lambda: sk.mean_squared_error(REAL, NEAR)),
        ("neg_mean_absolute_error", lambda: -sk.mean_absolute_error(REAL, NEAR)),
        ("neg_mean_squared_log_error", lambda: -sk.mean_squared_log_error(REAL, NEAR)),
        ("explained_variance", lambda: sk.explained_variance_score(REAL, NEAR)),
    ],
)
def test_regression_scores(metric, expected):
    assert score(metric, NEAR, REAL, "regression") == pytest.approx(expected(), abs=1e-6)
    assert score(metric, NEAR[:, 0], REAL[:, 0], "regression") == pytest.approx(expected(), abs=1e-6)


def test_several_targets():
    outputs, y = torch.randn(30, 2), torch.randn(30, 2)
    assert score("r2", outputs, y, "regression") == pytest.approx(sk.r2_score(y, outputs), abs=1e-5)


def test_a_class_that_is_never_predicted_is_no_warning():
    outputs = torch.tensor([[1.0, 0.0, 0.0]]).repeat(60, 1)
    assert 0 <= score("precision_macro", outputs, CLASSES, "classification") < 0.34


def test_scores_that_cannot_be():
    with pytest.raises(UsageError, match=r"'acuracy' is not known for classification.*did you mean accuracy"):
        score("acuracy", OUTPUTS, CLASSES, "classification")
    with pytest.raises(TrialError, match="metric 'neg_mean_squared_log_error' cannot be computed"):
        score("neg_mean_squared_log_error", -REAL, REAL, "regression")
    with pytest.raises(NotFiniteError, match="f1_macro: the network's outputs are not finite"):
        score("f1_macro", OUTPUTS * math.nan, CLASSES, "classification")
    with pytest.raises(NotFiniteError, match="rmse is inf"):
        score("rmse", REAL * math.inf, REAL, "regression")


def test_u3_metrics_are_checked_before_training():
    check_metrics(["accuracy", "loss", "f1_macro", "roc_auc_ovr"], "classification", 5)
    check_metrics(["roc_auc", "f1", "neg_log_loss"], "classification", 2)
    check_metrics(["rmse", "mae", "r2", "loss", "neg_mean_squared_log_error"], "regression", 1)
    check_metrics(["r2"], "regression", 3)
    with pytest.raises(UsageError, match=r"'f1' does not fit classification with 10 classes.*use f1_macro"):
        check_metrics(["f1"], "classification", 10)
    with pytest.raises(UsageError, match="'accuracy' does not fit regression"):
        check_metrics(["accuracy"], "regression", 1)
    with pytest.raises(UsageError, match="'rmse' is not known for classification"):
        check_metrics(["rmse"], "classification", 3)
    with pytest.raises(UsageError, match="'cost' is not known"):
        check_metrics(["cost"], "regression", 1)


@pytest.mark.parametrize(
    "value",
    [2, 2.0, True + 1, np.float32(2), np.int64(2), np.array(2.0), torch.tensor(2.0), torch.tensor(2),
     torch.tensor(2.0, requires_grad=True), torch.tensor(2.0, dtype=torch.bfloat16)],
)  # fmt: skip
def test_u2_numbers_of_all_kinds(value):
    number = as_number(value)
    assert number == 2.0
    assert type(number) is float


def test_u2_bool_is_a_number():
    assert as_number(True) == 1.0
    assert as_number(np.bool_(False)) == 0.0


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "got None of type NoneType"), ("0.9", "got '0.9' of type str"), (1j, "got 1j of type complex"),
     (np.complex64(1j), "complex"), ([0.5], r"got \[0.5\] of type list"), ({"a": 1}, "of type dict"),
     (torch.ones(1), r"shape \(1,\); use .item\(\)"), (np.ones((2, 3)), r"shape \(2, 3\); reduce it"),
     ("x" * 500, r"\.\.\. of type str")],
)  # fmt: skip
def test_u2_everything_else_is_refused_with_the_value(value, shown):
    with pytest.raises(TrialError, match=rf"score must be one number, .*{shown}") as caught:
        as_number(value, "score")
    assert not isinstance(caught.value, NotFiniteError)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, torch.tensor(math.nan), np.float16(np.inf)])
def test_u2_not_finite(value):
    with pytest.raises(NotFiniteError, match=r"score is (nan|inf|-inf)"):
        as_number(value, "score")


class Mode(nn.Module):
    """Notes what mode it was called in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.seen: list[tuple[bool, bool, int]] = []

    def forward(self, x):
        self.seen.append((self.training, torch.is_inference_mode_enabled(), len(x)))
        return self.layer(x)


def test_predict_in_batches_and_modes():
    model = Mode()
    model.layer.eval()
    out = predict(model, torch.randn(25, 3), batch=10)
    assert [s for s in model.seen] == [(False, True, 10), (False, True, 10), (False, True, 5)]  # noqa: C416
    assert model.training
    assert not model.layer.training
    assert out.shape == (25, 2)
    assert not out.is_inference()
    predict(model, torch.zeros(20, 3))
    assert model.seen[-1][2] == 20


def test_large_rows_are_predicted_in_small_batches():
    sizes = []

    class Flat(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x.flatten(1)[:, :2]

    predict(Flat(), torch.zeros(40, 3, 224, 224))
    assert max(sizes) == 13


def test_modes_come_back_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3).eval())
    with pytest.raises(RuntimeError, match="stop"), evaluating(model):
        raise RuntimeError("stop")
    assert [m.training for m in model.modules()] == [True, True, False]


def test_parameters_counts_shared_ones_once():
    layer = nn.Linear(3, 3)
    assert parameters(nn.Sequential(layer, layer)) == 12
    layer.bias.requires_grad_(False)
    assert parameters(layer) == 9
