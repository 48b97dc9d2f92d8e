"""Where data come from: sets that ship with scikit-learn, pairs in memory, and plain files.

Nothing here runs code from a file: numpy opens without pickle, the rest is text or raw bytes.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from searchitect.errors import DataError, UsageError, meant
from searchitect.training import collected
from searchitect.training.arrange import memory_bytes
from searchitect.training.columns import read_csv, read_csv_features
from searchitect.training.pictures import has_images, read_images
from searchitect.training.ragged import window_of, windows
from searchitect.training.table import Table

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_CIFAR_ROW = 1 + 3 * 32 * 32
_CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, eq=False)
class Found:
    """What a source holds, before any check. `tabular` sources have empty cells as a matter of course; `groups` is the
    column that was set apart as such."""

    x: Any
    y: Any
    x_test: Any = None
    y_test: Any = None
    names: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    layout: str | None = None
    tabular: bool = False
    groups: Any = None
    notes: list[str] = field(default_factory=list)


def read(source: Any, target: str | None = None, groups: str | None = None) -> Found:
    """Open a source (see `data.load`). Raises DataError with what was looked for and what was found."""
    if isinstance(source, str) and source.startswith(collected.OPENML):
        source = _joined(*collected.read_openml(source.removeprefix(collected.OPENML), target))
        target = str(source.columns[-1])
    path = Path(source).expanduser() if isinstance(source, (str, Path)) and source not in BUNDLED else None
    if path is not None and path.suffix in (".parquet", ".pq"):
        source, path = _parquet(path), None
    frame = hasattr(source, "dtypes") and hasattr(source, "columns")
    if groups is not None and not frame and (path is None or path.suffix not in (".csv", ".tsv")):
        raise UsageError(f"groups={groups!r} names a column, which only a CSV file or a DataFrame has; give one number "
                         "or name for each row: search(..., groups=[...])")  # fmt: skip
    if isinstance(source, str) and source in BUNDLED:
        return _bundled(source)
    if path is not None:
        return _file(path, target, groups)
    if frame:
        return _frame(source, target, groups)
    if isinstance(source, (tuple, list)) and len(source) == 2:
        x, y = source
        if isinstance(y, str):
            raise DataError(f"the second part of the pair is the text {y!r}; for a column name use target={y!r}")
        return Found(x, y, tabular=hasattr(x, "dtypes") and hasattr(x, "columns"))
    if collected.is_hugging_face(source):
        return _hugging_face(source, target)
    if collected.is_collection(source):
        x, y = collected.read_rows(source)
        return Found(x, y, notes=[f"{type(source).__name__}: each row was read once"])
    raise DataError(
        f"data of type {type(source).__name__} are not understood; give a pair (X, y), a DataFrame with target=, "
        "a Dataset of pairs, a file (.npz, .csv, .parquet, .bin), a folder of images, idx or CIFAR-10 files, or one "
        f"of {', '.join(BUNDLED)}"
    )


def read_stream(source: Any, layout: str) -> Found:
    """One long row of token ids (an array, tensor, list, or an npz with one array), as windows and what follows."""
    if isinstance(source, (str, Path)):
        arrays = _npz_arrays(Path(source).expanduser())
        if len(arrays) != 1:
            raise DataError(f"{source} has the keys {', '.join(arrays)}; a stream is one array")
        source = next(iter(arrays.values()))
    ids = np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise DataError(f"layout={layout!r} reads one long row of token ids; got shape {ids.shape}, dtype {ids.dtype}")
    x, y = windows(ids, window_of(layout), "the stream")
    return Found(x, y, notes=[f"a stream of {len(ids):,} tokens, cut into {len(x):,} windows of {x.shape[1]}"])


def read_x(source: Any) -> Any:
    """The features of a source that may have no target: what `read` takes, one array, a CSV or an npz with x."""
    if isinstance(source, (str, Path)) and source not in BUNDLED:
        path = Path(source).expanduser()
        if path.suffix in (".csv", ".tsv") and path.is_file():
            return read_csv_features(path)
        if path.suffix == ".npz" and path.is_file():
            arrays = _npz_arrays(path)
            keys = [n for n in arrays if n.lower()[:1] == "x"]
            if len(keys) != 1:
                raise DataError(f"{path.name} has the keys {', '.join(arrays)}; expected one x")
            return arrays[keys[0]]
        if path.suffix in (".parquet", ".pq"):
            return _parquet(path)
    elif not isinstance(source, (str, tuple)):
        return source
    return read(source).x


def _bundled(name: str) -> Found:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    classes = tuple(map(str, found.target_names)) if hasattr(found, "target_names") else None
    if name == "digits":
        return Found(found.images.astype(np.uint8), found.target, classes=classes, layout="NHW")
    return Found(found.data, found.target, names=tuple(map(str, found.feature_names)), classes=classes)


def _frame(frame: Any, target: str | None, groups: str | None) -> Found:
    if target is None:
        raise UsageError(f"a DataFrame needs target=, one of {', '.join(map(str, frame.columns))}")
    apart = [target] if groups is None else [target, groups]
    for name in apart:
        if name not in frame.columns:
            raise DataError(f"no column {name!r}; there are {', '.join(map(str, frame.columns))}")
    kept = None if groups is None else frame[groups].to_numpy()
    return Found(frame.drop(columns=apart), frame[target], tabular=True, groups=kept)


def _file(path: Path, target: str | None, groups: str | None) -> Found:
    if not path.exists():
        near = meant(path.name, BUNDLED)
        raise DataError(f"{path} does not exist{near}; give a file, a folder, or one of {', '.join(BUNDLED)}")
    if path.is_dir():
        return _folder(path)
    if path.name.endswith(".npz"):
        return _npz(path, target)
    if path.suffix in (".csv", ".tsv"):
        table, y, kept, notes = read_csv(path, target, groups)
        return Found(table, y, tabular=True, groups=kept, notes=notes)
    if path.suffix == ".bin":
        x, y = _cifar(path)
        return Found(x, y, classes=_CIFAR_CLASSES, layout="NCHW")
    if "-ubyte" in path.name:
        return _folder(path.parent)
    raise DataError(
        f"{path.name}: files are read as .npz, .csv, .tsv, .parquet, .bin (CIFAR-10) or idx, not {path.suffix!r}"
    )


def _joined(x: Any, y: Any) -> Any:
    """Features and the target, as the last column, in one frame."""
    return x.assign(**{str(y.name): y})


def _parquet(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        import pandas

        return pandas.read_parquet(path)
    except ImportError:
        raise UsageError(f"{path.name} needs pandas and pyarrow: pip install 'searchitect[parquet]'") from None
    except Exception as error:  # pyarrow has many ways to say "damaged"
        raise DataError(f"{path.name} is no Parquet file that can be read: {error}") from None


def _hugging_face(source: Any, target: str | None) -> Found:
    """One dataset, or the splits train and test of a mapping of them."""
    if not isinstance(source, dict):
        x, y, classes = collected.read_hugging_face(source, target)
        return Found(x, y, classes=classes, tabular=hasattr(x, "columns"))
    if "train" not in source:
        raise DataError(f"the splits are {', '.join(source)}; pass the one to learn from")
    x, y, classes = collected.read_hugging_face(source["train"], target)
    apart = collected.read_hugging_face(source["test"], target)[:2] if "test" in source else (None, None)
    return Found(x, y, apart[0], apart[1], classes=classes, tabular=hasattr(x, "columns"))


def _npz_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as opened:
            size = sum(info.file_size for info in opened.zip.infolist())
            if size > memory_bytes():
                raise DataError(f"{size / 2**30:.1f} GiB when unpacked, more than there is memory")
            return {name: opened[name] for name in opened.files}
    except Exception as error:  # zipfile, zlib, numpy: each has its own way to say "damaged"
        raise DataError(f"{path.name} cannot be opened: {error} (files with pickled objects are refused)") from None


def _npz(path: Path, target: str | None) -> Found:
    arrays = _npz_arrays(path)
    parts = {part: _npz_part(arrays, part, target) for part in ("train", "val", "test")}
    if parts["train"] is None:
        raise DataError(
            f"{path.name} has the keys {', '.join(arrays)}; expected x and y, or x_train and y_train "
            "(x_test, y_test beside them are kept as the test part)"
        )
    x, y = parts["train"]
    notes = []
    if parts["val"] is not None:
        x, y = np.concatenate([x, parts["val"][0]]), np.concatenate([y, parts["val"][1]])
        notes.append(f"{path.name}: its validation part joins the training part; one is cut off anew")
    x_test, y_test = parts["test"] or (None, None)
    names = tuple(map(str, arrays["num_names"])) if "num_names" in arrays else ()
    classes = tuple(map(str, arrays["classes"])) if "classes" in arrays else None
    return Found(x, y, x_test, y_test, names=names, classes=classes, notes=notes)


def _npz_part(arrays: dict[str, np.ndarray], part: str, target: str | None) -> tuple[Any, np.ndarray] | None:
    """The x* and y* arrays of one part; keys without a part's name are training ones."""
    words = {"train": ("train",), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}

    def belongs(name: str) -> bool:
        tokens = name.lower().replace("-", "_").split("_")
        marked = [p for p, w in words.items() if any(t in w for t in tokens)]
        return part in marked or (part == "train" and not marked)

    mine = [n for n in arrays if belongs(n)]
    y_keys = [n for n in mine if (n.lower()[:1] == "y" and target is None) or n == target]
    x_keys = [n for n in mine if n.lower()[:1] == "x"]
    if not x_keys or not y_keys:
        return None
    if len(y_keys) > 1 or len(x_keys) > 2:
        raise DataError(f"the keys {', '.join((*x_keys, *y_keys))} are not one x and one y; target= names the y key")
    if len(x_keys) == 1:
        return arrays[x_keys[0]], arrays[y_keys[0]]
    return _mixed(arrays, sorted(x_keys, key=lambda n: "cat" in n.lower())), arrays[y_keys[0]]


