"""Datasets, DataLoaders, Hugging Face datasets, OpenML, Parquet and folders of images."""

from __future__ import annotations

import urllib.error

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from searchitect.errors import DataError, UsageError
from searchitect.training.data import load
from searchitect.training.readers import read_x

X = torch.arange(20 * 2 * 12, dtype=torch.float32).reshape(20, 2, 12)
Y = torch.arange(20) % 2


class Rows(Dataset):
    """What `of(i)` gives."""

    def __init__(self, of, n=20):
        self.of, self.n = of, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.of(i)


@pytest.mark.parametrize("source", [TensorDataset(X, Y), DataLoader(TensorDataset(X, Y), batch_size=7)])
def test_datasets_and_loaders_are_their_rows(source):
    raw = load(source)
    assert np.array_equal(raw.x, X)
    assert raw.y.tolist() == Y.tolist()
    assert raw.kind == "sequence"
    assert any("read once" in note for note in raw.notes)


def test_a_dataset_of_plain_numbers():
    raw = load(Rows(lambda i: (np.array([i, -i], float), "ab"[i % 2])))
    assert raw.x.numeric[3].tolist() == [3.0, -3.0]
    assert raw.classes == ("a", "b")


def test_d13_an_item_that_raises_is_named():
    def bad(i):
        if i == 7:
            raise RuntimeError("disk on fire")
        return X[i], Y[i]

    with pytest.raises(DataError, match="item 7 of the Rows cannot be read: RuntimeError: disk on fire"):
        load(Rows(bad))


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda i: {"image": X[i], "label": 1}, "item 0 of the Rows is a dict of 2 with the keys image, label"),
        (lambda i: (X[i], 1, 2), "is a tuple of 3; expected a pair"),
        (lambda i: 3.5, "is a float; expected a pair"),
        (lambda i: (X[i, :, : 12 - i // 5], 1), r"item 5 of the Rows: X has shape \(2, 11\), the first one \(2, 12\)"),
    ],
)
def test_d14_items_that_are_no_pairs(of, message):
    with pytest.raises(DataError, match=message):
        load(Rows(of))


def test_d15_no_length():
    class Endless(IterableDataset):
        def __iter__(self):
            return iter([(X[0], 1)])

    with pytest.raises(DataError, match=r"Endless has no length.*take rows first"):
        load(Endless())
    with pytest.raises(DataError, match="the Rows is empty"):
        load(Rows(lambda i: i, 0))


# --- Hugging Face: their faces, without the package ----------------------------------------------------------------


class ClassLabel:
    names = ("cat", "dog")


class Image:
    pass


class Hugging:
    """The part of `datasets.Dataset` that is read."""

    def __init__(self, columns, features):
        self.columns = columns
        self.features = {name: object() for name in columns} | features
        self.column_names = list(columns)

    def __getitem__(self, name):
        return self.columns[name]

    def to_pandas(self):
        return pd.DataFrame(self.columns)


def words(n):
    columns = {"size": list(range(n)), "word": ["a", "b"] * (n // 2), "label": [0, 1] * (n // 2)}
    return Hugging(columns, {"label": ClassLabel()})


def test_hugging_face_tables_with_splits():
    raw = load({"train": words(20), "test": words(6)})
    assert raw.names == ("size", "word")
    assert raw.classes == ("cat", "dog")
    assert len(raw.test[1]) == 6
    with pytest.raises(DataError, match="the splits are dev"):
        load({"dev": words(20)})
    with pytest.raises(DataError, match="no column 'answer'; there are size, word, label"):
        load(words(20), target="answer")


def test_hugging_face_images():
    images = [np.full((8, 9), i, np.uint8) for i in range(20)]
    raw = load(Hugging({"image": images, "label": [0, 1] * 10}, {"image": Image()}))
    assert raw.x.shape == (20, 1, 8, 9)
    images[3] = images[3][:4, :4]
    with pytest.raises(DataError, match=r"row 3 has shape \(4, 4\), the first one \(8, 9\)"):
        load(Hugging({"image": images, "label": [0, 1] * 10}, {"image": Image()}))


# --- OpenML, through scikit-learn --------------------------------------------------------------------------------


def test_openml_by_name_version_and_number(monkeypatch):
    asked = []

    def fetch(**options):
        asked.append({k: options[k] for k in ("name", "version", "data_id") if k in options})
        frame = pd.DataFrame({"a": np.arange(20.0), "b": ["x", "y"] * 10})
        return type("Bunch", (), {"data": frame, "target": pd.Series(["no", "yes"] * 10, name="class")})

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    raw = load("openml:credit-g")
    assert raw.names == ("a", "b")
    assert raw.classes == ("no", "yes")
    load("openml:credit-g@2")
    load("openml:31")
    assert asked == [{"name": "credit-g", "version": "active"}, {"name": "credit-g", "version": 2}, {"data_id": 31}]


def test_openml_without_a_network(monkeypatch):
    def fetch(**_):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    with pytest.raises(DataError, match=r"openml:adult cannot be fetched.*no route.*save it once as a file"):
        load("openml:adult")


# --- files ----------------------------------------------------------------------------------------------------------


def test_parquet_is_a_frame(tmp_path):
    frame = pd.DataFrame({"a": np.arange(20.0), "when": pd.Timestamp("1970-01-03"), "y": ["n", "m"] * 10})
    frame.to_parquet(tmp_path / "d.parquet")
    raw = load(tmp_path / "d.parquet", target="y")
    assert raw.names == ("a", "when")
    assert raw.x.numeric[0].tolist() == [0.0, 2.0]
    assert list(read_x(tmp_path / "d.parquet").columns) == ["a", "when", "y"]
    with pytest.raises(UsageError, match="needs target=, one of a, when, y"):
        load(tmp_path / "d.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"bad.parquet is no Parquet file"):
        load(tmp_path / "bad.parquet", target="y")


def images(folder, part="", count=10, mode="L"):
    pillow = pytest.importorskip("PIL.Image")
    for number, name in enumerate(("cat", "dog")):
        place = folder / part / name
        place.mkdir(parents=True)
        for i in range(count):
            pillow.new(mode, (6, 7), 10 * number if mode == "L" else (10 * number, i, 0)).save(place / f"{i}.png")


def test_a_folder_of_images(tmp_path):
    images(tmp_path / "plain")
    raw = load(tmp_path / "plain")
    assert raw.x.shape == (20, 1, 7, 6)
    assert raw.classes == ("cat", "dog")
    assert raw.x[raw.y == 1].min() == 10
    images(tmp_path / "parts", "train", mode="RGB")
    images(tmp_path / "parts", "test", count=3, mode="RGB")
    raw = load(tmp_path / "parts", layout="NHWC")
    assert raw.x.shape == (20, 3, 7, 6)
    assert len(raw.test[1]) == 6


def test_d20_a_damaged_image_is_named(tmp_path):
    images(tmp_path)
    whole = (tmp_path / "dog" / "4.png").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"text"):
        (tmp_path / "dog" / "4.png").write_bytes(damaged)
        with pytest.raises(DataError, match=r"dog/4.png is .*; remove it or fetch it again"):
            load(tmp_path)


def test_images_of_two_sizes_are_named(tmp_path):
    images(tmp_path)
    pytest.importorskip("PIL.Image").new("L", (3, 3)).save(tmp_path / "dog" / "9.png")
    with pytest.raises(DataError, match=r"dog/9.png has shape \(3, 3\), the first one \(7, 6\)"):
        load(tmp_path)
