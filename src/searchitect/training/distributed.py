"""Several processes train one network: each takes its part of every batch, and gradients are averaged (DDP).

What is computed is the training of one process with the same batches: every process draws the same rows and augments
them alike, takes each `size`-th row, and weighs its loss by its share of the rows, so that the average of the gradients
is the gradient of the whole batch, also where a last batch cannot be cut evenly. Source: Li et al. 2020, PyTorch
Distributed (torch.nn.parallel.DistributedDataParallel does the averaging, in buckets while the backward pass runs).

Where one process and several differ: BatchNorm sees a process's own rows (on CUDA it is made to see all of them),
dropout draws for each process by itself, and sums are added in another order. The first process alone scores, decides
when to end and writes files; the others are told. Cost: one exchange of all gradients a step, one number each 16 steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from searchitect.errors import UsageError

T = TypeVar("T")
Group = tuple[int, int, str]  # rank, how many, and HOST:PORT of the first
_WAIT = timedelta(minutes=30)  # the others wait while the first scores; who runs us ends them when it is gone
_LEAST = 2  # rows of a process: BatchNorm needs as many

# Groups that were left. Their destructor waits for threads which may wait for the lock of the interpreter that it holds
# (torch 2.13, gloo: one time in three here); so they end with their process.
_LEFT: list[Any] = []


class Team:
    """The processes that train one network, seen from one of them. With `size` 1 nothing is exchanged."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def marks(self) -> tuple[int, ...]:
        """What keys the random draws that each process makes by itself; nothing for the first."""
        return (self.rank,) if self.rank else ()

    def wrap(self, model: nn.Module, head: nn.Module | None = None) -> nn.Module:
        """The network whose forward pass prepares the exchange of gradients; the same parameters. Raises UsageError for
        an auxiliary classifier, whose gradients would not be exchanged."""
        if self.size > 1 and head is not None:
            raise UsageError("auxiliary= is for one process: leave it out where several train one network together")
        if self.size == 1 or not any(p.requires_grad for p in model.parameters()):
            return model
        if next(model.parameters()).is_cuda:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)

    def share(
        self, x: Tensor, y: Tensor, q: Tensor | None, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, float]:
        """This process's rows of a batch (B, ...), and the share of the batch's loss that they stand for.

        A batch too small to cut is everybody's, and then counts in equal shares.
        """
        rows = len(x)
        if self.size == 1:
            return x, y, q, weights, 1.0
        if rows < _LEAST * self.size:
            return x, y, q, weights, 1.0 / self.size
        own = slice(self.rank, None, self.size)
        part = len(range(self.rank, rows, self.size)) / rows
        return x[own], y[own], None if q is None else q[own], None if weights is None else weights[own], part

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            value = value.clone()
            torch.distributed.all_reduce(value)
        return value

    def agree(self, decide: Callable[[], T], *, now: bool = True) -> T | Any:
        """What the first process decides or measures; the others wait for it. Several ask only where it is `now`, all
        of them; elsewhere it is None."""
        if self.size == 1:
            return decide()
        if not now:
            return None
        found: list[Any] = [decide() if self.rank == 0 else None]
        torch.distributed.broadcast_object_list(found, src=0)
        result: T = found[0]
        return result


ALONE = Team()


@contextmanager
def joined(group: Group | None, device: str | torch.device = "cpu") -> Iterator[Team]:
    """The team of a task's `group`, met and left; alone without one. Raises UsageError where torch cannot."""
    if group is None or group[1] == 1:
        yield ALONE
        return
    rank, size, meet = group
    if not torch.distributed.is_available():
        raise UsageError("this build of torch has no torch.distributed: train each network in one process")
    if meet.startswith("127."):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, f"tcp://{meet}", rank=rank, world_size=size, timeout=_WAIT)
    try:
        yield Team(rank, size)
    finally:
        _LEFT.append(torch.distributed.group.WORLD)
        torch.distributed.destroy_process_group()
