from __future__ import annotations

import os

import pytest

from searchitect.errors import StorageError
from searchitect.report.files import write_atomically


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.txt"
    assert write_atomically(path, b"one") == path
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_link_is_not_followed_nor_replaced(tmp_path):
    target = tmp_path / "precious"
    target.write_text("keep")
    link = tmp_path / "report.html"
    link.symlink_to(target)
    with pytest.raises(StorageError, match="is a link"):
        write_atomically(link, b"new")
    assert target.read_text() == "keep"
    assert link.is_symlink()


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        write_atomically(tmp_path / "x", b"new")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_fault_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(StorageError, match="No space left on device; 0 KB are needed"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
