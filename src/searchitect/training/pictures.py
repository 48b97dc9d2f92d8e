"""A folder of image files: one folder for each class, in it images of one size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from searchitect.errors import DataError, UsageError
from searchitect.training.collected import stacked

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
PARTS = {"train": "train", "test": "test", "val": "train", "valid": "train", "validation": "train"}
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}


def has_images(folder: Path) -> bool:
    """Whether it holds folders of images, or train/ and test/ that do."""
    inner = [p for p in folder.iterdir() if p.is_dir()]
    return any(_files(p) for p in inner) or any(p.name in PARTS and any(map(_files, _folders(p))) for p in inner)


def read_images(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(images, class names) of "train" and, where there is a folder of that name, of "test".

    Grey images stay grey where all are; other modes become RGB. Raises DataError that names the file.
    """
    parts = [p for p in _folders(folder) if p.name in PARTS and any(map(_files, _folders(p)))]
    found: dict[str, list[Path]] = {}
    for place in parts or [folder]:
        found.setdefault(PARTS[place.name] if parts else "train", []).append(place)
    if "train" not in found:
        raise DataError(f"{folder} has images in test/ but none in train/")
    classes: dict[str, list[tuple[Path, str]]] = {
        part: [(file, kind.name) for place in places for kind in _folders(place) for file in _files(kind)]
        for part, places in found.items()
    }
    everything = [file for pairs in classes.values() for file, _ in pairs]
    mode = _mode(everything)
    return {
        part: (stacked(_read([f for f, _ in pairs], mode), str(folder)), np.array([name for _, name in pairs]))
        for part, pairs in classes.items()
    }


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _mode(files: list[Path]) -> str:
    modes = set()
    for file in files:
        with _opened(file) as image:
            modes.add(_MODES.get(image.mode, "RGB"))
    return "L" if modes == {"L"} else "RGB"


def _read(files: list[Path], mode: str) -> Iterator[tuple[str, np.ndarray]]:
    for file in files:
        with _opened(file) as image:
            yield f"{file.parent.name}/{file.name}", np.asarray(image.convert(mode))


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """An image of Pillow. Raises DataError, also for what shows only when it is decoded."""
    try:
        from PIL import Image
    except ImportError:
        raise UsageError("image files need Pillow: pip install 'searchitect[images]'") from None
    try:
        with Image.open(file) as image:
            yield image
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's ways to say "damaged"
        raise DataError(f"{file} is an image that cannot be read: {error}; remove it or fetch it again") from error
