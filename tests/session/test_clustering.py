"""What the options of a Ray cluster mean, without one."""

import pytest

from searchitect.errors import UsageError
from searchitect.session import clustering
from searchitect.settings import Settings
from searchitect.training import Recipe


@pytest.mark.parametrize(
    ("options", "room"),
    [
        ({"cpus_per_trial": 3.0}, (2, 3, "cpu")), ({"cpus_per_trial": 0.5}, (2, 1, "cpu")),
        ({"cpus_per_trial": 3.0, "threads": 2}, (2, 2, "cpu")), ({"gpus_per_trial": 0.5}, (2, 1, "cuda")),
        ({"gpus_per_trial": 0.5, "device": "cpu"}, (2, 1, "cpu")),
    ],
)  # fmt: skip
def test_trials_threads_and_device(options, room):
    assert clustering.room(Settings(ray="local", workers=2, **options)) == room


def test_what_the_executor_is_told(monkeypatch, tmp_path):
    told = {}
    monkeypatch.setattr(clustering, "make", lambda name, **options: told.update(options, name=name))
    clustering.on_cluster(Settings(ray="head:6379", workers=3, gpus_per_trial=1.0, devices_per_trial=2), tmp_path)
    assert told == {
        "name": "ray", "address": "head:6379", "workers": 3, "cpus": 1.0, "gpus": 1.0, "hosts": 2, "folder": tmp_path,
        "shared": None, "threads": None, "memory_mb": None, "device": None,
    }  # fmt: skip


def test_what_several_processes_cannot_do_together():
    together, alone = Settings(ray="local", devices_per_trial=2), Settings(ray="local")
    clustering.check_together(alone, None)
    clustering.check_together(together, Recipe())
    with pytest.raises(UsageError, match="devices_per_trial = 2 is for our own training"):
        clustering.check_together(together, None)
    with pytest.raises(UsageError, match=r"auxiliary = 0\.4: leave one of them out"):
        clustering.check_together(together, Recipe(auxiliary=0.4))
    supernet = Settings(ray="local", devices_per_trial=2, strategy=next(iter(clustering.METHODS)))
    with pytest.raises(UsageError, match="is trained by one process"):
        clustering.check_together(supernet, Recipe())
