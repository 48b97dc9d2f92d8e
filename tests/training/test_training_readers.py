"""Files: npz, CSV, idx, CIFAR-10 batches; whole, odd and damaged."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest

from searchitect.errors import DataError, UsageError
from searchitect.training import readers
from searchitect.training.data import load

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 8, 8)).astype(np.uint8)
Y = np.arange(30) % 3


@pytest.mark.parametrize(
    "keys", [("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "Y_train"), ("train-x", "y")]
)
def test_npz_pairs(tmp_path, keys):
    if keys[0] == "train-x":
        keys = ("x_images", "y_labels")
    np.savez(tmp_path / "d.npz", **{keys[0]: X, keys[1]: Y})
    raw = load(tmp_path / "d.npz")
    assert np.array_equal(raw.x[:, 0], X)
    assert raw.test is None


def test_npz_with_test_validation_and_names(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=X, y_train=Y, x_val=X[:4], y_val=Y[:4], x_test=X[:6], y_test=Y[:6],
             classes=np.array(["a", "b", "c"]), extra=np.zeros(3))  # fmt: skip
    raw = load(str(tmp_path / "d.npz"))
    assert len(raw) == 34
    assert len(raw.test[1]) == 6
    assert raw.classes == ("a", "b", "c")
    assert any("validation part joins" in n for n in raw.notes)
    with pytest.raises(UsageError, match="test part of its own"):
        load(tmp_path / "d.npz", test=tmp_path / "d.npz")


def test_npz_numeric_and_category_columns(tmp_path):
    np.savez(tmp_path / "d.npz", x_num_train=RNG.normal(size=(30, 2)), x_cat_train=RNG.integers(0, 3, (30, 1)),
             y_train=Y,
             num_names=np.array(["a", "b"]), cat_names=np.array(["c"]))  # fmt: skip
    raw = load(tmp_path / "d.npz")
    assert raw.names == ("a", "b", "c")
    assert set(raw.x.categorical[:, 0]) == {"0", "1", "2"}


def test_npz_keys_that_are_no_pair(tmp_path):
    np.savez(tmp_path / "d.npz", features=X, labels=Y)
    with pytest.raises(DataError, match=r"d.npz has the keys features, labels; expected x and y"):
        load(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", x=X, y=Y, y2=Y)
    with pytest.raises(DataError, match=r"x, y, y2 are not one x and one y"):
        load(tmp_path / "e.npz")
    assert len(load(tmp_path / "e.npz", target="y2")) == 30


class Bomb:
    """Would leave a trace if it were unpickled."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_npz_never_unpickles(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=np.array([Bomb()] * 20, dtype=object), y=Y)
    with pytest.raises(DataError, match="pickled objects are refused"):
        load(tmp_path / "d.npz")
    (tmp_path / "e.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"e.npz cannot be opened"):
        load(tmp_path / "e.npz")
    assert "unpickled" not in capsys.readouterr().out


def test_npz_truncated(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    data = (tmp_path / "d.npz").read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 5):
        (tmp_path / "cut.npz").write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"cut.npz cannot be opened"):
            load(tmp_path / "cut.npz")


# --- CSV ------------------------------------------------------------------------------------------------------


def csv(path, header: str, rows: list[str]):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_csv_columns_and_target(tmp_path):
    rows = [f"{i},{'ab'[i % 2]},{i % 3}" for i in range(12)]
    raw = load(csv(tmp_path / "d.csv", "n,word,label", rows), target="label")
    assert raw.names == ("n", "word")
    assert raw.classes == ("0", "1", "2")
    assert raw.x.numeric[:, 0].tolist() == list(range(12))
    with pytest.raises(UsageError, match="name the target column, one of n, word, label"):
        load(tmp_path / "d.csv")
    with pytest.raises(DataError, match="has no column 'x'; it has n, word, label"):
        load(tmp_path / "d.csv", target="x")


