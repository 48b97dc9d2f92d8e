"""Data that are held by other libraries: torch's Datasets and DataLoaders, Hugging Face datasets, OpenML.

All are read into memory once, so a random transform of theirs is drawn once for each row; the recipe's own
augmentation is drawn anew in each epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from searchitect.errors import DataError, UsageError

OPENML = "openml:"
USUAL_TARGETS = ("label", "labels", "target", "y")


def is_collection(source: Any) -> bool:
    """Whether it is a torch Dataset or DataLoader, or looks like one."""
    return not isinstance(source, (str, bytes, tuple, list, dict, np.ndarray)) and (
        is_loader(source) or (hasattr(source, "__getitem__") and not hasattr(source, "shape"))
        or (hasattr(source, "__iter__") and not hasattr(source, "shape"))
    )  # fmt: skip


def is_loader(source: Any) -> bool:
    """Whether rows come in batches."""
    return hasattr(source, "dataset") and hasattr(source, "collate_fn")


def is_hugging_face(source: Any) -> bool:
    """Whether it is a `datasets.Dataset`, or a mapping of its splits."""
    if isinstance(source, dict):
        return bool(source) and all(is_hugging_face(part) for part in source.values())
    return hasattr(source, "features") and hasattr(source, "column_names") and hasattr(source, "to_pandas")


def read_rows(source: Any) -> tuple[np.ndarray, np.ndarray]:
    """(X, y) of a Dataset or DataLoader of pairs. Raises DataError, naming the first item that is no such pair."""
    loader = is_loader(source)
    whole = hasattr(source, "__len__") and (loader or hasattr(source, "__getitem__"))
    if not whole:
        raise DataError(f"{type(source).__name__} has no length, so nothing can be held out of it; take rows first: "
                        "torch.utils.data.default_collate(list(itertools.islice(source, 10_000)))")  # fmt: skip
    xs: list[np.ndarray] = []
    ys: list[np.ndarray] = []
    for place, item in _items(source, loader):
        x, y = _pair(item, place)
        if xs and x.shape[loader:] != xs[0].shape[loader:]:
            raise DataError(f"{place}: X has shape {x.shape[loader:]}, the first one {xs[0].shape[loader:]}; bring all "
                            "to one shape")  # fmt: skip
        xs.append(x)
        ys.append(y)
    if not xs:
        raise DataError(f"the {type(source).__name__} is empty")
    return (np.concatenate(xs), np.concatenate(ys)) if loader else (np.stack(xs), np.stack(ys))


def _items(source: Any, loader: bool) -> Iterator[tuple[str, Any]]:
    """Each item with a name for messages; what fails inside is a DataError with that name."""
    items = iter(source) if loader else (source[i] for i in range(len(source)))
    for number in itertools.count():
        place = f"batch {number}" if loader else f"item {number} of the {type(source).__name__}"
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:  # the user's code may fail in its own ways
            raise DataError(f"{place} cannot be read: {type(error).__name__}: {error}") from error
        yield place, item


def _pair(item: Any, place: str) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        got = f"{type(item).__name__} of {len(item)}" if hasattr(item, "__len__") else type(item).__name__
        keys = f" with the keys {', '.join(map(str, item))}" if isinstance(item, dict) else ""
        raise DataError(f"{place} is a {got}{keys}; expected a pair (x, y)")
    x, y = (np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for v in item)
    return x, y


def read_hugging_face(source: Any, target: str | None) -> tuple[Any, Any, tuple[str, ...] | None]:
    """(X, y, class names) of one split: images as arrays, all else as a DataFrame."""
    names = list(source.column_names)
    chosen = target or next((n for n in USUAL_TARGETS if n in names), None)
    if chosen is None:
        raise UsageError(f"name the target column, one of {', '.join(names)}")
    if chosen not in names:
        raise DataError(f"no column {chosen!r}; there are {', '.join(names)}")
    classes = getattr(source.features[chosen], "names", None)
    y = np.asarray(source[chosen][:])
    pictures = [n for n in names if n != chosen and type(source.features[n]).__name__ == "Image"]
    if pictures:
        x: Any = stacked(pictures_of(source[pictures[0]][:]), f"column {pictures[0]!r}")
    else:
        x = source.to_pandas().drop(columns=[chosen])
    return x, y, None if classes is None else tuple(map(str, classes))


def pictures_of(images: Iterable[Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Pictures of Pillow, or arrays, as arrays with their numbers."""
    for number, image in enumerate(images):
        yield f"row {number}", np.asarray(image)


def stacked(images: Iterable[tuple[str, np.ndarray]], what: str) -> np.ndarray:
    """(N, H, W) or (N, H, W, C). Raises DataError that names the first image of another size."""
    arrays: list[np.ndarray] = []
    for name, image in images:
        if arrays and image.shape != arrays[0].shape:
            raise DataError(f"{what}: {name} has shape {image.shape}, the first one {arrays[0].shape}; bring all "
                            "images to one size and one mode first")  # fmt: skip
        arrays.append(image)
    return np.stack(arrays)


def read_openml(name: str, target: str | None) -> tuple[Any, Any]:
    """(X, y) of a set of OpenML by "NAME", "NAME@VERSION" or its number, through scikit-learn, which keeps a copy."""
    from sklearn.datasets import fetch_openml

    try:
        import pandas  # noqa: F401 - fetch_openml makes frames by it
    except ImportError:
        raise UsageError("openml: needs pandas: pip install 'searchitect[pandas]'") from None
    title, _, version = name.partition("@")
    which: dict[str, Any] = {"data_id": int(title)} if title.isdigit() else {"name": title}
    if not title.isdigit():
        which["version"] = int(version) if version.isdigit() else version or "active"
    try:
        found = fetch_openml(**which, as_frame=True, target_column=target or "default-target", parser="auto")
    except OSError as error:  # URLError is one
        raise DataError(f"openml:{name} cannot be fetched: {error}; without a network, save it once as a file: "
                        "df.to_parquet('data.parquet')") from error  # fmt: skip
    except ValueError as error:
        raise DataError(f"openml:{name}: {error}") from error
    if found.target is None:
        columns = ", ".join(map(str, found.data.columns[:20]))
        raise UsageError(f"openml:{name} names no target column; say which, of {columns}")
    return found.data, found.target
