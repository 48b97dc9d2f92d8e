"""Small tables for tests: made in memory or written to a folder."""

import json

import numpy as np

from searchitect.bench import load_table

DECISIONS = {"kernel": [1, 3, 5], "act": ["relu", "tanh", "gelu"], "width": [8, 16]}
ROWS = 18


def write(folder, columns, arrays, name="toy.npz", **body):
    """A table in the simple form, with a signal `valid` and a score `test`; returns its path."""
    about = {"format": 1, "decisions": DECISIONS, "columns": columns, "signal": "valid", "score": "test", **body}
    np.savez(folder / name, description=np.array(json.dumps(about)), **arrays)
    return str(folder / name)


def plain(folder, *, seconds=10.0, direction="max", name="toy.npz", valid=None, **body):
    """valid is the row's number (or as given), test ten times as much; each evaluation takes `seconds` + row."""
    columns = {
        "valid": {"direction": direction, "cost": {"column": "time"}}, "test": {"direction": direction},
        "time": {"direction": "min"}, "size": {"direction": "min", "known": True},
    }  # fmt: skip
    rows = np.arange(ROWS, dtype=float)
    arrays = {"valid": rows if valid is None else valid, "test": 10 * rows, "time": seconds + rows, "size": rows % 5}
    return load_table(write(folder, columns, arrays, name, **body))


def curves(folder):
    """Three epochs of 1 s each; the order of rows changes between epoch 1 and 3."""
    columns = {
        "valid": {"direction": "max", "epochs": [1, 2, 3], "cost": {"column": "time"}}, "test": {"direction": "max"},
        "time": {"direction": "min"},
    }  # fmt: skip
    rows = np.arange(ROWS, dtype=float)
    return load_table(
        write(
            folder,
            columns,
            {"valid": np.stack([-rows, rows / 2, rows], axis=1), "test": rows, "time": np.full(ROWS, 3.0)},
        )
    )
