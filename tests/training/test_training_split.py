"""Splits: stratified, disjoint, keyed, and leaks found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchitect.errors import DataError, UsageError
from searchitect.training.data import load
from searchitect.training.split import part, row_hashes, split, stratified_part


def raw_of(y, columns: int = 3):
    x = np.random.default_rng(0).normal(size=(len(y), columns))
    return load((x, y))


def test_parts_are_disjoint_and_whole():
    raw = load("digits")
    parts = split(raw, 0)
    rows = np.concatenate([parts.train, parts.validation, parts.test])
    assert np.array_equal(np.sort(rows), np.arange(1797))
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [1079, 359, 359]
    for rows in (parts.validation, parts.test):
        assert np.abs(np.bincount(raw.y[rows]) - np.bincount(raw.y) * 0.2).max() <= 1
    assert parts.notes == ()


def test_keyed_by_the_seed():
    raw = load("digits")
    one, again, other = split(raw, 1), split(raw, 1), split(raw, 2)
    assert np.array_equal(one.test, again.test)
    assert np.array_equal(one.validation, again.validation)
    assert not np.array_equal(one.test, other.test)


def test_test_rows_do_not_depend_on_the_validation_share():
    raw = load("digits")
    assert np.array_equal(split(raw, 0, validation=0.1).test, split(raw, 0, validation=0.4).test)


def test_given_test_part_is_respected():
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = np.arange(60) % 3
    raw = load((x[:40], y[:40]), test=(x[40:], y[40:]))
    parts = split(raw, 0)
    assert len(parts.train) + len(parts.validation) == 40
    held, labels = part(raw, parts, "test")
    assert np.array_equal(held.numeric, x[40:])
    assert np.array_equal(labels, y[40:])
    assert np.array_equal(part(raw, parts, "train")[1], raw.y[parts.train])


def test_d5_every_class_is_in_training():
    y = np.array([0] * 50 + [1] * 2 + [2] * 3)
    for seed in range(20):
        parts = split(raw_of(y), seed)
        assert set(y[parts.train]) == {0, 1, 2}


def test_d5_a_class_with_one_row():
    with pytest.raises(DataError, match=r"1 classes have one row only \(for example 'c'\)"):
        split(raw_of(["a"] * 10 + ["b"] * 10 + ["c"]), 0)


def test_d12_leaks_are_counted():
    x = np.random.default_rng(0).normal(size=(100, 3))
    x[50:] = x[:50]  # each row twice
    raw = load((x, np.tile(np.arange(50) % 2, 2)))
    parts = split(raw, 0)
    inside = {tuple(row) for row in raw.x.numeric[parts.train]}
    count = sum(tuple(row) in inside for row in raw.x.numeric[parts.validation])
    assert count > 0
    assert parts.notes[0].startswith(f"{count} of 20 validation rows also occur in training")
    assert "test rows also occur" in parts.notes[1]


def test_row_hashes_of_tables_see_text():
    a = load("iris").x
    assert len(row_hashes(a)) == 150
    assert row_hashes(a[:3]) == row_hashes(a)[:3]


def test_regression_is_not_stratified():
    parts = split(load("diabetes"), 0, validation=0.25, test=0.1)
    assert [len(parts.validation), len(parts.test)] == [110, 44]


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.2), (0.5, 0.5), (-0.1, 0.2), (1.0, 0.0), (0.2, 1.5)])
def test_shares_that_make_no_sense(validation, test):
    with pytest.raises(UsageError, match=r"share|leave too little"):
        split(load("iris"), 0, validation=validation, test=test)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.floats(0, 0.9), st.integers(0, 5))
def test_stratified_part_keeps_its_promises(counts, share, seed):
    strata = np.repeat(np.arange(len(counts)), counts)
    n = len(strata)
    size = round(n * share)
    rows = stratified_part(strata, n, size, seed, "any")
    taken = np.bincount(strata[rows], minlength=len(counts))
    assert len(set(rows)) == len(rows)
    assert all(t < c for t, c in zip(taken, counts, strict=True)) or size == 0
    assert len(rows) == min(size, n - len(counts)) or size == 0
    assert all(t >= min(int(c * size / n), c - 1) for t, c in zip(taken, counts, strict=True))
