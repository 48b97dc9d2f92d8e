"""The real command on real data, as a user starts it. Each run trains for a second or two."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from searchitect.records import State
from searchitect.store import Store

pytestmark = pytest.mark.slow

QUICK = ("--data", "digits", "--epochs", "1", "--workers", "1", "--limit-train", "300", "--seed", "0")


def start(folder, *args):
    code = "from searchitect.cli import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder, *args, code=0):
    process = start(folder, *args)
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    return out


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, output) of one small search with everything."""
    folder = tmp_path_factory.mktemp("work")
    return folder, run(folder, "search", *QUICK, "--trials", "2", "--path", "first")


def test_a_search_tells_its_story(searched):
    folder, output = searched
    for words in ("digits: image 1×8×8 in 10 classes", "limits", "2 trials, 1 epoch a trial", "left · best accuracy"):
        assert words in output
    assert str(folder) not in output
    assert "first/report.html" in output
    assert max(map(len, output.splitlines())) <= 80
    assert (folder / "first" / "report.html").stat().st_size > 10_000


def test_what_was_found_is_there_for_scripts(searched):
    folder, _ = searched
    found = json.loads(run(folder, "show", "first", "--json"))
    assert found["trials"]["done"] + found["trials"]["failed"] + found["trials"]["reused"] >= 2
    assert 0 < found["best"]["validation"]["accuracy"] <= 1
    assert found["seconds"]["search"] > 0
    assert found["verdict"]["words"] in ("better", "worse", "cannot tell")
    assert found["verdict"]["winner"]["n"] == 3
    assert json.loads(run(folder, "list", ".", "--json"))[0]["path"] == "first"
    assert json.loads(run(folder, "status", "first", "--json"))["driver"] is None
    assert "trial 1" in run(folder, "show", "first", "1")


def test_the_network_predicts_and_can_be_taken_away(searched):
    folder, _ = searched
    rows = json.loads(run(folder, "predict", "first", "digits", "--json"))
    assert len(rows) == 1797
    run(folder, "export", "first", "out", "--trials", "t.csv")
    assert json.loads(run(folder, "predict", "out", "digits", "--json")) == rows
    assert (folder / "t.csv").read_text().count("\n") >= 3


def test_an_existing_study_is_kept_and_resume_is_named(searched):
    folder, _ = searched
    process = start(folder, "search", *QUICK, "--trials", "2", "--path", "first")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 4
    assert "searchitect resume first" in " ".join(err.split())


def test_wrong_data_are_code_3_and_leave_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")
    run(tmp_path, "search", "--data", "t.csv", "--target", "z", "--trials", "1", code=3)
    run(tmp_path, "search", "--data", "none.npz", "--trials", "1", code=3)
    assert os.listdir(tmp_path) == ["t.csv"]


def wait_for_trials(folder, count, process):
    """Until so many trials are done."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if (folder / "study.db").exists():
            with Store.open(folder) as store:
                if store.count()[State.DONE] >= count:
                    return
        time.sleep(0.05)
    raise AssertionError("no trial was done in time")


@pytest.mark.parametrize("how", ["ctrl-c", "stop"])
def test_one_interrupt_is_code_5_and_resume_finishes(tmp_path, how):
    process = start(tmp_path, "search", *QUICK, "--trials", "500", "--path", "s", "--no-finalize")
    wait_for_trials(tmp_path / "s", 1, process)
    began = time.monotonic()
    if how == "stop":
        assert "stopped" in run(tmp_path, "stop", "s")
    else:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == 5, out + err
    assert "searchitect resume s" in out
    trials = json.loads(run(tmp_path, "show", "s", "--json"))["trials"]
    assert trials["done"] >= 1
    assert trials["running"] == 0
    measured = trials["done"] + trials["failed"]
    run(tmp_path, "resume", "s", "--trials", str(measured + 1), "-q")
    trials = json.loads(run(tmp_path, "show", "s", "--json"))["trials"]
    assert trials["done"] + trials["failed"] == measured + 1


def test_a_second_interrupt_is_code_130(tmp_path):
    process = start(tmp_path, "search", *QUICK, "--trials", "500", "--path", "s", "--no-finalize")
    wait_for_trials(tmp_path / "s", 1, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (130, 5), err  # 5 when the first was already obeyed
    assert json.loads(run(tmp_path, "status", "s", "--json"))["driver"] is None
