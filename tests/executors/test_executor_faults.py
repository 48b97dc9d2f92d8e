"""What tasks and the world may do to worker processes: it costs the task alone, and nothing is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from evil import SIGNALS, evil

from searchitect.errors import SearchitectError, UsageError
from searchitect.executors import Failed, Finished, Report, Started, make
from searchitect.executors.processes import Processes
from searchitect.seeds import stream
from searchitect.testing.executor import collect, ends

KILLS = int(os.environ.get("SEARCHITECT_KILLS", "20"))


@pytest.fixture
def tag(monkeypatch):
    """A mark in the environment that every process started from here on carries."""
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("SEARCHITECT_TEST_TAG", mark)
    yield mark
    gone(mark, 2.0)


def marked(mark):
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get("SEARCHITECT_TEST_TAG") == mark
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone(mark, seconds):
    """Wait until no process carries the mark; fail after so many seconds."""
    end = time.monotonic() + seconds
    while left := marked(mark):
        assert time.monotonic() < end, f"left behind: {[(p.pid, p.cmdline()) for p in left]}"
        time.sleep(0.02)


def workers(n=1, **options):
    executor = Processes(workers=n, **{"preload": (), **options})
    executor.start(evil)
    return executor


def until(executor, kind, ticket=None):
    """Events up to the first one of this kind."""
    end = time.monotonic() + 20.0
    seen = []
    while time.monotonic() < end:
        seen += executor.wait(1.0)
        for event in seen:
            if isinstance(event, kind) and ticket in (None, event.ticket):
                return event, seen
    raise AssertionError(f"no {kind.__name__} of {ticket} in {seen}")


def failure(payload, *, limit=None, **options):
    """This task fails, and the one after it does not notice."""
    with workers(**options) as executor:
        executor.submit(0, payload, time_limit=limit)
        executor.submit(1, {"do": "fine", "value": 7})
        found = ends(collect(executor))
    assert found[1].result["value"] == 7
    assert isinstance(found[0], Failed), found[0]
    return found[0]


class TestDeath:
    @pytest.mark.parametrize("code", [0, 7])
    def test_a_task_that_ends_its_process(self, code, tag):
        failed = failure({"do": "exit_now", "code": code})
        assert (failed.cause, failed.retryable) == ("killed", False)
        assert f"exit code {code}" in failed.message

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
    def test_a_signal_from_outside_is_the_machines_fault(self, name):
        failed = failure({"do": "signal_self", "signal": SIGNALS[name]})
        assert (failed.cause, failed.retryable) == ("killed", True)
        assert name in failed.message

    @pytest.mark.parametrize("payload", [{"do": "crash"}, {"do": "signal_self", "signal": SIGNALS["SIGABRT"]}])
    def test_a_crash_is_the_tasks_fault(self, payload):
        failed = failure(payload)
        assert (failed.cause, failed.retryable) == ("killed", False)
        assert "SIGSEGV" in failed.message or "SIGABRT" in failed.message

    def test_a_killed_worker_is_noticed_at_once(self):
        with workers(2) as executor:
            executor.submit(0, {"do": "fine", "seconds": 30.0})
            started, _ = until(executor, Started)
            os.kill(started.pid, signal.SIGKILL)
            began = time.monotonic()
            (failed,) = ends(collect(executor)).values()
            assert time.monotonic() - began < 1.0
            assert failed.retryable

    def test_random_kills_lose_nothing(self, tag):
        """Every kill costs one attempt; every task finishes once."""
        draw = stream(0, 0, "kills")
        busy, finished, attempts, kills = {}, {}, dict.fromkeys(range(4 * KILLS), 1), 0
        with workers(2) as executor:
            for ticket in attempts:
                executor.submit(ticket, {"do": "fine", "seconds": 0.02, "value": ticket})
            while len(finished) < len(attempts):
                for event in executor.wait(draw.uniform(0.001, 0.03)):
                    if isinstance(event, Started):
                        busy[event.ticket] = event.pid
                    elif isinstance(event, Finished):
                        assert event.ticket not in finished
                        finished[event.ticket] = event.result["value"]
                        busy.pop(event.ticket)
                    else:
                        assert (event.cause, event.retryable) == ("killed", True)
                        busy.pop(event.ticket)
                        attempts[event.ticket] += 1
                        executor.submit(event.ticket, {"do": "fine", "seconds": 0.02, "value": event.ticket})
                if kills < KILLS and busy:
                    with contextlib.suppress(ProcessLookupError):  # killed before, and not yet heard of
                        os.kill(draw.pick(sorted(busy.values())), signal.SIGKILL)
                        kills += 1
        assert kills == KILLS
        assert all(finished[n] == n for n in attempts)
        assert sum(attempts.values()) - len(attempts) <= KILLS

    def test_a_result_sent_before_the_death_counts(self):
        with workers(recycle_after=1) as executor:
            for ticket in range(6):
                executor.submit(ticket, {"do": "fine"})
            found = ends(collect(executor))
        assert all(isinstance(e, Finished) for e in found.values())
        assert len({e.result["pid"] for e in found.values()}) == 6

    def test_the_server_dies(self, tag):
        with workers(2) as executor:
            executor.submit(0, {"do": "leave_children", "seconds": 30.0})
            until(executor, Report)
            os.kill(executor._server._process.pid, signal.SIGKILL)
            (failed,) = ends(collect(executor)).values()
            assert (failed.cause, failed.retryable) == ("killed", True)
            executor.submit(1, {"do": "fine", "value": 3})
            assert ends(collect(executor))[1].result["value"] == 3

    def test_ctrl_c_does_not_reach_a_worker(self):
        with workers() as executor:
            executor.submit(0, {"do": "fine", "seconds": 0.5})
            started, _ = until(executor, Started)
            os.kill(started.pid, signal.SIGINT)
            os.kill(executor._server._process.pid, signal.SIGINT)
            assert isinstance(ends(collect(executor))[0], Finished)


class TestMemory:
    def test_beyond_the_limit(self):
        failed = failure({"do": "eat", "mb": 400}, memory_mb=200)
        assert (failed.cause, failed.retryable) == ("out of memory", False)
        assert "limit 200 MB" in failed.message
        assert 100 < failed.peak_mb < 400

    def test_beyond_the_limit_with_torch(self):
        failed = failure({"do": "eat_with_torch", "mb": 900}, memory_mb=400, preload=("torch",))
        assert failed.cause == "out of memory"

    def test_killed_while_large(self):
        with workers(memory_mb=300) as executor:
            executor.submit(0, {"do": "eat", "mb": 200, "seconds": 30.0})
            _, seen = until(executor, Report)
            (started,) = [e for e in seen if isinstance(e, Started)]
            os.kill(started.pid, signal.SIGKILL)
            (failed,) = ends(collect(executor)).values()
        assert failed.retryable
        assert "probably memory (RSS 2" in failed.message
        assert "of 300 MB" in failed.message

    def test_a_worker_is_replaced_after_its_share(self):
        with workers(recycle_after=3) as executor:
            for ticket in range(9):
                executor.submit(ticket, {"do": "fine"})
            found = ends(collect(executor))
        pids = [found[n].result["pid"] for n in range(9)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]

    def test_a_worker_with_a_thread_left_is_replaced(self):
        with workers() as executor:
            executor.submit(0, {"do": "thread"})
            executor.submit(1, {"do": "fine"})
            found = ends(collect(executor))
        assert found[0].result["pid"] != found[1].result["pid"]


class TestTime:
    @pytest.mark.parametrize("how", ["python", "c"])
    def test_a_hung_task_is_killed_at_its_limit(self, how):
        with workers() as executor:
            executor.submit(0, {"do": "hang", "how": how}, time_limit=0.5)
            executor.submit(1, {"do": "fine"})
            until(executor, Report)
            began = time.monotonic()
            failed, _ = until(executor, Failed)
            assert time.monotonic() - began < 0.5 + 2.0
            assert (failed.cause, failed.message) == ("time limit", "still running after its time limit of 0.5 s")
            assert isinstance(ends(collect(executor))[1], Finished)

    def test_a_stopped_worker_is_killed_at_its_limit(self):
        with workers() as executor:
            executor.submit(0, {"do": "fine", "seconds": 0.2}, time_limit=0.6)
            started, _ = until(executor, Started)
            os.kill(started.pid, signal.SIGSTOP)
            executor.submit(1, {"do": "fine", "value": 1})
            found = ends(collect(executor))
        assert found[0].cause == "time limit"
        assert found[1].result["value"] == 1

    def test_kill(self):
        with workers() as executor:
            executor.submit(0, {"do": "hang", "how": "c"})
            until(executor, Report)
            executor.kill(0)
            (failed,) = ends(collect(executor)).values()
        assert (failed.cause, failed.message) == ("killed", "killed on request")

    def test_exclusive_halts_the_workers_and_their_clocks(self, tmp_path):
        file = tmp_path / "turns"
        with workers(2) as executor:
            executor.submit(0, {"do": "count", "seconds": 1.6, "file": str(file)}, time_limit=2.0)
            until(executor, Started)
            time.sleep(0.2)
            with executor.exclusive():
                before = file.read_text()
                time.sleep(0.8)
                assert file.read_text() == before
            (end,) = ends(collect(executor)).values()
        assert isinstance(end, Finished), end
        assert end.result["turns"] > int(before or 0)


class TestLeftovers:
    def test_children_end_with_their_task(self, tag):
        with workers() as executor:
            executor.submit(0, {"do": "leave_children"})
            (end,) = ends(collect(executor)).values()
            names = [p.name() for p in marked(tag)]
            assert "sleep" not in names
            assert len(names) == 2, "the server and its worker"
            executor.submit(1, {"do": "fine"})
            assert ends(collect(executor))[1].result["pid"] == end.result["pid"], "the worker itself goes on"

    def test_children_end_with_a_killed_worker(self, tag):
        with workers() as executor:
            executor.submit(0, {"do": "leave_children", "seconds": 30.0})
            _, seen = until(executor, Report)
            os.kill(next(e.pid for e in seen if isinstance(e, Started)), signal.SIGKILL)
            collect(executor)
            assert "sleep" not in [p.name() for p in marked(tag)]

    def test_close_in_the_middle(self, tag):
        executor = workers(2)
        executor.submit(0, {"do": "leave_children", "seconds": 30.0})
        until(executor, Report)
        executor.close()
        gone(tag, 0.5)

    def test_close_gives_grace(self):
        executor = workers(1)
        executor.submit(0, {"do": "count", "seconds": 30.0, "file": os.devnull})
        until(executor, Started)
        began = time.monotonic()
        executor.close(grace=5.0)
        assert time.monotonic() - began < 2.0
        assert isinstance(ends(executor.wait(0.0))[0], Finished)

    def test_the_driver_is_killed(self, tag, tmp_path):
        process = script(
            """
            executor = Processes(workers=2, preload=())
            executor.start(evil)
            for ticket in range(2): executor.submit(ticket, {"do": "leave_children", "seconds": 60.0})
            reports = 0
            while reports < 2: reports += sum(isinstance(e, Report) for e in executor.wait(1.0))
            print("ready", flush=True)
            executor.wait(None)
            """,
            tmp_path,
        )
        assert process.stdout.readline() == "ready\n"
        assert len(marked(tag)) >= 8
        process.kill()
        process.communicate()
        gone(tag, 2.0)

    @pytest.mark.parametrize(
        "end", ["raise RuntimeError", "sys.exit(3)", "pass", "os.kill(os.getpid(), signal.SIGTERM)"]
    )
    def test_the_driver_ends_without_closing(self, tag, tmp_path, end):
        process = script(
            f"""
            executor = Processes(workers=1, preload=())
            executor.start(evil)
            executor.submit(0, {{"do": "fine", "seconds": 60.0}})
            while not executor.wait(1.0): pass
            {end}
            """,
            tmp_path,
        )
        process.communicate(timeout=10)
        gone(tag, 2.0)

    def test_descriptors_and_processes_are_given_back(self, tag):
        def use():
            with workers(2) as executor:
                executor.submit(0, {"do": "fine"})
                collect(executor)

        use()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            use()
        assert len(os.listdir("/proc/self/fd")) == before
        assert marked(tag) == []

    def test_a_flood_behind_pythons_back_is_cut(self, tmp_path):
        with workers(folder=tmp_path, log_mb=0.5) as executor:
            executor.submit(0, {"do": "flood", "mb": 40})
            collect(executor)
        log = (tmp_path / "logs" / "000000.log").read_bytes()
        assert log.startswith(b"[the log grew too long")
        assert len(log) < 25e6


def script(body, folder):
    """A driver as a script of its own, without a main guard."""
    file = folder / "driver.py"
    head = (
        f"import os, signal, sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom evil import evil\n"
        "from searchitect.executors import Finished, Report, Started\n"
        "from searchitect.executors.processes import Processes\n"
    )
    file.write_text(head + textwrap.dedent(body))
    return subprocess.Popen(
        [sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )


HERE = """
from searchitect.executors import Finished, make
offset = 40
def add(payload, context):
    return {"sum": payload["x"] + offset}
