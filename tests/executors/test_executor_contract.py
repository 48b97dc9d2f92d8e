"""Both shipped executors keep the contract."""

import pytest

from searchitect.executors.processes import Processes
from searchitect.executors.serial import Serial
from searchitect.testing.executor import ExecutorContract


class TestSerial(ExecutorContract):
    def make(self, **options):
        return Serial(**options)


class TestProcesses(ExecutorContract):
    def make(self, **options):
        return Processes(workers=2, preload=(), **options)


@pytest.mark.slow
class TestFreshProcesses(ExecutorContract):
    """Workers that are processes of their own, as they are for devices that do not survive a fork."""

    def make(self, **options):
        return Processes(workers=1, preload=(), devices=["cpu:0"], **options)
