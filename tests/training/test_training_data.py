"""Loading: layouts, tasks, and every fault of the data that must be named before training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from searchitect.errors import DataError, UsageError
from searchitect.training import arrange as arrange_module
from searchitect.training.data import RawData, load
from searchitect.training.table import Table


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def bytes_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


Y20 = np.arange(20) % 2


def said(raw: RawData, text: str) -> bool:
    return any(text in note for note in raw.notes)


@pytest.mark.parametrize(
    ("name", "kind", "task", "shape", "rows", "outputs"),
    [
        ("digits", "image", "classification", (1, 8, 8), 1797, 10),
        ("breast_cancer", "table", "classification", (30,), 569, 2),
        ("wine", "table", "classification", (13,), 178, 3),
        ("iris", "table", "classification", (4,), 150, 3),
        ("diabetes", "table", "regression", (10,), 442, 1),
    ],
)
def test_bundled_sets(name, kind, task, shape, rows, outputs):
    raw = load(name)
    assert (raw.kind, raw.task, raw.shape, len(raw), raw.outputs) == (kind, task, shape, rows, outputs)
    assert raw.classes is None if task == "regression" else len(raw.classes) == outputs


def test_digits_are_bytes_with_named_classes():
    raw = load("digits")
    assert raw.x.dtype == np.uint8
    assert raw.x.max() == 16
    assert raw.classes == tuple("0123456789")
    assert load("iris").classes == ("setosa", "versicolor", "virginica")
    assert load("iris").names[0] == "sepal length (cm)"


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "kept"),
    [
        ((20, 12, 12), np.uint8, "image", (1, 12, 12)),
        ((20, 12, 12), np.float32, "image", (1, 12, 12)),
        ((20, 10, 16), np.int64, "image", (1, 10, 16)),
        ((20, 3, 50), np.float32, "sequence", (3, 50)),
        ((20, 1, 30), np.float64, "sequence", (1, 30)),
        ((20, 8, 8, 3), np.uint8, "image", (3, 8, 8)),
        ((20, 3, 8, 8), np.uint8, "image", (3, 8, 8)),
        ((20, 13, 8, 8), np.float32, "image", (13, 8, 8)),
        ((20, 8, 8, 13), np.float32, "image", (13, 8, 8)),
        ((20, 2, 8, 8), np.float32, "image", (2, 8, 8)),
        ((20, 8, 6, 1), np.float32, "image", (1, 8, 6)),
        ((20, 7), np.float64, "table", (7,)),
    ],
)
def test_layout_is_found(shape, dtype, kind, kept):
    raw = load((numbers(*shape).astype(dtype), Y20))
    assert (raw.kind, raw.shape) == (kind, kept)


def test_channels_last_images_keep_their_pixels():
    x = bytes_of(20, 8, 6, 3)
    assert np.array_equal(load((x, Y20)).x, x.transpose(0, 3, 1, 2))
    assert np.array_equal(load((x.transpose(0, 3, 1, 2), Y20)).x, x.transpose(0, 3, 1, 2))


def test_layout_can_be_said():
    x = numbers(20, 30, 4)
    assert load((x, Y20), layout="NTC").shape == (4, 30)
    assert load((x[:, :, 0], Y20), layout="NT").shape == (1, 30)
    assert load((bytes_of(20, 12, 12), Y20), layout="NCT").kind == "sequence"
    with pytest.raises(UsageError, match=r"layout='HWC'.*NHWC"):
        load((x, Y20), layout="HWC")


# --- the fault table, one test a row ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (19, 2, 49)])
def test_d1_not_finite_is_counted_and_placed(bad, place):
    x = numbers(20, 3, 50)
    x[place] = bad
    with pytest.raises(
        DataError, match=rf"X has 1 values that are NaN or infinite.*{place[0]}, {place[1]}, {place[2]}"
    ):
        load((x, Y20))


def test_d1_tables_say_how_to_impute():
    x = numbers(20, 3)
    x[4, 2] = x[7, 1] = np.nan
    with pytest.raises(DataError, match=r"2 missing .*row 4, column 'x2'.*missing='impute'"):
        load((x, Y20))
    raw = load((x, Y20), missing="impute")
    assert np.isnan(raw.x.numeric).sum() == 2
    assert said(raw, "2 missing cells in 2 columns")
    x[4, 2] = np.inf
    with pytest.raises(DataError, match="1 infinite values"):
        load((x, Y20), missing="impute")


def test_d1_one_in_a_million():
    x = np.zeros((1000, 1000))
    x[:, 0] = np.arange(1000)
    x[567, 891] = np.nan
    with pytest.raises(DataError, match="row 567, column 'x891'"):
        load((x, np.arange(1000) % 2))


def test_d1_targets():
    y = np.linspace(0, 1, 20)
    y[3] = np.nan
    with pytest.raises(DataError, match=r"y has 1 rows.*row 3"):
        load((numbers(20, 2), y))


def test_d2_lengths():
    with pytest.raises(DataError, match="X has 20 rows and y has 19"):
        load((numbers(20, 3), Y20[:19]))


def test_d3_wrong_layout_names_the_likely_one():
    x = bytes_of(20, 32, 32, 3)
    with pytest.raises(DataError, match=r"32 channels; it looks like NHWC"):
        load((x, Y20), layout="NCHW")
    with pytest.raises(DataError, match=r"it looks like NCHW"):
        load((x.transpose(0, 3, 1, 2), Y20), layout="NHWC")
    with pytest.raises(DataError, match=r"2 axes; layout NCHW \(image\) needs 4"):
        load((numbers(20, 64), Y20), layout="NCHW")
    with pytest.raises(DataError, match=r"say layout='NCHW' or layout='NHWC'"):
        load((numbers(20, 3, 3, 3), Y20))
    with pytest.raises(DataError, match=r"shape \(20,\).*reshape\(-1, 1\)"):
        load((numbers(20), Y20))
    with pytest.raises(DataError, match="expected 2 axes"):
        load((numbers(20, 2, 3, 4, 5), Y20))


def test_d4_one_class():
    with pytest.raises(DataError, match="one class only \\('cat'\\)"):
        load((numbers(20, 3), ["cat"] * 20))
    with pytest.raises(DataError, match="y is constant"):
        load((numbers(20, 3), np.full(20, 0.5)))


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_d6_too_few_rows(n):
    with pytest.raises(DataError, match=r"empty|at least 6|one class only|constant"):
        load((numbers(n, 3), np.arange(n) % 2))


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.where(Y20 == 0, -1, 1), ("-1", "1")),
        (Y20 + 1, ("1", "2")),
        (Y20.astype(np.float64), ("0", "1")),
        (Y20.astype(bool), ("False", "True")),
        ([("no", "yes")[v] for v in Y20], ("no", "yes")),
        (np.array([("no", "yes")[v] for v in Y20], dtype=object), ("no", "yes")),
        (pd.Series([("no", "yes")[v] for v in Y20]), ("no", "yes")),
        (pd.Series([("no", "yes")[v] for v in Y20], dtype="category"), ("no", "yes")),
        (torch.tensor(Y20), ("0", "1")),
        (Y20[:, None], ("0", "1")),
        (np.eye(2)[Y20], ("0", "1")),
    ],
)
def test_d8_labels_are_encoded(y, classes):
    raw = load((numbers(20, 3), y))
    assert raw.task == "classification"
    assert raw.classes == classes
    assert np.array_equal(raw.y, Y20)
    assert raw.y.dtype == np.int64


def test_d8_labels_that_cannot_be():
    x = numbers(20, 3)
    with pytest.raises(DataError, match=r"0.5 at row 1, which is no class label"):
        load((x, np.arange(20) * 0.5), task="classification")
    with pytest.raises(DataError, match=r"mixes values of type int, str"):
        load((x, np.array(["a", 1] * 10, dtype=object)))
    with pytest.raises(DataError, match=r"missing values, the first is at row 1"):
        load((x, np.array(["a", None] * 10, dtype=object)))
    with pytest.raises(DataError, match=r"text \('a'\) and cannot be a regression"):
        load((x, ["a", "b"] * 10), task="regression")
    with pytest.raises(DataError, match=r"several labels a row"):
        load((x, np.ones((20, 3), int)))
    with pytest.raises(DataError, match="dtype complex"):
        load((x, Y20 * 1j))


def test_d8_a_label_of_the_test_part_that_training_lacks():
    x = numbers(20, 3)
    with pytest.raises(DataError, match=r"test y has the label '2' at row 5"):
        load((x, Y20), test=(x, [0] * 5 + [2] * 15))
    with pytest.raises(DataError, match="test y has labels like a, training has 0"):
        load((x, Y20), test=(x, ["a", "b"] * 10))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "bool", "uint16"])
def test_d9_casts_are_said(dtype):
    raw = load((bytes_of(20, 3, 8, 8).astype(dtype), Y20))
    assert raw.x.dtype == np.float32
    assert said(raw, f"{dtype} is cast to float32")


def test_d9_what_cannot_be_cast():
    with pytest.raises(DataError, match=r"dtype object.*DataFrame"):
        load((np.array([["a", 1.0]] * 20, dtype=object), Y20))
    with pytest.raises(DataError, match="different lengths"):
        load(([[1, 2], [3]] * 10, Y20), layout="NF")
    with pytest.raises(DataError, match="beyond float32"):
        load((numbers(20, 3, 8, 8).astype(np.float64) * 1e60, Y20))
    with pytest.raises(DataError, match="dtype datetime64"):
        load((np.zeros((20, 2), "datetime64[s]"), Y20))


def test_d9_bfloat16_tensors():
    x = torch.tensor(numbers(20, 3)).bfloat16()
    assert np.allclose(load((x, Y20)).x.numeric, x.float())


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_d10_channels(channels):
    assert load((numbers(20, channels, 9, 9), Y20)).shape == (channels, 9, 9)


def test_d10_one_pixel_and_huge_images(monkeypatch):
    assert load((numbers(20, 1, 1, 1), Y20), layout="NCHW").shape == (1, 1, 1)
    monkeypatch.setattr(arrange_module, "memory_bytes", lambda: 2**33)
    huge = np.broadcast_to(np.zeros(1, np.uint8), (20, 8000, 8000, 3))  # takes no memory itself
    with pytest.raises(DataError, match=r"20 images of 8000×8000×3 need about .* GiB.*there are 8.0; resize"):
        load((huge, Y20))


def test_memory_is_known():
    assert 2**26 < arrange_module.memory_bytes() < 2**50


def test_d18_fingerprint_sees_every_change():
    x, y = numbers(20, 3), Y20
    seen = {load((x, y)).fingerprint()}
    assert load((x.copy(), y.tolist())).fingerprint() in seen
    other = x.copy()
    other[19, 2] += 1e-6
    swapped = y.copy()
    swapped[:2] = swapped[1::-1]
    for data in ((other, y), (x, swapped), (x, [f"c{v}" for v in y]), (x[:, ::-1], y)):
        seen.add(load(data).fingerprint())
    seen.add(load((x, y), test=(x, y)).fingerprint())
    seen.add(load((pd.DataFrame(x, columns=list("abc")), y)).fingerprint())
    assert len(seen) == 7


# --- tasks ----------------------------------------------------------------------------------------------------


def test_task_is_inferred_and_said():
    x = numbers(60, 3)
    few, many = np.arange(60) % 5, np.arange(60)
    assert said(load((x, few)), "5 distinct whole numbers are read as classes; task='regression' overrides")
    assert load((x, few), task="regression").task == "regression"
    raw = load((x, many))
    assert raw.task == "regression"
    assert said(raw, "60 distinct whole numbers are read as a quantity")
    assert load((x, numbers(60))).task == "regression"
    ages = np.random.default_rng(0).integers(17, 90, 3000)
    assert load((numbers(3000, 2), ages)).task == "regression"
    assert load((numbers(3000, 2), np.arange(3000) % 90)).task == "classification"


def test_several_targets():
    raw = load((numbers(20, 3), numbers(20, 2)))
    assert (raw.task, raw.outputs, raw.y.shape) == ("regression", 2, (20, 2))
    with pytest.raises(DataError, match="must hold 2 numbers a row"):
        load((numbers(20, 3), numbers(20, 2)), test=(numbers(5, 3), numbers(5)))


def test_flat_images_get_a_hint():
    assert said(load((bytes_of(20, 64), Y20)), "if they are 8×8 images, reshape to (n, 8, 8)")


# --- frames, the test part, the limit -------------------------------------------------------------------------


def frame() -> pd.DataFrame:
    return pd.DataFrame({"age": np.arange(20.0), "city": list("ab") * 10, "ok": [True, False] * 10, "y": Y20})


def test_frames_have_columns_of_both_kinds():
    raw = load(frame(), target="y")
    assert isinstance(raw.x, Table)
    assert raw.names == ("age", "ok", "city")
    assert raw.x.numeric.shape == (20, 2)
    assert raw.x.categorical[:, 0].tolist() == list("ab") * 10
    assert raw.shape == (3,)


def test_frames_impute_unless_told_otherwise():
    data = frame()
    data.loc[3, "age"] = None
    data.loc[4, "city"] = None
    assert said(load(data, target="y"), "2 missing cells in 2 columns are imputed")
    with pytest.raises(DataError, match="row 3, column 'age'"):
        load(data, target="y", missing="error")


def test_frames_that_cannot_be_used():
    data = frame()
    with pytest.raises(UsageError, match="a DataFrame needs target=, one of age, city, ok, y"):
        load(data)
    with pytest.raises(DataError, match="no column 'z'"):
        load(data, target="z")
    data["when"] = [1j] * 20
    with pytest.raises(DataError, match=r"column 'when' has dtype complex128; split complex numbers"):
        load(data, target="y")
    data["when"] = [1, "x"] * 10
    with pytest.raises(DataError, match="column 'when' mixes numbers, text"):
        load(data, target="y")
    with pytest.raises(DataError, match=r"named columns and cannot be read with layout='NCHW'"):
        load(frame(), target="y", layout="NCHW")


def test_test_part_follows_the_training_columns():
    other = frame()[["y", "city", "ok", "age"]]
    raw = load(frame(), target="y", test=other)
    assert raw.test is not None
    assert raw.test[0].names == raw.names
    assert np.array_equal(raw.test[0].numeric, raw.x.numeric)
    with pytest.raises(DataError, match=r"test X lacks the column 'age'.*1 of 3"):
        load(frame(), target="y", test=other.drop(columns=["age"]))
    with pytest.raises(DataError, match="test X: column 'age' holds text"):
        load(frame(), target="y", test=other.assign(age="old"))
    numeric_city = load(frame(), target="y", test=other.assign(city=7))
    assert set(numeric_city.test[0].categorical[:, 0]) == {"7"}


def test_test_part_must_fit():
    x = bytes_of(20, 8, 8, 3)
    with pytest.raises(DataError, match=r"test X has rows of shape \(3, 9, 9\), training has \(3, 8, 8\)"):
        load((x, Y20), test=(bytes_of(5, 9, 9, 3), Y20[:5]))
    with pytest.raises(DataError, match="test X has 5 rows and test y has 4"):
        load((x, Y20), test=(x[:5], Y20[:4]))


def test_limit_is_stratified_and_repeatable():
    raw = load("digits", limit_train=200, seed=3)
    assert len(raw) == 200
    assert set(np.bincount(raw.y)) <= {19, 20, 21}
    assert said(raw, "kept 200 of 1,797 rows")
    assert load("digits", limit_train=200, seed=3).fingerprint() == raw.fingerprint()
    assert load("digits", limit_train=200, seed=4).fingerprint() != raw.fingerprint()
    assert len(load("digits", limit_train=10**6)) == 1797
    with pytest.raises(UsageError, match="at least 6 rows"):
        load("digits", limit_train=5)


def test_wrong_options_and_sources():
    with pytest.raises(UsageError, match="task='classify'"):
        load("digits", task="classify")
    with pytest.raises(UsageError, match="missing='drop'"):
        load("digits", missing="drop")
    with pytest.raises(UsageError, match="limit_train=0"):
        load("digits", limit_train=0)
    with pytest.raises(DataError, match="data of type int are not understood"):
        load(7)
    with pytest.raises(DataError, match="use target='label'"):
        load((numbers(20, 3), "label"))
    with pytest.raises(DataError, match=r"nowhere does not exist.*digits"):
        load("nowhere")


def test_d6_few_rows_are_said():
    raw = load((numbers(6, 3), np.arange(6) % 2))
    assert said(raw, "6 rows are very few")
    assert not said(load((numbers(10, 3), np.arange(10) % 2)), "very few")
