"""Torch's generators, seeded inside a block and given back: the one place that may touch them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch's generators inside the block and give them back as they were."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        if devices or torch.backends.mps.is_available():
            torch.manual_seed(seed)  # noqa: TID251 - the one place that may
        else:  # the call above also notes the seed, with a stack trace, for each absent device: ten times slower
            torch.default_generator.manual_seed(seed)
        yield
