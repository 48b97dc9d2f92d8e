"""`searchitect doctor`: is this machine able to search, and what will limit it?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from searchitect.cli.app import Command
from searchitect.cli.options import json_option
from searchitect.cli.text import as_json, labelled
from searchitect.errors import SearchitectError

if TYPE_CHECKING:
    from searchitect.records import Trial

OLDEST = (3, 11)
NEEDED = (
    "torch",
    "numpy",
    "scikit-learn",
    "msgspec",
    "safetensors",
    "cloudpickle",
    "rich",
    "click",
    "jinja2",
)
LITTLE_MEMORY = 1 << 30  # bytes: one worker with torch needs about half of it
LITTLE_SHARED = 100 << 20
LITTLE_DISK = 200 << 20
SLOW_STORE = 0.1  # seconds a trial: then the disk, not the training, sets the pace
WRITES = 20
TRAINING_SECONDS = 1.0


class Check(msgspec.Struct, frozen=True):
    """One thing looked at. `ok` None is a warning: it works, but badly."""

    name: str
    ok: bool | None
    found: str
    advice: str = ""


@click.command(cls=Command)
@json_option
def doctor(json: bool) -> int:
    """Check Python, libraries, processor, memory, disk and a second of training.

    The exit code is 1 when something is broken.
    """
    checks = [examine(name, look) for name, look in CHECKS.items()]
    broken = any(check.ok is False for check in checks)
    if json:
        click.echo(as_json({"ok": not broken, "checks": [msgspec.structs.asdict(c) for c in checks]}))
        return int(broken)
    words = {True: "ok", False: "BROKEN", None: "beware"}
    for check in checks:
        told = f"{words[check.ok]}: {check.found}" + (f"; {check.advice}" if check.advice else "")
        click.echo("\n".join(labelled([(check.name.ljust(8), told)])))
    click.echo("something is broken; see above" if broken else "ready: searchitect search --data digits --budget 3m")
    return int(broken)


def examine(name: str, look: Callable[[], Check]) -> Check:
    """The check's own word, or what it died of."""
    try:
        return look()
    except Exception as error:  # whatever is wrong with the machine is the finding
        advice = "" if isinstance(error, SearchitectError) else "reinstall searchitect and its libraries"
        return Check(name, False, f"{type(error).__name__}: {error}", advice)


def _python() -> Check:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    new_enough = sys.version_info[:2] >= OLDEST
    if os.name == "nt":
        return Check("python", None, found, "on Windows only --executor serial works")
    return Check("python", new_enough, found, "" if new_enough else "Python 3.11 or newer is needed")


def _packages() -> Check:
    found, missing = [], []
    for name in ("searchitect", *NEEDED):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", False, f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", True, ", ".join(found))


def _processor() -> Check:
    import torch

    from searchitect.executors.system import cores, cpu_quota

    quota = cpu_quota()
    limit = "" if quota is None else f" (this container may keep {quota:g} busy)"
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    graphics = ", ".join(devices) or "no graphics processor"
    return Check("cores", True, f"{cores()} usable{limit}, torch uses {torch.get_num_threads()} threads, {graphics}")


def _memory() -> Check:
    from searchitect.training.arrange import memory_bytes

    free = memory_bytes()
    if free <= 0:
        return Check("memory", None, "not told by this system")
    enough = True if free >= LITTLE_MEMORY else None
    return Check("memory", enough, f"{free / 2**30:.1f} GB", "" if enough else "use --workers 1")


def _disk() -> Check:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    if not os.access(here, os.W_OK):
        return Check("disk", None, f"{here} cannot be written", "start elsewhere, or give --path a folder of your own")
    enough = True if free >= LITTLE_DISK else None
    return Check("disk", enough, f"{free / 2**30:.1f} GB free in {here}", "" if enough else "free some space")


def _shared_memory(place: Path = Path("/dev/shm")) -> Check:
    """Room for what processes share: Ray needs it, and loaders with workers. Containers often have 64 MB."""
    if not place.is_dir():
        return Check("shm", None, f"there is no {place}", "Linux only; without it use --executor serial")
    free = shutil.disk_usage(place).free
    enough = True if free >= LITTLE_SHARED else None
    advice = "" if enough else "give the container more (docker run --shm-size 1g)"
    return Check("shm", enough, f"{free / 2**20:,.0f} MB free in {place}", advice)


def _store() -> Check:
    """Whole trials written durably, in the current folder where it can be written."""
    from searchitect.records import State, Trial
    from searchitect.store import Store

    where = Path.cwd() if os.access(Path.cwd(), os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=".searchitect-doctor-", dir=where) as place:
        with Store.create(Path(place) / "study", {"format": 1, "name": "doctor"}) as store:
            began = time.perf_counter()
            for number in range(WRITES):
                store.queue([_trial(number)])
                running = store.start(number, worker=0)
                store.finish(msgspec.structs.replace(running, state=State.FAILED), running.attempts)
            each = (time.perf_counter() - began) / WRITES
        with Store.open(Path(place) / "study") as store:
            kept = sum(isinstance(t, Trial) for t in store.trials())
    if kept != WRITES:
        return Check("store", False, f"{kept} of {WRITES} trials were read back", "do not use this disk for studies")
    quick = True if each < SLOW_STORE else None
    return Check("store", quick, f"{1e3 * each:.1f} ms a trial", "" if quick else "the disk is slow; use a local one")


def _trial(number: int) -> Trial:
    from searchitect.records import Proposal, Trial
    from searchitect.space import Architecture

    return Trial(number, Proposal(Architecture("doctor", {"width": number})))


def _training() -> Check:
    """A small network on drawn data for a second: the loss must be finite and fall."""
    import torch
    from torch import nn

    from searchitect.torchseeds import seeded_torch

    with seeded_torch(0):
        x, y = torch.randn(256, 1, 8, 8), torch.arange(256) % 2
        x[:, :, :4] += (2.0 * y - 1).view(-1, 1, 1, 1)
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        losses: list[float] = []
        end = time.perf_counter() + TRAINING_SECONDS
        while time.perf_counter() < end or len(losses) < 2:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    if not losses[-1] < losses[0]:
        return Check("training", False, f"loss went from {losses[0]:.3g} to {losses[-1]:.3g}", "reinstall torch")
    return Check(
        "training", True, f"{len(losses):,} steps in {TRAINING_SECONDS:g} s, loss {losses[0]:.2f} to {losses[-1]:.3f}"
    )


CHECKS: dict[str, Callable[[], Check]] = {
    "python": _python,
    "packages": _packages,
    "cores": _processor,
    "memory": _memory,
    "shm": _shared_memory,
    "disk": _disk,
    "store": _store,
    "training": _training,
}