def test_d19_bom_semicolon_and_decimal_comma(tmp_path):
    rows = [f'"{i},5";{i % 2}' for i in range(12)]
    path = csv(tmp_path / "d.csv", "n;label", rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    raw = load(path, target="label")
    assert raw.names == ("n",)
    assert raw.x.numeric[:, 0].tolist() == [i + 0.5 for i in range(12)]
    assert raw.task == "classification"
    assert any("delimiter ';'" in n for n in raw.notes)


def test_d19_numbers_with_decimal_comma_as_target(tmp_path):
    raw = load(csv(tmp_path / "d.csv", "n;y", [f"{i};{i},25" for i in range(12)]), target="y")
    assert raw.y.tolist() == [i + 0.25 for i in range(12)]


def test_d19_header_twice(tmp_path):
    rows = [f"{i},{i % 2}" for i in range(12)]
    with pytest.raises(DataError, match=r"line 5: the header again \(column 'n'\)"):
        load(csv(tmp_path / "d.csv", "n,label", [*rows[:3], "n,label", *rows[3:]]), target="label")
    with pytest.raises(DataError, match="column 'n' occurs 2 times"):
        load(csv(tmp_path / "e.csv", "n,n", rows), target="n")


def test_d19_mixed_types_name_column_line_and_cell(tmp_path):
    rows = [f"{i},{i % 2}" for i in range(30)]
    rows[7] = "about 7,1"
    rows[2] = "\n\n" + rows[2]  # blank lines count as lines
    with pytest.raises(DataError, match=r"column 'n' holds numbers, but 'about 7' in line 11"):
        load(csv(tmp_path / "d.csv", "n,label", rows), target="label")


def test_csv_gaps(tmp_path):
    rows = [f"{i},{'ab'[i % 2]},{i % 2}" for i in range(12)]
    rows[2], rows[3] = "NA,a,0", "3,,1"
    raw = load(csv(tmp_path / "d.csv", "n,word,label", rows), target="label")
    assert np.isnan(raw.x.numeric[2, 0])
    assert raw.x.categorical[3, 0] == ""
    rows[4] = "4,a,?"
    with pytest.raises(DataError, match=r"target 'label' is missing in 1 rows, the first is line 6"):
        load(csv(tmp_path / "d.csv", "n,word,label", rows), target="label")


def test_csv_ragged_and_empty(tmp_path):
    with pytest.raises(DataError, match=r"line 3: 1 cells, the header has 2"):
        load(csv(tmp_path / "d.csv", "n,label", ["1,2", "3"]), target="label")
    with pytest.raises(DataError, match="no rows below its header"):
        load(csv(tmp_path / "e.csv", "n,label", []), target="label")


# --- idx and CIFAR-10 -----------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, zipped: bool, prefix: str, n: int) -> None:
    for name, values in (("images-idx3-ubyte", X[:n]), ("labels-idx1-ubyte", Y[:n].astype(np.uint8))):
        data = idx(values)
        path = folder / (prefix + name + (".gz" if zipped else ""))
        path.write_bytes(gzip.compress(data) if zipped else data)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_folder(tmp_path, zipped):
    write_idx(tmp_path, zipped, "train-", 30)
    assert load(tmp_path).test is None
    write_idx(tmp_path, zipped, "t10k-", 6)
    raw = load(tmp_path)
    assert np.array_equal(raw.x[:, 0], X)
    assert np.array_equal(raw.y, Y)
    assert raw.test[0].shape == (6, 1, 8, 8)
    name = "train-images-idx3-ubyte" + (".gz" if zipped else "")
    assert load(tmp_path / name).fingerprint() == raw.fingerprint()


def test_idx_damaged(tmp_path):
    write_idx(tmp_path, False, "train-", 30)
    images = tmp_path / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-7])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte declares 1,920 bytes of values and has 1,913"):
        load(tmp_path)
    images.write_bytes(whole + b"x")
    with pytest.raises(DataError, match="has more"):
        load(tmp_path)
    images.write_bytes(b"hello world")
    with pytest.raises(DataError, match="is not an idx file"):
        load(tmp_path)
    images.write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 2**31, 2**31, 2**31))
    with pytest.raises(DataError, match="cannot be right"):
        load(tmp_path)
    images.rename(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match=r"ubyte.gz cannot be read"):
        load(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no partner"):
        load(tmp_path)


def test_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"folders of images .* idx files .* nor CIFAR-10 .*found: notes.txt"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"notes.txt: files are read as .npz"):
        load(tmp_path / "notes.txt")


def test_cifar_batches(tmp_path):
    images = RNG.integers(0, 256, (20, 3072)).astype(np.uint8)
    labels = (np.arange(20) % 10).astype(np.uint8)
    rows = np.concatenate([labels[:, None], images], axis=1)
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(rows.tobytes())
    raw = load(tmp_path)
    assert raw.shape == (3, 32, 32)
    assert len(raw) == 40
    assert np.array_equal(raw.x[:20].reshape(20, -1), images)
    assert raw.classes[0] == "airplane"
    assert len(raw.test[1]) == 20
    assert any("2 of the 5" in n for n in raw.notes)
    assert len(load(tmp_path / "data_batch_2.bin")) == 20
    (tmp_path / "data_batch_1.bin").write_bytes(rows.tobytes()[:-1])
    with pytest.raises(DataError, match="no whole number of CIFAR-10 rows"):
        load(tmp_path)
    rows[3, 0] = 10
    (tmp_path / "data_batch_1.bin").write_bytes(rows.tobytes())
    with pytest.raises(DataError, match="row 3 has the label 10"):
        load(tmp_path)


# --- damage of any kind ---------------------------------------------------------------------------------------


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.choice([1, 2, 20]))):
        place = int(rng.integers(0, len(out)))
        how = rng.integers(0, 3)
        if how == 0:
            out[place] = int(rng.integers(0, 256))
        elif how == 1:
            del out[place : place + 30]
        else:
            out[place:place] = rng.bytes(9)
        out = out or bytearray(b"x")
    return bytes(out)


@pytest.mark.parametrize("kind", ["npz", "csv", "idx", "bin"])
def test_damaged_files_raise_our_errors_only(tmp_path, kind):
    name = {"npz": "d.npz", "csv": "d.csv", "idx": "train-images-idx3-ubyte", "bin": "data_batch_1.bin"}[kind]
    path = tmp_path / name
    if kind == "npz":
        np.savez(path, x=X, y=Y)
    elif kind == "csv":
        csv(path, "n;word;label", [f"{i};a{i % 4};{i % 2}" for i in range(30)])
    elif kind == "idx":
        write_idx(tmp_path, False, "train-", 30)
    else:
        path.write_bytes(bytes(3073 * 12))
    whole, rng, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(150):
        path.write_bytes(damaged(whole, rng))
        try:
            load(path, target="label" if kind == "csv" else None)
        except DataError:
            refused += 1
    assert refused > 30


def test_npz_that_unpacks_beyond_memory(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((100, 1000)), y=Y)
    monkeypatch.setattr(readers, "memory_bytes", lambda: 500_000)
    with pytest.raises(DataError, match="when unpacked, more than there is memory"):
        load(tmp_path / "d.npz")
