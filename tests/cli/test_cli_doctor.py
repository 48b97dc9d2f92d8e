"""doctor: what it looks at, and what it says when something is broken."""

import json
import os
import shutil

import pytest
from click.testing import CliRunner

from searchitect.cli import doctor
from searchitect.cli.app import app
from searchitect.cli.doctor import Check, examine
from searchitect.errors import StorageError


def run(*args):
    return CliRunner().invoke(app, ["doctor", *args])


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "TRAINING_SECONDS", 0.05)
    monkeypatch.chdir(tmp_path)


def test_a_healthy_machine(tmp_path):
    result = run()
    assert result.exit_code == 0, result.output
    for name in doctor.CHECKS:
        assert f"  {name} " in result.output
    assert "ready: searchitect search" in result.output
    assert max(len(text) for text in result.output.splitlines() if str(tmp_path) not in text) <= 80
    assert os.listdir(tmp_path) == []


def test_json_has_every_check():
    found = json.loads(run("--json").output)
    assert found["ok"] is True
    assert [c["name"] for c in found["checks"]] == list(doctor.CHECKS)
    assert "ms a trial" in next(c["found"] for c in found["checks"] if c["name"] == "store")
    assert "steps in" in next(c["found"] for c in found["checks"] if c["name"] == "training")


def test_something_broken_is_code_1_and_the_rest_is_still_looked_at(monkeypatch):
    def broken():
        raise ImportError("libtorch is missing")

    monkeypatch.setitem(doctor.CHECKS, "cores", broken)
    result = run()
    assert result.exit_code == 1
    assert "BROKEN: ImportError: libtorch is missing; reinstall" in " ".join(result.output.split())
    assert "training" in result.output
    found = json.loads(run("--json").output)
    assert found["ok"] is False


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED", ("torch", "surely-not-installed"))
    found = doctor.CHECKS["packages"]()
    assert found.ok is False
    assert found.advice == "pip install surely-not-installed"


def test_an_error_of_ours_says_its_own_next_step():
    def full():
        raise StorageError("no space on /disk; free some")

    assert examine("disk", full) == Check("disk", False, "StorageError: no space on /disk; free some")


def test_an_old_python_is_broken(monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST", (9, 0))
    assert doctor.CHECKS["python"]().ok is False


def test_little_disk_and_little_memory_are_warnings(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    monkeypatch.setattr(doctor, "LITTLE_MEMORY", 1 << 60)
    assert doctor.CHECKS["disk"]().ok is None
    assert doctor.CHECKS["memory"]().advice == "use --workers 1"
    assert run().exit_code == 0


def test_a_slow_disk_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "SLOW_STORE", 0.0)
    found = doctor.CHECKS["store"]()
    assert found.ok is None
    assert "slow" in found.advice


def test_a_loss_that_does_not_fall_is_broken(monkeypatch):
    import torch

    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: None)
    found = doctor.CHECKS["training"]()
    assert found.ok is False
