"""One driver at a time, and never a lock left behind by a dead one."""

import ctypes
import json
import os
import subprocess
import sys

import msgspec
import pytest

from searchitect.errors import StorageError, StudyLockedError
from searchitect.store import Store, lock
from searchitect.store.lock import Owner, StudyLock


def child(folder, code="input()"):
    """Another process that drives the study until it reads a line."""
    text = (
        "import os, sys, time\nfrom pathlib import Path\nfrom searchitect.store.lock import StudyLock\n"
        f"held = StudyLock(Path({str(folder)!r}))\nprint('locked', flush=True)\n{code}\n"
    )
    process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    return process


def write_owner(folder, **changes):
    owner = msgspec.structs.replace(Owner.me(), **changes)
    (folder / "study.lock").write_bytes(msgspec.json.encode(owner))


def test_a_second_driver_is_refused_by_name(tmp_path):
    process = child(tmp_path)
    for takeover in (False, True):
        with pytest.raises(StudyLockedError, match=f"process {process.pid} on {Owner.me().host}"):
            StudyLock(tmp_path, takeover=takeover)
    process.communicate("\n")
    StudyLock(tmp_path).release()


def test_the_same_process_is_refused_too(tmp_path):
    held = StudyLock(tmp_path)
    with pytest.raises(StudyLockedError, match=str(os.getpid())):
        StudyLock(tmp_path)
    held.release()
    held.release()
    StudyLock(tmp_path).release()


def test_a_killed_driver_leaves_nothing_behind(tmp_path):
    process = child(tmp_path)
    process.kill()
    process.communicate()
    assert json.loads((tmp_path / "study.lock").read_text())["pid"] == process.pid
    StudyLock(tmp_path).release()


def test_a_dead_drivers_child_holds_the_lock_until_takeover(tmp_path):
    code = (
        "import ctypes\npid = ctypes.CDLL(None).fork()\n"  # a fork that our clean-up does not see
        "if pid == 0: time.sleep(60)\nprint(pid, flush=True)\nos._exit(0)"
    )
    process = child(tmp_path, code)
    orphan = int(process.stdout.readline())
    process.stdout.close()
    process.stdin.close()
    process.wait()
    try:
        with pytest.raises(StudyLockedError, match="takeover"):
            StudyLock(tmp_path)
        held = StudyLock(tmp_path, takeover=True)
        with pytest.raises(StudyLockedError, match=str(os.getpid())):
            StudyLock(tmp_path, takeover=True)
        held.release()
    finally:
        os.kill(orphan, 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"started": "1"},  # the pid lives, but it is another process: pids are reused
        {"boot": "another boot"},
        {"host": "elsewhere"},  # a copied folder
        {"pid": 2**22 + 1, "started": ""},
    ],
)
def test_a_stale_note_does_not_matter_where_locks_work(tmp_path, changes):
    write_owner(tmp_path, **changes)
    StudyLock(tmp_path).release()


class TestWithoutLocks:
    """A system or file system without flock: the note decides."""

    @pytest.fixture(autouse=True)
    def _no_flock(self, monkeypatch):
        monkeypatch.setattr(StudyLock, "_flock", lambda self: None)

    @pytest.mark.parametrize(
        "changes", [{"started": "1"}, {"boot": "another boot"}, {"pid": 2**22 + 1}, {"pid": 2**22 + 1, "started": ""}]
    )
    def test_a_dead_holder_is_replaced(self, tmp_path, changes):
        write_owner(tmp_path, **changes)
        StudyLock(tmp_path).release()

    @pytest.mark.parametrize("changes", [{}, {"started": "", "boot": ""}, {"started": "", "pid": 1}])
    def test_a_living_holder_is_respected(self, tmp_path, changes):
        write_owner(tmp_path, **changes)
        with pytest.raises(StudyLockedError):
            StudyLock(tmp_path)

    def test_a_holder_elsewhere_needs_takeover(self, tmp_path):
        write_owner(tmp_path, host="elsewhere")
        with pytest.raises(StudyLockedError, match="on elsewhere"):
            StudyLock(tmp_path)
        StudyLock(tmp_path, takeover=True).release()


def test_on_a_network_file_system_another_hosts_note_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "filesystem_type", lambda folder: "nfs4")
    write_owner(tmp_path, host="elsewhere")
    with pytest.raises(StudyLockedError, match=r"on elsewhere.*takeover"):
        StudyLock(tmp_path)
    StudyLock(tmp_path, takeover=True).release()
    write_owner(tmp_path, started="1")
    StudyLock(tmp_path).release()


def test_the_file_system_is_found_by_its_mount():
    assert lock.filesystem_type("/proc") == "proc"
    assert lock.filesystem_type("/proc/self") == "proc"
    assert not lock.is_network("/proc")


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "study.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match=r"study\.lock"):
        StudyLock(tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize("fork", [os.fork, ctypes.CDLL(None).fork], ids=["python", "unseen"])
def test_a_forked_child_does_not_hold_the_lock(tmp_path, fork):
    store = Store.create(tmp_path / "s", {})
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)  # lives on after its parent has closed the study
        os._exit(0)
    store.close()
    Store.open(tmp_path / "s", write=True).close()
    os.close(writer)
    os.close(reader)
    os.waitpid(pid, 0)
