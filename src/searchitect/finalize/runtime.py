"""The second half of every bundle's `model.py`: everything below the marked line is copied into it as it stands.

It imports torch and Python's own library, nothing else. Here `network` and SHAPE are stand-ins.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import struct
import sys
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

HERE = Path(__file__).resolve().parent
SHAPE: tuple[int, ...] = (1,)


def network() -> nn.Module:
    """The untrained network (a stand-in)."""
    return nn.Identity()


# ---- copied from here on ---------------------------------------------------------------------------------------------
# The rest is the same in every folder of this kind: weights are read, rows become tensors, outputs become answers.

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
CLIP = 10.0  # standard deviations
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def load() -> nn.Module:
    """The trained network in eval mode on the CPU. It maps (N, *SHAPE), as `preprocess` makes it, to raw outputs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Lazy modules are a new feature")
        model = network().eval()
        with torch.no_grad():
            model(torch.zeros(1, *SHAPE))  # layers that take their sizes from the first input get them here
    model.load_state_dict(read_tensors(HERE / "weights.safetensors"))
    return model


def preprocess(x: Any) -> torch.Tensor:
    """Raw rows as a float32 tensor (N, *SHAPE), by the figures that were fixed on the training rows.

    Images and sequences: an array, tensor or nested list, channels first or last, one row or many. Tables: rows as
    mappings from column to value, or as lists in the order of the columns in preprocess.json; a missing value is
    None, NaN or an empty text. Where preprocess.json says "none", rows must be ready: (N, *SHAPE) or one row.
    """
    if _figures().get("kind") == "table":
        return _table(x)
    if _figures().get("kind") == "none":
        return _ready(torch.as_tensor(x).to(torch.float32))
    rows = _arranged(torch.as_tensor(x).to(torch.float32))
    if not _figures().get("mean"):
        return rows
    view = (1, -1) + (1,) * (len(SHAPE) - 1)
    mean, std = (torch.tensor(_figures()[name], dtype=torch.float32).view(view) for name in ("mean", "std"))
    scaled: torch.Tensor = (rows - mean) / std
    return scaled


def predict(x: Any) -> list[Any]:
    """The label, or the number (a list for several targets), of each raw row; with preprocessing "none" raw outputs."""
    outputs = _outputs(x)
    if _figures().get("task") == "classification":
        names = _figures().get("classes") or list(range(outputs.shape[1]))
        return [names[i] for i in outputs.argmax(dim=1).tolist()]
    if _figures().get("kind") == "none":
        raw: list[Any] = outputs.tolist()
        return raw
    values = outputs.reshape(len(outputs), -1).double()
    if _figures().get("y_std"):
        mean, std = (torch.tensor(_figures()[name], dtype=torch.float64) for name in ("y_mean", "y_std"))
        values = values * std + mean
    numbers: list[Any] = values[:, 0].tolist() if values.shape[1] == 1 else values.tolist()
    return numbers


def predict_proba(x: Any) -> torch.Tensor:
    """The share of each class for each raw row: (N, classes), in the order of preprocess.json."""
    if _figures().get("kind") == "none":
        raise ValueError("what the outputs mean is not known here; call predict, which gives them as they are")
    if _figures().get("task") != "classification":
        raise ValueError("this network predicts numbers, which have no probabilities; call predict")
    return _outputs(x).softmax(dim=1)