executor = make("processes", workers=2, preload=())
executor.start(add)
executor.submit(0, {"x": 2})
events = []
while more := executor.wait(10.0): events += more
print(events[-1])
"""


class TestPlaces:
    """A function defined where there is no module to import it from."""

    def test_a_script_without_main_guard(self, tmp_path):
        file = tmp_path / "plain.py"
        file.write_text(HERE)
        done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=30, cwd=tmp_path)
        assert done.stdout == "Finished(ticket=0, result={'sum': 42})\n", done.stderr

    def test_standard_input(self, tmp_path):
        done = subprocess.run(
            [sys.executable, "-"], input=HERE, capture_output=True, text=True, timeout=30, cwd=tmp_path
        )
        assert done.stdout == "Finished(ticket=0, result={'sum': 42})\n", done.stderr

    def test_like_a_notebook(self, tmp_path):
        cells = f"import types, sys\nexec(compile({HERE!r}, '<cell 1>', 'exec'), sys.modules['__main__'].__dict__)"
        done = subprocess.run([sys.executable, "-c", cells], capture_output=True, text=True, timeout=30, cwd=tmp_path)
        assert done.stdout == "Finished(ticket=0, result={'sum': 42})\n", done.stderr


class Loader:
    def __init__(self):
        self.options = {"guard": threading.Lock()}

    def __call__(self, payload, context):
        return {}


class TestSending:
    def test_what_cannot_be_pickled_is_named(self):
        words = r"not picklable: Loader.options\['guard'\] \(lock: .*serial"
        with Processes(preload=()) as executor, pytest.raises(UsageError, match=words):
            executor.start(Loader())

    def test_a_closure_that_holds_one(self):
        lock = threading.Lock()
        with Processes(preload=()) as executor, pytest.raises(UsageError, match=r"\.lock \(lock: "):
            executor.start(lambda payload, context: {"locked": lock.locked()})

    def test_a_function_that_the_workers_cannot_load(self, tmp_path, monkeypatch):
        (tmp_path / "only_here.py").write_text(
            "import os\nif os.environ.get('LOADED'): raise OSError('no licence')\ndef f(p, c): return {}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import only_here

        monkeypatch.setenv("LOADED", "1")
        with Processes(preload=()) as executor:
            executor.start(only_here.f)
            executor.submit(0, {})
            with pytest.raises(SearchitectError, match=r"could not load the function: OSError: no licence"):
                executor.wait(10.0)

    def test_a_server_that_cannot_start(self, monkeypatch):
        monkeypatch.setattr("sys.executable", "/bin/false")
        with Processes(preload=()) as executor:
            executor.start(evil)
            executor.submit(0, {})
            with pytest.raises(SearchitectError, match="cannot be started"):
                collect(executor)

    def test_too_few_open_files(self, tmp_path):
        code = """
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (10, 64))
            executor = Processes(workers=8, preload=())
            try: executor.start(evil)
            except Exception as error: print(type(error).__name__, error)
            """
        out, err = script(code, tmp_path).communicate(timeout=20)
        assert out.startswith("UsageError too many open files: 8 workers need about 36 more"), err

    def test_many_reports_do_not_block_the_task(self):
        with workers() as executor:
            executor.submit(0, {"do": "many_reports", "n": 3000})
            time.sleep(0.5)
            events = collect(executor)
        assert [e.data["n"] for e in events if isinstance(e, Report)] == list(range(3000))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"workers": 0}, "workers=0"),
            ({"workers": 1.5}, "workers=1.5"),
            ({"threads": -1}, "threads=-1"),
            ({"memory_mb": 3}, "memory_mb=3"),
            ({"devices": []}, "devices"),
        ],
    )
    def test_impossible_options(self, options, words):
        with pytest.raises(UsageError, match=words):
            make("processes", **options)

    def test_names(self):
        with pytest.raises(UsageError, match="serial, processes"):
            make("cluster")
        with pytest.raises(UsageError, match="cannot be loaded"):
            make("searchitect.nowhere:Thing")
        assert type(make("searchitect.executors.serial:Serial")).__name__ == "Serial"


class TestTorch:
    def test_threads_are_shared_out_and_state_is_put_back(self):
        with workers(1, threads=2, preload=("torch",)) as executor:
            for ticket in range(2):
                executor.submit(ticket, {"do": "torch_state"})
            found = ends(collect(executor))
        expected = {"threads": 2, "dtype": "torch.float32", "pid": found[0].result["pid"], "grad": False}
        assert found[0].result == found[1].result == expected

    def test_cores_are_divided(self):
        cores = len(os.sched_getaffinity(0))
        for n in (1, 2, 4):
            executor = Processes(workers=n)
            assert executor._settings.threads == max(1, cores // n)
            executor.close()

    @pytest.mark.slow
    def test_a_loader_with_processes_of_its_own_works(self, tag):
        with workers(preload=("torch", "torch.utils.data")) as executor:
            for ticket in range(2):
                executor.submit(ticket, {"do": "train", "loaders": 2}, time_limit=60.0)
            found = ends(collect(executor, 60.0))
        assert all(isinstance(e, Finished) for e in found.values()), found
