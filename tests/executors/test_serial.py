"""What is special about running in the calling process: it must be put back as it was."""

import os
import random
import signal
import sys
import threading
import time
import warnings

import numpy
import pytest
import torch

from searchitect.errors import UsageError
from searchitect.executors import Failed, Finished
from searchitect.executors.isolation import restored
from searchitect.executors.serial import Serial
from searchitect.testing.executor import collect, ends, perform


def run(function, payload=None, *, limit=None, **options):
    """How one task of this function ends."""
    with Serial(**options) as executor:
        executor.start(function)
        executor.submit(0, payload or {}, time_limit=limit)
        return ends(collect(executor))[0]


def state():
    """Everything that must not change, as something to compare."""
    return {
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "depth": sys.getrecursionlimit(),
        "streams": (sys.stdout, sys.stderr, sys.stdin, sys.excepthook),
        "filters": list(warnings.filters),
        "handlers": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "random": random.getstate(),
        "numpy": numpy.random.get_state()[1].tolist(),  # noqa: NPY002 - the global state is what this is about
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "gradient": torch.is_grad_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    }


def meddle(payload, context):
    os.chdir("/")
    os.environ["A"] = "b"
    os.environ.pop("PATH", None)
    sys.path.insert(0, "/x")
    sys.setrecursionlimit(5000)
    sys.stdout = sys.stderr = sys.excepthook = None
    warnings.simplefilter("ignore")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    random.seed(1)
    numpy.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_grad_enabled(False)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    if payload.get("raise"):
        raise ValueError("after all that")
    return {}


@pytest.mark.parametrize("payload", [{}, {"raise": True}])
def test_everything_is_put_back(payload):
    before = state()
    end = run(meddle, payload)
    after = state()
    assert type(end) is (Failed if payload else Finished)
    assert {name for name in before if before[name] != after[name]} == set()


@pytest.mark.slow
def test_deterministic_algorithms_are_put_back():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        run(lambda payload, context: torch.use_deterministic_algorithms(False) or {})
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_deleted_folder_does_not_matter(tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()
    with restored():
        os.chdir(tmp_path)
    assert os.getcwd() == str(tmp_path)


def test_an_unseeded_task_draws_the_same_wherever_it_comes():
    def draw(payload, context):
        return {"x": [random.random(), float(numpy.random.rand()), float(torch.rand(()))]}  # noqa: NPY002

    with Serial() as executor:
        executor.start(draw)
        for ticket in range(2):
            executor.submit(ticket, {})
        found = ends(collect(executor))
    assert found[0].result == found[1].result


def test_another_timer_goes_on_after_a_limited_task():
    rang = []
    old = signal.signal(signal.SIGALRM, lambda *_: rang.append(time.monotonic()))
    before = signal.setitimer(signal.ITIMER_REAL, 0.6)  # the test runner's own timer may be running
    began = time.monotonic()
    try:
        end = run(lambda payload, context: time.sleep(30), limit=0.2)
        assert end.cause == "time limit"
        assert rang == []
        time.sleep(0.7)
        assert len(rang) == 1
        assert 0.5 < rang[0] - began < 1.0
    finally:
        signal.signal(signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_a_limit_gets_through_user_code_that_catches_exceptions():
    def stubborn(payload, context):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    assert run(stubborn, limit=0.2).cause == "time limit"


def test_in_another_thread_a_limit_acts_at_the_next_report():
    def steps(payload, context):
        for n in range(1000):
            context.report({"n": n})
            time.sleep(0.01)

    found = []
    thread = threading.Thread(target=lambda: found.append(run(steps, limit=0.1)))
    thread.start()
    thread.join(5.0)
    assert found[0].cause == "time limit"


def test_a_running_task_is_killed_at_its_report():
    with Serial() as executor:
        executor.listener = lambda report: executor.kill(report.ticket)
        executor.start(perform)
        executor.submit(0, {"do": "steps", "steps": 100})
        (end,) = ends(collect(executor)).values()
    assert (end.cause, end.message, end.retryable) == ("killed", "killed on request", True)


def test_ctrl_c_comes_through_and_the_task_stays():
    calls = []

    def interrupted(payload, context):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"calls": len(calls)}

    with Serial() as executor:
        executor.start(interrupted)
        executor.submit(0, {})
        with pytest.raises(KeyboardInterrupt):
            executor.wait(None)
        assert ends(collect(executor))[0] == Finished(0, {"calls": 2})


def test_echo_leaves_the_output_where_it_was(capsys):
    run(perform, {"do": "print", "lines": 1}, echo=True)
    assert capsys.readouterr() == ("line 0 x\n", "to stderr\n")


def test_a_log_that_cannot_be_written_does_not_fail_the_task(tmp_path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    assert isinstance(run(perform, {"do": "print", "lines": 1}, folder=tmp_path), Finished)


def test_impossible_threads():
    with pytest.raises(UsageError, match="threads=0"):
        Serial(threads=0)