def _mixed(arrays: dict[str, np.ndarray], keys: list[str]) -> Table:
    """Numeric columns and columns of category codes, kept under two keys."""
    numeric, codes = arrays[keys[0]], arrays[keys[1]]
    if "cat" not in keys[1].lower() or numeric.ndim != 2 or codes.ndim != 2 or len(numeric) != len(codes):
        raise DataError(f"the keys {keys[0]} and {keys[1]} are not a pair of numeric and 'cat' columns of equal length")

    def named(key: str, array: np.ndarray, letter: str) -> tuple[str, ...]:
        known = tuple(map(str, arrays[key])) if key in arrays else ()
        return known if len(known) == array.shape[1] else tuple(f"{letter}{i}" for i in range(array.shape[1]))

    names = named("num_names", numeric, "x") + named("cat_names", codes, "c")
    return Table(numeric.astype(np.float64), codes.astype(str), names)


def _folder(path: Path) -> Found:
    names = sorted(p.name for p in path.iterdir())
    batches = [n for n in names if n.startswith("data_batch_") and n.endswith(".bin")]
    if batches:
        pairs = [_cifar(path / n) for n in batches]
        x_test, y_test = _cifar(path / "test_batch.bin") if "test_batch.bin" in names else (None, None)
        notes = [] if len(batches) == 5 else [f"{path.name}: {len(batches)} of the 5 training batches are there"]
        x, y = (np.concatenate(part) for part in zip(*pairs, strict=True))
        return Found(x, y, x_test, y_test, classes=_CIFAR_CLASSES, layout="NCHW", notes=notes)
    if has_images(path):
        parts = read_images(path)
        return Found(*parts["train"], *parts.get("test", (None, None)))
    train = _idx_pair(path, names, ("train-", ""))
    if train is None:
        shown = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
        raise DataError(
            f"{path} holds neither folders of images (one for each class), nor idx files "
            "(train-images-idx3-ubyte, train-labels-idx1-ubyte, .gz or not), nor "
            f"CIFAR-10 batches (data_batch_1.bin); found: {shown or 'nothing'}"
        )
    x_test, y_test = _idx_pair(path, names, ("t10k-", "test-")) or (None, None)
    return Found(*train, x_test, y_test, layout="NHW" if train[0].ndim == 3 else None)


