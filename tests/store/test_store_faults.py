"""What happens to a study's file when its driver, its disk or a stranger does the worst."""

import contextlib
import os
import resource
import select
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from writer import drive

from searchitect.errors import StorageError, StudyLockedError, UsageError
from searchitect.records import Measurement, State
from searchitect.seeds import stream
from searchitect.store import Store, database, lock, salvage
from searchitect.testing.store import measured, proposed

KILLS = int(os.environ.get("SEARCHITECT_KILLS", "20"))
HERE = Path(__file__).parent


def integrity(folder):
    connection = sqlite3.connect(folder / "study.db")
    try:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()


def python(code, *arguments, **options):
    head = f"import sys\nsys.path.insert(0, {str(HERE)!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template") / "study"
    with Store.create(folder, {"seed": 1}) as store:
        drive(store, 0, 60)
        store.note("limit", {"x": 1})
    return folder


@pytest.fixture
def study(tmp_path, template):
    """A closed study of 60 done trials and a queued one."""
    return shutil.copytree(template, tmp_path / "study")


class TestKilledDriver:
    def test_random_kills_lose_nothing_that_was_acknowledged(self, tmp_path):
        folder, draw, known = tmp_path / "study", stream(0, 0, "kills"), set()
        for _ in range(KILLS):
            process = subprocess.Popen(
                [sys.executable, HERE / "writer.py", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            assert process.stdout.readline() == "open\n", process.stderr.read()
            select.select([], [], [], draw.uniform(0.0, 0.05))
            process.kill()
            said, errors = process.communicate()
            assert errors == ""
            known |= {int(line) for line in said.split("\n")[:-1]}
            with Store.open(folder) as store:  # a reader right after the crash
                assert known <= {t.number for t in store.trials([State.DONE])}
        assert integrity(folder) == "ok"
        with Store.open(folder, write=True) as store:
            requeued = store.requeue_running()
            assert store.count()[State.RUNNING] == 0
            trials, events = store.trials(), store.events()
        assert known, "something must have been written between the kills"
        assert len(requeued) <= 1
        assert [t.number for t in trials] == list(range(len(trials)))
        assert len(events) == len(set(events)), "nothing was asked or told twice"
        done = {t.number for t in trials if t.state is State.DONE}
        assert done == {number for kind, number in events if kind == "told"}
        assert all(t.value("accuracy") == t.number / 1e6 for t in trials if t.state is State.DONE)

    def test_a_half_made_study_is_made_anew(self, tmp_path):
        folder = tmp_path / "study"
        folder.mkdir()
        (folder / ".study.db.new").write_bytes(b"SQLite format 3\0 and then the power went")
        (folder / ".study.db.new-journal").write_bytes(b"half")
        with Store.create(folder, {"seed": 3}) as store:
            assert store.meta == {"seed": 3}
        assert sorted(p.name for p in folder.iterdir()) == ["study.db", "study.lock"]

    def test_a_second_driver_is_refused_and_readers_are_not(self, tmp_path):
        process = subprocess.Popen(
            [sys.executable, HERE / "writer.py", tmp_path / "s"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "open\n"
        assert process.stdout.readline() == "0\n"
        try:
            with pytest.raises(StudyLockedError, match=str(process.pid)):
                Store.open(tmp_path / "s", write=True)
            with Store.open(tmp_path / "s") as reader:
                assert reader.trials()
        finally:
            process.kill()
            process.communicate()
        Store.open(tmp_path / "s", write=True).close()


READER = """
import sys, time
from searchitect.records import State
from searchitect.store import Store
seen, reads = -1, 0
while seen < int(sys.argv[2]):
    with Store.open(sys.argv[1]) as store:
        done = store.count()[State.DONE]
        trials, events, notes = store.trials(), store.events(), store.notes()
        now = sum(t.state is State.DONE for t in trials)
        assert now >= done >= seen
        assert all(t.measurement.metrics for t in trials if t.state is State.DONE)
        assert [t.number for t in trials] == list(range(len(trials)))
        seen, reads = now, reads + 1
print(reads)
"""


@pytest.mark.slow
def test_eight_readers_do_not_disturb_the_driver(tmp_path):
    store = Store.create(tmp_path / "s", {})
    readers = [python(READER, tmp_path / "s", 1600) for _ in range(8)]
    drive(store, 0, 1600)
    results = [reader.communicate(timeout=60) for reader in readers]
    assert all(errors == "" for _, errors in results), results
    assert all(int(reads) >= 1 for reads, _ in results)
    assert store.count()[State.DONE] == 1600
    store.close()


class TestClosedAndReadOnly:
    def test_a_closed_study_is_one_file(self, study):
        assert sorted(p.name for p in study.iterdir()) == ["study.db", "study.lock"]
        assert (study / "study.lock").stat().st_size == 0

    def test_a_reader_cannot_write(self, study):
        with Store.open(study) as store:
            for call in (lambda: store.queue([proposed(99)]), lambda: store.note("x", {}), lambda: store.set_meta(a=1)):
                with pytest.raises(StorageError, match="write=True"):
                    call()
            assert store.count()[State.DONE] == 60

    def test_a_closed_store_says_so(self, study):
        store = Store.open(study)
        store.close()
        store.close()
        with pytest.raises(StorageError, match="closed"):
            store.trials()

    def test_a_closed_study_is_read_in_a_read_only_folder(self, study):
        with somebody_else(study) as call:
            assert call(how_many) == "61"
            answer = call(lambda folder: Store.open(folder, write=True))
        assert answer.startswith("StorageError: cannot write")
        assert "study.lock: Permission denied" in answer

    def test_a_study_left_in_log_mode_is_read_in_a_read_only_folder(self, study):
        connection = sqlite3.connect(study / "study.db")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        with somebody_else(study) as call:
            assert call(how_many) == "61"

    def test_an_unclosed_study_in_a_read_only_folder_says_what_to_do(self, study, tmp_path):
        with Store.open(study, write=True) as store:
            store.note("something", {"in": "the log"})
            copy = tmp_path / "copy"
            copy.mkdir()
            for name in ("study.db", "study.db-wal"):
                shutil.copy(study / name, copy / name)
        with somebody_else(copy) as call:
            answer = call(how_many)
        assert "not closed by its driver" in answer
        assert "copy the whole folder" in answer
        with Store.open(copy) as store:
            assert store.notes("something")

    def test_a_file_that_may_not_be_read(self, study):
        with somebody_else(study, mode=0) as call:
            answer = call(how_many)
        assert answer.startswith("StorageError: cannot read")
        assert "Permission denied" in answer

    def test_existing_studies_are_not_overwritten(self, study):
        with pytest.raises(StorageError, match=r"holds a study already.*searchitect resume .*study"):
            Store.create(study, {})
        assert integrity(study) == "ok"

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match="cannot make the folder"):
            Store.create(tmp_path / "file" / "study", {})


@contextlib.contextmanager
def somebody_else(study, mode=0o444):
    """A copy of the study in a read-only folder, and a way to call a function as a user who may only read it."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    folder = shutil.copytree(study, place / "study")
    (folder / "study.lock").unlink(missing_ok=True)
    for path in folder.iterdir():
        path.chmod(mode)
    folder.chmod(0o555)

    def call(function):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if os.geteuid() == 0:  # root may do everything, so root steps down
                    os.setgid(65534)
                    os.setuid(65534)
                answer = str(function(folder))
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(writer, answer.encode())
            os._exit(0)
        os.close(writer)
        with open(reader) as pipe:
            answer = pipe.read()
        os.waitpid(pid, 0)
        return answer

    try:
        yield call
    finally:
        folder.chmod(0o755)
        shutil.rmtree(place)


def how_many(folder):
    with Store.open(folder) as store:
        return len(store.trials())


class TestNotAStudy:
    @pytest.mark.parametrize(
        "content", [b"", b"hello, this is text\n" * 40, bytes(range(256)) * 64, b"SQLite format 3\0" + bytes(4080)]
    )
    def test_other_files(self, tmp_path, content):
        (tmp_path / "study.db").write_bytes(content)
        for write in (False, True):
            with pytest.raises(StorageError, match="not a study"):
                Store.open(tmp_path, write=write)
        assert (tmp_path / "study.db").read_bytes() == content
        assert not (tmp_path / "study.lock").exists()

    def test_a_folder_in_place_of_the_file_or_nothing(self, tmp_path):
        (tmp_path / "study.db").mkdir()
        for folder, words in (
            (tmp_path, "not a study"),
            (tmp_path / "study.db", "not a study"),
            (tmp_path / "x" / "y", "does not exist"),
        ):
            with pytest.raises(StorageError, match=words):
                Store.open(folder)

    def test_another_programs_database(self, tmp_path):
        connection = sqlite3.connect(tmp_path / "study.db")
        connection.execute("CREATE TABLE trials(number)")
        connection.close()
        with pytest.raises(StorageError, match="not a study"):
            Store.open(tmp_path)

    def test_a_newer_schema_is_refused(self, study):
        connection = sqlite3.connect(study / "study.db")
        connection.execute("PRAGMA user_version=2")
        connection.close()
        with pytest.raises(StorageError, match=r"newer searchitect.*pip install -U"):
            Store.open(study)

    def test_cut_anywhere(self, study):
        whole = (study / "study.db").read_bytes()
        for part in range(50):
            (study / "study.db").write_bytes(whole[: len(whole) * part // 50])
            with pytest.raises(StorageError, match=r"not a study|damaged"):
                Store.open(study)

    def test_bytes_changed_anywhere_never_raise_anything_else(self, study):
        whole, draw = (study / "study.db").read_bytes(), stream(0, 0, "damage")
        refused = 0
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(draw.below(40) + 1):
                data[draw.below(len(data))] = draw.below(256)
            (study / "study.db").write_bytes(data)
            try:
                with Store.open(study) as store:
                    for read in (store.trials, store.events, store.notes, store.count, lambda: store.reports(3)):
                        read()
            except StorageError:
                refused += 1
        assert refused > 50


class TestStranger:
    """A study made by somebody who wants to do harm."""

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TRIGGER t AFTER UPDATE ON trials BEGIN DELETE FROM trials; END",
            "CREATE VIEW v AS SELECT load_extension('/tmp/evil.so')",
            "CREATE TABLE extra(x)",
            "CREATE INDEX i ON trials(state)",
            "ALTER TABLE notes ADD COLUMN x GENERATED ALWAYS AS (abs(id))",
            "DROP TABLE events",
        ],
    )
    def test_a_strange_schema_is_refused(self, study, statement):
        self.change(study, statement)
        for write in (False, True):
            with pytest.raises(StorageError, match="not a study that searchitect wrote"):
                Store.open(study, write=write)

    @pytest.mark.parametrize(
        "value",
        [
            "'; DROP TABLE trials; --",
            "<script>alert(1)</script>",
            "__import__('os').system('x')",
            b"\xff\xfe",
            7,
            1e308,
            "[" * 50_000,
            "null",
        ],
    )
    @pytest.mark.parametrize(
        "column", ["trials.body", "trials.state", "trials.key", "meta.body", "notes.body", "notes.kind", "reports.body"]
    )
    def test_strange_values_are_data_or_refused(self, study, column, value):
        table, name = column.split(".")
        self.change(study, f"UPDATE {table} SET {name} = ?", value)
        message = ""
        try:
            with Store.open(study) as store:
                assert len(store.trials()) == 61
                assert len(store.events()) == 121
                for read in (store.notes, store.count, lambda: store.reports(3)):
                    read()
        except StorageError as error:
            message = str(error)
        assert len(message) < 1000

    def test_a_trial_that_claims_another_number(self, study):
        self.change(study, "UPDATE trials SET body = (SELECT body FROM trials WHERE number = 5) WHERE number = 6")
        with Store.open(study) as store, pytest.raises(StorageError, match="trial 6 calls itself 5"):
            store.trials()

    def test_text_that_is_not_unicode(self, study):
        self.change(study, "UPDATE notes SET kind = CAST(x'ff' AS TEXT)")
        with Store.open(study) as store, pytest.raises(StorageError, match="damaged"):
            store.notes()

    def test_schemas_are_not_trusted(self, study):
        with Store.open(study, write=True) as store:
            run = store._connection.rows
            assert run("PRAGMA trusted_schema") == [(0,)]
            assert run("PRAGMA mmap_size") == [(0,)]
            with pytest.raises(StorageError, match="not authorized"):
                run("SELECT load_extension('x')")

    def test_a_link_is_not_driven(self, study, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        (other / "study.db").symlink_to(study / "study.db")
        with pytest.raises(StorageError, match="is a link"):
            Store.open(other, write=True)

    def change(self, study, statement, *values):
        with sqlite3.connect(study / "study.db") as connection:
            connection.execute(statement, values)
        connection.close()


class TestDisk:
    def test_a_full_disk_stops_cleanly(self, tmp_path):
        with Store.create(tmp_path / "s", {}) as store:
            drive(store, 0, 50)
            store._connection._database.execute("PRAGMA max_page_count=40")
            with pytest.raises(StorageError, match=r"no space on .*MB are needed.*resume"):
                drive(store, 51, 500)
            kept = store.count()[State.DONE]
        with Store.open(tmp_path / "s", write=True) as store:
            assert store.count()[State.DONE] == kept >= 50
            store.requeue_running()
            drive(store, sum(store.count().values()), 500)
        assert integrity(tmp_path / "s") == "ok"

    def test_a_write_that_fails_is_not_tried_again(self, tmp_path):
        """The file may not grow: SQLite sees an I/O error in the middle of a commit."""
        code = (
            "import resource, signal\nfrom writer import *\nfrom searchitect.errors import StorageError\n"
            "store = Store.create(sys.argv[1], {})\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n"
            "try: drive(store, 0, 5000)\n"
            "except StorageError as error: print(error)\n"
            "print(store.count()[State.DONE])\nstore.close()"
        )
        out, errors = python(code, tmp_path / "s").communicate(timeout=60)
        assert errors == ""
        message, kept = out.splitlines()
        assert "the disk failed under" in message or "no space" in message
        with Store.open(tmp_path / "s", write=True) as store:
            assert store.count()[State.DONE] == int(kept) > 5
        assert integrity(tmp_path / "s") == "ok"

    def test_another_program_holds_the_file(self, study, monkeypatch):
        monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
        process = python(
            "import sqlite3\nc = sqlite3.connect(sys.argv[1])\nc.execute('BEGIN EXCLUSIVE')\n"
            "print('held', flush=True)\nsys.stdin.read()",
            study / "study.db",
            stdin=subprocess.PIPE,
        )
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=rf"locked for 0\.2 s by process {process.pid}"):
            Store.open(study, write=True)
        process.communicate("")
        Store.open(study, write=True).close()

    def test_a_short_lock_is_waited_for(self, study):
        with Store.open(study, write=True) as store:
            other = sqlite3.connect(study / "study.db", isolation_level=None, check_same_thread=False)
            other.execute("BEGIN IMMEDIATE")
            release = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
            release.start()
            store.note("late", {})
            release.join()
            other.close()
            assert len(store.notes("late")) == 1

    def test_a_network_file_system_gets_no_log_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr(lock, "filesystem_type", lambda folder: "nfs4")
        with Store.create(tmp_path / "s", {}) as store:
            drive(store, 0, 3)
            assert store._connection.rows("PRAGMA journal_mode") == [("delete",)]
            assert not (tmp_path / "s" / "study.db-wal").exists()

    def test_another_program_changed_a_trial(self, study):
        with Store.open(study, write=True) as store:
            store.start(60, worker=0)
            with sqlite3.connect(study / "study.db") as other:
                other.execute("UPDATE trials SET attempt = 9 WHERE number = 60")
            other.close()
            with pytest.raises(StorageError, match="changed by another program"):
                store.finish(measured(proposed(60)), 1)


class TestFork:
    def test_a_forked_child_must_open_anew(self, study):
        store = Store.open(study, write=True)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            words = []
            for call in (store.trials, lambda: store.note("child", {})):
                try:
                    call()
                except StorageError as error:
                    words.append(str(error))
            store.close()
            with Store.open(study) as mine:
                words.append(str(len(mine.trials())))
            os.write(writer, "\n".join(words).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(writer)
        first, second, third = os.read(reader, 10_000).decode().splitlines()
        os.close(reader)
        assert first == second
        assert "must open it anew" in first
        assert third == "61"
        store.note("parent", {})
        store.close()
        assert integrity(study) == "ok"


class TestTransactions:
    def test_an_inner_failure_that_is_swallowed_fails_the_whole(self, study):
        with Store.open(study, write=True) as store:
            with pytest.raises(StorageError, match="nothing of it was written"):
                self.swallow(store)
            assert [n.kind for n in store.notes("outer")] == []
            store.note("after", {})

    def swallow(self, store):
        with store.transaction():
            store.note("outer", {})
            with contextlib.suppress(UsageError):
                store.queue([proposed(0)])

    def test_one_commit_a_trial_waits_for_the_disk_once(self, tmp_path):
        """Counted by the size of the log: a commit writes its changed pages once."""
        with Store.create(tmp_path / "s", {}) as store:
            log = tmp_path / "s" / "study.db-wal"
            store.queue([proposed(0)])
            running = store.start(0, worker=0)
            before = log.stat().st_size
            with store.transaction():
                store.finish(replace(running, state=State.DONE, measurement=Measurement({"a": 1.0})), 1)
                store.told(0)
                store.queue([proposed(1)])
                assert log.stat().st_size == before
            assert log.stat().st_size > before

    def test_reports_do_not_wait_for_the_disk(self, study):
        with Store.open(study, write=True) as store:
            store.start(60, worker=0)
            store.report(60, 1, 1, {"loss": 1.0})
            assert store._connection.rows("PRAGMA synchronous") == [(1,)]
            store.note("x", {})
            assert store._connection.rows("PRAGMA synchronous") == [(2,)]


class TestSalvage:
    def test_a_whole_study_is_copied_whole(self, study, tmp_path):
        before = (study / "study.db").read_bytes()
        saved = salvage(study, tmp_path / "new")
        assert saved["trials"] == 61
        assert (study / "study.db").read_bytes() == before
        with Store.open(study) as old, Store.open(tmp_path / "new") as new:
            assert new.trials() == old.trials()
            assert new.events() == old.events()
            assert new.meta == old.meta
            assert len(new.notes("limit")) == 1

    def test_damaged_pages_cost_their_trials_alone(self, study, tmp_path):
        data = bytearray((study / "study.db").read_bytes())
        place = data.index(b'"draw":30,')
        page = place // 4096 * 4096
        data[page : page + 4096] = bytes(4096)
        (study / "study.db").write_bytes(data)
        with pytest.raises(StorageError, match="salvage"), Store.open(study) as store:
            store.trials()
        saved = salvage(study, tmp_path / "new")
        assert 40 < saved["trials"] < 61
        with Store.open(tmp_path / "new", write=True) as store:
            numbers = {t.number for t in store.trials()}
            assert 30 not in numbers
            assert {n for _, n in store.events()} == numbers
            store.start(60, worker=0)

    def test_a_cut_file(self, study, tmp_path):
        whole = (study / "study.db").read_bytes()
        (study / "study.db").write_bytes(whole[: len(whole) * 3 // 4])
        assert salvage(study, tmp_path / "new")["trials"] > 5

    def test_nothing_left(self, study, tmp_path):
        (study / "study.db").write_bytes(b"no database at all")
        with pytest.raises(StorageError, match="nothing can be read"):
            salvage(study, tmp_path / "new")
        with pytest.raises(StorageError, match="nothing to salvage"):
            salvage(tmp_path, tmp_path / "new")


def test_large_studies_open_fast(tmp_path, fresh_heap):
    """Processor time, so that other load does not matter: 5,000 trials in half a second at most."""
    with Store.create(tmp_path / "s", {}) as store, store.transaction():
        drive(store, 0, 5000)
    began = time.process_time()
    with Store.open(tmp_path / "s") as store:
        assert len(store.trials()) == 5001
        assert len(store.events()) == 10_001
    assert time.process_time() - began < 0.5


def test_two_thousand_durable_trials_in_a_processor_second(tmp_path):
    with Store.create(tmp_path / "s", {}) as store:
        used = resource.getrusage(resource.RUSAGE_SELF)
        drive(store, 0, 200)
        now = resource.getrusage(resource.RUSAGE_SELF)
    seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    assert 200 / seconds > 1000, "half of the bar: three commits a trial here, and a busy machine"
