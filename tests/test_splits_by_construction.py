"""Whatever the data are: no worker can hold a test row, parts are whole, and rows that are in two parts are told."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from searchitect import Settings
from searchitect.session.preparing import Given, prepare
from searchitect.training.split import row_hashes

N = 120
R = np.random.default_rng(0)
LABELS = np.arange(N) % 3


def image():
    return R.integers(0, 255, (N, 9, 9), dtype=np.uint8), LABELS


def table():
    return R.normal(size=(N, 5)), LABELS


def sequence():
    return R.normal(size=(N, 3, 12)).astype(np.float32), LABELS


def frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"a": R.normal(size=N), "b": [f"w{i % 7}" for i in range(N)]}), LABELS


def regression():
    return R.normal(size=(N, 4)), R.normal(size=N)


def dataset():
    return TensorDataset(torch.from_numpy(R.random((N, 1, 8, 8)).astype(np.float32)), torch.from_numpy(LABELS))


def repeated(data):
    """The same rows once more behind themselves."""
    if isinstance(data, TensorDataset):
        return TensorDataset(*(torch.cat([t, t]) for t in data.tensors))
    x, y = data
    again = x.iloc[np.tile(np.arange(N), 2)].reset_index(drop=True) if hasattr(x, "iloc") else np.concatenate([x, x])
    return again, np.concatenate([y, y])


KINDS = (image, table, sequence, frame, regression, dataset)


def prepared(data, **options):
    layout = "NCT" if not isinstance(data, TensorDataset) and getattr(data[0], "ndim", 0) == 3 else None
    layout = None if layout and data[0].dtype == np.uint8 else layout
    given = {name: options.pop(name) for name in ("groups", "test_data") if name in options}
    return prepare(Settings(budget="60s", layout=layout, executor="serial", **options), Given(data=data, **given))


@pytest.mark.parametrize("kind", KINDS)
def test_no_test_row_reaches_a_worker(kind):
    found = prepared(kind())
    splits, evaluator = found.data_facts["splits"], found.evaluator
    assert sum(splits.values()) == N
    assert splits["test"] == len(found.test[1]) == 24
    assert len(evaluator.raw) == splits["train"] + splits["validation"] == 96
    assert evaluator.raw.test is None
    assert not set(evaluator.train) & set(evaluator.validation)
    assert not set(row_hashes(evaluator.raw.x)) & set(row_hashes(found.test[0]))
    assert not any("also occur" in note for note in found.data_facts["notes"])
    if found.data.task == "classification":
        assert np.bincount(found.test[1]).tolist() == [8, 8, 8], "stratified"


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_in_two_parts_are_told(kind):
    found = prepared(repeated(kind()))
    inside = row_hashes(found.evaluator.raw.x[found.evaluator.train])
    counts = {
        "validation": sum(h in set(inside) for h in row_hashes(found.evaluator.raw.x[found.evaluator.validation])),
        "test": sum(h in set(inside) for h in row_hashes(found.test[0])),
    }
    told = [note for note in found.data_facts["notes"] if "also occur in training" in note]
    assert [note.split(" ")[0] for note in told] == [str(counts["validation"]), str(counts["test"])]
    assert counts["test"] > 10


@pytest.mark.parametrize("kind", KINDS)
def test_groups_and_time_hold_for_every_kind(kind):
    groups = np.arange(N) // 6
    by_group = prepared(kind(), groups=groups)
    tested = by_group.test_kin.groups
    assert len(set(tested)) == len(tested) / 6 == 4
    assert not set(tested) & set(by_group.evaluator.raw.groups)
    if kind is frame or kind is dataset:
        return  # the order of rows is seen in the arrays below
    x, y = kind()
    timed = prepared((x, y), ordered=True)
    assert timed.test_kin.ordered
    expected = y[96:] if timed.data.task == "regression" else LABELS[96:]
    assert np.array_equal(timed.test[1].reshape(-1), expected), "the latest rows, in their order"
    assert timed.evaluator.validation.min() > timed.evaluator.train.max()


def test_a_test_part_that_was_given_is_the_test_part():
    x, y = table()
    found = prepared((x[:90], y[:90]), test_data=(x[90:], y[90:]))
    assert np.array_equal(found.test[0].numeric, x[90:])
    assert len(found.evaluator.raw) == 90
    leaking = prepared((x[:90], y[:90]), test_data=(x[:30], y[:30]))
    assert any(note.split(" ", 1)[1].startswith("of 30 test rows also occur in training")
               for note in leaking.data_facts["notes"])  # fmt: skip
