"""What the driver of a Ray executor says to its hosts, as both ends know it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from searchitect.executors.task import LOG_MB


class Options(NamedTuple):
    """What the driver says to all hosts of an executor. `mirrored`: the folder is not seen from there. `secret`: what
    opens the door of a host; there is none without it."""

    threads: int
    device: str
    folder: str | None
    sys_path: tuple[str, ...]
    mirrored: bool = False
    memory_mb: float | None = None
    recycle_after: int = 200
    log_mb: float = LOG_MB
    preload: Sequence[str] = ("torch",)
    secret: str = ""


def as_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Absolute import paths of the driver, without those that are no folders here."""
    return tuple(str(Path(place or ".").absolute()) for place in paths if Path(place or ".").is_dir())
