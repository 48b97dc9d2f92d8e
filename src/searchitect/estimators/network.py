"""The network of a fitted estimator, in memory: what its bundle holds, without the folder."""

from __future__ import annotations

import copy
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from searchitect.errors import StorageError
from searchitect.finalize import read_bundle, rebuild, write_formats
from searchitect.finalize.bundle import check_bundle
from searchitect.space import Space
from searchitect.training import Preprocess, predict


class Temporary:
    """A private folder that goes when nobody holds it any more. Copies in memory share it; pickles have none."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="searchitect-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def __deepcopy__(self, _memo: Any) -> Temporary:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _nothing() -> None:
    return None


@dataclass
class Network:
    """module:  trained, in eval mode, on the CPU.  files: the bundle's, by name.  checked: whether they were tried."""

    module: nn.Module
    preprocess: Preprocess
    files: dict[str, bytes]
    checked: bool
    space: Space | None = None

    @classmethod
    def read(cls, bundle: Path, space: Space | None, checked: bool) -> Network:
        """Of a folder that `search` left. `space` is needed where the network has classes of the user's."""
        opened = read_bundle(bundle)
        files = {path.name: path.read_bytes() for path in sorted(bundle.iterdir()) if path.is_file()}
        return cls(rebuild(opened, space), Preprocess.from_json(opened.preprocess), files, checked, space)

    def outputs(self, rows: Any, layout: str | None = None) -> Tensor:
        """Raw outputs (N, outputs) for raw rows.

        Numbers are computed in float64: they are asked for in float64, and then must not depend on which other rows
        are in the batch, as the last digits of float32 do.
        """
        x = self.preprocess.apply(self.preprocess.read(rows, layout))
        if self.preprocess.task == "classification":
            return predict(self.module, x)
        return predict(copy.deepcopy(self.module).double(), x.double())

    def values(self, outputs: Tensor) -> np.ndarray:
        """Outputs of a regression (N, outputs) as float64 (N,) or (N, outputs) in the user's units."""
        return self.preprocess.decode_y(outputs)

    def write(self, folder: Path, formats: Any = (), report: Path | None = None) -> Path:
        """Put the bundle into a new folder, tried there, with more forms of it and the report where wanted."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StorageError(f"{folder} exists and is not empty; name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name, data in self.files.items():
                (folder / name).write_bytes(data)
            if report is not None and report.is_file():
                shutil.copy(report, folder / "report.html")
            if not self.checked:
                check_bundle(folder, own_only=False)
            if formats:
                write_formats(folder, formats, self.space)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # all or nothing, so that it can be tried again
            raise
        return folder
