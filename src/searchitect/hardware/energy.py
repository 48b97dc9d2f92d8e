"""Millijoules of networks, where the machine has a counter: RAPL of the processor, NVML of a CUDA device."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from searchitect.errors import UsageError
from searchitect.hardware.clock import pass_of, rows, warm
from searchitect.training.meters import evaluating

POWERCAP = Path("/sys/class/powercap")
LEAST = 0.5  # seconds of one measurement: counters move in steps of a millisecond

Counter = Callable[[], float]  # millijoules since some moment


class EnergyMeter:
    """Reads one energy counter. Raises UsageError, saying what was looked for, where there is none.

    On the CPU the counters of all packages are added up: what else runs on the machine is in them, so measure alone.
    """

    def __init__(self, device: str = "cpu", powercap: Path | None = None) -> None:
        self.read: Counter = _nvml(device) if torch.device(device).type == "cuda" else _rapl(powercap or POWERCAP)
        self.device = device

    def mj(
        self, model: nn.Module, sample: Sequence[int] | Tensor, *, batch: int = 1, seconds: float = LEAST,
        clock: Callable[[], float] = time.perf_counter, rest: Callable[[float], None] = time.sleep,
    ) -> float:  # fmt: skip
        """Millijoules of one pass beyond what the machine takes when it rests, over at least so many seconds.

        First the machine rests for half as long, and its power is noted; then passes run without a pause.
        """
        x = rows(sample, batch, self.device)
        run = pass_of(model, x)
        with evaluating(model):
            warm(run)
            began, before = clock(), self.read()
            rest(seconds / 2)
            idle = (self.read() - before) / (clock() - began)
            passes, began, before = 0, clock(), self.read()
            while clock() - began < seconds:
                run()
                passes += 1
            spent, took = self.read() - before, clock() - began
        return max(spent - idle * took, 0.0) / passes


def _rapl(powercap: Path) -> Counter:
    zones = []
    for zone in sorted(powercap.glob("*-rapl:*")):
        if zone.name.count(":") == 1:  # a package; "intel-rapl:0:0" is a part of it
            try:
                zones.append(_Zone(zone))
            except (OSError, ValueError):
                continue
    if not zones:
        raise UsageError(
            f"energy_mj: no counter can be read in {powercap} (RAPL: missing in most virtual machines, and for root "
            "only on many others); take latency_ms or macs, or measure on the device with measure="
        )
    return lambda: sum(zone.mj() for zone in zones)


class _Zone:
    """One RAPL counter in microjoules, which begins again at its largest value."""

    def __init__(self, zone: Path) -> None:
        self.file, self.rounds, self.last = zone / "energy_uj", 0, 0
        self.largest = int((zone / "max_energy_range_uj").read_text())
        self.mj()

    def mj(self) -> float:
        now = int(self.file.read_text())
        self.rounds += now < self.last
        self.last = now
        return (now + self.rounds * self.largest) / 1e3


def _nvml(device: str) -> Counter:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(torch.device(device).index or 0)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception as error:  # the package, the driver or the counter is missing
        raise UsageError(
            f"energy_mj: NVML gives no energy of {device} here ({type(error).__name__}: {error}); install "
            "nvidia-ml-py, or take latency_ms"
        ) from None
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