def selftest() -> float:
    """The largest difference between stored outputs and those computed now, relative to the largest output."""
    stored = read_tensors(HERE / "selftest.safetensors")
    with torch.no_grad():
        found = load()(stored["inputs"])
    if found.shape != stored["outputs"].shape or not bool(found.isfinite().all()):
        return float("inf")
    return float((found - stored["outputs"]).abs().max() / stored["outputs"].abs().max().clamp(min=1))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file: eight bytes of length, a JSON header, then the numbers."""
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        kind, raw = DTYPES[entry["dtype"]], bytearray(data[start + first : start + last])
        flat = torch.frombuffer(raw, dtype=kind) if raw else torch.empty(0, dtype=kind)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


@functools.cache
def _figures() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((HERE / "preprocess.json").read_text(encoding="utf-8"))
    return read


@functools.cache
def _loaded() -> nn.Module:
    return load()


def _outputs(x: Any) -> torch.Tensor:
    with torch.no_grad():
        pieces = [_loaded()(piece) for piece in torch.split(preprocess(x), 256)]
        outputs: torch.Tensor = torch.cat(pieces)
    return outputs


def _arranged(x: torch.Tensor) -> torch.Tensor:
    """(N, *SHAPE) from one row or many, channels first or last, or without the axis of a single channel."""
    shape, last, bare = SHAPE, (*SHAPE[1:], SHAPE[0]), SHAPE[1:]
    for one_row in (False, True):
        rows = x[None] if one_row else x
        if tuple(rows.shape[1:]) == shape:
            return rows
        if len(shape) > 1 and tuple(rows.shape[1:]) == last:
            return rows.movedim(-1, 1).contiguous()
        if len(shape) > 1 and shape[0] == 1 and tuple(rows.shape[1:]) == bare:
            return rows[:, None]
    raise ValueError(f"rows have shape {tuple(x.shape[1:])}; this network takes {shape}")


def _ready(x: torch.Tensor) -> torch.Tensor:
    """(N, *SHAPE) as it is, or one row; nothing is guessed about axes."""
    for rows in (x, x[None]):
        if tuple(rows.shape[1:]) == SHAPE:
            return rows
    raise ValueError(f"got an input of shape {tuple(x.shape)}; this network takes (N, {', '.join(map(str, SHAPE))})")


def _table(x: Any) -> torch.Tensor:
    columns = _figures()["columns"]
    rows = x.tolist() if hasattr(x, "tolist") else x
    features = []
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            lacking = [c["name"] for c in columns if c["name"] not in row]
            if lacking:
                raise ValueError(f"row {number} lacks the column {lacking[0]!r}")
            row = [row[c["name"]] for c in columns]
        if len(row) != len(columns):
            raise ValueError(f"row {number} has {len(row)} values; this network takes {len(columns)}")
        features.append([v for c, cell in zip(columns, row) for v in _features(c, cell)])  # noqa: B905 - same length
    return torch.tensor(features, dtype=torch.float32).reshape(len(features), *SHAPE)


def _features(column: dict[str, Any], cell: Any) -> list[float]:
    """The numbers that one cell becomes."""
    empty = cell is None or cell != cell
    if column["kind"] == "categorical":
        if not column["keep"]:
            return []
        text = "" if empty else f"{cell:g}" if isinstance(cell, float) else str(cell)
        if text not in column["levels"]:
            text = "" if text.strip().lower() in MISSING else text.strip()
        place = column["levels"].index(text) if text in column["levels"] else len(column["levels"])
        return [float(i == place) for i in range(len(column["levels"]) + 1)]
    if isinstance(cell, str):
        empty = cell.strip().lower() in MISSING
    number = column["median"] if empty else _number(cell, column["name"])
    scaled = min(CLIP, max(-CLIP, (number - column["mean"]) / column["std"]))
    return [scaled] * column["keep"] + [float(empty)] * column["flag"]


def _number(cell: Any, name: str) -> float:
    """A number, one with a decimal comma, or a date as days since the beginning of 1970."""
    if hasattr(cell, "isoformat"):
        cell = cell.isoformat()
    for read in (float, lambda text: float(text.replace(",", ".")), _days):
        try:
            return read(cell)
        except ValueError:
            continue
    raise ValueError(f"column {name!r} holds {cell!r}, which is neither a number nor a date such as 2024-03-31")


def _days(text: str) -> float:
    return (datetime.fromisoformat(text).replace(tzinfo=None) - datetime(1970, 1, 1)) / timedelta(days=1)


def _read_rows(path: Path) -> Any:
    """Raw rows from a .csv file with a header (tables) or a .json file of nested lists."""
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    text = path.read_text(encoding="utf-8-sig")
    delimiter = max(",;\t|", key=text.lstrip().split("\n", 1)[0].count)
    return list(csv.DictReader(text.splitlines(), delimiter=delimiter, skipinitialspace=True))


def main() -> int:
    """`python model.py --selftest`, or `python model.py ROWS.csv` to print one prediction a line."""
    parser = argparse.ArgumentParser(description="Predict with the network in this folder.")
    parser.add_argument("rows", nargs="?", type=Path, help="a .csv file (tables) or a .json file of nested lists")
    parser.add_argument("--selftest", action="store_true", help="recompute stored outputs; exit code 1 if they differ")
    chosen = parser.parse_args()
    if chosen.selftest:
        worst = selftest()
        print(f"ok (largest difference {worst:.1e})" if worst <= 1e-4 else f"FAILED: outputs differ by {worst:.1e}")
        return 0 if worst <= 1e-4 else 1
    if chosen.rows is None:
        parser.print_help()
        return 2
    for value in predict(_read_rows(chosen.rows)):
        print(value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