def _cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One standard binary batch: rows of a label byte and 3×32×32 image bytes."""
    raw = np.fromfile(path, np.uint8)
    if len(raw) == 0 or len(raw) % _CIFAR_ROW:
        raise DataError(f"{path.name}: {len(raw):,} bytes are no whole number of CIFAR-10 rows ({_CIFAR_ROW:,} bytes)")
    rows = raw.reshape(-1, _CIFAR_ROW)
    if rows[:, 0].max() > 9:
        bad = int(np.argmax(rows[:, 0] > 9))
        raise DataError(f"{path.name}: row {bad} has the label {rows[bad, 0]}; CIFAR-10 has 0 to 9")
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64)


def _idx_pair(path: Path, names: list[str], prefixes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    for prefix in prefixes:
        images = [n for n in names if n.startswith((f"{prefix}images-idx", f"{prefix}images.idx"))]
        labels = [n for n in names if n.startswith((f"{prefix}labels-idx", f"{prefix}labels.idx"))]
        if images and labels:
            return _idx(path / images[0]), _idx(path / labels[0])
        if images or labels:
            raise DataError(f"{path}: {(images or labels)[0]} has no partner ({prefix}images and {prefix}labels)")
    return None


def _idx(path: Path) -> np.ndarray:
    """One idx file: two zero bytes, type, number of axes, the axes as big-endian uint32, the values."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as plain:
            return _idx_values(cast(BinaryIO, plain), path.name)
    except (OSError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from None


def _idx_values(file: BinaryIO, name: str) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES or not 1 <= head[3] <= 4:
        raise DataError(f"{name} is not an idx file (it starts with {head!r})")
    shape = tuple(int(v) for v in np.frombuffer(file.read(4 * head[3]), ">u4"))
    kind = np.dtype(_IDX_TYPES[head[2]])
    size = math.prod(shape) * kind.itemsize
    if len(shape) != head[3] or size > 2**36:
        raise DataError(f"{name} declares {size:,} bytes, which cannot be right")
    values = file.read(size + 1)  # one byte more tells a file that is too long
    if len(values) != size:
        got = "more" if len(values) > size else f"{len(values):,}"
        raise DataError(f"{name} declares {size:,} bytes of values and has {got}; fetch it again")
    return np.frombuffer(values, kind).astype(kind.newbyteorder("=")).reshape(shape)
