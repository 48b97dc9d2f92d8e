"""`searchitect predict`: use a bundle on new rows."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from searchitect.cli.app import Command
from searchitect.cli.options import json_option
from searchitect.cli.text import as_json
from searchitect.errors import BuildError, DataError, StorageError, UsageError


@click.command(cls=Command)
@click.argument("bundle", metavar="BUNDLE")
@click.argument("data", metavar="DATA")
@click.option("--target", metavar="COLUMN", help="The column or array of DATA that holds the answers; it is not used.")
@click.option("--out", metavar="FILE.csv", help="Write there instead of printing.")
@click.option("--run-code", is_flag=True, help="Run the bundle's own model.py; only for people you trust.")
@json_option
def predict(bundle: str, data: str, target: str | None, out: str | None, run_code: bool, json: bool) -> None:
    """Predict the rows of DATA with the network in BUNDLE.

    BUNDLE is a folder that `export` or a search wrote, or a study that has one. Nothing in it is run unless you
    say --run-code. DATA is a file or folder as for `search --data`; answers are not needed.
    """
    folder = bundle_folder(Path(bundle).expanduser())
    rows = read_rows(data, target)
    found = predictions(network(folder, run_code), rows)
    text = as_json(found) if json else as_csv(found)
    if out is None:
        click.echo(text, nl=json)
        return
    from searchitect.report.files import write_atomically

    path = write_atomically(Path(out).expanduser(), text.encode())
    click.echo(f"wrote {len(found):,} predictions to {path}")


def bundle_folder(path: Path) -> Path:
    """The bundle itself, or the one in a study. Raises StorageError when there is none."""
    for folder in (path, path / "best"):
        if (folder / "model.py").is_file():
            return folder
    if (path / "study.db").is_file():
        raise StorageError(f"{path} holds no bundle yet; `searchitect resume {path}` finishes the study")
    raise StorageError(f"{path} is no bundle (no file model.py); `searchitect export STUDY {path}` makes one")


def read_rows(data: str, target: str | None) -> Any:
    """Raw rows as a bundle takes them: an array, or for tables mappings from column to cell."""
    path = Path(data).expanduser()
    if path.suffix in (".csv", ".tsv"):
        return _csv_rows(path)
    if path.suffix == ".npz":
        return _npz_rows(path, target)
    from searchitect.training.readers import read
    from searchitect.training.table import Table

    found = read(data, target)
    x = found.x if found.x_test is None else found.x_test
    return _table_rows(x) if isinstance(x, Table) else x


def _csv_rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    delimiter = max(",;\t|", key=text.lstrip().split("\n", 1)[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="", skipinitialspace=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    rows = [row for row in reader if any(isinstance(cell, str) and cell.strip() for cell in row.values())]
    if not rows:
        raise DataError(f"{path.name} has no rows below its header line")
    return rows


def _npz_rows(path: Path, target: str | None) -> Any:
    """The x of an .npz file; of several the one of the test part."""
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as opened:
            names = [n for n in opened.files if n.lower()[:1] == "x" and n != target]
            chosen = next((n for n in names if "test" in n.lower()), names[0] if len(names) == 1 else None)
            if chosen is not None:
                return opened[chosen]
            keys = ", ".join(opened.files)
    except Exception as error:  # zipfile, zlib, numpy: each has its own way to say "damaged"
        raise DataError(f"{path.name} cannot be opened: {error} (files with pickled objects are refused)") from None
    raise DataError(f"{path.name} has the keys {keys}; expected one x, or x_test")


def _table_rows(table: Any) -> list[dict[str, Any]]:
    cells = [*table.numeric.T.tolist(), *table.categorical.T.tolist()]
    return [dict(zip(table.names, row, strict=True)) for row in zip(*cells, strict=True)]


def network(folder: Path, run_code: bool) -> ModuleType:
    """Something with `predict` and `predict_proba`: the bundle's own code, or ours around its plain files."""
    from searchitect.finalize import opening

    if run_code:
        return opening.run_bundle(folder, run_its_code=True)
    bundle = opening.read_bundle(folder)
    try:
        model = opening.rebuild(bundle)
    except BuildError as error:
        raise UsageError(
            f"{folder} needs code of its author's own ({error}); if you trust them, --run-code runs its model.py"
        ) from None
    # A fresh copy of the module that bundles carry, told where the files are and which network to ask.
    spec = importlib.util.find_spec("searchitect.finalize.runtime")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(HERE=folder, SHAPE=bundle.sample, load=lambda: model)
    return module


def predictions(network: Any, rows: Any) -> list[dict[str, Any]]:
    """One mapping a row: its number, the prediction and, for classes, the share given to it."""
    try:
        labels = network.predict(rows)
        shares = network.predict_proba(rows).max(dim=1).values.tolist() if _is_text(labels) else None
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise DataError(f"the network cannot take these rows: {error}") from error
    found: list[dict[str, Any]] = []
    for number, label in enumerate(labels):
        entry = {"row": number, "prediction": label}
        found.append(entry if shares is None else {**entry, "share": round(shares[number], 6)})
    return found


def _is_text(labels: list[Any]) -> bool:
    return bool(labels) and isinstance(labels[0], str)


def as_csv(found: list[dict[str, Any]]) -> str:
    """The predictions with a header line; text that a spreadsheet would compute gets an apostrophe."""
    from searchitect.report.export import FORMULA

    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(found[0] if found else ("row", "prediction"))
    for entry in found:
        writer.writerow([f"'{v}" if isinstance(v, str) and v.startswith(FORMULA) else v for v in entry.values()])
    return out.getvalue()
