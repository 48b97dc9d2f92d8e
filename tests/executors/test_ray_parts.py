"""What the Ray executor decides without Ray: its options, versions, and room on machines."""

import builtins
import math
import sys

import pytest

from searchitect.errors import UsageError
from searchitect.executors import make
from searchitect.executors.ray import RayExecutor
from searchitect.executors.ray_cluster import Cluster, check_address, check_version, enough, fitting
from searchitect.executors.ray_slots import why_lost


@pytest.mark.parametrize("version", ["2.52.0", "2.60.1", "3.0", "2.100.0rc1"])
def test_versions_that_will_do(version):
    check_version(version)


@pytest.mark.parametrize("version", ["2.51.2", "2.9.0", "1.13"])
def test_old_versions(version):
    with pytest.raises(UsageError, match=r"2\.52 or newer is needed.*pip install 'ray>=2\.52'"):
        check_version(version)


def test_a_missing_extra_is_one_clear_line(monkeypatch):
    def without(name, *more, **options):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return found(name, *more, **options)

    found = builtins.__import__
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError) as error:
        make("ray", address="local")
    assert str(error.value) == "executor 'ray' needs the extra: pip install 'searchitect[ray]'"


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "slots"),
    [
        ({"CPU": 8.0, "memory": 1e9}, 1, 0, 8), ({"CPU": 8.0}, 3, 0, 2), ({"CPU": 8.0, "GPU": 2.0}, 1, 0.5, 4),
        ({"CPU": 2.0, "GPU": 4.0}, 1, 0.5, 2), ({"CPU": 8.0}, 1, 0.5, 0), ({"CPU": 1.0}, 0.1, 0, 10), ({}, 1, 0, 0),
        ({"GPU": 1.0}, 0, 1 / 3, 3),
    ],
)  # fmt: skip
def test_room_on_a_machine(resources, cpus, gpus, slots):
    assert fitting(resources, cpus, gpus) == slots


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers=0"), ({"hosts": 1.5}, "hosts=1.5"), ({"workers": True}, "workers=True"),
        ({"cpus": -1}, "cpus=-1"), ({"gpus": math.nan}, "gpus=nan"), ({"gpus": 1.5}, "several must be whole; give 2"),
        ({"cpus": 0, "gpus": 0}, "must hold some of either"), ({"memory_mb": 10}, "at least 64 MB"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused_before_anything_is_started(options, words):
    with pytest.raises(UsageError, match=words):
        RayExecutor("local", **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "The actor died unexpectedly before finishing this task.\n\tclass_name: Host\n\tid: 05\nThe actor is dead "
            "because its worker process has died. Worker exit type: SYSTEM_ERROR",
            "its worker process has died",
        ),
        ("The actor is dead because its node has died. Node Id: 1f", "its node has died"),
        ("x" * 400, "x" * 150),
        ("The actor is unavailable: the actor is temporarily gone.", "The actor is unavailable: the actor is "),
    ],
)
def test_why_a_host_was_lost(text, words):
    assert why_lost(RuntimeError(text)).startswith(words)
    assert len(why_lost(RuntimeError(text))) <= 150


def test_no_room_is_said_before_anything_is_started():
    assert enough([{"CPU": 4.0}, {"CPU": 3.0}], 2, 0, 1) == 3
    assert enough([{"CPU": 4.0}, {"CPU": 4.0}], 1, 0, 3) == 2
    with pytest.raises(UsageError, match=r"wants 2 x \(1 CPUs and 0\.5 GPUs\).*largest machine has 4 CPUs and 0 GPUs"):
        enough([{"CPU": 4.0}, {"CPU": 2.0}], 1, 0.5, 2)
    with pytest.raises(UsageError, match="no room"):
        enough([], 1, 0, 1)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port", "127.0.0.1:99999999", "no such host:6379"])
def test_an_address_where_nothing_answers(address):
    with pytest.raises(UsageError, match="nothing answers there"):
        check_address(address)


def test_addresses_that_ray_looks_up_itself():
    check_address("auto")


def test_the_client_port_is_refused():
    with pytest.raises(UsageError, match="run the search on a machine of the cluster"):
        Cluster("ray://head:10001")
