"""Splits: stratified, disjoint, keyed, and leaks found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchitect.errors import DataError, UsageError
from searchitect.training.data import load
from searchitect.training.split import group_part, held_out, kin_of_test, part, row_hashes, split, stratified_part


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


# --- groups and time ------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 12), min_size=20, max_size=80), st.integers(0, 5))
def test_groups_are_never_torn_apart(groups, seed):
    if len(set(groups)) < 3:
        return
    x, y = np.random.default_rng(0).normal(size=(len(groups), 3)), np.random.default_rng(1).normal(size=len(groups))
    cut = split(load((x, y), groups=groups), seed)
    parts = [set(np.array(groups)[rows].tolist()) for rows in (cut.train, cut.validation, cut.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set(groups)) == len(set.union(*parts))
    assert sum(map(len, (cut.train, cut.validation, cut.test))) == len(groups)


def test_group_parts_are_near_their_size_and_keyed():
    groups = np.repeat(np.arange(100), np.random.default_rng(0).integers(1, 20, 100))
    sizes = [len(group_part(groups, round(0.2 * len(groups)), seed, "test")) for seed in range(50)]
    assert max(abs(s - 0.2 * len(groups)) for s in sizes) <= 10  # half the largest group
    assert np.array_equal(group_part(groups, 200, 3, "test"), group_part(groups, 200, 3, "test"))
    assert not np.array_equal(group_part(groups, 200, 3, "test"), group_part(groups, 200, 4, "test"))
    uneven = np.array([0] * 18 + [1, 2, 2])
    assert all(set(uneven[group_part(uneven, 5, seed, "test", 2)]) <= {1, 2} for seed in range(9))
    with pytest.raises(DataError, match="groups are too few"):
        group_part(np.zeros(9), 3, 0, "test")


def test_a_column_of_groups_is_no_feature(tmp_path):
    file = tmp_path / "t.csv"
    rows = [f"{i},{i % 3},patient{i // 6},{i % 2}" for i in range(60)]
    file.write_text("\n".join(["a,b,who,y", *rows]))
    raw = load(file, "y", groups="who")
    assert raw.names == ("a", "b")
    assert raw.groups.tolist() == np.unique([f"patient{i // 6}" for i in range(60)], return_inverse=True)[1].tolist()
    cut = split(raw, 0)
    assert len(set(raw.groups[cut.train]) & set(raw.groups[cut.test])) == 0
    words = "whole groups were held out: 6 for training, 2 for validation, 2 for test; the interval of the verdict"
    assert len(cut.notes) == 1
    assert cut.notes[0].startswith(words)
    pandas = pytest.importorskip("pandas")
    frame = load(pandas.read_csv(file), "y", groups="who")
    assert (frame.names, frame.groups.tolist()) == (raw.names, raw.groups.tolist())
    assert load(file, "y", groups=np.arange(60) // 6).fingerprint() != load(file, "y").fingerprint()


def test_rows_in_the_order_of_time_are_cut_from_the_end():
    raw = load((np.random.default_rng(0).normal(size=(50, 2)), np.arange(50.0)), ordered=True)
    cut = split(raw, 7, validation=0.2, test=0.1)
    assert (cut.train[-1], cut.validation[0], cut.validation[-1], cut.test[0]) == (34, 35, 44, 45)
    assert "latest" in cut.notes[0]
    both = np.sort(np.concatenate([cut.train, cut.validation]))
    assert np.array_equal(both[held_out(raw.kin(both), 10, 3, "fold")], cut.validation)  # in every fold


def test_what_cannot_be_cut_so_is_said(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(40, 2)), np.repeat([0, 1], 20)
    with pytest.raises(UsageError, match="exclude each other"):
        load((x, y), groups=y, ordered=True)
    with pytest.raises(DataError, match=r"groups of shape \(3,\): give one value for each of the 40 rows"):
        load((x, y), groups=[1, 2, 3])
    with pytest.raises(UsageError, match="names a column"):
        load((x, y), groups="who")
    with pytest.raises(DataError, match="class '1' has no row in the training part: all its rows are later"):
        split(load((x, y), ordered=True), 0, validation=0.3, test=0.3)
    with pytest.raises(DataError, match="groups are too few"):
        split(load((x, y), groups=y), 0)
    thirds = load((x, y), groups=np.repeat([0, 1, 2], [10, 10, 20]))
    told = []
    for seed in range(12):
        try:
            assert set(y[split(thirds, seed).train]) == {0, 1}
        except DataError as error:
            told.append(str(error))
    assert told
    assert all("has no row in the training part: all its rows are in other groups" in text for text in told)


def test_groups_that_are_missing_or_tested_and_trained_on_are_told(tmp_path):
    """A group of "unknown" would hold strangers; a test row of a known group is no test."""
    file, test = tmp_path / "t.csv", tmp_path / "test.csv"
    rows = [f"{i},p{i // 4},{i % 2}" for i in range(40)]
    file.write_text("\n".join(["a,who,y", *rows[:20], "7,,1", *rows[20:]]))
    with pytest.raises(DataError, match="groups are missing in 1 rows, the first is row 20"):
        load(file, "y", groups="who")
    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    with pytest.raises(DataError, match="groups are missing in 2 rows, the first is row 0"):
        load((x, y), groups=[float("nan"), *range(1, 19), float("nan")])
    file.write_text("\n".join(["a,who,y", *rows]))
    test.write_text("\n".join(["a,who,y", "1,p3,0", "2,q,1", "3,p9,1"]))
    told = load(file, "y", groups="who", test=test).notes
    assert any("2 of 3 test rows are of groups that are trained on too" in note for note in told)
    test.write_text("\n".join(["a,who,y", "1,r,0", "2,q,1"]))
    assert not any("trained on too" in note for note in load(file, "y", groups="who", test=test).notes)


def test_what_test_rows_are_to_each_other(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    grouped, timed, plain = load((x, y), groups=np.arange(60) // 5), load((x, y), ordered=True), load((x, y))
    for raw in (grouped, timed, plain):
        cut = split(raw, 0)
        kin = kin_of_test(raw, cut)
        assert kin.rows == len(cut.test)
        assert kin.ordered == raw.ordered
        assert (kin.groups is None) == (raw is not grouped)
    cut = split(grouped, 0)
    assert kin_of_test(grouped, cut).groups.tolist() == (cut.test // 5).tolist()


def test_groups_of_a_test_part_that_was_given_are_known_from_its_column_alone(tmp_path):
    file, test = tmp_path / "t.csv", tmp_path / "test.csv"
    file.write_text("\n".join(["a,who,y", *[f"{i},p{i // 4},{i % 2}" for i in range(40)]]))
    test.write_text("\n".join(["a,who,y", "1,r,0", "2,q,1", "3,r,1"]))
    raw = load(file, "y", groups="who", test=test)
    cut = split(raw, 0)
    assert kin_of_test(raw, cut).groups.tolist() == [1, 0, 1]
    assert "2 for test; the interval of the verdict takes them, not rows, as its items" in cut.notes[0]
    x, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    raw = load((x, y), groups=np.arange(40) // 4, test=(x[:9] + 1, y[:9]))
    cut = split(raw, 0)
    assert kin_of_test(raw, cut).groups is None
    assert "the test part was given without groups, so the interval of the verdict takes its rows for" in cut.notes[0]
    test.write_text("\n".join(["a,who,y", "1,r,0", "2,,1"]))
    with pytest.raises(DataError, match="groups are missing in 1 rows"):
        load(file, "y", groups="who", test=test)
