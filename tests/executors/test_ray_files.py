"""Files of tasks on other machines: the two ends, without a cluster between them."""

import os
import subprocess
import tempfile

import pytest

from searchitect.executors.ray_files import Depot, Mirror, is_inside, listing, moved, named


@pytest.fixture
def ends(tmp_path):
    """A driver's folder with two files, its depot, what was put, and a mirror."""
    home = tmp_path / "study"
    (home / "checkpoints" / "supernet" / "epoch-1").mkdir(parents=True)
    (home / "checkpoints" / "supernet" / "epoch-1" / "w").write_bytes(b"one")
    (home / "checkpoints" / "trial-1.state").write_bytes(b"state")
    (home / "study.db").write_bytes(b"database")
    stored = []

    def put(data):
        stored.append(bytes(data))
        return len(stored) - 1

    mirror = Mirror(str(home))
    yield home, Depot(home, put), stored, mirror
    mirror.remove()
    assert not mirror.folder.exists()


def send(ends, payload):
    """What a host does with a payload, and the names that it is about."""
    home, depot, stored, mirror = ends
    names = named(payload, str(home))
    return names, mirror.receive(payload, depot.parcels(names), stored.__getitem__)


def test_paths_are_found_at_any_depth():
    payload = {"a": "/x/study/c/1", "b": [{"d": "/x/study/e"}, "/x/studying/f", 3, None], "f": "/x/study", "g": "x"}
    assert named(payload, "/x/study") == {"c/1", "e"}
    assert named({"a": "/x/study/../y"}, "/x/study") == set()
    there = moved(payload, "/x/study", "/m")
    assert there == {"a": "/m/c/1", "b": [{"d": "/m/e"}, "/x/studying/f", 3, None], "f": "/x/study", "g": "x"}


@pytest.mark.parametrize(
    ("name", "roots", "inside"),
    [
        ("a/b", None, True), ("../a", None, False), ("/a", None, False), ("a/../../b", None, False), ("", None, False),
        ("a/b", ["a"], True), ("a", ["a"], True), ("ab", ["a"], False), ("a/b", ["a/b/c"], False), ("a", [], False),
    ],
)  # fmt: skip
def test_what_is_inside(name, roots, inside):
    assert is_inside(name, roots) is inside


def test_there_and_back(ends):
    home, depot, stored, mirror = ends
    payload = {"checkpoint": str(home / "checkpoints/trial-1.state"), "save": str(home / "checkpoints/w.safetensors")}
    names, there = send(ends, payload)
    state, save = (mirror.folder / "checkpoints" / name for name in ("trial-1.state", "w.safetensors"))
    assert there == {"checkpoint": str(state), "save": str(save)}
    assert state.read_bytes() == b"state"
    assert stored == [b"state"]
    assert mirror.changed(logs=True) == {}
    state.write_bytes(b"later")
    save.write_bytes(b"weights")
    (mirror.folder / "logs").mkdir()
    (mirror.folder / "logs" / "000001.log").write_text("hello")
    (mirror.folder / "checkpoints" / ".half").write_text("being written")
    changed = mirror.changed(logs=False)
    assert {name: part[1] for name, part in changed.items()} == {
        "checkpoints/trial-1.state": b"later", "checkpoints/w.safetensors": b"weights",
    }  # fmt: skip
    depot.take(changed, names)
    depot.take(mirror.changed(logs=True), names)
    assert (home / "checkpoints/trial-1.state").read_bytes() == b"later"
    assert (home / "checkpoints/w.safetensors").read_bytes() == b"weights"
    assert (home / "logs/000001.log").read_text() == "hello"
    assert (home / "study.db").read_bytes() == b"database"


def test_what_the_other_end_has_is_not_sent_again(ends):
    home, depot, stored, mirror = ends
    payload = {"supernet": str(home / "checkpoints" / "supernet")}
    names, _ = send(ends, payload)
    send(ends, payload)
    assert stored == [b"one"], "put once"
    fetched = []
    mirror.receive(payload, depot.parcels(names), fetched.append)
    assert fetched == []
    epoch = mirror.folder / "checkpoints/supernet/epoch-2"
    epoch.mkdir()
    (epoch / "w").write_bytes(b"two")
    (mirror.folder / "checkpoints/supernet/epoch-1/w").unlink()
    depot.take(mirror.changed(logs=True), names)
    assert listing(home, ["checkpoints/supernet"]) == listing(mirror.folder, ["checkpoints/supernet"])
    assert not (home / "checkpoints/supernet/epoch-1").exists(), "the empty folder went with its file"
    mirror.receive(payload, depot.parcels(names), fetched.append)
    assert fetched == [], "it made that file itself"


def test_the_next_task_finds_its_own_files_alone(ends):
    home, _, _, mirror = ends
    send(ends, {"checkpoint": str(home / "checkpoints/trial-1.state")})
    send(ends, {"supernet": str(home / "checkpoints/supernet")})
    assert set(listing(mirror.folder)) == {"checkpoints/supernet/epoch-1/w"}
    assert mirror.changed(logs=True) == {}, "what was put away is not deleted at home"


def test_mirrors_of_the_dead_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = f"searchitect-mirror-{gone.pid}-x", f"searchitect-mirror-{os.getpid()}-y", "searchitect-other"
    for name in names:
        (tmp_path / name).mkdir()
    Mirror("/home").remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_path_that_leads_out_is_refused(ends, name):
    _, depot, _, _ = ends
    with pytest.raises(ValueError, match="not below its folder"):
        depot.take({name: (0, b"mine")}, ["checkpoints/w"])


@pytest.mark.parametrize("name", ["study.db", "checkpoints/trial-1.state"])
def test_a_task_changes_nothing_but_its_own_files(ends, name, caplog):
    home, depot, _, _ = ends
    before = (home / name).read_bytes()
    depot.take({name: (0, b"mine")}, ["checkpoints/w"])
    depot.take({name: None}, ["checkpoints/w"])
    assert (home / name).read_bytes() == before
    assert "it stays as it is" in caplog.text


def test_what_tasks_have_made_may_be_made_again(ends):
    home, depot, _, _ = ends
    (home / "logs").mkdir()
    (home / "logs/000001.log").write_text("of a former session")
    for words in (b"first attempt", b"second"):
        depot.take({"mine": (0, words), "logs/000001.log": (0, words)}, [])
        assert (home / "mine").read_bytes() == (home / "logs/000001.log").read_bytes() == words


def test_links_are_not_followed(ends):
    home, _, _, mirror = ends
    send(ends, {"checkpoint": str(home / "checkpoints/trial-1.state")})
    os.symlink("/etc/hostname", mirror.folder / "checkpoints" / "link")
    assert mirror.changed(logs=True) == {}


def test_a_file_that_is_removed_meanwhile_is_left_out(ends):
    home, depot, _, _ = ends
    found = listing(home, ["checkpoints/trial-1.state"])
    (home / "checkpoints/trial-1.state").unlink()
    assert depot._parcel(*next(iter(found.items()))) == []
    assert depot.parcels(["checkpoints/trial-1.state"]) == []
