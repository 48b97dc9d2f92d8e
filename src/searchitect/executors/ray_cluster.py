"""The connection to Ray: its version, a cluster that runs already, or one of our own on this machine alone."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from searchitect.errors import UsageError
from searchitect.executors import ray_guard, system

log = logging.getLogger(__name__)

OLDEST = (2, 52)  # the first that asks for a token before it runs what it is sent
LOCAL = "local"
_ANSWER = 5.0  # seconds
_MODE = "RAY_AUTH_MODE"
_OTHERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # on every system: without it Ray binds the loopback address alone


def load_ray(address: str = LOCAL) -> Any:
    """The module `ray`. Raises UsageError when it is missing or too old.

    Ray reads once, when it is imported, whether to ask for a token and whether to be reached from other machines: for
    a cluster of our own it is told so before.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address == LOCAL:
        _close_doors()
    try:
        import ray
    except ImportError:
        raise UsageError("executor 'ray' needs the extra: pip install 'searchitect[ray]'") from None
    check_version(ray.__version__)
    return ray


def _close_doors() -> None:
    """What a cluster of our own is started with: a token that is ours, and the loopback address alone."""
    here = sys.modules.get("ray")
    if here is not None and not here.is_initialized() and not all(name in os.environ for name in (_MODE, _OTHERS)):
        raise UsageError(
            f"ray was imported before the search, so that a local cluster would be open to others: set {_MODE}=token "
            f"and {_OTHERS}=0 in the environment, or import ray later"
        )
    os.environ.setdefault(_OTHERS, "0")
    if os.environ.setdefault(_MODE, "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def check_version(version: str) -> None:
    """Raises UsageError for a Ray that runs code for whoever reaches its port."""
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise UsageError(
            f"Ray {version} is installed; {least} or newer is needed, since older ones cannot ask for a token: "
            f"pip install 'ray>={least}'"
        )


class Cluster:
    """A connection. `own` when we started the cluster, which ends with it."""

    def __init__(self, address: str) -> None:
        if address.startswith("ray://"):
            raise UsageError(
                f"ray address {address!r}: the client port is not supported; run the search on a machine of the "
                "cluster and give auto, or HOST:6379"
            )
        self.ray = load_ray(address)
        self.folder: str | None = None  # of a cluster that we started
        self._guard: subprocess.Popen[bytes] | None = None
        self.own = False
        if self.ray.is_initialized():
            return
        self.own = True
        _quieten(self.ray)
        with _signals_kept():
            self._start() if address == LOCAL else self._join(address)

    def _start(self) -> None:
        """Loopback only, no dashboard, nobody without our token, nothing sent home."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self.folder = tempfile.mkdtemp(prefix="searchitect-ray-", dir=_short_folder())
        mark = secrets.token_hex(8)
        self._guard = ray_guard.begin(mark, self.folder)
        os.environ[ray_guard.MARK] = mark  # what Ray starts now, and what that starts, has it too
        try:
            self.ray.init(
                address=LOCAL, num_cpus=system.cores(), include_dashboard=False, log_to_driver=False,
                logging_level=logging.ERROR, _temp_dir=self.folder,
            )  # fmt: skip
        except BaseException:
            ray_guard.end(self._guard)
            raise
        finally:
            del os.environ[ray_guard.MARK]

    def _join(self, address: str) -> None:
        check_address(address)
        try:
            self.ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            log.info("ray.init: %s", error)
            why = "no running cluster was found" if address == "auto" else "the cluster does not take us in"
            raise UsageError(
                f"ray address {address!r}: {why}. Start one with `ray start --head` and name it (--ray HOST:PORT, or "
                "RAY_ADDRESS), with the same token here (RAY_AUTH_TOKEN, or ~/.ray/auth_token); or use --ray local"
            ) from error

    @property
    def alone(self) -> bool:
        """Whether this machine is the only one (somebody may have connected us to a larger cluster)."""
        here = self.ray.get_runtime_context().get_node_id()
        return all(node["NodeID"] == here for node in self.ray.nodes() if node["Alive"])

    def capacity(self, cpus: float, gpus: float) -> int:
        """How many slots of so many processors and GPUs the living machines have in all."""
        return sum(fitting(node["Resources"], cpus, gpus) for node in self.ray.nodes() if node["Alive"])

    def slots(self, cpus: float, gpus: float, hosts: int) -> int:
        """How many slots of so many hosts there are. Raises UsageError where there is none."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return enough(nodes, cpus, gpus, hosts)

    def close(self) -> None:
        """Leave the cluster; end it where it is ours."""
        if not self.own:
            return
        self.own = False
        with _signals_kept():
            self.ray.shutdown()
        if self._guard is not None:
            ray_guard.end(self._guard)


def room(address: str, cpus: float, gpus: float, hosts: int = 1) -> int:
    """How many slots of so many hosts there would be. A local cluster is not started for that. Raises UsageError where
    there is none, or no cluster."""
    if address == LOCAL:
        load_ray(address)
        return enough([{"CPU": float(system.cores())}], cpus, gpus, hosts)
    cluster = Cluster(address)
    try:
        return cluster.slots(cpus, gpus, hosts)
    finally:
        cluster.close()


def enough(machines: Sequence[Mapping[str, float]], cpus: float, gpus: float, hosts: int) -> int:
    """How many slots machines with these resources have. Raises UsageError where there is none."""
    found = sum(fitting(resources, cpus, gpus) for resources in machines) // hosts
    if found < 1:
        largest = max(machines, key=lambda r: (r.get("GPU", 0.0), r.get("CPU", 0.0)), default={})
        raise UsageError(
            f"no room for a trial in the cluster: it wants {hosts} x ({cpus:g} CPUs and {gpus:g} GPUs), and the "
            f"largest machine has {largest.get('CPU', 0):g} CPUs and {largest.get('GPU', 0):g} GPUs; ask for less with "
            "--cpus-per-trial, --gpus-per-trial and --devices-per-trial"
        )
    return found


def check_address(address: str) -> None:
    """Ray looks for minutes for a machine that does not answer: look ourselves. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"ray address {address!r}: nothing answers there ({error}). Write auto or HOST:PORT of a cluster that was "
            "started with `ray start --head`, or use --ray local"
        ) from None


def fitting(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """How many slots fit on a machine with these resources."""
    wanted = {"CPU": cpus, "GPU": gpus}
    shares = [resources.get(name, 0.0) / amount for name, amount in wanted.items() if amount > 0]
    return int(min(shares) + 1e-9)


def _quieten(ray: Any) -> None:
    """Ray writes to our standard output when one of its processes has died; that belongs into the log."""
    worker = ray._private.worker
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda data, **_: log.info("%s", " ".join(data["lines"]))


def _short_folder() -> str | None:
    """Ray's sockets are files below its folder, and the path of a socket may have 107 characters."""
    return None if len(tempfile.gettempdir()) < 20 else "/tmp"


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; whoever held it keeps it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:
                signal.signal(number, handler)
