"""Both shipped executors keep the contract."""

from searchitect.executors.processes import Processes
from searchitect.executors.serial import Serial
from searchitect.testing.executor import ExecutorContract


class TestSerial(ExecutorContract):
    def make(self, **options):
        return Serial(**options)


class TestProcesses(ExecutorContract):
    def make(self, **options):
        return Processes(workers=2, preload=(), **options)


class TestFreshProcesses(ExecutorContract):
    """Workers that are processes of their own, as they are for devices that do not survive a fork."""

    def make(self, **options):
        executor = Processes(workers=1, preload=(), **options)
        executor._settings = type(executor._settings)(
            **{name: getattr(executor._settings, name) for name in executor._settings.__struct_fields__}
            | {"fresh": True}
        )
        return executor
