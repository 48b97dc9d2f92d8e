"""Preprocessing: fixed on training rows, repeatable from plain JSON, and nothing lost on the way back."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from searchitect.errors import DataError
from searchitect.training.data import load
from searchitect.training.preprocess import MOST_LEVELS, Preprocess
from searchitect.training.table import Table
from searchitect.training.tensors import prepare

RNG = np.random.default_rng(0)


def mixed() -> pd.DataFrame:
    n = 40
    frame = pd.DataFrame({
        "size": RNG.normal(5, 2, n), "gaps": RNG.normal(size=n), "same": 7.0,
        "word": RNG.choice(["a", "b", "c"], n), "id": [f"row {i}" for i in range(n)], "y": np.arange(n) % 2,
    })  # fmt: skip
    frame.loc[::5, "gaps"] = None
    return frame


@pytest.mark.parametrize("shape", [(50, 3, 9, 7), (50, 2, 30), (50, 1, 8, 8)])
def test_channels_are_standardised(shape):
    x = RNG.normal(3, 2, shape).astype(np.float32) * np.arange(1, shape[1] + 1).reshape(1, -1, *[1] * (len(shape) - 2))
    raw = load((x, np.arange(50) % 2))
    fixed = Preprocess.fit(raw, np.arange(40))
    out = fixed.apply(raw.x[:40])
    axes = (0, *range(2, out.ndim))
    assert out.dtype == torch.float32
    assert torch.allclose(out.mean(axes), torch.zeros(shape[1]), atol=1e-5)
    assert torch.allclose(out.std(axes, correction=0), torch.ones(shape[1]), atol=1e-5)
    assert fixed.sample == shape[1:]
    assert np.array_equal(raw.x, load((x, np.arange(50) % 2)).x)  # the source is not touched


def test_bytes_are_scaled_like_floats():
    x = RNG.integers(0, 256, (30, 3, 8, 8)).astype(np.uint8)
    y = np.arange(30) % 2
    whole, real = load((x, y)), load((x.astype(np.float32), y))
    a, b = (Preprocess.fit(r, np.arange(30)).apply(r.x) for r in (whole, real))
    assert torch.allclose(a, b, atol=1e-5)


def test_only_training_rows_count():
    raw = load("digits")
    rows = np.arange(100)
    changed = load("digits")
    changed.x[100:] = 0
    assert Preprocess.fit(raw, rows) == Preprocess.fit(changed, rows)


def test_table_features_by_hand():
    raw = load(mixed(), target="y")
    fixed = Preprocess.fit(raw, np.arange(40))
    out = fixed.apply(raw.x).numpy()
    size, gaps = raw.x.numeric[:, 0], raw.x.numeric[:, 1]
    assert fixed.sample == (1 + 2 + 4,)  # size; gaps + flag; word: a, b, c, other; same and id are left out
    assert np.allclose(out[:, 0], (size - size.mean()) / size.std(), atol=1e-5)
    filled = np.where(np.isnan(gaps), np.nanmedian(gaps), gaps)
    assert np.allclose(out[:, 1], (filled - filled.mean()) / filled.std(), atol=1e-5)
    assert np.array_equal(out[:, 2], np.isnan(gaps))
    assert np.array_equal(out[:, 3:6], raw.x.categorical[:, :1] == np.array([["a", "b", "c"]]))
    assert not out[:, 6].any()
    assert any("2 columns are constant or differ in every row and are left out: same, id" in n for n in fixed.notes)


def test_unseen_values_at_prediction():
    raw = load(mixed(), target="y")
    fixed = Preprocess.fit(raw, np.arange(40))
    strange = Table(np.array([[1e9, np.nan, 0.0]]), np.array([["zebra", "row 0"]]), raw.names)
    out = fixed.apply(strange)[0]
    assert out[0] == 10.0  # clipped
    assert out[2] == 1.0
    assert out[3:].tolist() == [0, 0, 0, 1]


def test_missing_text_is_a_level_when_it_was_seen():
    frame = mixed()
    frame.loc[:9, "word"] = None
    raw = load(frame, target="y")
    column = Preprocess.fit(raw, np.arange(40)).columns[3]
    assert column.levels[0] == ""


def test_rare_levels_share_a_column():
    words = [f"w{i}" for i in range(80)] + ["common"] * 20 + ["w1"] * 20
    raw = load(pd.DataFrame({"word": words, "y": np.arange(120) % 2}), target="y")
    fixed = Preprocess.fit(raw, np.arange(120))
    assert fixed.sample == (MOST_LEVELS + 1,)
    assert {"common", "w1"} <= set(fixed.columns[0].levels)
    out = fixed.apply(raw.x)
    assert torch.equal(out.sum(1), torch.ones(120))
    assert out[:, -1].sum() == 80 + 1 - MOST_LEVELS


def test_d11_constant_data_are_said():
    x = RNG.integers(0, 256, (30, 3, 8, 8)).astype(np.uint8)
    x[:, 1] = 7
    x[:4] = 0
    x[4:, 1] = 0
    fixed = Preprocess.fit(load((x, np.arange(30) % 2)), np.arange(30))
    assert "X: channel 1 is constant (0)" in fixed.notes
    assert any("4 of 30 training images are constant" in n for n in fixed.notes)
    out = fixed.apply(x)
    assert out.isfinite().all()
    assert (out[:, 1] == 0).all()
    with pytest.raises(DataError, match="no column is left"):
        Preprocess.fit(load((np.ones((30, 2)), np.arange(30) % 2)), np.arange(30))


def test_targets_go_there_and_back():
    raw = load("diabetes")
    fixed = Preprocess.fit(raw, np.arange(300))
    y = fixed.encode_y(raw.y)
    assert y.shape == (442, 1)
    assert abs(float(y[:300].mean())) < 1e-5
    assert np.allclose(fixed.decode_y(y), raw.y, rtol=1e-5)
    wide = load((RNG.normal(size=(20, 2)), RNG.normal(5, 3, (20, 2))))
    both = Preprocess.fit(wide, np.arange(20))
    assert np.allclose(both.decode_y(both.encode_y(wide.y)), wide.y, atol=1e-5)


def test_classes_go_there_and_back():
    raw = load("iris")
    fixed = Preprocess.fit(raw, np.arange(150))
    y = fixed.encode_y(raw.y)
    assert y.dtype == torch.int64
    assert fixed.decode_y(y).tolist() == [raw.classes[v] for v in raw.y]
    assert fixed.decode_y(torch.eye(3)).tolist() == list(raw.classes)
    for bad in (-1, 3):
        with pytest.raises(DataError, match=f"class number {bad} at row 1; there are 3"):
            fixed.encode_y(np.array([0, bad]))


@pytest.mark.parametrize("source", ["digits", "iris", "diabetes", "frame"])
def test_json_repeats_everything(source):
    raw = load(mixed(), target="y") if source == "frame" else load(source)
    fixed = Preprocess.fit(raw, np.arange(30))
    again = Preprocess.from_json(json.loads(json.dumps(fixed.to_json())))
    assert again == fixed
    assert torch.equal(again.apply(raw.x), fixed.apply(raw.x))


def test_json_of_something_else():
    with pytest.raises(DataError, match="no preprocessing file"):
        Preprocess.from_json({"kind": "video"})
    plain = Preprocess.fit(load("iris"), np.arange(150)).to_json()
    with pytest.raises(DataError, match="format 2 is newer"):
        Preprocess.from_json({**plain, "format": 2})


def test_rows_of_another_shape():
    fixed = Preprocess.fit(load("digits"), np.arange(100))
    with pytest.raises(DataError, match=r"shape \(1, 9, 9\), training had \(1, 8, 8\)"):
        fixed.apply(np.zeros((2, 1, 9, 9), np.uint8))
    table = Preprocess.fit(load("iris"), np.arange(150))
    with pytest.raises(DataError, match="rows have 3 columns"):
        table.apply(np.zeros((2, 3)))
    assert table.apply(np.zeros((2, 4))).shape == (2, 4)


def test_prepare_joins_the_steps():
    raw = load("diabetes")
    data, fixed = prepare(raw, np.arange(300), np.arange(300, 400))
    assert data.x.shape == (300, 10)
    assert data.x_eval.shape == (100, 10)
    assert np.allclose(data.units(data.y_eval)[:, 0], raw.y[300:400], rtol=1e-4)
    test, same = prepare(raw, np.arange(200), None, fixed)
    assert same is fixed
    assert test.x_eval is None
    with pytest.raises(DataError, match="no test part"):
        prepare(raw, np.arange(300), "test")


def test_prepare_reads_the_test_part():
    x = RNG.normal(size=(60, 3))
    raw = load((x[:40], np.arange(40) % 2), test=(x[40:], np.arange(20) % 2))
    data, _ = prepare(raw, np.arange(40), "test")
    assert len(data.x_eval) == 20


# --- reading rows for prediction ------------------------------------------------------------------------------


def test_read_images_in_any_layout(tmp_path):
    x = RNG.integers(0, 256, (30, 8, 6, 3)).astype(np.uint8)
    raw = load((x, np.arange(30) % 2))
    fixed = Preprocess.fit(raw, np.arange(30))
    want = fixed.apply(raw.x)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "xy.npz", X=x, y=np.arange(30) % 2)
    for source in (x, x.transpose(0, 3, 1, 2), torch.tensor(x), tmp_path / "x.npz", str(tmp_path / "xy.npz")):
        assert torch.equal(fixed.apply(fixed.read(source)), want)
    with pytest.raises(DataError, match=r"rows of shape \(3, 6, 8\), training has \(3, 8, 6\)"):
        fixed.read(x.transpose(0, 2, 1, 3))
    assert Preprocess.fit(load("digits"), np.arange(99)).read("digits").shape == (1797, 1, 8, 8)
    assert Preprocess.fit(load("digits"), np.arange(99)).read(np.zeros((1, 8, 8))).shape == (1, 1, 8, 8)


def test_read_sequences_in_any_layout():
    x = RNG.normal(size=(30, 2, 12)).astype(np.float32)
    fixed = Preprocess.fit(load((x, np.arange(30) % 2)), np.arange(30))
    assert np.array_equal(fixed.read(x), x)
    assert np.array_equal(fixed.read(x.transpose(0, 2, 1)), x)
    single = Preprocess.fit(load((x[:, :1], np.arange(30) % 2)), np.arange(30))
    assert np.array_equal(single.read(x[:, 0]), x[:, :1])


def test_read_tables_by_column_name(tmp_path):
    raw = load(mixed(), target="y")
    fixed = Preprocess.fit(raw, np.arange(40))
    other = mixed().drop(columns=["y"])[["word", "id", "gaps", "same", "size"]]
    other.to_csv(tmp_path / "new.csv", index=False)
    for source in (other, other.assign(y=3), tmp_path / "new.csv"):
        assert fixed.read(source).names == raw.names
        assert fixed.apply(fixed.read(source)).shape == (40, 7)
    with pytest.raises(DataError, match="X lacks the column 'gaps'"):
        fixed.read(other.drop(columns=["gaps"]))
    iris = Preprocess.fit(load("iris"), np.arange(150))
    assert torch.equal(iris.apply(iris.read(load("iris").x.numeric)), iris.apply(load("iris").x))
    gap = load("iris").x.numeric[:2].copy()
    gap[0, 0] = np.nan
    assert iris.apply(iris.read(gap)).isfinite().all()


def test_read_of_nothing_useful(tmp_path):
    fixed = Preprocess.fit(load("digits"), np.arange(99))
    np.savez(tmp_path / "z.npz", z=np.zeros(3))
    with pytest.raises(DataError, match="has the keys z; expected one x"):
        fixed.read(tmp_path / "z.npz")
    with pytest.raises(DataError, match="does not exist"):
        fixed.read(tmp_path / "nothing.npz")
    with pytest.raises(DataError, match="X has shape"):
        fixed.read(np.zeros((2, 64)))
