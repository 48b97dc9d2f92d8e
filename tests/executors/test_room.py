"""How many cores a process may use, and which device each worker has."""

import os

import pytest
import torch

from searchitect.executors import system
from searchitect.session.preparing import devices


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_is_read(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert system.cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("quota", "bound", "cores"), [(1.5, 8, 1), (3.9, 8, 3), (0.5, 8, 1), (None, 8, 8), (16.0, 4, 4)]
)
def test_threads_never_exceed_it(monkeypatch, quota, bound, cores):
    monkeypatch.setattr(system, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    assert system.cores() == cores


def test_workers_are_spread_over_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices("cuda") == ("cuda:0", "cuda:1", "cuda:2")
    assert devices("cuda:1") == ("cuda:1",)
    assert devices("cpu") == ("cpu",)
