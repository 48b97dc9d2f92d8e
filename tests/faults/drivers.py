"""Processes that drive a study, made by a server that has torch loaded already, so that one costs milliseconds.

Every driver leads its own session, writes to a log, and marks in the environment whatever it starts.
"""

import contextlib
import multiprocessing
import os
import sqlite3
import sys
import time
from pathlib import Path

import psutil

from searchitect.records import State
from searchitect.store import Store

TAG = "SEARCHITECT_TEST_TAG"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["torch", "searchitect.session.run", "searchitect.study", "searchitect.cli.searching"])


def _run(function, args, options, tag, log):
    os.environ |= {TAG: tag, "OMP_NUM_THREADS": "1"}
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    if isinstance(function, str):
        os.chdir(function)
        from searchitect.cli import main

        sys.argv = ["searchitect", *args]
        main()
    else:
        function(*args, **options)


class Driver:
    """A process that calls `function(*args, **options)`, or the command line in a folder (given as text)."""

    def __init__(self, log, function, *args, tag=None, **options):
        self.log = Path(log)
        self.tag = tag or f"tag-{os.getpid()}-{time.monotonic_ns()}"
        args = (function, args, options, self.tag, str(log))
        self.process = _context.Process(target=_run, args=args, daemon=False)
        self.process.start()
        self.pid = self.process.pid

    def end(self, seconds=60):
        """The exit code, once it has ended."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"still running after {seconds} s\n{self.output()[-3000:]}")
        return self.process.exitcode

    def kill(self):
        self.process.kill()
        self.process.join()

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def others(self):
        """Every living process that this driver started, or that these started."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(TAG) == self.tag and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self):
        """The worker processes: those started by the server, which the driver started."""
        return [p for p in self.others() if p.ppid() not in (self.pid, os.getpid())]

    def assert_nothing_left(self, seconds=2.0):
        end = time.monotonic() + seconds
        while left := self.others():
            assert time.monotonic() < end, f"left behind: {[(p.pid, p.cmdline()) for p in left]}"
            time.sleep(0.05)


def command(folder, *args, **more):
    """The command line in a folder, in a process of its own."""
    return Driver(folder / f"log-{time.monotonic_ns()}.txt", str(folder), *args, **more)


def until(condition, driver=None, seconds=90):
    """Wait for something to be true; fail when the driver ends before, or the time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert driver is None or driver.process.is_alive(), f"ended with {driver.process.exitcode}\n{driver.output()}"
        assert time.monotonic() < end, "never happened" + (driver.output()[-3000:] if driver else "")
        time.sleep(0.01)
    return found


def trials(folder):
    """What a reader sees now: an empty list where there is no study yet."""
    if not (Path(folder) / "study.db").exists():
        return []
    with Store.open(folder) as store:
        return store.trials()


def done(folder):
    """The finished trials by number."""
    return {t.number: t for t in trials(folder) if t.state in (State.DONE, State.FAILED, State.PRUNED)}


def meta(folder):
    with Store.open(folder) as store:
        return store.meta


def history(folder):
    """All that must be the same when a study is repeated: everything but times."""
    found = []
    for t in trials(folder):
        metrics = {k: v for k, v in t.measurement.metrics.items() if k not in ("seconds", "latency_ms")}
        found.append((t.number, t.proposal, t.state, t.source, t.seed, metrics, t.measurement.curve))
    return found


def assert_sound(folder):
    """The file of the study is whole."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/study.db?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
